package xdsresource

import (
	"reflect"
	"strings"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

// TestSampler: the sampler of OpenTelemetry's spans, as Envoy's users and as Istio's control plane write it; any other is refused by name.
func TestSampler(t *testing.T) {
	const typed = `"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.DynatraceSamplerConfig`
	read := func(sampler string) (*DynatraceSampler, error) {
		v, err := decode(t, &listenerv3.Listener{}, `
name: l
address: {socket_address: {address: 1.2.3.4, port_value: 80}}
filter_chains: [{filters: [{name: h, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: s,
  tracing: {provider: {name: o, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, grpc_service: {envoy_grpc: {cluster_name: c}}, sampler: {name: own, `+sampler+`}}}},
  route_config: {name: r}, http_filters: [{name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]`)
		if err != nil {
			return nil, err
		}
		return v.(*Listener).FilterChains[0].Filters[0].Config.(*HTTPConnectionManager).Tracing.Provider.(*OTLPTracing).Sampler, nil
	}
	got, err := read(`typed_config: {` + typed + `, tenant: t, cluster_id: -5, http_service: {http_uri: {uri: dynatrace.example/api, cluster: d, timeout: 2s}, request_headers_to_add: [{header: {key: authorization, value: x}}]}}`)
	want := &DynatraceSampler{Tenant: "t", Cluster: -5, PerMinute: 1000, HTTP: HTTPService{
		Cluster: "d", URL: "http://dynatrace.example/api", Timeout: 2 * time.Second, Headers: map[string]string{"authorization": "x"},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for sampler, want := range map[string]string{
		`typed_config: {` + typed + `, root_spans_per_minute: 7}`:                                                               "sampler.typed_config.http_service.http_uri.cluster",
		`typed_config: {` + typed + `, http_service: {http_uri: {uri: "http://a b", cluster: d, timeout: 2s}}}`:                 `"http://a b" is no URL`,
		`typed_config: {` + typed + `, http_service: {http_uri: {uri: "", cluster: d, timeout: 2s}}}`:                           "http_service.http_uri.uri",
		`typed_config: {"@type": type.googleapis.com/google.protobuf.Empty}`:                                                    `sampler "own" of type google.protobuf.Empty is not supported`,
		`typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig}`: "is not supported: use envoy.tracers.opentelemetry.samplers.dynatrace",
		``: "sampler.typed_config: is required",
	} {
		if got, err := read(sampler); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v, want %s", sampler, got, err, want)
		}
	}
}
