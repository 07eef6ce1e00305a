package translate

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"sigs.k8s.io/yaml"

	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

// TestAuthorizer holds what every field of an authorizer becomes.
func TestAuthorizer(t *testing.T) {
	for _, c := range []struct{ name, provider, want string }{
		{"HTTP", `
envoyExtAuthzHttp:
  service: a.example.com
  port: 80
  timeout: 2s
  pathPrefix: /check
  failOpen: true
  clearRouteCache: true
  statusOnError: "503"
  includeHeadersInCheck: [X-Old]
  includeRequestHeadersInCheck: [x-a, "x-b*", "*-c", "*"]
  includeAdditionalHeadersInCheck: {x-b: b, x-a: a}
  includeRequestBodyInCheck: {maxRequestBytes: 10, allowPartialMessage: true, packAsBytes: true}
  headersToUpstreamOnAllow: [x-up]
  headersToDownstreamOnDeny: [x-deny]
  headersToDownstreamOnAllow: [x-allow]
`, `
httpService:
  serverUri: {uri: "http://a.example.com", cluster: c, timeout: 2s}
  pathPrefix: /check
  authorizationRequest: {headersToAdd: [{key: x-a, value: a}, {key: x-b, value: b}]}
  authorizationResponse:
    allowedUpstreamHeaders: {patterns: [{exact: x-up, ignoreCase: true}]}
    allowedClientHeaders: {patterns: [{exact: x-deny, ignoreCase: true}]}
    allowedClientHeadersOnSuccess: {patterns: [{exact: x-allow, ignoreCase: true}]}
transportApiVersion: V3
failureModeAllow: true
clearRouteCache: true
statusOnError: {code: ServiceUnavailable}
withRequestBody: {maxRequestBytes: 10, allowPartialMessage: true, packAsBytes: true}
allowedHeaders:
  patterns: [{exact: x-a, ignoreCase: true}, {prefix: x-b, ignoreCase: true}, {suffix: -c, ignoreCase: true}, {safeRegex: {regex: "[^:].*"}}, {exact: X-Old, ignoreCase: true}]
`},
		{"gRPC", `
envoyExtAuthzGrpc:
  service: a.example.com
  port: 80
  timeout: 2s
  failOpen: true
  clearRouteCache: true
  statusOnError: "502"
  includeRequestBodyInCheck: {maxRequestBytes: 10, allowPartialMessage: true, packAsBytes: true}
`, `
grpcService: {envoyGrpc: {clusterName: c, authority: a.example.com}, timeout: 2s}
transportApiVersion: V3
failureModeAllow: true
clearRouteCache: true
statusOnError: {code: BadGateway}
withRequestBody: {maxRequestBytes: 10, allowPartialMessage: true, packAsBytes: true}
includePeerCertificate: true
`},
		{"nothing said, and what is wrong left out", `
envoyExtAuthzHttp: {service: a.example.com, port: 80, statusOnError: "99", includeRequestBodyInCheck: {}}
`, `
httpService: {serverUri: {uri: "http://a.example.com", cluster: c, timeout: 600s}}
transportApiVersion: V3
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var provider map[string]any
			if err := yaml.Unmarshal([]byte(c.provider), &provider); err != nil {
				t.Fatal(err)
			}
			provider["name"] = "a"
			text, err := yaml.Marshal(map[string]any{"extensionProviders": []any{provider}})
			if err != nil {
				t.Fatal(err)
			}
			m, _, err := snapshot.ParseMesh(config.File{Name: "mesh.yaml", Data: text}, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := authorizerConfig(m.Provider("a").Authorizer, collector{cluster: "c", host: "a.example.com"}, nil)
			js, err := yaml.YAMLToJSON([]byte(c.want))
			if err != nil {
				t.Fatal(err)
			}
			want := &authzv3.ExtAuthz{}
			if err := protojson.Unmarshal(js, want); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", protojson.Format(got), protojson.Format(want))
			}
			if err := got.ValidateAll(); err != nil {
				t.Error(err)
			}
		})
	}
}
