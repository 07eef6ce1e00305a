package proxy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	alspb "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// TestHowServicesAreCalled: authority and initial_metadata of a gRPC service reach it, whoever calls:
// the stream of all resources, that of one type, one for secrets, and an access log.
func TestHowServicesAreCalled(t *testing.T) {
	var mu sync.Mutex
	calls := map[string]string{} // by service
	note := func(_ any, st grpc.ServerStream, info *grpc.StreamServerInfo, _ grpc.StreamHandler) error {
		md, _ := metadata.FromIncomingContext(st.Context())
		mu.Lock()
		calls[info.FullMethod[strings.LastIndexByte(info.FullMethod, '/')+1:]] = fmt.Sprint(md[":authority"], md["x-token"])
		mu.Unlock()
		<-st.Context().Done()
		return nil
	}
	port := serveGRPC(t, func(s *grpc.Server) {
		discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, discoveryv3.UnimplementedAggregatedDiscoveryServiceServer{})
		routev3.RegisterRouteDiscoveryServiceServer(s, routev3.UnimplementedRouteDiscoveryServiceServer{})
		secretv3.RegisterSecretDiscoveryServiceServer(s, secretv3.UnimplementedSecretDiscoveryServiceServer{})
		alspb.RegisterAccessLogServiceServer(s, alspb.UnimplementedAccessLogServiceServer{})
	}, grpc.StreamInterceptor(note))
	service := func(name string) string {
		return fmt.Sprintf("{envoy_grpc: {cluster_name: control, authority: %[1]s.example}, initial_metadata: [{key: X-Token, value: %[1]s}, {key: x-token, value: more}]}", name)
	}
	source := func(name, kind string) string {
		return fmt.Sprintf("{api_config_source: {api_type: %s, grpc_services: [%s]}, initial_fetch_timeout: 0.01s}", kind, service(name))
	}
	r := run(t, fmt.Sprintf(`
node: {id: test, cluster: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, grpc_services: [%[1]s]}
  lds_config: {ads: {}, initial_fetch_timeout: 0.01s}
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          rds: {route_config_name: r, config_source: %[2]s}
          http_filters: [{name: envoy.filters.http.router}]
          access_log:
          - name: als
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
              common_config: {log_name: l, transport_api_version: V3, grpc_service: %[3]s, buffer_flush_interval: 0.01s}
  - name: tls
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context: {tls_certificate_sds_secret_configs: [{name: default, sds_config: %[4]s}]}
      filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: control}}]
  clusters:
  - name: control
    type: STATIC
    load_assignment: {cluster_name: control, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[5]s}}}}]}]}
`, service("ads"), source("rds", "GRPC"), service("als"), source("sds", "DELTA_GRPC"), port))
	do(t, "GET", "http://"+r.ListenerAddrs()["main"]+"/")
	want := map[string]string{
		"DeltaAggregatedResources": "[ads.example] [ads more]", "StreamRoutes": "[rds.example] [rds more]",
		"StreamAccessLogs": "[als.example] [als more]", "DeltaSecrets": "[sds.example] [sds more]",
	}
	eventually(t, "all are called", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(calls) == len(want)
	})
	mu.Lock()
	defer mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if calls[name] != want[name] {
			t.Errorf("%s: %s, want %s", name, calls[name], want[name])
		}
	}
}
