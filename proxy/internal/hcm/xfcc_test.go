package hcm

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
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
