package spiffe

import (
	"crypto/x509"
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
