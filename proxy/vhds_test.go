package proxy

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routeservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// DeltaVirtualHosts is VHDS on a stream of its own.
func (a *ads) DeltaVirtualHosts(st routeservicev3.VirtualHostDiscoveryService_DeltaVirtualHostsServer) error {
	return a.serve(st)
}

// says is a virtual host that answers by itself.
func says(name, text string, domains ...string) *routev3.VirtualHost {
	return &routev3.VirtualHost{Name: name, Domains: domains, Routes: []*routev3.Route{{
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: 200, Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}},
		}},
	}}}
}

func vhdsBootstrap(cp *ads) string {
	host, port, _ := net.SplitHostPort(cp.addr)
	return fmt.Sprintf(`
node: {id: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
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
          rds: {route_config_name: shop, config_source: {ads: {}}}
          http_filters:
          - name: envoy.filters.http.on_demand
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: xds
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}
`, host, port)
}

// TestVirtualHostsOnDemand: a request waits for the virtual host of its host, over ADS and over a stream of its own.
func TestVirtualHostsOnDemand(t *testing.T) {
	overADS := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
	own := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
		ApiType: corev3.ApiConfigSource_DELTA_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
		GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "xds"},
		}}},
	}}}
	for name, source := range map[string]*corev3.ConfigSource{"ads": overADS, "own stream": own} {
		t.Run(name, func(t *testing.T) {
			cp := startADS(t)
			cp.lazy = true
			routes := &routev3.RouteConfiguration{
				Name: "shop", Vhds: &routev3.Vhds{ConfigSource: source}, VirtualHosts: []*routev3.VirtualHost{says("inline", "inline", "inline.example")},
			}
			cp.set(xdsresource.TypeRoute, "shop", routes)
			cp.set(xdsresource.TypeVirtualHost, "shop/a.example", says("a", "one", "a.example"))
			p := run(t, vhdsBootstrap(cp))
			url := "http://" + p.ListenerAddrs()["main"]
			get := func(host string) string {
				t.Helper()
				code, _, body := do(t, "GET", url, "Host", host)
				return fmt.Sprint(code, " ", body)
			}

			if got := get("inline.example"); got != "200 inline" || cp.wants(xdsresource.TypeVirtualHost) != "" {
				t.Errorf("%s, and %q is asked for, though it is there", got, cp.wants(xdsresource.TypeVirtualHost))
			}
			var wg sync.WaitGroup
			for range 8 { // on both workers
				wg.Go(func() {
					if got := get("A.Example"); got != "200 one" {
						t.Errorf("%s, want 200 one", got)
					}
				})
			}
			wg.Wait()
			if got := cp.wants(xdsresource.TypeVirtualHost); got != "shop/a.example" {
				t.Errorf("%q is asked for", got)
			}

			// A host that does not exist is answered, and once more without asking; and found when it comes.
			for range 2 {
				if got := get("b.example"); got != "404 " {
					t.Errorf("%s for a host that does not exist, want 404", got)
				}
			}
			cp.set(xdsresource.TypeVirtualHost, "shop/b.example", says("b", "two", "b.example"))
			eventually(t, "the host that came", func() bool { return get("b.example") == "200 two" })

			// What changes is replaced, what does not fit is refused and leaves the rest alone.
			cp.set(xdsresource.TypeVirtualHost, "shop/a.example", says("a", "three", "a.example"))
			eventually(t, "the new version", func() bool { return get("a.example") == "200 three" })
			cp.set(xdsresource.TypeVirtualHost, "shop/b.example", says("b", "thief", "b.example", "a.example"))
			eventually(t, "the refusal", func() bool {
				return strings.Contains(cp.answer(xdsresource.TypeVirtualHost).GetErrorDetail().GetMessage(), `shop/b.example: route configuration "shop": virtual host "b": domain "a.example" is already used`)
			})
			if a, b := get("a.example"), get("b.example"); a != "200 three" || b != "200 two" {
				t.Errorf("after a refusal a is %s and b %s", a, b)
			}

			// The route configuration changes and keeps them.
			routes.VirtualHosts[0] = says("inline", "changed", "inline.example")
			cp.set(xdsresource.TypeRoute, "shop", routes)
			eventually(t, "the new route configuration", func() bool { return get("inline.example") == "200 changed" })
			if got := get("a.example"); got != "200 three" {
				t.Errorf("a is %s under the new route configuration", got)
			}
			if _, dump := p.admin("GET", "/config_dump?resource=dynamic_route_configs"); !strings.Contains(dump, `"three"`) || !strings.Contains(dump, `"changed"`) {
				t.Errorf("the dump lacks virtual hosts:\n%s", dump)
			}
			if _, all := p.admin("GET", "/stats?filter=vhds"); !strings.Contains(all, "http.main.vhds.shop.update_rejected: 1") {
				t.Errorf("statistics:\n%s", all)
			}

			cp.remove(xdsresource.TypeVirtualHost, "shop/a.example")
			eventually(t, "what is taken away is gone", func() bool { return get("a.example") == "404 " })
		})
	}
}
