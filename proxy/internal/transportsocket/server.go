package transportsocket

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/trust"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// defaultCurves are Envoy's, in its order, but for X25519MLKEM768, which costs a handshake more time than all the rest of it; a
// configuration may name it. Mutual TLS has it by default (mutualCurves): between the proxies of a mesh connections are kept, and what crosses them is not to
// be read later by a quantum computer either. A client sends a share of X25519 as well, so that nobody needs another round trip.
var (
	defaultCurves = []tls.CurveID{tls.X25519, tls.CurveP256}
	mutualCurves  = []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256}
)

// defaultSuites are Envoy's for TLS 1.2; those of 1.3 cannot be chosen.
var defaultSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
}

// Server is the accepting side of TLS for one filter chain. It may be used by all workers.
type Server struct {
	cfg    xdsresource.DownstreamTLS
	m      material
	config atomic.Pointer[serverConfig]
}

// serverConfig is what sessions begin with.
type serverConfig struct{ tls *tls.Config }

// NewServer builds a server. Inline certificates and bundles are checked at once; those from
// SDS are subscribed to, and until they have arrived handshakes fail by name of the secret.
// Close ends the subscriptions.
func NewServer(cfg *xdsresource.DownstreamTLS, p SecretProvider) (*Server, error) {
	s := &Server{cfg: *cfg}
	s.m.cfg, s.m.keys = &s.cfg.CommonTLS, s.cfg.Tickets
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
	cfg := baseConfig(&s.cfg.CommonTLS)
	if cfg.MaxVersion == 0 {
		cfg.MaxVersion = tls.VersionTLS13
	}
	chooser := newChooser(c.certs, c.ends, s.cfg.FullScan)
	cfg.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		x := h.Conn.(*sock)
		if x.staple == StapleSent {
			return x.chosen.stapled, nil
		}
		return x.chosen.cert, nil
	}
	s.resumption(cfg, c.tickets)
	cfg.ClientAuth = tls.NoClientCert
	switch t := c.trust; {
	case s.cfg.RequireClientCert, t != nil && t.NeedsCertificate():
		cfg.ClientAuth = tls.RequireAnyClientCert
	case t != nil:
		cfg.ClientAuth = tls.RequestClientCert
	}
	cfg.VerifyConnection = func(st tls.ConnectionState) error {
		if len(st.PeerCertificates) == 0 && cfg.ClientAuth != tls.RequireAnyClientCert {
			return nil
		}
		if c.trust != nil {
			if err := c.trust.Verify(st.PeerCertificates, x509.ExtKeyUsageClientAuth, time.Now()); err != nil {
				return err
			}
		}
		return trust.CheckKey(&st)
	}
	if c.trust != nil {
		cfg.ClientCAs = c.trust.Authorities()
	}
	without := cfg.Clone()
	without.NextProtos = nil
	cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		x := h.Conn.(*sock) // whose certificate is chosen here, since a resumed session asks for none, and yet has one
		x.chosen = chooser.find(h)
		if x.staple = StapleNotAsked; slices.Contains(h.Extensions, extensionStatusRequest) {
			if x.staple = x.chosen.staple(s.cfg.Staples, time.Now()); x.staple == StapleFailed {
				return nil, errStaple
			}
		}
		// Envoy goes on without ALPN when nothing offered is known; crypto/tls would refuse.
		if len(cfg.NextProtos) > 0 && !slices.ContainsFunc(h.SupportedProtos, func(p string) bool { return slices.Contains(cfg.NextProtos, p) }) {
			return without, nil
		}
		return nil, nil
	}
	s.config.Store(&serverConfig{tls: cfg})
	return nil
}

// Staple says whether a client has asked for an OCSP staple, and what it got.
type Staple uint8

// errStaple ends a handshake that ocsp_staple_policy wants a staple for.
var errStaple = errors.New("the certificate's OCSP response is missing or has ended, and ocsp_staple_policy wants one")

// The zero value is a client whose hello has not been read.
const (
	_ Staple = iota
	StapleNotAsked
	StapleAsked  // and goes on without one
	StapleSent   // unless the session was resumed, which needs none
	StapleFailed // and has failed for want of one
)

// extensionStatusRequest is a client's wish for an OCSP staple (RFC 6066, 8).
const extensionStatusRequest = 5

// resumption sets how sessions are resumed: by tickets, which clients keep.
func (s *Server) resumption(cfg *tls.Config, keys xdsresource.TicketKeys) {
	cfg.SessionTicketsDisabled = s.cfg.DisableStatelessResumption
	if len(keys) > 0 {
		// crypto/tls derives what it needs from 32 bytes. Servers with the same keys take each other's tickets.
		sealed := make([][32]byte, len(keys))
		for i, k := range keys {
			sealed[i] = sha256.Sum256(k)
		}
		cfg.SetSessionTicketKeys(sealed)
	}
	timeout := s.cfg.SessionTimeout
	if timeout <= 0 {
		return
	}
	// A ticket carries when it was made, since crypto/tls does not tell.
	cfg.WrapSession = func(st tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		ss.Extra = append(ss.Extra, binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix())))
		return cfg.EncryptTicket(st, ss)
	}
	cfg.UnwrapSession = func(identity []byte, st tls.ConnectionState) (*tls.SessionState, error) {
		ss, err := cfg.DecryptTicket(identity, st)
		if err != nil || ss == nil || len(ss.Extra) == 0 || len(ss.Extra[len(ss.Extra)-1]) != 8 {
			return nil, err
		}
		made := int64(binary.BigEndian.Uint64(ss.Extra[len(ss.Extra)-1]))
		if time.Since(time.Unix(made, 0)) >= timeout {
			return nil, nil // a whole handshake follows
		}
		return ss, nil
	}
}

// NewSession begins a session on an accepted socket, with the secrets that are current.
func (s *Server) NewSession(l *eventloop.Loop, fd int) *Session {
	x := newSession(l, fd)
	x.begin(true)
	cfg := s.config.Load()
	if cfg == nil {
		cfg = &serverConfig{tls: refusing(s.m.why())}
	}
	x.tc = tls.Server((*sock)(x), cfg.tls)
	return x
}

// refusing is a configuration whose handshakes fail with err.
func refusing(err error) *tls.Config {
	return &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, err },
	}
}
