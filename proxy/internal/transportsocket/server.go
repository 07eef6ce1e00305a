package transportsocket

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// defaultCurves are Envoy's, in its order.
var defaultCurves = []tls.CurveID{tls.X25519, tls.CurveP256}

// Server is the accepting side of TLS for one filter chain. It may be used by all workers.
type Server struct {
	cfg    xdsresource.DownstreamTLS
	m      material
	config atomic.Pointer[serverConfig]
}

// serverConfig is what sessions begin with.
type serverConfig struct {
	tls  *tls.Config
	leaf *x509.Certificate // that is shown to every client; nil: it depends, or there is none
}

// NewServer builds a server. Inline certificates and bundles are checked at once; those from
// SDS are subscribed to, and until they have arrived handshakes fail by name of the secret.
// Close ends the subscriptions.
func NewServer(cfg *xdsresource.DownstreamTLS, p SecretProvider) (*Server, error) {
	s := &Server{cfg: *cfg}
	s.m.cfg = &s.cfg.CommonTLS
	s.m.rebuild = s.rebuild
	if err := s.m.open(p); err != nil {
		s.m.close()
		return nil, err
	}
	return s, nil
}

// Close ends the SDS subscriptions. Live connections go on.
func (s *Server) Close() { s.m.close() }

// Ready reports whether every secret has arrived.
func (s *Server) Ready() bool { return s.config.Load() != nil }

// Err says why the server is not ready, or why the last change of a secret was refused (the
// one before stays in use); nil when all is well.
func (s *Server) Err() error {
	if s.Ready() {
		s.m.mu.Lock()
		defer s.m.mu.Unlock()
		return s.m.err
	}
	return s.m.why()
}

func (s *Server) rebuild(c *current) error {
	cfg := baseConfig(&s.cfg.CommonTLS, c.certs)
	cfg.SessionTicketsDisabled = s.cfg.DisableStatelessResumption
	cfg.ClientAuth = tls.NoClientCert
	switch {
	case s.cfg.RequireClientCert:
		cfg.ClientAuth = tls.RequireAnyClientCert
	case c.trust != nil:
		cfg.ClientAuth = tls.RequestClientCert
	}
	if t := c.trust; t != nil {
		cfg.ClientCAs = t.roots
		cfg.VerifyConnection = func(st tls.ConnectionState) error {
			if len(st.PeerCertificates) == 0 && !s.cfg.RequireClientCert {
				return nil
			}
			return t.verify(st.PeerCertificates, x509.ExtKeyUsageClientAuth, time.Now())
		}
	}
	full := cfg
	if len(full.NextProtos) > 0 {
		// Envoy goes on without ALPN when nothing offered is known; crypto/tls would refuse.
		without := full.Clone()
		without.NextProtos = nil
		full.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			for _, p := range h.SupportedProtos {
				if slices.Contains(full.NextProtos, p) {
					return nil, nil
				}
			}
			return without, nil
		}
	}
	s.config.Store(&serverConfig{tls: full, leaf: leafOf(c.certs)})
	return nil
}

// NewSession begins a session on an accepted socket, with the secrets that are current.
func (s *Server) NewSession(l *eventloop.Loop, fd int) *Session {
	x := newSession(l, fd)
	x.begin(true)
	cfg := s.config.Load()
	if cfg == nil {
		cfg = &serverConfig{tls: refusing(s.m.why())}
	}
	x.local = cfg.leaf
	x.tc = tls.Server((*sock)(x), cfg.tls)
	return x
}

// leafOf is the certificate that is shown to clients. Where there are several it depends on the
// client, and is left out.
func leafOf(certs []tls.Certificate) *x509.Certificate {
	if len(certs) != 1 {
		return nil
	}
	return certs[0].Leaf
}

// refusing is a configuration whose handshakes fail with err.
func refusing(err error) *tls.Config {
	return &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, err },
	}
}
