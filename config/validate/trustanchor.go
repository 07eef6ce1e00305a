package validate

import (
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"strings"

	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config/internal/field"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// maxAnchorBytes bounds the roots of a mesh's settings together. Agents take no more.
const maxAnchorBytes = 768 << 10

// BundleURL is the URL that spiffeBundleUrl means: without a scheme it is https, as in Istio.
func BundleURL(text string) string {
	if strings.Contains(text, "://") {
		return text
	}
	return "https://" + text
}

// trustAnchors checks the roots that a mesh trusts beside those of its own authority.
func (c *checker) trustAnchors(root *field.Path, mc *mesh.MeshConfig) {
	total := 0
	for i, a := range mc.CaCertificates {
		at := root.Child("caCertificates").Index(i)
		switch {
		case a.GetPem() != "":
			c.roots(at.Child("pem"), a.GetPem())
			total += len(a.GetPem())
		case a.GetSpiffeBundleUrl() != "":
			if u, err := url.Parse(BundleURL(a.GetSpiffeBundleUrl())); err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
				c.add(at.Child("spiffeBundleUrl"), "%q is no https URL of a SPIFFE bundle endpoint", a.GetSpiffeBundleUrl())
			}
		default:
			c.add(at, "says no root; set pem or spiffeBundleUrl")
		}
		for j, d := range a.TrustDomains {
			if err := spiffe.CheckTrustDomain(d); err != nil {
				c.add(at.Child("trustDomains").Index(j), "%v", err)
			}
		}
	}
	for i, text := range mc.GetDefaultConfig().GetCaCertificatesPem() {
		c.roots(root.Child("defaultConfig", "caCertificatesPem").Index(i), text)
		total += len(text)
	}
	if total > maxAnchorBytes {
		c.add(root.Child("caCertificates"), "has %d bytes of roots, defaultConfig.caCertificatesPem included, and %d are allowed", total, maxAnchorBytes)
	}
}

// roots checks that a PEM text has certificates of authorities and nothing else.
func (c *checker) roots(at *field.Path, text string) {
	n := 0
	for rest := []byte(text); ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			c.add(at, "has a %q where certificates belong; remove it, and keep private keys out of the mesh's settings", block.Type)
			return
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			c.add(at, "certificate %d cannot be read: %v", n+1, err)
			return
		case !cert.IsCA:
			c.add(at, "certificate %d (%s) is not one of an authority", n+1, cert.Subject)
			return
		}
	}
	if n == 0 {
		c.add(at, "has no certificate in PEM")
	}
}
