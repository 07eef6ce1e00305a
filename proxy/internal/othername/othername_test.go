package othername

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"

	"github.com/lateen-mesh/lateen/pkg/certtest"
)

// TestOf: names that are text, with their kinds.
func TestOf(t *testing.T) {
	c := certtest.New(t).Issue(t, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{certtest.OtherName(t, "1.3.6.1.4.1.311.20.2.3", "me@a.test")}
	}).Cert
	if got := Of(c); len(got) != 1 || got[0].Kind.String() != "1.3.6.1.4.1.311.20.2.3" || got[0].Text != "me@a.test" {
		t.Errorf("%v", got)
	}
	if got := Of(certtest.New(t).Issue(t, certtest.Names("a.test")).Cert); got != nil {
		t.Errorf("%v of a certificate with a DNS name", got)
	}
}

// FuzzOf: certificates come from clients.
func FuzzOf(f *testing.F) {
	f.Add([]byte{0x30, 0x03, 0xa0, 0x01, 0x06})
	f.Fuzz(func(_ *testing.T, b []byte) {
		Of(&x509.Certificate{Extensions: []pkix.Extension{{Id: extension, Value: b}}})
	})
}
