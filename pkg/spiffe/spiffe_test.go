package spiffe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"net/url"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		in   string
		want ID
		err  string
	}{
		{in: "spiffe://cluster.local/ns/shop/sa/web", want: ID{"cluster.local", "shop", "web"}},
		{in: "spiffe://td-1.example/ns/a.b/sa/c_d", want: ID{"td-1.example", "a.b", "c_d"}},
		{in: "http://cluster.local/ns/shop/sa/web", err: "spiffe://"},
		{in: "spiffe://cluster.local/ns/shop", err: "form"},
		{in: "spiffe://cluster.local/ns/shop/sa/web/x", err: "form"},
		{in: "spiffe://cluster.local/sa/shop/ns/web", err: "form"},
		{in: "spiffe:///ns/shop/sa/web", err: "trust domain is empty"},
		{in: "spiffe://cluster.local/ns//sa/web", err: "namespace is empty"},
		{in: "spiffe://cluster.local/ns/../sa/web", err: "no name"},
		{in: "spiffe://Cluster.local/ns/a/sa/web", err: "trust domain"},
		{in: "spiffe://user@cluster.local/ns/a/sa/web", err: "trust domain"},
		{in: "spiffe://cluster.local/ns/a%2fb/sa/web", err: "namespace"},
		{in: "spiffe://cluster.local/ns/a/sa/" + strings.Repeat("x", 2048), err: "2048"},
	}
	for _, tt := range tests {
		got, err := Parse(tt.in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Parse(%.60q): error %v, want one with %q", tt.in, err, tt.err)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", tt.in, got, err, tt.want)
		}
		if got.String() != tt.in || got.URL().String() != tt.in {
			t.Errorf("Parse(%q) prints as %q and %q", tt.in, got, got.URL())
		}
	}
}

func TestParseServiceAccount(t *testing.T) {
	got, err := ParseServiceAccount("system:serviceaccount:shop:web", "cluster.local")
	if err != nil || got.Principal() != "cluster.local/ns/shop/sa/web" {
		t.Errorf("got %q, %v", got.Principal(), err)
	}
	for _, bad := range []string{"", "shop:web", "system:serviceaccount:shop", "system:serviceaccount:shop:", "system:serviceaccount:a:b:c", "system:serviceaccount:a/b:c"} {
		if id, err := ParseServiceAccount(bad, "cluster.local"); err == nil {
			t.Errorf("subject %q gave %v, want an error", bad, id)
		}
	}
}

func TestFromCertificate(t *testing.T) {
	one, _ := url.Parse("spiffe://cluster.local/ns/shop/sa/web")
	if id, err := FromCertificate(&x509.Certificate{URIs: []*url.URL{one}}); err != nil || id.ServiceAccount != "web" {
		t.Errorf("got %v, %v", id, err)
	}
	for _, uris := range [][]*url.URL{nil, {one, one}} {
		if id, err := FromCertificate(&x509.Certificate{URIs: uris}); err == nil {
			t.Errorf("%d URIs gave %v, want an error", len(uris), id)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"spiffe://cluster.local/ns/shop/sa/web", "spiffe://a/ns/b/sa/c/d", "SPIFFE://a/ns/b/sa/c", "spiffe://a:1/ns/b/sa/c?x#y", "spiffe://%61/ns//sa/.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		id, err := Parse(uri)
		if err == nil && id.String() != uri {
			t.Errorf("Parse(%q) prints as %q", uri, id)
		}
	})
}

// FuzzFromCertificate: the identity of a certificate, as x509 reads it from bytes, is of the one form, and the certificate has no other URI.
func FuzzFromCertificate(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	for _, names := range [][]string{{"spiffe://cluster.local/ns/shop/sa/web"}, {"spiffe://cluster.local/ns/shop/sa/web", "https://a"}, {"spiffe://cluster.local/ns/shop/sa/%77eb"}, {"spiffe:x"}, nil} {
		c := &x509.Certificate{SerialNumber: big.NewInt(1)}
		for _, name := range names {
			u, err := url.Parse(name)
			if err != nil {
				f.Fatal(err)
			}
			c.URIs = append(c.URIs, u)
		}
		der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		id, err := FromCertificate(cert)
		if err != nil {
			if !id.IsZero() {
				t.Errorf("%v with %v", id, err)
			}
			return
		}
		if len(cert.URIs) != 1 || id.String() != cert.URIs[0].String() || id.Validate() != nil {
			t.Errorf("%v of %v", id, cert.URIs)
		}
	})
}
