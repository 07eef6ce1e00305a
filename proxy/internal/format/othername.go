package format

import (
	"crypto/x509"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/othername"
)

// otherNames are the texts of the certificate's names of other kinds, with commas between them.
func otherNames(c *x509.Certificate) string {
	var out []string
	for _, n := range othername.Of(c) {
		out = append(out, n.Text)
	}
	return strings.Join(out, ",")
}
