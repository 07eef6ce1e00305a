package analyze

import (
	"fmt"
	"strings"
	"testing"

	mesh "istio.io/api/mesh/v1alpha1"
)

// TestSecretProviders: a credentialName that leads to no provider is said to.
func TestSecretProviders(t *testing.T) {
	provider := func(name, service string) *mesh.MeshConfig_ExtensionProvider {
		return &mesh.MeshConfig_ExtensionProvider{Name: "of-" + name, Provider: &mesh.MeshConfig_ExtensionProvider_Sds{
			Sds: &mesh.MeshConfig_ExtensionProvider_SDSProvider{Name: name, Service: service, Port: 9000},
		}}
	}
	mc := &mesh.MeshConfig{ExtensionProviders: []*mesh.MeshConfig_ExtensionProvider{
		{Name: "spans", Provider: &mesh.MeshConfig_ExtensionProvider_Zipkin{Zipkin: &mesh.MeshConfig_ExtensionProvider_ZipkinTracingProvider{}}},
		provider("edge", "security/secrets.example"), provider("away", "nobody.example"),
	}}
	const services = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: secrets}
spec: {hosts: [secrets.example, bank.example], ports: [{number: 9000, name: grpc, protocol: GRPC}], resolution: STATIC, endpoints: [{address: 10.0.0.1}]}
---
`
	gateway := func(tls string) string {
		return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {selector: {istio: other}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com], tls: {%s}}]}
`, tls)
	}
	rule := func(spec string) string {
		return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: r}
spec: {host: bank.example, %s}
`, spec)
	}
	for _, tt := range []struct{ name, object, want string }{
		{"one that there is", gateway("mode: MUTUAL, credentialName: sds://edge"), ""},
		{"its roots by name", gateway("mode: MUTUAL, credentialName: sds://edge, caCertCredentialName: sds://edge"), ""},
		{"none of that name", gateway("mode: SIMPLE, credentialName: sds://edges"),
			`LAT0003 spec.servers[0].tls.credentialName: the mesh's settings define no provider with sds.name "edges"; this server cannot take connections`},
		{"the provider's own name", gateway("mode: SIMPLE, credentialName: sds://of-edge"),
			`LAT0003 spec.servers[0].tls.credentialName: the mesh's settings define no provider with sds.name "of-edge"; this server cannot take connections`},
		{"one of another kind", gateway("mode: SIMPLE, credentialName: sds://spans"),
			`LAT0003 spec.servers[0].tls.credentialName: the mesh's settings define no provider with sds.name "spans"; this server cannot take connections`},
		{"no service", gateway("mode: SIMPLE, credentialNames: [sds://edge, sds://away]"),
			`IST0101 spec.servers[0].tls.credentialNames[1]: provider "away" serves by service nobody.example, which there is not; this server cannot take connections`},
		{"no roots", gateway("mode: MUTUAL, credentialName: sds://edge, caCertCredentialName: sds://roots"),
			`LAT0003 spec.servers[0].tls.caCertCredentialName: the mesh's settings define no provider with sds.name "roots"; no client gets in`},
		{"a rule's", rule("trafficPolicy: {tls: {mode: MUTUAL, credentialName: sds://edge}}"), ""},
		{"a rule's that there is not", rule("trafficPolicy: {tls: {mode: MUTUAL, credentialName: sds://x}}"),
			`LAT0003 spec.trafficPolicy.tls.credentialName: the mesh's settings define no provider with sds.name "x"; nothing can be connected to`},
		{"a port's", rule("trafficPolicy: {portLevelSettings: [{port: {number: 9000}, tls: {mode: SIMPLE, credentialName: sds://x}}]}"),
			`LAT0003 spec.trafficPolicy.portLevelSettings[0].tls.credentialName: the mesh's settings define no provider with sds.name "x"; nothing can be connected to`},
		{"a subset's", rule("subsets: [{name: s, trafficPolicy: {tls: {mode: SIMPLE, credentialName: sds://x}}}]"),
			`LAT0003 spec.subsets[0].trafficPolicy.tls.credentialName: the mesh's settings define no provider with sds.name "x"; nothing can be connected to`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, m := range Set(load(t, services+tt.object), Options{Mesh: mc}) {
				if strings.Contains(m.Field, "redential") {
					got = append(got, m.Code+" "+m.Field+": "+m.Text)
				}
			}
			if strings.Join(got, "\n") != tt.want {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), tt.want)
			}
		})
	}
}
