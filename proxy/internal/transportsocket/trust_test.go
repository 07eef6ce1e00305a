package transportsocket

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// authority signs certificates for tests.
type authority struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	pem    []byte
	serial int64
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 1}
}

func (a *authority) issue(t testing.TB, change func(*x509.Certificate)) (*x509.Certificate, xdsresource.TLSCertificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.serial++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	change(tmpl)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	kb, _ := x509.MarshalPKCS8PrivateKey(key)
	return cert, xdsresource.TLSCertificate{
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb}),
	}
}

func (a *authority) crl(t testing.TB, serials ...*big.Int) []byte {
	t.Helper()
	tmpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func TestTrust(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	id, _ := url.Parse("spiffe://cluster.local/ns/shop/sa/catalog")
	leaf, _ := ca.issue(t, func(c *x509.Certificate) {
		c.URIs = []*url.URL{id}
		c.DNSNames = []string{"catalog.shop.svc", "*.wild.test"}
		c.IPAddresses = []net.IP{net.ParseIP("10.1.2.3")}
		c.EmailAddresses = []string{"ops@shop.test"}
	})
	expired, _ := ca.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	clientOnly, _ := ca.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] })
	foreign, _ := other.issue(t, func(c *x509.Certificate) { c.URIs = []*url.URL{id} })
	spki := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	hash := sha256.Sum256(leaf.Raw)
	san := func(kind string, m xdsresource.StringMatch) []xdsresource.SANMatcher {
		return []xdsresource.SANMatcher{{Type: "DNS", Value: xdsresource.StringMatch{Value: "nobody"}}, {Type: kind, Value: m}}
	}
	exact := func(s string) xdsresource.StringMatch { return xdsresource.StringMatch{Value: s} }
	for _, tc := range []struct {
		name string
		ctx  xdsresource.ValidationContext
		cert *x509.Certificate
		want RefusalKind
	}{
		{"chain", xdsresource.ValidationContext{}, leaf, NotRefused},
		{"foreign", xdsresource.ValidationContext{}, foreign, Untrusted},
		{"foreign accepted", xdsresource.ValidationContext{AcceptUntrusted: true}, foreign, NotRefused},
		{"expired", xdsresource.ValidationContext{}, expired, Untrusted},
		{"wrong purpose", xdsresource.ValidationContext{}, clientOnly, Untrusted},
		{"none", xdsresource.ValidationContext{}, nil, NoCertificate},
		{"uri", xdsresource.ValidationContext{SANs: san("URI", exact(id.String()))}, leaf, NotRefused},
		{"other uri", xdsresource.ValidationContext{SANs: san("URI", exact("spiffe://cluster.local/ns/shop/sa/forum"))}, leaf, WrongName},
		{"uri prefix", xdsresource.ValidationContext{SANs: san("URI", xdsresource.StringMatch{Kind: xdsresource.StringPrefix, Value: "spiffe://cluster.local/"})}, leaf, NotRefused},
		{"uri as dns", xdsresource.ValidationContext{SANs: san("DNS", exact(id.String()))}, leaf, WrongName},
		{"any kind", xdsresource.ValidationContext{SANs: san("", exact("catalog.shop.svc"))}, leaf, NotRefused},
		{"dns suffix, case", xdsresource.ValidationContext{SANs: san("DNS", xdsresource.StringMatch{Kind: xdsresource.StringSuffix, Value: ".SHOP.svc", IgnoreCase: true})}, leaf, NotRefused},
		{"wildcard certificate", xdsresource.ValidationContext{SANs: san("DNS", exact("a.wild.test"))}, leaf, NotRefused},
		{"wildcard is one label", xdsresource.ValidationContext{SANs: san("DNS", exact("a.b.wild.test"))}, leaf, WrongName},
		{"ip", xdsresource.ValidationContext{SANs: san("IP", exact("10.1.2.3"))}, leaf, NotRefused},
		{"email", xdsresource.ValidationContext{SANs: san("EMAIL", xdsresource.StringMatch{Kind: xdsresource.StringContains, Value: "@shop."})}, leaf, NotRefused},
		{"regex", xdsresource.ValidationContext{SANs: san("URI", xdsresource.StringMatch{Kind: xdsresource.StringRegex, Regex: regexp.MustCompile(`^spiffe://[^/]+/ns/shop/.*$`)})}, leaf, NotRefused},
		{"spki pin", xdsresource.ValidationContext{VerifySPKI: []string{base64.StdEncoding.EncodeToString(spki[:])}}, leaf, NotRefused},
		{"hash pin", xdsresource.ValidationContext{VerifyHash: []string{hex.EncodeToString(hash[:])}}, leaf, NotRefused},
		{"other pin", xdsresource.ValidationContext{VerifyHash: []string{hex.EncodeToString(spki[:])}}, leaf, WrongHash},
		{"revoked", xdsresource.ValidationContext{CRL: ca.crl(t, leaf.SerialNumber)}, leaf, Untrusted},
		{"another revoked", xdsresource.ValidationContext{CRL: ca.crl(t, expired.SerialNumber)}, leaf, NotRefused},
		{"a stranger's list", xdsresource.ValidationContext{CRL: other.crl(t, leaf.SerialNumber)}, leaf, NotRefused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.ctx.TrustedCA = ca.pem
			tr, err := newTrust(tc.ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			var certs []*x509.Certificate
			if tc.cert != nil {
				certs = append(certs, tc.cert)
			}
			err = tr.verify(certs, x509.ExtKeyUsageServerAuth, time.Now())
			if (err == nil) != (tc.want == NotRefused) || err != nil && Refusal(err) != tc.want {
				t.Errorf("%v (kind %d), want kind %d", err, Refusal(err), tc.want)
			}
		})
	}
}

func TestExtraSANsAreAlternatives(t *testing.T) {
	ca := newAuthority(t)
	leaf, _ := ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"b"} })
	tr, err := newTrust(
		xdsresource.ValidationContext{TrustedCA: ca.pem, SANs: []xdsresource.SANMatcher{{Value: xdsresource.StringMatch{Value: "a"}}}},
		[]xdsresource.SANMatcher{{Value: xdsresource.StringMatch{Value: "b"}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.verify([]*x509.Certificate{leaf}, x509.ExtKeyUsageServerAuth, time.Now()); err != nil {
		t.Error(err)
	}
}

func TestBadContexts(t *testing.T) {
	for want, ctx := range map[string]xdsresource.ValidationContext{
		"trusted_ca":              {TrustedCA: []byte("nonsense")},
		"verify_certificate_spki": {VerifySPKI: []string{"abc"}},
		"verify_certificate_hash": {VerifyHash: []string{"zz"}},
		"crl":                     {CRL: []byte("nonsense")},
	} {
		if _, err := newTrust(ctx, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestBadConfigurations(t *testing.T) {
	type S = xdsresource.TLSSource[xdsresource.TLSCertificate]
	bad := xdsresource.CommonTLS{Certificates: []S{{Inline: &xdsresource.TLSCertificate{Chain: []byte("x"), Key: []byte("y")}}}}
	if _, err := NewServer(&xdsresource.DownstreamTLS{CommonTLS: bad}, nil); err == nil {
		t.Error("a broken certificate was taken")
	}
	sds := xdsresource.CommonTLS{Certificates: []S{{SDS: "default"}}}
	if _, err := NewServer(&xdsresource.DownstreamTLS{CommonTLS: sds}, nil); err == nil || !strings.Contains(err.Error(), `"default"`) {
		t.Errorf("SDS without a provider: %v", err)
	}
	if _, err := NewClient(&xdsresource.UpstreamTLS{AllowRenegotiation: true}, nil); err == nil || !strings.Contains(err.Error(), "allow_renegotiation") {
		t.Errorf("renegotiation: %v", err)
	}
}

// provider is an SDS whose secrets arrive when told.
type provider struct {
	cert      func(xdsresource.TLSCertificate)
	trust     func(xdsresource.ValidationContext)
	cancelled int
}

func (p *provider) Certificate(_, _ string, f func(xdsresource.TLSCertificate)) func() {
	p.cert = f
	return func() { p.cancelled++ }
}

func (p *provider) Validation(_, _ string, f func(xdsresource.ValidationContext)) func() {
	p.trust = f
	return func() { p.cancelled++ }
}

func TestSecretsArriveOneByOne(t *testing.T) {
	ca := newAuthority(t)
	_, cert := ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"a"} })
	p := &provider{}
	s, err := NewServer(&xdsresource.DownstreamTLS{CommonTLS: xdsresource.CommonTLS{
		Certificates: []xdsresource.TLSSource[xdsresource.TLSCertificate]{{SDS: "default"}},
		Validation:   &xdsresource.TLSSource[xdsresource.ValidationContext]{SDS: "ROOTCA"},
	}}, p)
	if err != nil {
		t.Fatal(err)
	}
	waits := func(name string) {
		t.Helper()
		if err := s.Err(); s.Ready() || err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("ready %v, %v; want to wait for %s", s.Ready(), err, name)
		}
	}
	waits(`"default"`)
	p.cert(cert)
	waits(`"ROOTCA"`)
	p.trust(xdsresource.ValidationContext{TrustedCA: ca.pem})
	if !s.Ready() || s.Err() != nil {
		t.Errorf("ready %v, %v", s.Ready(), s.Err())
	}
	before := s.config.Load()
	p.trust(xdsresource.ValidationContext{TrustedCA: []byte("nonsense")})
	if s.Err() == nil || s.config.Load() != before {
		t.Error("a broken bundle was taken")
	}
	p.trust(xdsresource.ValidationContext{TrustedCA: ca.pem})
	if s.Err() != nil || s.config.Load() == before {
		t.Error("a good bundle was not taken")
	}
	s.Close()
	if p.cancelled != 2 {
		t.Errorf("%d subscriptions ended", p.cancelled)
	}
}

func TestRefusalOfOtherErrors(t *testing.T) {
	if Refusal(errors.New("x")) != NotRefused || Refusal(nil) != NotRefused {
		t.Error("classified as a refusal")
	}
}
