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
	"github.com/lateen-mesh/lateen/proxy/internal/trust"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// maxWishes bounds the configurations kept for different wishes of one client.
const maxWishes = 1024

// Client is the dialling side of TLS for one cluster. It may be used by all workers.
type Client struct {
	cfg    xdsresource.UpstreamTLS
	m      material
	config atomic.Pointer[clientConfig]
}

type clientConfig struct {
	base  *tls.Config
	trust *trust.Trust
	own   *x509.Certificate

	mu     sync.Mutex
	byWish map[Wish]*tls.Config
}

// NewClient builds a client; see NewServer for secrets. As in Envoy the peer is not verified
// when no validation context is configured, and its name only against SAN matchers.
func NewClient(cfg *xdsresource.UpstreamTLS, p SecretProvider) (*Client, error) {
	if cfg.AllowRenegotiation {
		return nil, fmt.Errorf("allow_renegotiation: renegotiation is not supported")
	}
	c := &Client{cfg: *cfg}
	c.m.cfg, c.m.noNames = &c.cfg.CommonTLS, c.cfg.AutoSNISAN
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
	cfg := baseConfig(&c.cfg.CommonTLS)
	if cfg.MaxVersion == 0 {
		cfg.MaxVersion = max(cfg.MinVersion, tls.VersionTLS12) // Envoy's default for clients
	}
	var own *x509.Certificate
	if len(cur.certs) > 0 {
		// Whatever authorities the server names, show what is configured, as Envoy does.
		cert := cur.certs[0]
		own = cert.Leaf
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	if n := c.cfg.MaxSessionKeys; n > 0 {
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(int(n))
	}
	cfg.ServerName = c.cfg.SNI
	cfg.InsecureSkipVerify = true // VerifyConnection does it, against the bundle and the matchers
	cc := &clientConfig{base: cfg, trust: cur.trust, own: own, byWish: map[Wish]*tls.Config{}}
	cfg.VerifyConnection = cc.verifier(nil)
	c.config.Store(cc)
	return nil
}

// verifier checks the host's certificate; it must have one of names, where there are any.
func (cc *clientConfig) verifier(names []string) func(tls.ConnectionState) error {
	return func(st tls.ConnectionState) error {
		if cc.trust != nil {
			if err := cc.trust.Verify(st.PeerCertificates, x509.ExtKeyUsageServerAuth, time.Now()); err != nil {
				return err
			}
		}
		if err := trust.CheckKey(&st); err != nil || len(names) == 0 {
			return err
		}
		if len(st.PeerCertificates) == 0 {
			return trust.ErrNoCertificate
		}
		return trust.HasName(st.PeerCertificates[0], names)
	}
}

// wished returns the configuration for a wish.
func (cc *clientConfig) wished(w Wish) *tls.Config {
	w.Client = ClientEnds{} // which TLS does not tell of
	if w.Nothing() {
		return cc.base
	}
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if cfg, ok := cc.byWish[w]; ok {
		return cfg
	}
	cfg := cc.base.Clone()
	if w.ServerName != "" {
		cfg.ServerName = w.ServerName
	}
	if w.ALPN != "" {
		cfg.NextProtos = strings.Split(w.ALPN, ",")
	}
	if w.Names != "" {
		cfg.VerifyConnection = cc.verifier(strings.Split(w.Names, ","))
	}
	if len(cc.byWish) < maxWishes {
		cc.byWish[w] = cfg
	}
	return cfg
}

// NewSession begins a session on a connected socket. first goes out before the handshake.
func (c *Client) NewSession(l *eventloop.Loop, fd int, w Wish, first []byte) *Session {
	x := newSession(l, fd)
	x.begin(false)
	x.hs.out = first
	cc := c.config.Load()
	var cfg *tls.Config
	if cc == nil {
		x.hs.refuse(c.m.why())
		cfg = &tls.Config{InsecureSkipVerify: true}
	} else {
		cfg, x.own = cc.wished(w), cc.own
	}
	x.tc = tls.Client((*sock)(x), cfg)
	return x
}

// secure shakes hands over a connection of the standard library.
func (c *Client) secure(ctx context.Context, nc net.Conn, protocols []string) (*tls.Conn, error) {
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
func baseConfig(c *xdsresource.CommonTLS) *tls.Config {
	cfg := &tls.Config{
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
		if cfg.MaxVersion != 0 {
			cfg.MinVersion = min(cfg.MinVersion, cfg.MaxVersion)
		}
	}
	switch mutual := len(c.Certificates) > 0 && c.Validation != nil; {
	case len(cfg.CurvePreferences) > 0:
	case mutual:
		cfg.CurvePreferences = mutualCurves
	default:
		cfg.CurvePreferences = defaultCurves
	}
	if len(cfg.CipherSuites) == 0 {
		cfg.CipherSuites = defaultSuites
	}
	return cfg
}
