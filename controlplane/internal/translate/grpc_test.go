package translate

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

// TestGRPC looks at what gRPC's client would do wrong with if it were sent what Envoys are. That it works with the rest is shown with the client
// itself, in test/conformance/grpcxds.
func TestGRPC(t *testing.T) {
	set, err := config.Load([]config.File{{Name: "in.yaml", Data: []byte(`
apiVersion: v1
kind: Service
metadata: {name: greeter, namespace: shop}
spec: {clusterIP: 10.0.0.1, ports: [{name: grpc, port: 9000}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop}
spec: {hosts: [outside.example.com], resolution: DNS, ports: [{name: grpc, number: 9000, protocol: GRPC}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: greeter, namespace: shop}
spec:
  host: greeter
  subsets:
  - {name: mutual, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
  - {name: simple, trafficPolicy: {tls: {mode: SIMPLE}}}
  - {name: ring, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
  - {name: random, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: greeter, namespace: shop}
spec:
  hosts: [greeter]
  http:
  - {name: by-parameter, match: [{queryParams: {a: {exact: b}}}], route: [{destination: {host: greeter, subset: ring}}]}
  - {name: plain, route: [{destination: {host: greeter}}], timeout: 3s, retries: {attempts: 0}, corsPolicy: {allowMethods: [GET]}}
`)}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var events []snapshot.Event
	for _, o := range set.All() {
		events = append(events, snapshot.Set("config", o))
	}
	s, _ := snapshot.New().Update(events...)
	p, err := model.ParseProxy("sidecar~10.0.0.9~web-1.shop~shop.svc.cluster.local", "", map[string]any{"GENERATOR": "grpc"}, model.Locality{})
	if err != nil {
		t.Fatal(err)
	}
	const greeter = "greeter.shop.svc.cluster.local"
	for _, tt := range []struct {
		name    string
		of      func(*model.Snapshot, *model.Proxy, []string) []Resource
		ask     string
		has     []string // parts of the resource; none: there is no such resource
		without []string
	}{
		{"a listener", GRPCListeners, "greeter:9000", []string{`"greeter:9000"`, `"outbound|9000||` + greeter + `"`, faultFilter, routerFilter}, []string{corsFilter, "istio"}},
		{"another port", GRPCListeners, "greeter:9001", nil, nil},
		{"no port", GRPCListeners, "greeter", nil, nil},
		{"no number", GRPCListeners, "greeter:grpc", nil, nil},
		{"routes", GRPCRoutes, ClusterName(9000, "", greeter), []string{`"maxStreamDuration":"3s"`, `"plain"`, `"*"`}, []string{"by-parameter", "retryPolicy", corsFilter}},
		{"routes of a subset", GRPCRoutes, ClusterName(9000, "ring", greeter), nil, nil},
		{"routes as Envoys name them", GRPCRoutes, "9000", nil, nil},
		{"a cluster", GRPCClusters, ClusterName(9000, "", greeter), []string{`"EDS"`, `"serviceName"`}, []string{"transportSocket", "LEAST_REQUEST", "RING_HASH"}},
		{"the ring", GRPCClusters, ClusterName(9000, "ring", greeter), []string{`"RING_HASH"`}, nil},
		{"another balancer", GRPCClusters, ClusterName(9000, "random", greeter), []string{`"EDS"`}, []string{"RANDOM"}},
		{"mutual TLS of the mesh", GRPCClusters, ClusterName(9000, "mutual", greeter), []string{`"tlsCertificateProviderInstance"`, `"ROOTCA"`}, []string{"SdsSecret"}},
		{"TLS that it has no roots for", GRPCClusters, ClusterName(9000, "simple", greeter), nil, nil},
		{"a subset that no rule has", GRPCClusters, ClusterName(9000, "none", greeter), nil, nil},
		{"a service that DNS finds", GRPCClusters, ClusterName(9000, "", "outside.example.com"), nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.of(s, p, []string{tt.ask})
			if len(got) != min(1, len(tt.has)) {
				t.Fatalf("%d resources", len(got))
			}
			if len(got) == 0 {
				return
			}
			raw, err := protojson.Marshal(got[0].Build())
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(string(raw), `": `, `":`) // the encoder's spaces vary
			for _, want := range tt.has {
				if !strings.Contains(text, want) {
					t.Errorf("it lacks %s:\n%s", want, text)
				}
			}
			for _, not := range tt.without {
				if strings.Contains(text, not) {
					t.Errorf("it has %s:\n%s", not, text)
				}
			}
		})
	}
	if _, err := model.ParseProxy("sidecar~10.0.0.9~web-1.shop~shop.svc.cluster.local", "", map[string]any{"GENERATOR": "api"}, model.Locality{}); err == nil {
		t.Error("another generator is taken for Envoy's")
	}
}
