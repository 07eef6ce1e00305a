package hcm

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestXFCCElement holds the element's order and quoting, Envoy's.
func TestXFCCElement(t *testing.T) {
	const client, server = "spiffe://cluster.local/ns/shop/sa/webapp", "spiffe://cluster.local/ns/shop/sa/catalog"
	cert := &x509.Certificate{
		Raw: []byte("x"), DNSNames: []string{"webapp", "webapp.shop"},
		Subject: pkix.Name{CommonName: `a "name"`, Organization: []string{"shop"}},
	}
	for _, tt := range []struct {
		name string
		cfg  xdsresource.HTTPConnectionManager
		own  string
		want string
	}{
		{"the hash alone", xdsresource.HTTPConnectionManager{}, "", "Hash=0a1b"},
		{"who we are", xdsresource.HTTPConnectionManager{}, server, "By=" + server + ";Hash=0a1b"},
		{"as Istio asks for it", xdsresource.HTTPConnectionManager{XFCCSubject: true, XFCCDNS: true, XFCCURI: true}, server,
			"By=" + server + `;Hash=0a1b;Subject="CN=a \"name\",O=shop";URI=` + client + ";DNS=webapp;DNS=webapp.shop"},
		{"certificate and chain", xdsresource.HTTPConnectionManager{XFCCCert: true, XFCCChain: true}, "",
			`Hash=0a1b;Cert="` + pemX + `";Chain="` + pemX + `"`},
	} {
		info := &conn.Info{LocalURI: tt.own, PeerURI: client, PeerCertHash: "0a1b", TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}}
		if got := string(makeXFCC(info, &tt.cfg)); got != tt.want {
			t.Errorf("%s:\n%s, want\n%s", tt.name, got, tt.want)
		}
	}
}

const pemX = "-----BEGIN%20CERTIFICATE-----%0AeA%3D%3D%0A-----END%20CERTIFICATE-----%0A"

// TestXFCCOfHostileCertificates: names that a client had written into its certificate are values of their own keys, and no headers.
func TestXFCCOfHostileCertificates(t *testing.T) {
	cfg := xdsresource.HTTPConnectionManager{XFCCSubject: true, XFCCDNS: true, XFCCURI: true}
	cert := &x509.Certificate{DNSNames: []string{"a\r\nx-admin: 1", `b";URI="spiffe://x`}, Subject: pkix.Name{CommonName: "eve\r\nx-admin: 1\x00"}}
	info := &conn.Info{PeerURI: "spiffe://a/eve;URI=spiffe://a/alice,By=b", PeerCertHash: "0a1b", TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}}
	want := `Hash=0a1b;Subject="CN=eve%0D%0Ax-admin: 1%00";URI="spiffe://a/eve;URI=spiffe://a/alice,By=b";DNS=a%0D%0Ax-admin: 1;DNS="b\";URI=\"spiffe://x"`
	if got := string(makeXFCC(info, &cfg)); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
}

// xfccKeys are the keys of an element, as a reader of the documented grammar finds them: pairs end at a semicolon outside quotes, elements at a comma. It
// reports whether there is one element and it is well formed.
func xfccKeys(element []byte) (keys []string, ok bool) {
	quoted, escaped, begin := false, false, 0
	pair := func(p []byte) {
		key, _, found := bytes.Cut(p, []byte("="))
		keys, ok = append(keys, string(key)), ok && found
	}
	ok = true
	for i, c := range element {
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted:
			pair(element[begin:i])
			begin = i + 1
		case c == ',' && !quoted || c < ' ' || c == 0x7f:
			ok = false
		}
	}
	pair(element[begin:])
	return keys, ok && !quoted
}

// FuzzXFCC: whatever stands in a certificate, the header has our keys, once each, in one element, and no control characters.
func FuzzXFCC(f *testing.F) {
	f.Add("CN=a", "spiffe://a/ns/b/sa/c", "a.test", "b.test")
	f.Add("a\"b", "spiffe://a/eve;URI=spiffe://a/alice", "a,b", "a\r\nx: y")
	f.Add("a\\", "spiffe://a/?x=\"y\\", `a\`, `"`)
	f.Fuzz(func(t *testing.T, name, uri, dns, mail string) {
		u, err := url.Parse(uri)
		if err != nil {
			return // such a certificate is not read
		}
		cert := &x509.Certificate{Raw: []byte(mail), DNSNames: []string{dns, mail}, Subject: pkix.Name{CommonName: name, Organization: []string{dns}, StreetAddress: []string{mail}}}
		info := &conn.Info{LocalURI: u.String(), PeerURI: u.String(), PeerCertHash: "0a1b", TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}}
		cfg := xdsresource.HTTPConnectionManager{XFCCCert: true, XFCCChain: true, XFCCSubject: true, XFCCDNS: true, XFCCURI: true}
		got := makeXFCC(info, &cfg)
		want := strings.Fields("By Hash Cert Chain Subject URI DNS DNS")
		if u.String() == "" {
			want = want[1:]
		}
		if keys, ok := xfccKeys(got); !ok || !slices.Equal(keys, want) {
			t.Errorf("%q has the keys %q", got, keys)
		}
	})
}
