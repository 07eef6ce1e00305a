package conn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

var serial int64

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue makes a certificate with a SPIFFE identity.
func (a *authority) issue(t testing.TB, id string) xdsresource.TLSCertificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if u, err := url.Parse(id); err == nil && u.Scheme != "" {
		tmpl.URIs = []*url.URL{u}
	} else {
		tmpl.DNSNames = []string{id}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	kb, _ := x509.MarshalPKCS8PrivateKey(key)
	return xdsresource.TLSCertificate{
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb}),
	}
}

const (
	serverID = "spiffe://cluster.local/ns/shop/sa/catalog"
	clientID = "spiffe://cluster.local/ns/shop/sa/webapp"
)

func inline(cert xdsresource.TLSCertificate, ca []byte, sans ...string) xdsresource.CommonTLS {
	c := xdsresource.CommonTLS{ALPN: []string{"istio", "http/1.1"}}
	if cert.Key != nil {
		c.Certificates = []xdsresource.TLSSource[xdsresource.TLSCertificate]{{Inline: &cert}}
	}
	if ca != nil {
		v := &xdsresource.ValidationContext{TrustedCA: ca}
		for _, s := range sans {
			v.SANs = append(v.SANs, xdsresource.SANMatcher{Type: "URI", Value: xdsresource.StringMatch{Value: s}})
		}
		c.Validation = &xdsresource.TLSSource[xdsresource.ValidationContext]{Inline: v}
	}
	return c
}

func newServer(t testing.TB, c xdsresource.CommonTLS, p transportsocket.SecretProvider) *transportsocket.Server {
	t.Helper()
	s, err := transportsocket.NewServer(&xdsresource.DownstreamTLS{CommonTLS: c, RequireClientCert: c.Validation != nil}, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func newClient(t testing.TB, c xdsresource.CommonTLS) *transportsocket.Client {
	t.Helper()
	x, err := transportsocket.NewClient(&xdsresource.UpstreamTLS{CommonTLS: c, SNI: "outbound_.80_._.catalog", MaxSessionKeys: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

// newTLS is a pair that does mutual TLS.
func newTLS(t testing.TB) (*transportsocket.Server, *transportsocket.Client) {
	ca := newAuthority(t)
	return newServer(t, inline(ca.issue(t, serverID), ca.pem, clientID), nil), newClient(t, inline(ca.issue(t, clientID), ca.pem, serverID))
}

func TestMutualTLSInfo(t *testing.T) {
	h := start(t)
	srv, cli := newTLS(t)
	infos := make(chan Info, 1)
	ln := h.serve(t, "tcp4", srv, func() *recorder {
		r := record()
		r.onConnect = func(c *Conn) { infos <- *c.Info() }
		r.data = echo
		return r
	})
	for round := range 3 {
		r := record()
		h.do(func() {
			c := Dial(h.Loop, address(ln), DialOptions{TLS: cli}, r)
			c.Out().AppendString("x")
			c.CloseWrite()
		})
		if err := <-r.closed; err != nil {
			t.Fatal(err)
		}
		c, s := *(<-r.connected).Info(), <-infos
		if s.PeerURI != clientID || c.PeerURI != serverID || s.SNI != "outbound_.80_._.catalog" || s.ALPN != "istio" || len(s.PeerCertHash) != 64 {
			t.Errorf("server: %q %q %q; client: %q", s.PeerURI, s.SNI, s.ALPN, c.PeerURI)
		}
		if c.HandshakeDone < c.Connected || c.Connected < c.Created || c.Created == 0 {
			t.Errorf("times %d %d %d", c.Created, c.Connected, c.HandshakeDone)
		}
		if resumed := s.TLS.DidResume; resumed != (round > 0) {
			t.Errorf("round %d: resumed %v", round, resumed)
		}
	}
}

func TestTLSRefusals(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good := ca.issue(t, clientID)
	srvCert := ca.issue(t, serverID)
	for _, tc := range []struct {
		name           string
		server, client xdsresource.CommonTLS
		plain          bool
	}{
		{"plaintext client", inline(srvCert, ca.pem), xdsresource.CommonTLS{}, true},
		{"no client certificate", inline(srvCert, ca.pem), inline(xdsresource.TLSCertificate{}, ca.pem), false},
		{"client of another authority", inline(srvCert, ca.pem), inline(other.issue(t, clientID), ca.pem), false},
		{"client of another identity", inline(srvCert, ca.pem, "spiffe://cluster.local/ns/shop/sa/forum"), inline(good, ca.pem), false},
		{"server of another identity", inline(srvCert, ca.pem), inline(good, ca.pem, "spiffe://cluster.local/ns/shop/sa/forum"), false},
		{"server of another authority", inline(other.issue(t, serverID), ca.pem), inline(good, ca.pem), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t)
			srv := newServer(t, tc.server, nil)
			serverClosed := make(chan error, 1)
			ln := h.serve(t, "tcp4", srv, func() *recorder {
				r := record()
				r.closed = serverClosed
				r.onConnect = func(c *Conn) { t.Error("the server side was opened") }
				if tc.name[:6] == "server" {
					r.onConnect = nil // the client finds out, maybe after the server
				}
				return r
			})
			r := record()
			var cli *transportsocket.Client
			if !tc.plain {
				cli = newClient(t, tc.client)
			}
			h.do(func() {
				c := Dial(h.Loop, address(ln), DialOptions{TLS: cli}, r)
				if tc.plain {
					c.Out().AppendString("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
				}
			})
			serr := <-serverClosed
			if serr == nil {
				t.Error("the server closed without an error")
			}
			cerr := <-r.closed
			if !tc.plain && cerr == nil {
				t.Error("the client closed without an error")
			}
			t.Logf("server: %v; client: %v", serr, cerr)
		})
	}
}

// secrets is an SDS of one certificate and one bundle.
type secrets struct {
	mu   sync.Mutex
	cert *xdsresource.TLSCertificate
	sub  func(xdsresource.TLSCertificate)
}

func (s *secrets) Certificate(_, _ string, changed func(xdsresource.TLSCertificate)) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sub = changed
	if s.cert != nil {
		changed(*s.cert)
	}
	return func() {}
}

func (s *secrets) TicketKeys(_, _ string, _ func(xdsresource.TicketKeys)) func() {
	return func() {}
}

func (s *secrets) Validation(_, _ string, _ func(xdsresource.ValidationContext)) func() {
	return func() {}
}

// TestRotation: a new certificate serves new handshakes, live connections go on, a broken
// one is refused and the last good one stays.
func TestRotation(t *testing.T) {
	h := start(t)
	ca := newAuthority(t)
	sds := &secrets{}
	cfg := xdsresource.CommonTLS{Certificates: []xdsresource.TLSSource[xdsresource.TLSCertificate]{{SDS: "default"}}}
	srv := newServer(t, cfg, sds)
	ln := h.serve(t, "tcp4", srv, func() *recorder { r := record(); r.data = echo; return r })
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	dial := func(name string) (*tls.Conn, error) {
		d := tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: name}}
		c, err := d.DialContext(context.Background(), "tcp", ln.Addr().String())
		if err != nil {
			return nil, err
		}
		return c.(*tls.Conn), nil
	}
	ping := func(c *tls.Conn) {
		t.Helper()
		var b [4]byte
		if _, err := c.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, b[:]); err != nil {
			t.Fatal(err)
		}
	}
	if srv.Ready() || srv.Err() == nil {
		t.Fatalf("ready without a certificate: %v", srv.Err())
	}
	if _, err := dial("a.test"); err == nil {
		t.Fatal("a handshake without a certificate")
	}
	sds.sub(ca.issue(t, "a.test"))
	a, err := dial("a.test")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ping(a)
	sds.sub(ca.issue(t, "b.test"))
	b, err := dial("b.test")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ping(a)
	ping(b)
	sds.sub(xdsresource.TLSCertificate{Chain: []byte("x"), Key: []byte("y")})
	if srv.Err() == nil {
		t.Error("a broken certificate was taken")
	}
	c, err := dial("b.test")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ping(c)
}

// TestTruncation: a TCP end without close_notify is not an orderly end.
func TestTruncation(t *testing.T) {
	h := start(t)
	srv, _ := newTLS(t)
	_ = srv
	ca := newAuthority(t)
	srv = newServer(t, inline(ca.issue(t, "x.test"), nil), nil)
	closed := make(chan error, 1)
	got := make(chan string, 1)
	ln := h.serve(t, "tcp4", srv, func() *recorder {
		r := record()
		r.closed = closed
		r.data = func(c *Conn, eof bool) {
			if eof {
				t.Error("an end was delivered")
			}
			got <- string(c.In().Bytes())
			c.In().Drain(c.In().Len())
		}
		return r
	})
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	if _, err := c.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "half" {
		t.Fatal(s)
	}
	_ = nc.Close()
	e := <-closed
	if e == nil {
		t.Fatal("closed in order")
	}
}

// TestSilentHandshake: a peer that says nothing is dropped after the timeout, and does not
// keep others from their handshakes.
func TestSilentHandshake(t *testing.T) {
	h := start(t)
	srv, cli := newTLS(t)
	ln := h.serve(t, "tcp4", srv, func() *recorder { r := record(); r.data = echo; return r })
	var silent []net.Conn
	for range 32 {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, nc)
	}
	r := record()
	h.do(func() { Dial(h.Loop, address(ln), DialOptions{TLS: cli, Timeout: 10 * time.Second}, r) })
	c := <-r.connected
	h.do(func() { c.Close(CloseNow) })
	for _, nc := range silent {
		_ = nc.Close()
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	r = record()
	h.do(func() { Dial(h.Loop, address(mute), DialOptions{TLS: cli, Timeout: 50 * time.Millisecond}, r) })
	want(t, <-r.closed, HandshakeTimeout)
}
