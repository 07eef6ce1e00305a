package transportsocket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// defaultSessions is how many sessions a client keeps for resumption when max_session_keys
// is not given.
const defaultSessions = 64

// maxNames bounds the configurations kept for different server names of one client.
const maxNames = 1024

// Client is the dialling side of TLS for one cluster. It may be used by all workers.
type Client struct {
	cfg    xdsresource.UpstreamTLS
	m      material
	config atomic.Pointer[clientConfig]
}

type clientConfig struct {
	base  *tls.Config
	trust *trust

	mu     sync.Mutex
	byName map[nameKey]*tls.Config
}

type nameKey struct{ sni, verify, alpn string }

// NewClient builds a client; see NewServer for secrets. As in Envoy the peer is not verified
// when no validation context is configured, and its name only against SAN matchers.
func NewClient(cfg *xdsresource.UpstreamTLS, p SecretProvider) (*Client, error) {
	if cfg.AllowRenegotiation {
		return nil, fmt.Errorf("allow_renegotiation: renegotiation is not supported")
	}
	c := &Client{cfg: *cfg}
	c.m.cfg = &c.cfg.CommonTLS
	c.m.rebuild = c.rebuild
	if err := c.m.open(p); err != nil {
		c.m.close()
		return nil, err
	}
	return c, nil
}

// Close ends the SDS subscriptions. Live connections go on.
func (c *Client) Close() { c.m.close() }

// Ready reports whether every secret has arrived.
func (c *Client) Ready() bool { return c.config.Load() != nil }

// HasALPN reports whether the configuration says which protocols to offer.
func (c *Client) HasALPN() bool { return len(c.cfg.ALPN) > 0 }

// Err is as Server.Err.
func (c *Client) Err() error {
	if c.Ready() {
		c.m.mu.Lock()
		defer c.m.mu.Unlock()
		return c.m.err
	}
	return c.m.why()
}

func (c *Client) rebuild(cur *current) error {
	cfg := baseConfig(&c.cfg.CommonTLS, nil)
	if len(cur.certs) > 0 {
		// Whatever authorities the server names, show what is configured, as Envoy does.
		cert := cur.certs[0]
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	n := defaultSessions
	if c.cfg.MaxSessionKeys > 0 {
		n = int(c.cfg.MaxSessionKeys)
	}
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(n)
	cfg.ServerName = c.cfg.SNI
	cfg.InsecureSkipVerify = true // VerifyConnection does it, against the bundle and the matchers
	cc := &clientConfig{base: cfg, trust: cur.trust, byName: map[nameKey]*tls.Config{}}
	cfg.VerifyConnection = cc.verifier("")
	c.config.Store(cc)
	return nil
}

func (cc *clientConfig) verifier(name string) func(tls.ConnectionState) error {
	return func(st tls.ConnectionState) error {
		if cc.trust != nil {
			if err := cc.trust.verify(st.PeerCertificates, x509.ExtKeyUsageServerAuth, time.Now()); err != nil {
				return err
			}
		}
		if name == "" {
			return nil
		}
		if len(st.PeerCertificates) == 0 {
			return errNoCertificate
		}
		return st.PeerCertificates[0].VerifyHostname(name)
	}
}

// named returns the configuration for a server name other than the configured one.
func (cc *clientConfig) named(k nameKey) *tls.Config {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if cfg, ok := cc.byName[k]; ok {
		return cfg
	}
	cfg := cc.base.Clone()
	if k.sni != "" {
		cfg.ServerName = k.sni
	}
	if k.alpn != "" {
		cfg.NextProtos = strings.Split(k.alpn, ",")
	}
	cfg.VerifyConnection = cc.verifier(k.verify)
	if len(cc.byName) < maxNames {
		cc.byName[k] = cfg
	}
	return cfg
}

// NewSession begins a session on a connected socket. sni overrides the configured name;
// verify is a DNS name that the certificate must have besides; both may be empty. alpn replaces
// the configured protocols; nil: it does not.
func (c *Client) NewSession(l *eventloop.Loop, fd int, sni, verify string, alpn []string) *Session {
	x := newSession(l, fd)
	x.begin(false)
	cc := c.config.Load()
	var cfg *tls.Config
	switch {
	case cc == nil:
		err := c.m.why()
		x.hs.refuse(err)
		cfg = &tls.Config{InsecureSkipVerify: true}
	case sni != "" && sni != c.cfg.SNI || verify != "" || len(alpn) > 0:
		cfg = cc.named(nameKey{sni, verify, strings.Join(alpn, ",")})
	default:
		cfg = cc.base
	}
	x.tc = tls.Client((*sock)(x), cfg)
	return x
}

// Secure shakes hands over a connection of the standard library: health checks run beside the
// loops. protocols replace the ALPN of the configuration unless they are empty.
func (c *Client) Secure(ctx context.Context, nc net.Conn, protocols []string) (*tls.Conn, error) {
	cc := c.config.Load()
	if cc == nil {
		return nil, c.m.why()
	}
	cfg := cc.base
	if len(protocols) > 0 {
		cfg = cfg.Clone()
		cfg.NextProtos = slices.Clone(protocols)
	}
	tc := tls.Client(nc, cfg)
	return tc, tc.HandshakeContext(ctx)
}

// baseConfig is what both sides share.
func baseConfig(c *xdsresource.CommonTLS, certs []tls.Certificate) *tls.Config {
	cfg := &tls.Config{
		Certificates:     certs,
		NextProtos:       slices.Clone(c.ALPN),
		MinVersion:       c.MinVersion,
		MaxVersion:       c.MaxVersion,
		CipherSuites:     slices.Clone(c.CipherSuites),
		CurvePreferences: slices.Clone(c.Curves),
		// One record for what one flush brings; small first records save latency only where
		// a browser parses half a page.
		DynamicRecordSizingDisabled: true,
	}
	if cfg.MinVersion == 0 {
		cfg.MinVersion = tls.VersionTLS12
	}
	if cfg.MaxVersion == 0 {
		cfg.MaxVersion = tls.VersionTLS13
	}
	if len(cfg.CurvePreferences) == 0 {
		cfg.CurvePreferences = defaultCurves
	}
	if len(cfg.CipherSuites) == 0 {
		cfg.CipherSuites = nil
	}
	return cfg
}
