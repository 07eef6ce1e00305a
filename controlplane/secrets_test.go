package controlplane

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	tlspb "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
	"github.com/lateen-mesh/lateen/pkg/certtest"
)

const tlsGateway = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: %s, namespace: shop}
spec:
  selector: {istio: %s}
  servers:
  - port: {number: 8443, name: https, protocol: HTTPS}
    hosts: ["*"]
    tls: {mode: %s, credentialName: %s}
`

// certificateIn returns the chain of a certificate that a client was sent.
func certificateIn(t *testing.T, s xdstest.State, name string) []byte {
	t.Helper()
	a := s[xdstest.SDS][name]
	if a == nil {
		return nil
	}
	var secret tlspb.Secret
	if err := a.UnmarshalTo(&secret); err != nil {
		t.Fatal(err)
	}
	return secret.GetTlsCertificate().GetCertificateChain().GetInlineBytes()
}

func rootsIn(t *testing.T, s xdstest.State, name string) *tlspb.CertificateValidationContext {
	t.Helper()
	a := s[xdstest.SDS][name]
	if a == nil {
		return nil
	}
	var secret tlspb.Secret
	if err := a.UnmarshalTo(&secret); err != nil {
		t.Fatal(err)
	}
	return secret.GetValidationContext()
}

// TestGatewaySecrets: a gateway gets the certificates that its Gateway objects name, fresh, with the roots and revocation lists of
// either form of Secret, in both variants of the protocol.
func TestGatewaySecrets(t *testing.T) {
	ca := certtest.New(t)
	first, second := ca.Issue(t, certtest.Names("first.example.com")), ca.Issue(t, certtest.Names("second.example.com"))
	for _, sotw := range []bool{false, true} {
		t.Run(fmt.Sprintf("sotw=%v", sotw), func(t *testing.T) {
			r := start(t, nil)
			r.write("config/shop/gateway/front.yaml", fmt.Sprintf(tlsGateway, "front", "front", "MUTUAL", "front-credential"))
			r.write("config/shop/secret/front.yaml", certtest.Secret("shop", "front-credential", "kubernetes.io/tls",
				map[string][]byte{"tls.crt": first.Chain, "tls.key": first.Key, "ca.crt": ca.PEM}))
			// The same names in another namespace are another's.
			r.write("config/bank/secret/front.yaml", certtest.Secret("bank", "front-credential", "kubernetes.io/tls",
				map[string][]byte{"tls.crt": second.Chain, "tls.key": second.Key}))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			n := node(t, "router", "front-1", "shop", "10.1.0.9", map[string]any{"istio": "front"})
			delete(n.Metadata.Fields, "SERVICE_ACCOUNT")
			c, err := xdstest.Start(ctx, connect(t, r.addrs.SecureGRPC, r.tls(r.enrol("shop", "front"))), xdstest.Options{SotW: sotw, Node: n})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			shows := func(want []byte) func(xdstest.State) bool {
				return func(s xdstest.State) bool {
					return bytes.Equal(certificateIn(t, s, "kubernetes://front-credential"), want)
				}
			}
			if err := c.Until(ctx, shows(first.Chain)); err != nil {
				t.Fatalf("%v; it has %v", err, c.Responses())
			}
			roots := func(ca, crl []byte) func(xdstest.State) bool {
				return func(s xdstest.State) bool {
					v := rootsIn(t, s, "kubernetes://front-credential-cacert")
					return v != nil && bytes.Equal(v.GetTrustedCa().GetInlineBytes(), ca) && bytes.Equal(v.GetCrl().GetInlineBytes(), crl)
				}
			}
			if err := c.Until(ctx, roots(ca.PEM, nil)); err != nil {
				t.Fatal(err)
			}
			// All that it asked for is there: what follows is sent for what follows.
			if err := c.Until(ctx, func(s xdstest.State) bool { return len(s.Names(xdstest.RDS)) > 0 }); err != nil {
				t.Fatal(err)
			}
			// It is replaced by another form of Secret: the gateway is sent nothing but that.
			before := len(c.Responses())
			r.write("config/shop/secret/front.yaml", certtest.Secret("shop", "front-credential", "Opaque",
				map[string][]byte{"cert": second.Chain, "key": second.Key, "cacert": ca.PEM}))
			if err := c.Until(ctx, shows(second.Chain)); err != nil {
				t.Fatal(err)
			}
			for _, resp := range c.Responses()[before:] {
				if resp.Type != xdstest.SDS {
					t.Errorf("a new certificate brought %v", resp)
				}
			}
			// A companion Secret has the roots before the Secret itself.
			other := certtest.New(t)
			crl := other.CRL(t, first.Cert.SerialNumber)
			r.write("config/shop/secret/roots.yaml", certtest.Secret("shop", "front-credential-cacert", "Opaque", map[string][]byte{"ca.crt": other.PEM, "ca.crl": crl}))
			if err := c.Until(ctx, roots(other.PEM, crl)); err != nil {
				t.Fatal(err)
			}
			// A Secret that turns bad keeps its last good form.
			r.write("config/shop/secret/front.yaml", certtest.Secret("shop", "front-credential", "kubernetes.io/tls",
				map[string][]byte{"tls.crt": first.Chain, "tls.key": second.Key}))
			if err := waitFor(ctx, func() bool {
				_, page := r.page("/debug/errors")
				return strings.Contains(page, "private key does not match")
			}); err != nil {
				t.Error("the mistake is not shown")
			}
			if err := c.Until(ctx, shows(second.Chain)); err != nil {
				t.Error(err)
			}
			// No page of the control plane shows a key.
			for _, path := range []string{"/debug/configz", "/debug/config_dump?proxyID=front-1.shop", "/debug/errors", "/debug/syncz", "/debug/cachez", "/metrics"} {
				_, page := r.page(path)
				for _, p := range []certtest.Pair{first, second} {
					for line := range bytes.Lines(p.Key) {
						if len(line) > 32 && strings.Contains(page, strings.TrimSpace(string(line))) {
							t.Errorf("%s shows a private key", path)
						}
					}
				}
			}
		})
	}
}

// TestSecretsAreForThoseThatMayReadThem: whoever is not a gateway of the Secret's namespace with a proven identity, or is one that no
// Gateway object sends to it, is told that there is no such secret.
func TestSecretsAreForThoseThatMayReadThem(t *testing.T) {
	ca := certtest.New(t)
	pair := ca.Issue(t, certtest.Names("front.example.com"))
	r := start(t, nil)
	tlsSecret := func(ns, name string) string {
		return certtest.Secret(ns, name, "kubernetes.io/tls", map[string][]byte{"tls.crt": pair.Chain, "tls.key": pair.Key, "ca.crt": ca.PEM})
	}
	r.write("config/shop/gateway/front.yaml", fmt.Sprintf(tlsGateway, "front", "front", "SIMPLE", "front-credential"))
	r.write("config/shop/gateway/far.yaml", fmt.Sprintf(tlsGateway, "far", "far", "SIMPLE", "bank/vault"))
	r.write("config/shop/secret/front.yaml", tlsSecret("shop", "front-credential"))
	r.write("config/shop/secret/private.yaml", tlsSecret("shop", "private"))
	r.write("config/bank/secret/vault.yaml", tlsSecret("bank", "vault"))

	if err := waitFor(t.Context(), func() bool {
		s := r.cp.pipeline.view.Load().Snapshot()
		return s.Credentials.Len() == 3 && s.Gateways.Len() == 2
	}); err != nil {
		t.Fatal(err)
	}

	const front, private = "kubernetes://front-credential", "kubernetes://private"
	tests := []struct {
		name   string
		kind   string
		ns, sa string // of the certificate and of the node
		label  string
		plain  bool // on the plaintext listener, which proves nothing
		ask    []string
		want   []string
	}{
		{"its own", "router", "shop", "front", "front", false, []string{front}, []string{front}},
		{"another service account of the namespace", "router", "shop", "other", "front", false, []string{front}, []string{front}},
		{"the long form of its own", "router", "shop", "front", "front", false, []string{"kubernetes://shop/front-credential"}, nil},
		{"a Secret that no Gateway names", "router", "shop", "front", "front", false, []string{front, private}, []string{front}},
		{"roots that are not asked for", "router", "shop", "front", "front", false, []string{front + "-cacert"}, nil},
		{"one that does not exist", "router", "shop", "front", "front", false, []string{"kubernetes://none"}, nil},
		{"of another namespace by name", "router", "shop", "front", "far", false, []string{"kubernetes://bank/vault"}, nil},
		{"a gateway of another namespace", "router", "bank", "front", "front", false, []string{front, "kubernetes://shop/front-credential"}, nil},
		{"not selected by a Gateway", "router", "shop", "front", "back", false, []string{front}, nil},
		{"a sidecar", "sidecar", "shop", "front", "front", false, []string{front}, nil},
		{"no identity", "router", "shop", "front", "front", true, []string{front}, nil},
		{"the workload's own secrets", "router", "shop", "front", "front", false, []string{"default", "ROOTCA"}, nil},
		{"a name that is none", "router", "shop", "front", "front", false, []string{"kubernetes://", "kubernetes://a/b/c", "file:///etc/passwd", ""}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			addr, creds := r.addrs.SecureGRPC, credentials.TransportCredentials(insecure.NewCredentials())
			if tt.plain {
				addr = r.addrs.GRPC
			} else {
				creds = r.tls(r.enrol(tt.ns, tt.sa))
			}
			n := node(t, tt.kind, "proxy-1", tt.ns, "10.1.0.9", map[string]any{"istio": tt.label})
			delete(n.Metadata.Fields, "SERVICE_ACCOUNT")
			c, err := xdstest.Start(ctx, connect(t, net.Addr(addr), creds), xdstest.Options{
				Node: n, Follow: func(xdstest.State) map[string][]string { return map[string][]string{xdstest.SDS: tt.ask} }})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Until(ctx, func(s xdstest.State) bool { return s[xdstest.SDS] != nil }); err != nil {
				t.Fatal(err)
			}
			for _, resp := range c.Responses() {
				if fmt.Sprint(resp.Names) != fmt.Sprint(tt.want) {
					t.Errorf("it was sent %v, want %v", resp.Names, tt.want)
				}
			}
		})
	}
}
