package translate

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

const grpcServerObjects = `
apiVersion: v1
kind: Service
metadata: {name: greeter, namespace: shop}
spec: {clusterIP: 10.0.0.1, selector: {app: greeter}, ports: [{name: grpc, port: 50051, targetPort: 9000}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: greeter-1, namespace: shop}
spec: {address: 10.1.0.1, labels: {app: greeter}}
`

// policy is an AuthorizationPolicy of the namespace.
func policy(spec string) string {
	return "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\nspec: " + spec + "\n"
}

func TestGRPCServer(t *testing.T) {
	const prefix = "xds.istio.io/grpc/lds/inbound/"
	const strict = "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: shop}\nspec: {mtls: {mode: "
	for _, c := range []struct {
		name, objects, ask, label string
		has, without              []string // no has: there is no such listener
	}{
		{"a port", "", prefix + "0.0.0.0:9000", "", []string{`"address":"0.0.0.0"`, "nonForwardingAction", routerFilter}, []string{"transportSocket", rbacFilter}},
		{"by IPv6", "", prefix + "[::]:9000", "", []string{`"address":"::"`}, nil},
		{"a port of no service", "", prefix + "0.0.0.0:9001", "", nil, nil},
		{"no port", "", prefix + "0.0.0.0", "", nil, nil},
		{"STRICT", strict + "STRICT}}\n", prefix + "0.0.0.0:9000", "", []string{`"requireClientCertificate":true`, `"ROOTCA"`}, []string{"matchSubjectAltNames"}},
		{"PERMISSIVE with the label of the mesh's TLS", "", prefix + "0.0.0.0:9000", "istio", []string{`"requireClientCertificate":true`}, nil},
		{"DISABLE with the label", strict + "DISABLE}}\n", prefix + "0.0.0.0:9000", "istio", []string{routerFilter}, []string{"transportSocket"}},
		{"a policy", policy("{action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}]}"), prefix + "0.0.0.0:9000", "", []string{rbacFilter + ".0", `"action":"DENY"`, `"exact":"/a"`}, nil},
		{"nothing is audited", policy("{action: AUDIT, rules: [{}]}"), prefix + "0.0.0.0:9000", "", []string{routerFilter}, []string{rbacFilter}},
		{"a token that allows is none", policy("{rules: [{from: [{source: {requestPrincipals: ['*']}}]}]}"), prefix + "0.0.0.0:9000", "", []string{rbacFilter}, []string{"metadata", `"policies"`}},
		{"a token that is denied is all", policy("{action: DENY, rules: [{from: [{source: {notRequestPrincipals: ['*']}}]}]}"), prefix + "0.0.0.0:9000", "", []string{`"any":true`}, []string{"metadata"}},
		{"a template of paths that is denied is all", policy("{action: DENY, rules: [{to: [{operation: {paths: ['/a/{*}']}}]}]}"), prefix + "0.0.0.0:9000", "", []string{`"any":true`}, []string{"uriTemplate"}},
		{"who would be asked about is refused", policy("{action: CUSTOM, provider: {name: x}, rules: [{to: [{operation: {paths: [/a]}}]}]}"), prefix + "0.0.0.0:9000", "",
			[]string{`"action":"DENY"`, `"exact":"/a"`}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := meshSnapshot(t, "", grpcServerObjects+c.objects)
			labels := map[string]any{"app": "greeter"}
			if c.label != "" {
				labels[tlsModeLabel] = c.label
			}
			p, err := model.ParseProxy("sidecar~10.1.0.1~greeter-1.shop~shop.svc.cluster.local", "", map[string]any{"GENERATOR": "grpc", "LABELS": labels}, model.Locality{})
			if err != nil {
				t.Fatal(err)
			}
			got := GRPCListeners(s, p, []string{c.ask})
			if len(got) != min(1, len(c.has)) {
				t.Fatalf("%d listeners", len(got))
			}
			if len(got) == 0 {
				return
			}
			raw, err := protojson.Marshal(got[0].Build())
			if err != nil {
				t.Fatal(err)
			}
			text := strings.NewReplacer(`": `, `":`, `", "`, `","`).Replace(string(raw)) // the encoder's spaces vary
			for _, want := range c.has {
				if !strings.Contains(text, want) {
					t.Errorf("it lacks %s:\n%s", want, text)
				}
			}
			for _, not := range c.without {
				if strings.Contains(text, not) {
					t.Errorf("it has %s:\n%s", not, text)
				}
			}
		})
	}
}
