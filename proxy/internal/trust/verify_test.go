package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/pkg/certtest"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestVerify(t *testing.T) {
	ca, other := certtest.New(t), certtest.New(t)
	id, _ := url.Parse("spiffe://cluster.local/ns/shop/sa/catalog")
	leaf := ca.Issue(t, func(c *x509.Certificate) {
		c.URIs = []*url.URL{id}
		c.DNSNames = []string{"catalog.shop.svc", "*.wild.test"}
		c.IPAddresses = []net.IP{net.ParseIP("10.1.2.3")}
		c.EmailAddresses = []string{"ops@shop.test"}
	}).Cert
	expired := ca.Issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }).Cert
	clientOnly := ca.Issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }).Cert
	foreign := other.Issue(t, func(c *x509.Certificate) { c.URIs = []*url.URL{id} }).Cert
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
		{"revoked", xdsresource.ValidationContext{CRL: ca.CRL(t, leaf.SerialNumber)}, leaf, Untrusted},
		{"another revoked", xdsresource.ValidationContext{CRL: ca.CRL(t, expired.SerialNumber)}, leaf, NotRefused},
		{"a stranger's list only", xdsresource.ValidationContext{CRL: other.CRL(t, leaf.SerialNumber)}, leaf, Untrusted},
		{"list of long ago", xdsresource.ValidationContext{CRL: ca.CRLUntil(t, time.Now().Add(-time.Minute))}, leaf, Untrusted},
		{"list of long ago, times being no matter", xdsresource.ValidationContext{CRL: ca.CRLUntil(t, time.Now().Add(-time.Minute)), AllowExpired: true}, leaf, NotRefused},
		{"expired, allowed", xdsresource.ValidationContext{AllowExpired: true}, expired, NotRefused},
		{"foreign, expired ones being allowed", xdsresource.ValidationContext{AllowExpired: true}, foreign, Untrusted},
		{"wrong name, but all are accepted", xdsresource.ValidationContext{AcceptUntrusted: true, SANs: san("DNS", exact("other"))}, leaf, NotRefused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.ctx.TrustedCA = ca.PEM
			tr, err := New(tc.ctx)
			if err != nil {
				t.Fatal(err)
			}
			var certs []*x509.Certificate
			if tc.cert != nil {
				certs = append(certs, tc.cert)
			}
			err = tr.Verify(certs, x509.ExtKeyUsageServerAuth, time.Now())
			if (err == nil) != (tc.want == NotRefused) || err != nil && Refusal(err) != tc.want {
				t.Errorf("%v (kind %d), want kind %d", err, Refusal(err), tc.want)
			}
		})
	}
}

// TestOver: a default context beside a secret adds what that does not say.
func TestOver(t *testing.T) {
	ca := certtest.New(t)
	leaf := ca.Issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"b"} }).Cert
	name := func(s string) []xdsresource.SANMatcher {
		return []xdsresource.SANMatcher{{Value: xdsresource.StringMatch{Value: s}}}
	}
	secret := xdsresource.ValidationContext{TrustedCA: ca.PEM, SANs: name("a")}
	for _, test := range []struct {
		def  *xdsresource.ValidationContext
		want bool
	}{
		{nil, false}, {&xdsresource.ValidationContext{SANs: name("b")}, true}, {&xdsresource.ValidationContext{SANs: name("c")}, false},
		{&xdsresource.ValidationContext{SANs: name("b"), CRL: ca.CRL(t, leaf.SerialNumber)}, false},
	} {
		tr, err := New(secret.Over(test.def))
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Verify([]*x509.Certificate{leaf}, x509.ExtKeyUsageServerAuth, time.Now()); (err == nil) != test.want {
			t.Errorf("%+v: %v", test.def, err)
		}
	}
}

func TestBadContexts(t *testing.T) {
	for want, ctx := range map[string]xdsresource.ValidationContext{
		"trusted_ca":              {TrustedCA: []byte("nonsense")},
		"verify_certificate_spki": {VerifySPKI: []string{"abc"}},
		"verify_certificate_hash": {VerifyHash: []string{"zz"}},
		"crl":                     {CRL: []byte("nonsense")},
	} {
		if _, err := New(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestRefusalOfOtherErrors(t *testing.T) {
	if Refusal(errors.New("x")) != NotRefused || Refusal(nil) != NotRefused {
		t.Error("classified as a refusal")
	}
}

// TestRevocation: where there is a list of any authority, each one of the chain needs one.
func TestRevocation(t *testing.T) {
	root := certtest.New(t)
	mid := root.Sub(t, "mid")
	leaf := mid.Issue(t, nil).Cert
	for name, test := range map[string]struct {
		crl      [][]byte
		leafOnly bool
		want     error
	}{
		"both":                       {[][]byte{root.CRL(t), mid.CRL(t)}, false, nil},
		"leaf":                       {[][]byte{root.CRL(t), mid.CRL(t, leaf.SerialNumber)}, false, errRevoked},
		"authority":                  {[][]byte{root.CRL(t, mid.Cert.SerialNumber), mid.CRL(t)}, false, errRevoked},
		"authority, only the leaf":   {[][]byte{root.CRL(t, mid.Cert.SerialNumber), mid.CRL(t)}, true, nil},
		"the root's is missing":      {[][]byte{mid.CRL(t)}, false, errNoCRL},
		"the leaf's is missing":      {[][]byte{root.CRL(t)}, false, errNoCRL},
		"only the leaf's is wanted":  {[][]byte{mid.CRL(t)}, true, nil},
		"only the leaf's, missing":   {[][]byte{root.CRL(t)}, true, errNoCRL},
		"of a serial number like it": {[][]byte{root.CRL(t, leaf.SerialNumber), mid.CRL(t, big.NewInt(1))}, false, nil},
		"out of date":                {[][]byte{root.CRL(t), mid.CRLUntil(t, time.Now().Add(-time.Minute))}, false, errCRLTime},
	} {
		for _, inBundle := range []bool{false, true} {
			v := xdsresource.ValidationContext{TrustedCA: slices.Clone(root.PEM), OnlyLeafCRL: test.leafOnly}
			if lists := slices.Concat(test.crl...); inBundle {
				v.TrustedCA = append(v.TrustedCA, lists...)
			} else {
				v.CRL = lists
			}
			tr, err := New(v)
			if err != nil {
				t.Fatal(err)
			}
			if err := tr.Verify([]*x509.Certificate{leaf, mid.Cert}, x509.ExtKeyUsageClientAuth, time.Now()); !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), "serial number") {
				t.Errorf("%s (in the bundle: %v): %v, want %v", name, inBundle, err, test.want)
			}
		}
	}
}

// TestDepth: the leaf does not count, the anchor does.
func TestDepth(t *testing.T) {
	root := certtest.New(t)
	mid := root.Sub(t, "mid")
	leaf := mid.Issue(t, nil).Cert
	for depth, want := range []error{errDepth, errDepth, nil, nil} {
		d := uint32(depth)
		tr, err := New(xdsresource.ValidationContext{TrustedCA: root.PEM, MaxDepth: &d})
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Verify([]*x509.Certificate{leaf, mid.Cert}, x509.ExtKeyUsageServerAuth, time.Now()); !errors.Is(err, want) {
			t.Errorf("%d: %v, want %v", depth, err, want)
		}
	}
}

// TestSPIFFE: each trust domain's bundle judges its own, and nobody else.
func TestSPIFFE(t *testing.T) {
	a, b := certtest.New(t), certtest.New(t)
	svid := func(ca *certtest.Authority, id string, change func(*x509.Certificate)) *x509.Certificate {
		return ca.Issue(t, func(c *x509.Certificate) {
			u, err := url.Parse(id)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = []*url.URL{u}
			if change != nil {
				change(c)
			}
		}).Cert
	}
	good := svid(a, "spiffe://a.test/web", nil)
	for name, test := range map[string]struct {
		cert *x509.Certificate
		ctx  xdsresource.ValidationContext
		want error
		kind RefusalKind
	}{
		"own domain":        {good, xdsresource.ValidationContext{}, nil, NotRefused},
		"other domain":      {svid(b, "spiffe://b.test/x", nil), xdsresource.ValidationContext{}, nil, NotRefused},
		"of another domain": {svid(b, "spiffe://a.test/web", nil), xdsresource.ValidationContext{}, nil, Untrusted},
		"unknown domain":    {svid(a, "spiffe://c.test/web", nil), xdsresource.ValidationContext{}, errDomain, Untrusted},
		"no SPIFFE":         {svid(a, "https://a.test/web", nil), xdsresource.ValidationContext{}, errDomain, Untrusted},
		"no name":           {a.Issue(t, nil).Cert, xdsresource.ValidationContext{}, errDomain, Untrusted},
		"may sign":          {svid(a, "spiffe://a.test/web", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), xdsresource.ValidationContext{}, errSPIFFE, Untrusted},
		"does not say":      {svid(a, "spiffe://a.test/web", func(c *x509.Certificate) { c.KeyUsage = 0 }), xdsresource.ValidationContext{}, errSPIFFE, Untrusted},
		"authority":         {svid(a, "spiffe://a.test/web", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), xdsresource.ValidationContext{}, errSPIFFE, Untrusted},
		"expired":           {svid(a, "spiffe://a.test/web", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), xdsresource.ValidationContext{}, nil, Untrusted},
		"expired, allowed":  {svid(a, "spiffe://a.test/web", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), xdsresource.ValidationContext{AllowExpired: true}, nil, NotRefused},
		"name":              {good, xdsresource.ValidationContext{SANs: []xdsresource.SANMatcher{{Type: "DNS", Value: xdsresource.StringMatch{Value: "spiffe://a.test/web"}}}}, nil, NotRefused},
		"other name":        {good, xdsresource.ValidationContext{SANs: []xdsresource.SANMatcher{{Type: "URI", Value: xdsresource.StringMatch{Value: "spiffe://a.test/api"}}}}, errSAN, WrongName},
		"none":              {nil, xdsresource.ValidationContext{}, ErrNoCertificate, NoCertificate},
	} {
		test.ctx.SPIFFE = map[string][]byte{"a.test": a.PEM, "b.test": b.PEM}
		tr, err := New(test.ctx)
		if err != nil {
			t.Fatal(err)
		}
		var certs []*x509.Certificate
		if test.cert != nil {
			certs = append(certs, test.cert)
		}
		err = tr.Verify(certs, x509.ExtKeyUsageClientAuth, time.Now())
		if kind := Refusal(err); kind != test.kind || (err != nil) != (kind != NotRefused) || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v (kind %d), want %v (kind %d)", name, err, kind, test.want, test.kind)
		}
	}
	if tr, err := New(xdsresource.ValidationContext{SPIFFE: map[string][]byte{"a.test": a.PEM}}); err != nil || !tr.NeedsCertificate() {
		t.Errorf("a client without certificate is served: %v", err)
	}
}

// TestAuthorities: clients are told of the authorities unless that is not wanted.
func TestAuthorities(t *testing.T) {
	ca := certtest.New(t)
	for _, v := range []xdsresource.ValidationContext{{TrustedCA: ca.PEM}, {SPIFFE: map[string][]byte{"a": ca.PEM}}} {
		for _, suppress := range []bool{false, true} {
			v.SuppressCAList = suppress
			tr, err := New(v)
			if err != nil {
				t.Fatal(err)
			}
			if got := tr.Authorities(); (got == nil) != suppress {
				t.Errorf("suppressed %v: %v", suppress, got)
			}
		}
	}
}

func TestKeyUsage(t *testing.T) {
	ca := certtest.New(t)
	for usage, want := range map[x509.KeyUsage]bool{0: true, x509.KeyUsageDigitalSignature: true, x509.KeyUsageKeyEncipherment: false, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment: true} {
		cert := ca.Issue(t, func(c *x509.Certificate) { c.KeyUsage = usage }).Cert
		st := tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
		if err := CheckKey(&st); (err == nil) != want {
			t.Errorf("%b: %v", usage, err)
		}
		if st.CipherSuite = tls.TLS_RSA_WITH_AES_128_GCM_SHA256; CheckKey(&st) != nil {
			t.Errorf("%b: a key that encrypts need not sign", usage)
		}
	}
	if CheckKey(&tls.ConnectionState{}) != nil {
		t.Error("there is nothing to judge")
	}
}

// TestWeakKeys: TLS 1.2 could still be spoken with a key on P-224.
func TestWeakKeys(t *testing.T) {
	ca := certtest.New(t)
	for curve, want := range map[elliptic.Curve]error{elliptic.P224(): errWeakKey, elliptic.P256(): nil, elliptic.P384(): nil, elliptic.P521(): nil} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		st := tls.ConnectionState{PeerCertificates: []*x509.Certificate{ca.IssueFor(t, key, func(*x509.Certificate) {}).Cert}, CipherSuite: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		if err := CheckKey(&st); !errors.Is(err, want) || Refusal(err) != NotRefused {
			t.Errorf("%s: %v, of kind %d", curve.Params().Name, err, Refusal(err))
		}
	}
}

// TestSeveralNames: a SPIFFE ID has no name of a URI beside it, whoever has signed it and whatever is asked of names.
func TestSeveralNames(t *testing.T) {
	ca := certtest.New(t)
	mine, theirs := &url.URL{Scheme: "spiffe", Host: "a.test", Path: "/web"}, &url.URL{Scheme: "spiffe", Host: "b.test", Path: "/admin"}
	page, mirror := &url.URL{Scheme: "https", Host: "a.test"}, &url.URL{Scheme: "https", Host: "b.test"}
	contexts := map[string]xdsresource.ValidationContext{
		"by roots": {TrustedCA: ca.PEM, SANs: []xdsresource.SANMatcher{{Type: "URI", Value: xdsresource.StringMatch{Kind: xdsresource.StringPrefix, Value: "spiffe://a.test/"}}}},
		"any name": {TrustedCA: ca.PEM}, "by domain": {SPIFFE: map[string][]byte{"a.test": ca.PEM}},
	}
	for name, ctx := range contexts {
		tr, err := New(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			uris []*url.URL
			want bool
		}{
			{[]*url.URL{mine}, true}, {[]*url.URL{mine, theirs}, false}, {[]*url.URL{theirs, mine}, false}, {[]*url.URL{mine, page}, false}, {[]*url.URL{page, mine}, false},
			{[]*url.URL{page, mirror}, name == "any name"},
		} {
			leaf := ca.Issue(t, func(c *x509.Certificate) { c.URIs = test.uris }).Cert
			if err := tr.Verify([]*x509.Certificate{leaf}, x509.ExtKeyUsageClientAuth, time.Now()); (err == nil) != test.want {
				t.Errorf("%s: %v: %v", name, test.uris, err)
			}
		}
	}
}

// TestOtherNames: a name of a kind that an object identifier says, and none of another kind.
func TestOtherNames(t *testing.T) {
	const upn = "1.3.6.1.4.1.311.20.2.3"
	ca := certtest.New(t)
	leaf := ca.Issue(t, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{certtest.OtherName(t, upn, "me@a.test")}
	}).Cert
	for _, test := range []struct {
		m    xdsresource.SANMatcher
		want bool
	}{
		{xdsresource.SANMatcher{Type: "OTHER", OID: upn, Value: xdsresource.StringMatch{Kind: xdsresource.StringSuffix, Value: "@a.test"}}, true},
		{xdsresource.SANMatcher{Type: "OTHER", OID: upn, Value: xdsresource.StringMatch{Value: "you@a.test"}}, false},
		{xdsresource.SANMatcher{Type: "OTHER", OID: "1.2.3", Value: xdsresource.StringMatch{Value: "me@a.test"}}, false},
		{xdsresource.SANMatcher{Type: "EMAIL", Value: xdsresource.StringMatch{Value: "me@a.test"}}, false},
		{xdsresource.SANMatcher{Value: xdsresource.StringMatch{Value: "me@a.test"}}, false},
	} {
		tr, err := New(xdsresource.ValidationContext{TrustedCA: ca.PEM, SANs: []xdsresource.SANMatcher{test.m}})
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Verify([]*x509.Certificate{leaf}, x509.ExtKeyUsageClientAuth, time.Now()); (err == nil) != test.want {
			t.Errorf("%+v: %v", test.m, err)
		}
	}
}

// TestPeersAddNothing: what peers show on the way to an anchor is not remembered, and many may be judged at once.
func TestPeersAddNothing(t *testing.T) {
	root := certtest.New(t)
	mid := root.Sub(t, "mid")
	chain := []*x509.Certificate{mid.Issue(t, nil).Cert, mid.Cert}
	tr, err := New(xdsresource.ValidationContext{TrustedCA: root.PEM})
	if err != nil {
		t.Fatal(err)
	}
	var peers sync.WaitGroup
	for range 4 {
		peers.Go(func() {
			if err := tr.Verify(chain, x509.ExtKeyUsageClientAuth, time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	peers.Wait()
	if got := tr.Anchors(); len(got) != 1 || !got[0].Equal(root.Cert) {
		t.Errorf("%d certificates are trusted after peers have shown theirs, want the root alone", len(got))
	}
}

// FuzzNew: whatever stands in a bundle or list is read or refused, and none that is read makes a
// stranger's certificate good.
func FuzzNew(f *testing.F) {
	der := func(text []byte) []byte {
		block, _ := pem.Decode(text)
		return block.Bytes
	}
	ca := certtest.New(f)
	leaf, foreign := ca.Issue(f, nil).Cert, certtest.New(f).Issue(f, nil).Cert
	f.Add(ca.Cert.Raw, der(ca.CRL(f, leaf.SerialNumber)))
	f.Add(ca.Cert.Raw, []byte{})
	f.Add(leaf.Raw, []byte{0x30, 0})
	f.Fuzz(func(t *testing.T, bundle, crl []byte) {
		v := xdsresource.ValidationContext{TrustedCA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: bundle})}
		if len(crl) > 0 {
			v.CRL = pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: crl})
		}
		trust, err := New(v)
		if (trust == nil) == (err == nil) {
			t.Fatalf("%v with %v", trust, err)
		}
		if trust == nil {
			return
		}
		now := time.Now()
		_ = trust.Verify([]*x509.Certificate{leaf}, x509.ExtKeyUsageClientAuth, now) // must not panic
		if trust.Verify([]*x509.Certificate{foreign}, x509.ExtKeyUsageClientAuth, now) == nil {
			t.Errorf("bundle %x makes a stranger's certificate good", bundle)
		}
	})
}

// FuzzVerify: a chain that a peer shows, read from its bytes, is good only if its leaf is one that the authority has issued, for each kind of context. Bytes
// are put in place of the leaf, of what is between it and the root, or of both.
func FuzzVerify(f *testing.F) {
	root, stranger := certtest.New(f), certtest.New(f)
	mid := root.Sub(f, "mid")
	id := &url.URL{Scheme: "spiffe", Host: "a.test", Path: "/web"}
	named := func(c *x509.Certificate) { c.URIs = []*url.URL{id} }
	good, foreign := mid.Issue(f, named).Cert, stranger.Issue(f, named).Cert
	f.Add(good.Raw, mid.Cert.Raw)
	f.Add(foreign.Raw, stranger.Cert.Raw)
	f.Add(foreign.Raw, mid.Cert.Raw)
	f.Add(mid.Cert.Raw, root.Cert.Raw)
	f.Add(good.Raw, []byte{})
	var trusts []*Trust
	for _, v := range []xdsresource.ValidationContext{
		{TrustedCA: root.PEM}, {TrustedCA: root.PEM, AllowExpired: true}, {SPIFFE: map[string][]byte{"a.test": root.PEM}},
		{TrustedCA: root.PEM, SANs: []xdsresource.SANMatcher{{Type: "URI", Value: xdsresource.StringMatch{Value: id.String()}}}},
	} {
		tr, err := New(v)
		if err != nil {
			f.Fatal(err)
		}
		trusts = append(trusts, tr)
	}
	issued := []*x509.Certificate{good, mid.Cert, root.Cert}
	f.Fuzz(func(t *testing.T, leaf, behind []byte) {
		c, err := x509.ParseCertificate(leaf)
		if err != nil {
			return
		}
		chain := []*x509.Certificate{c}
		if next, err := x509.ParseCertificate(behind); err == nil {
			chain = append(chain, next)
		}
		for i, tr := range trusts {
			err := tr.Verify(chain, x509.ExtKeyUsageClientAuth, time.Now())
			// The signature is over the raw certificate, so that nothing but what was issued may pass.
			if err == nil && !slices.ContainsFunc(issued, func(own *x509.Certificate) bool { return bytes.Equal(own.RawTBSCertificate, c.RawTBSCertificate) }) {
				t.Errorf("context %d takes %x", i, leaf)
			}
			_ = Refusal(err) // must not panic
		}
	})
}
