package analyze

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/pkg/certtest"
)

// TestGatewayCredentials: what is wrong with a Secret is said of the server that needs it.
func TestGatewayCredentials(t *testing.T) {
	ca := certtest.New(t)
	good := ca.Issue(t, certtest.Names("a.com"))
	old := ca.Issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	type data = map[string][]byte
	type secrets map[string]data
	pair := func(p certtest.Pair) data { return data{"tls.crt": p.Chain, "tls.key": p.Key} }
	both := data{"tls.crt": good.Chain, "tls.key": good.Key, "ca.crt": ca.PEM}
	tests := []struct {
		name, tls string
		secrets   secrets
		want      string // "CODE field: text"
	}{
		{"none", "mode: SIMPLE, credentialName: cert", nil, "IST0161 credentialName: there is no Secret istio-system/cert"},
		{"no certificate in it", "mode: SIMPLE, credentialName: cert", secrets{"cert": {"password": []byte("x")}},
			"IST0161 credentialName: Secret istio-system/cert has no certificate that can be used; it needs tls.crt"},
		{"a broken one", "mode: SIMPLE, credentialNames: [cert]", secrets{"cert": {"cert": []byte("x"), "key": []byte("y")}},
			"IST0161 credentialNames[0]: (cert: certificate and key cannot be used"},
		{"one of two", "mode: SIMPLE, credentialNames: [cert, other]", secrets{"cert": pair(good)}, "IST0161 credentialNames[1]: there is no Secret istio-system/other"},
		{"an expired one", "mode: SIMPLE, credentialName: cert", secrets{"cert": pair(old)}, "LAT0004 credentialName: Secret istio-system/cert: the certificate expired on"},
		{"a good one", "mode: SIMPLE, credentialName: cert", secrets{"cert": pair(good)}, ""},
		{"no roots", "mode: MUTUAL, credentialName: cert", secrets{"cert": pair(good)}, "IST0161 credentialName: Secret istio-system/cert has no roots"},
		{"roots beside it", "mode: MUTUAL, credentialName: cert", secrets{"cert": both}, ""},
		{"roots in a companion", "mode: MUTUAL, credentialName: cert", secrets{"cert": pair(good), "cert-cacert": {"cacert": ca.PEM}}, ""},
		{"a companion without roots", "mode: OPTIONAL_MUTUAL, credentialName: cert", secrets{"cert": both, "cert-cacert": {"x": []byte("y")}},
			"IST0161 credentialName: Secret istio-system/cert-cacert has no roots"},
		{"named roots", "mode: MUTUAL, credentialName: cert, caCertCredentialName: roots", secrets{"cert": pair(good), "roots": {"ca.crt": ca.PEM}}, ""},
		{"named roots that are not there", "mode: MUTUAL, credentialName: cert, caCertCredentialName: roots", secrets{"cert": both},
			"IST0161 caCertCredentialName: there is no Secret istio-system/roots"},
		{"of the mesh", "mode: ISTIO_MUTUAL", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			docs := []string{fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {selector: {istio: other}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com], tls: {%s}}]}
`, tt.tls)}
			for name, entries := range tt.secrets {
				docs = append(docs, certtest.Secret("istio-system", name, "Opaque", entries))
			}
			var got []string
			for _, m := range Set(load(t, strings.Join(docs, "---\n")), Options{}) {
				got = append(got, m.Code+" "+strings.TrimPrefix(m.Field, "spec.servers[0].tls.")+": "+m.Text)
			}
			head, text, _ := strings.Cut(tt.want, ": ")
			switch {
			case tt.want == "" && len(got) == 0:
			case tt.want == "" || len(got) != 1 || !strings.HasPrefix(got[0], head+": ") || !strings.Contains(got[0], text):
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
