package xdsresource

import (
	"reflect"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

func TestSkyWalking(t *testing.T) {
	const service = "grpc_service: {envoy_grpc: {cluster_name: sw}}"
	to := GRPCService{Cluster: "sw"}
	for _, test := range []struct {
		fields string
		want   *SkyWalking
		refuse string
	}{
		{service, &SkyWalking{Service: to, CacheSize: 1024}, ""},
		{service + ", client_config: {}", &SkyWalking{Service: to, CacheSize: 1024}, ""},
		{service + ", client_config: {service_name: shop, instance_name: shop-1, backend_token: secret, max_cache_size: 0}",
			&SkyWalking{Service: to, ServiceName: "shop", InstanceName: "shop-1", Token: "secret"}, ""},
		{"client_config: {}", nil, "provider.typed_config.grpc_service: value is required"},
		{"grpc_service: {}", nil, "provider.typed_config.grpc_service.target_specifier: value is required"},
		{"grpc_service: {envoy_grpc: {cluster_name: ''}}", nil, "provider.typed_config.grpc_service.envoy_grpc.cluster_name"},
		{"grpc_service: {google_grpc: {target_uri: sw, stat_prefix: s}}", nil, "grpc_service.google_grpc: this field is not supported"},
		{service + `, client_config: {backend_token: "a\nb"}`, nil, "provider.typed_config.client_config.backend_token: has a character that no header can have"},
	} {
		v, err := decode(t, &listenerv3.Listener{}, `
name: l
address: {socket_address: {address: 1.2.3.4, port_value: 80}}
filter_chains: [{filters: [{name: h, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: s, route_config: {},
  http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}],
  tracing: {provider: {name: envoy.tracers.skywalking, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.SkyWalkingConfig, `+test.fields+`}}}}}]}]`)
		if test.refuse != "" {
			if err == nil || !strings.Contains(err.Error(), test.refuse) {
				t.Errorf("%s: no %q in: %v", test.fields, test.refuse, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.fields, err)
			continue
		}
		if got := v.(*Listener).FilterChains[0].Filters[0].Config.(*HTTPConnectionManager).Tracing.Provider; !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.fields, got, test.want)
		}
	}
}
