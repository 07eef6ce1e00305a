package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var web = spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "web"}

func open(t *testing.T, opts Options) *CA {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	if opts.TrustDomain == "" {
		opts.TrustDomain = spiffe.DefaultTrustDomain
	}
	c, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// csr returns a PEM request for the key.
func csr(t testing.TB, key crypto.Signer, template x509.CertificateRequest) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func parse(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("not PEM: %.40q", text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestFirstStartAndNext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "ca")
	first := open(t, Options{Dir: dir})
	for name, mode := range map[string]os.FileMode{keyFile: 0o600, jointoken.KeyFile: 0o600, certFile: 0o644, rootFile: 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %04o, want %04o", name, info.Mode().Perm(), mode)
		}
	}
	second := open(t, Options{Dir: dir})
	if string(first.RootPEM()) != string(second.RootPEM()) {
		t.Error("a second start made another root")
	}
	root := parse(t, string(first.RootPEM()))
	if key, ok := root.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("the root's key is a %T", root.PublicKey)
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, dir string)
		want  string
	}{
		{"a key that others may read", func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, keyFile), 0o644)) }, "chmod 600"},
		{"the key of another", func(t *testing.T, dir string) {
			der, _ := x509.MarshalPKCS8PrivateKey(newKey(t))
			must(t, os.WriteFile(filepath.Join(dir, keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
		}, "not the key of"},
		{"no key", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, keyFile))) }, keyFile},
		{"an empty certificate", func(t *testing.T, dir string) { must(t, os.WriteFile(filepath.Join(dir, certFile), nil, 0o644)) }, "no PEM certificate"},
		{"another root", func(t *testing.T, dir string) {
			other := open(t, Options{})
			must(t, os.WriteFile(filepath.Join(dir, rootFile), other.RootPEM(), 0o644))
		}, "does not lead to"},
		{"a short join key", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, jointoken.KeyFile), []byte("x"), 0o600))
		}, "join key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, Options{Dir: dir})
			tt.spoil(t, dir)
			if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open: %v, want an error with %q", err, tt.want)
			}
		})
	}
	if _, err := Open(Options{Dir: t.TempDir(), WorkloadTTL: time.Millisecond}); err == nil {
		t.Error("a lifetime of 1ms was taken")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSign(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	c := open(t, Options{WorkloadTTL: time.Hour, Now: func() time.Time { return now }})
	key := newKey(t)
	for _, tt := range []struct{ wish, want time.Duration }{{0, time.Hour}, {10 * time.Second, 10 * time.Second}, {24 * time.Hour, time.Hour}, {-5, time.Hour}} {
		chain, err := c.Sign(csr(t, key, x509.CertificateRequest{URIs: []*url.URL{web.URL()}}), web, tt.wish)
		if err != nil {
			t.Fatal(err)
		}
		if len(chain) != 2 || chain[1] != string(c.RootPEM()) {
			t.Fatalf("chain has %d parts, want the leaf and the root", len(chain))
		}
		leaf := parse(t, chain[0])
		if got := leaf.NotAfter.Sub(now); got != tt.want {
			t.Errorf("wish %v gave %v, want %v", tt.wish, got, tt.want)
		}
		if id, err := spiffe.FromCertificate(leaf); err != nil || id != web {
			t.Errorf("identity is %v, %v", id, err)
		}
		if leaf.IsCA || len(leaf.DNSNames) != 0 || leaf.Subject.String() != "" {
			t.Errorf("leaf has more than its identity: %v %v %v", leaf.IsCA, leaf.DNSNames, leaf.Subject)
		}
		for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: c.trusts.Load().pool, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
				t.Errorf("usage %v: %v", use, err)
			}
		}
	}
}

func TestSignWithIntermediate(t *testing.T) {
	// A root elsewhere signs the authority's certificate, as with Istio's secret cacerts.
	dir, root := t.TempDir(), open(t, Options{})
	key := newKey(t)
	serial, err := newSerial()
	must(t, err)
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "intermediate"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Minute), KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, root.signs.Load().cert, key.Public(), root.signs.Load().key)
	must(t, err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, keyFile), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, certFile), certPEM, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, rootFile), root.RootPEM(), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, chainFile), append(certPEM, root.RootPEM()...), 0o644))

	c := open(t, Options{Dir: dir})
	chain, err := c.Sign(csr(t, newKey(t), x509.CertificateRequest{}), web, 0)
	must(t, err)
	if len(chain) != 3 || chain[1] != string(certPEM) || chain[2] != string(root.RootPEM()) {
		t.Fatalf("chain of %d parts, want leaf, intermediate, root", len(chain))
	}
	leaf, between := parse(t, chain[0]), x509.NewCertPool()
	between.AppendCertsFromPEM(certPEM)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: root.trusts.Load().pool, Intermediates: between}); err != nil {
		t.Error(err)
	}
	if leaf.NotAfter.After(template.NotAfter) {
		t.Error("the leaf outlives its issuer")
	}
}

func TestSignRefuses(t *testing.T) {
	c := open(t, Options{})
	key := newKey(t)
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	small, _ := rsa.GenerateKey(rand.Reader, 1024)
	other := spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "catalog"}
	good := csr(t, key, x509.CertificateRequest{})
	isCA, _ := asn1.Marshal(struct{ IsCA bool }{true})
	broken := []byte(good)
	block, _ := pem.Decode(broken)
	block.Bytes[len(block.Bytes)-1] ^= 1
	tests := map[string]struct{ csr, want string }{
		"empty":             {"", "not PEM"},
		"a certificate":     {string(c.RootPEM()), "CERTIFICATE REQUEST belongs"},
		"two":               {good + good, "more than one"},
		"too long":          {good + strings.Repeat("\n", maxCSR), "bytes"},
		"not DER":           {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")})), "request:"},
		"a broken seal":     {string(pem.EncodeToMemory(block)), "own key"},
		"another's name":    {csr(t, key, x509.CertificateRequest{URIs: []*url.URL{other.URL()}}), "not the caller's"},
		"a DNS name":        {csr(t, key, x509.CertificateRequest{DNSNames: []string{"istiod.istio-system.svc"}}), "not the caller's"},
		"an IP":             {csr(t, key, x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}), "not the caller's"},
		"to be a CA":        {csr(t, key, x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: oidBasicConstraints, Value: isCA}}}), "certificate authority"},
		"other extension":   {csr(t, key, x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}}}), "1.2.3"},
		"a weak curve":      {csr(t, p224, x509.CertificateRequest{}), "P-224"},
		"a short RSA key":   {csr(t, small, x509.CertificateRequest{}), "1024 bits"},
		"with PEM headers":  {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Headers: map[string]string{"a": "b"}, Bytes: block.Bytes})), "more than one"},
		"garbage after it":  {good + "garbage", "more than one"},
		"own name, another": {csr(t, key, x509.CertificateRequest{URIs: []*url.URL{web.URL(), other.URL()}}), "not the caller's"},
	}
	for name, tt := range tests {
		if _, err := c.Sign(tt.csr, web, 0); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, tt.want)
		}
	}
}

// FuzzParseCSR: a request that is signed well is taken only when it asks for no name but the caller's,
// whatever its extensions hold.
func FuzzParseCSR(f *testing.F) {
	key := newKey(f)
	kinds := []asn1.ObjectIdentifier{oidBasicConstraints, oidSubjectAltName, oidKeyUsage, oidExtKeyUsage, {1, 2, 3}}
	read := func(t testing.TB, text string) *x509.CertificateRequest {
		block, _ := pem.Decode([]byte(text))
		r, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	other := spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "catalog"}
	for _, names := range []x509.CertificateRequest{
		{URIs: []*url.URL{web.URL()}},
		{URIs: []*url.URL{web.URL(), other.URL()}},
		{DNSNames: []string{"istiod.istio-system.svc"}, IPAddresses: []net.IP{{10, 0, 0, 1}}, EmailAddresses: []string{"a@b"}},
	} {
		san := read(f, csr(f, key, names)).Extensions[0].Value
		f.Add(san, uint8(0), []byte{0x30, 0})
		f.Add(san, uint8(0), []byte{0x30, 3, 1, 1, 0xff})
		f.Add(san, uint8(1), san)
		f.Add(san, uint8(4), []byte{5, 0})
	}
	f.Fuzz(func(t *testing.T, san []byte, kind uint8, value []byte) {
		r := x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: oidSubjectAltName, Value: san}}}
		oid := kinds[int(kind)%len(kinds)]
		if len(value) > 0 {
			r.ExtraExtensions = append(r.ExtraExtensions, pkix.Extension{Id: oid, Value: value})
		}
		text := csr(t, key, r)
		if _, err := parseCSR(text, web, nil); err != nil {
			return
		}
		got := read(t, text)
		if len(got.DNSNames)+len(got.IPAddresses)+len(got.EmailAddresses) > 0 {
			t.Errorf("names that no workload has: %q %v %q", got.DNSNames, got.IPAddresses, got.EmailAddresses)
		}
		for _, u := range got.URIs {
			if u.String() != web.URL().String() {
				t.Errorf("%s was asked for", u)
			}
		}
		if len(value) > 0 && (oid.Equal(kinds[4]) || oid.Equal(oidBasicConstraints) && bytes.Contains(value, []byte{1, 1, 0xff})) {
			t.Errorf("extension %v: %x was asked for", oid, value)
		}
	})
}

// serve runs the authority's gRPC service on a loopback listener with its own TLS settings.
func serve(t *testing.T, c *CA) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(c.ServerTLS())))
	c.Register(s)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return l.Addr().String()
}

// dial connects as a workload does: server verified by name against root, with cert when there is one.
func dial(t *testing.T, addr string, root []byte, cert *tls.Certificate) securityapi.IstioCertificateServiceClient {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	cfg := &tls.Config{RootCAs: pool, ServerName: "istiod.istio-system.svc", MinVersion: tls.VersionTLS12}
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return securityapi.NewIstioCertificateServiceClient(conn)
}

func withToken(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

func leafOf(t *testing.T, key crypto.Signer, chain []string) *tls.Certificate {
	t.Helper()
	return &tls.Certificate{Certificate: [][]byte{parse(t, chain[0]).Raw}, PrivateKey: key}
}

func TestServiceTokenThenCertificate(t *testing.T) {
	c := open(t, Options{})
	addr := serve(t, c)
	token, err := jointoken.Mint(c.joinKey, "shop", "web", time.Now(), time.Hour)
	must(t, err)
	key := newKey(t)
	req := &securityapi.IstioCertificateRequest{Csr: csr(t, key, x509.CertificateRequest{URIs: []*url.URL{web.URL()}}), ValidityDuration: 3600}

	got, err := dial(t, addr, c.RootPEM(), nil).CreateCertificate(withToken(t.Context(), token), req)
	must(t, err)
	// Renewal needs no token any more, and one that has run out does no harm.
	old, err := jointoken.Mint(c.joinKey, "shop", "web", time.Now().Add(-2*time.Hour), time.Hour)
	must(t, err)
	_, err = dial(t, addr, c.RootPEM(), leafOf(t, key, got.CertChain)).CreateCertificate(withToken(t.Context(), old), req)
	must(t, err)
	again, err := dial(t, addr, c.RootPEM(), leafOf(t, key, got.CertChain)).CreateCertificate(t.Context(), req)
	must(t, err)
	if id, _ := spiffe.FromCertificate(parse(t, again.CertChain[0])); id != web {
		t.Errorf("renewed as %v", id)
	}
}

// Whoever was of the mesh before it had its trust domain comes with a certificate of an alias, or asks for cluster.local, and is given one of the mesh's own.
func TestTrustDomainOfItsOwn(t *testing.T) {
	c := open(t, Options{TrustDomain: "mesh.example", Aliases: []string{"old.example"}})
	addr := serve(t, c)
	key := newKey(t)
	of := func(domain string) spiffe.ID {
		return spiffe.ID{TrustDomain: domain, Namespace: "shop", ServiceAccount: "web"}
	}
	with := func(domain string) *tls.Certificate {
		chain, err := c.Sign(csr(t, key, x509.CertificateRequest{}), of(domain), 0)
		must(t, err)
		return leafOf(t, key, chain)
	}
	token, err := jointoken.Mint(c.joinKey, "shop", "web", time.Now(), time.Hour)
	must(t, err)
	for _, tt := range []struct {
		name string
		cert *tls.Certificate
		asks string
		want codes.Code
	}{
		{"the mesh's own", with("mesh.example"), "mesh.example", codes.OK},
		{"cluster.local", with("mesh.example"), "cluster.local", codes.OK},
		{"a token", nil, "cluster.local", codes.OK},
		{"an alias", with("old.example"), "cluster.local", codes.OK},
		{"an alias that asks for itself", with("old.example"), "old.example", codes.OK},
		{"an account of a domain that is no alias", with("old.example"), "other.example", codes.PermissionDenied},
		{"a certificate of cluster.local, which is no alias", with("cluster.local"), "cluster.local", codes.Unauthenticated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := t.Context()
			if tt.cert == nil {
				ctx = withToken(ctx, token)
			}
			got, err := dial(t, addr, c.RootPEM(), tt.cert).CreateCertificate(ctx, &securityapi.IstioCertificateRequest{
				Csr: csr(t, key, x509.CertificateRequest{URIs: []*url.URL{of(tt.asks).URL()}}),
			})
			if status.Code(err) != tt.want {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err != nil {
				return
			}
			if id, err := spiffe.FromCertificate(parse(t, got.CertChain[0])); id != of("mesh.example") {
				t.Errorf("is given %v, %v", id, err)
			}
		})
	}
}

func TestServiceRefuses(t *testing.T) {
	c, foreign := open(t, Options{}), open(t, Options{})
	addr := serve(t, c)
	key := newKey(t)
	good := csr(t, key, x509.CertificateRequest{})
	token, _ := jointoken.Mint(c.joinKey, "shop", "web", time.Now(), time.Hour)
	foreignToken, _ := jointoken.Mint(foreign.joinKey, "shop", "web", time.Now(), time.Hour)
	oldToken, _ := jointoken.Mint(c.joinKey, "shop", "web", time.Now().Add(-2*time.Hour), time.Hour)
	foreignChain, err := foreign.Sign(good, web, 0)
	must(t, err)
	// Another trust domain under the same root: signed by us, but nobody of ours.
	alien, err := c.Sign(good, spiffe.ID{TrustDomain: "elsewhere", Namespace: "shop", ServiceAccount: "web"}, 0)
	must(t, err)
	serverLeaf, err := c.issue(c.signs.Load(), &x509.Certificate{DNSNames: []string{"web"}}, key.Public(), time.Hour)
	must(t, err)

	tests := []struct {
		name string
		ctx  context.Context
		cert *tls.Certificate
		csr  string
		want codes.Code
	}{
		{"nothing", t.Context(), nil, good, codes.Unauthenticated},
		{"foreign token", withToken(t.Context(), foreignToken), nil, good, codes.Unauthenticated},
		{"expired token", withToken(t.Context(), oldToken), nil, good, codes.Unauthenticated},
		{"no bearer", metadata.AppendToOutgoingContext(t.Context(), "authorization", "Basic x"), nil, good, codes.Unauthenticated},
		{"two tokens", withToken(withToken(t.Context(), token), token), nil, good, codes.Unauthenticated},
		// TLS 1.3 clients learn of the refusal on their first read; gRPC reports the connection as unavailable.
		{"foreign certificate", t.Context(), leafOf(t, key, foreignChain), good, codes.Unavailable},
		{"other trust domain", t.Context(), leafOf(t, key, alien), good, codes.Unauthenticated},
		{"certificate without identity", t.Context(), &tls.Certificate{Certificate: [][]byte{parse(t, string(serverLeaf)).Raw}, PrivateKey: key}, good, codes.Unauthenticated},
		{"bad request", withToken(t.Context(), token), nil, "x", codes.InvalidArgument},
		{"another's name", withToken(t.Context(), token), nil, csr(t, key, x509.CertificateRequest{DNSNames: []string{"a"}}), codes.PermissionDenied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := dial(t, addr, c.RootPEM(), tt.cert).CreateCertificate(tt.ctx, &securityapi.IstioCertificateRequest{Csr: tt.csr})
			if status.Code(err) != tt.want {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	// A client that trusts another root does not talk to us.
	_, err = dial(t, addr, foreign.RootPEM(), nil).CreateCertificate(withToken(t.Context(), token), &securityapi.IstioCertificateRequest{Csr: good})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a client with another root got %v", err)
	}
}

func TestServerCertificateRotates(t *testing.T) {
	now := time.Now()
	c := open(t, Options{Now: func() time.Time { return now }})
	cfg := c.ServerTLS(net.IPv4(127, 0, 0, 1))
	get := func() *x509.Certificate {
		cert, err := cfg.GetCertificate(nil)
		must(t, err)
		return cert.Leaf
	}
	first := get()
	if err := first.VerifyHostname("istiod.istio-system.svc"); err != nil {
		t.Error(err)
	}
	if err := first.VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
	now = now.Add(15 * time.Hour)
	if get().SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Error("rotated before two thirds of its life")
	}
	now = now.Add(2 * time.Hour)
	if second := get(); second.SerialNumber.Cmp(first.SerialNumber) == 0 || second.NotAfter.Before(now.Add(20*time.Hour)) {
		t.Error("not rotated after two thirds of its life")
	}
}

func TestExpiredAuthoritySignsNothing(t *testing.T) {
	now := time.Now()
	c := open(t, Options{Now: func() time.Time { return now }})
	now = now.Add(rootTTL + time.Hour)
	if _, err := c.Sign(csr(t, newKey(t), x509.CertificateRequest{}), web, 0); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("got %v", err)
	}
}
