package bootstrap

import (
	"errors"
	"strings"
	"testing"
	"time"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/watchdog"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// decoder knows the router and nothing else.
func decoder() *xdsresource.Decoder {
	return xdsresource.NewDecoder(xdsresource.Extensions{HTTP: map[string]xdsresource.HTTPFilterType{
		"envoy.extensions.filters.http.router.v3.Router": {
			Name: "envoy.filters.http.router", Terminal: true, OptionalConfig: true,
			Parse: func(*xdsresource.Decoder, *anypb.Any) (any, error) { return &routerv3.Router{}, nil },
		},
	}})
}

// simple is the bootstrap of the posts (REQUIREMENTS A1 to A12): no typed_config for the
// router, a cluster_name that differs from the cluster's, flow maps, comments in Korean.
const simple = `
admin: # 관리자 포트
  address:
    socket_address: { address: 0.0.0.0, port_value: 15000 }
static_resources:
  listeners:
  - name: httpbin-demo   # 리스너
    address:
      socket_address: { address: 0.0.0.0, port_value: 15001 }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress_http
          http_filters:
          - name: envoy.filters.http.router
          route_config:
            name: httpbin_local_route
            virtual_hosts:
            - name: httpbin_local_service
              domains: ["*"]
              routes:
              - match: { prefix: "/" }
                route:
                  auto_host_rewrite: true
                  cluster: httpbin_service
                  timeout: 1s # 타임아웃
  clusters:
  - name: httpbin_service
    connect_timeout: 5s
    type: LOGICAL_DNS
    dns_lookup_family: V4_ONLY
    lb_policy: ROUND_ROBIN
    load_assignment:
      cluster_name: httpbin
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address:
                address: httpbin
                port_value: 8000
`

func load(t *testing.T, text string) (*Bootstrap, error) {
	t.Helper()
	m, err := Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	return Load(m, decoder())
}

func TestBootstrapOfThePosts(t *testing.T) {
	b, err := load(t, simple)
	if err != nil {
		t.Fatal(err)
	}
	if b.Admin == nil || b.Admin.Port != 15000 {
		t.Errorf("admin = %v, want port 15000", b.Admin)
	}
	l := b.Listeners[0].Value.(*xdsresource.Listener)
	hcm := l.FilterChains[0].Filters[0].Config.(*xdsresource.HTTPConnectionManager)
	r := hcm.Routes.VirtualHosts[0].Routes[0].Forward
	if r.Timeout != time.Second || !r.HostRewrite.Auto || r.Cluster != "httpbin_service" {
		t.Errorf("route = %+v", r)
	}
	if hcm.ServerName != "envoy" || hcm.StreamIdleTimeout != 5*time.Minute || hcm.MaxRequestHeadersKB != 60 || !hcm.GenerateRequestID {
		t.Errorf("defaults were not applied: %+v", hcm)
	}
	c := b.Clusters[0].Value.(*xdsresource.Cluster)
	ep := c.Endpoints.Localities[0].Endpoints[0]
	if c.Type != xdsresource.ClusterLogicalDNS || ep.Address.Host != "httpbin" || ep.Address.Port != 8000 {
		t.Errorf("cluster = %+v", c)
	}
}

func TestEverythingWrongIsReportedAtOnce(t *testing.T) {
	tests := []struct {
		name, from, to string
		want           []string
	}{
		{
			"two unknown fields", "stat_prefix: ingress_http", "stat_prefx: x\n          codec: y",
			[]string{
				"static_resources.listeners[0].filter_chains[0].filters[0].typed_config.codec: unknown field",
				"static_resources.listeners[0].filter_chains[0].filters[0].typed_config.stat_prefx: unknown field",
			},
		},
		{
			"unknown extension", "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
			"type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
			[]string{"static_resources.listeners[0].filter_chains[0].filters[0].typed_config: type type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy is not supported"},
		},
		{
			"unsupported fields of two resources",
			"    connect_timeout: 5s", "    connect_timeout: 5s\n    lrs_server: {self: {}}\n    upstream_config: {name: x}",
			[]string{
				"static_resources.clusters[0].lrs_server: this field is not supported",
				"static_resources.clusters[0].upstream_config: this field is not supported",
			},
		},
		{
			"a rule of the proto", `domains: ["*"]`, `domains: []`,
			[]string{"typed_config.route_config.virtual_hosts[0].domains: value must contain at least 1 item(s)"},
		},
		{
			"bad regular expression", `{ prefix: "/" }`, `{ safe_regex: { regex: "a(b" } }`,
			[]string{`virtual_hosts[0].routes[0].match.safe_regex.regex: "a(b" is no regular expression`},
		},
		{
			"filter by name only", "name: envoy.filters.http.router", "name: envoy.filters.http.buffer",
			[]string{`http_filters[0]: HTTP filter "envoy.filters.http.buffer" (no typed_config) is not supported`},
		},
		{
			"watchdogs", "static_resources:", "watchdogs: {worker_watchdog: {actions: [{event: MISS}], multikill_threshold: {value: 101}}}\nstatic_resources:",
			[]string{
				"watchdogs.worker_watchdog.actions: this field is not supported",
				"watchdogs.worker_watchdog.multikill_threshold: must be a percentage from 0 to 100",
			},
		},
		{
			"watchdogs twice", "static_resources:", "watchdogs: {}\nwatchdog: {}\nstatic_resources:",
			[]string{"watchdog: stands beside watchdogs"},
		},
		{
			"host name in a static cluster", "type: LOGICAL_DNS", "type: STATIC",
			[]string{`load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: "httpbin" is not an IP address`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(simple, tt.from, tt.to, 1)
			if text == simple {
				t.Fatal("the replacement found nothing")
			}
			_, err := load(t, text)
			var e *xdsresource.Error
			if !errors.As(err, &e) {
				t.Fatalf("err = %v, want an *xdsresource.Error", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error misses %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestWatchdogs(t *testing.T) {
	for _, tt := range []struct {
		text          string
		main, workers watchdog.Config
	}{
		{"", watchdog.Config{}, watchdog.Config{}},
		{"watchdog: {miss_timeout: 2s}\n", watchdog.Config{Miss: 2 * time.Second}, watchdog.Config{Miss: 2 * time.Second}},
		{
			"watchdogs: {main_thread_watchdog: {megamiss_timeout: 3s}, worker_watchdog: {kill_timeout: 4s, max_kill_timeout_jitter: 1s, multikill_timeout: 5s, multikill_threshold: {value: 50}}}\n",
			watchdog.Config{MegaMiss: 3 * time.Second},
			watchdog.Config{Kill: 4 * time.Second, KillJitter: time.Second, MultiKill: 5 * time.Second, Threshold: 50},
		},
	} {
		b, err := load(t, tt.text+simple)
		if err != nil {
			t.Fatal(err)
		}
		if b.Watchdogs.Main != tt.main || b.Watchdogs.Workers != tt.workers {
			t.Errorf("%s%+v", tt.text, b.Watchdogs)
		}
	}
}

func TestCamelCaseAndMerge(t *testing.T) {
	base, err := Parse([]byte(`{"staticResources":{"clusters":[{"name":"a","connectTimeout":"1s"}]},"node":{"id":"x"}}`))
	if err != nil {
		t.Fatal(err)
	}
	over, err := Parse([]byte(`node: {id: z}` + "\nstatic_resources: {clusters: [{name: b}]}"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Load(Merge(base, over), decoder())
	if err != nil {
		t.Fatal(err)
	}
	if b.Node.GetId() != "z" || len(b.Clusters) != 2 {
		t.Errorf("node %q, %d clusters; want z and 2", b.Node.GetId(), len(b.Clusters))
	}
}

const adsBootstrap = `
dynamic_resources:
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
  ads_config: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds-grpc}}]}
static_resources:
  clusters:
  - name: xds-grpc
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: xds-grpc, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 15010}}}}]}]}
`

func TestADSCluster(t *testing.T) {
	b, err := load(t, adsBootstrap)
	if err != nil {
		t.Fatal(err)
	}
	if b.ADS == nil || !b.ADS.Delta || b.LDS == nil || !b.LDS.ADS() || b.CDS == nil || b.Control["xds-grpc"] == nil {
		t.Errorf("bootstrap = %+v", b)
	}
	if _, err := load(t, `dynamic_resources: {lds_config: {ads: {}}}`); err == nil {
		t.Error("lds over ads without ads_config was accepted")
	}
}

// FuzzParse: whatever stands in a bootstrap is read, or refused with reasons.
func FuzzParse(f *testing.F) {
	for _, text := range []string{simple, adsBootstrap, `{"node":{"id":"x","metadata":{"a":1}}}`, "admin: {address: {pipe: {path: '@a'}}, profile_path: x}", `
cluster_manager: {local_cluster_name: c, outlier_detection: {event_log_path: /dev/null}, upstream_bind_config: {source_address: {address: "::1", port_value: 0}}}
stats_config: {use_all_default_tags: true, stats_tags: [{tag_name: a, regex: '^a\.((.*)\.)b'}, {tag_name: b, fixed_value: c}], stats_matcher: {inclusion_list: {patterns: [{prefix: a}]}}}
stats_flush_interval: 5s
layered_runtime: {layers: [{name: s, static_layer: {a: {b: 1, c: {numerator: 1, denominator: HUNDRED}}}}, {name: admin, admin_layer: {}}]}
overload_manager:
  refresh_interval: 0.25s
  resource_monitors: [{name: envoy.resource_monitors.fixed_heap, typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig, max_heap_size_bytes: 100000000}}]
  actions: [{name: envoy.overload_actions.stop_accepting_requests, triggers: [{name: envoy.resource_monitors.fixed_heap, threshold: {value: 0.95}}]}]
static_resources:
  clusters: [{name: c, type: STATIC, load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: "::1", port_value: 80}}}}]}]}}]
`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := Parse(raw)
		if err != nil {
			return
		}
		b, err := Load(m, decoder())
		var e *xdsresource.Error
		if (b == nil) != (err != nil) || err != nil && (!errors.As(err, &e) || len(e.Problems) == 0) {
			t.Fatalf("%v with %v", b, err)
		}
	})
}

func TestClusterManager(t *testing.T) {
	load := func(name string) (*Bootstrap, error) {
		m, err := Parse([]byte(`
cluster_manager: {local_cluster_name: ` + name + `, outlier_detection: {event_log_path: /dev/null}}
static_resources: {clusters: [{name: mine, type: STATIC}]}`))
		if err != nil {
			t.Fatal(err)
		}
		return Load(m, xdsresource.NewDecoder(xdsresource.Extensions{}))
	}
	b, err := load("mine")
	if err != nil || b.LocalCluster != "mine" || b.OutlierLog != "/dev/null" {
		t.Errorf("%v %+v", err, b)
	}
	if _, err := load("other"); err == nil || !strings.Contains(err.Error(), `cluster_manager.local_cluster_name: "other" is not among`) {
		t.Errorf("a local cluster that is not there: %v", err)
	}
}

// TestDefaultsOfClusters: what a bootstrap says for clusters that do not say it themselves.
func TestDefaultsOfClusters(t *testing.T) {
	load := func(text string) (*Bootstrap, error) {
		m, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return Load(m, decoder())
	}
	const cares = `typed_dns_resolver_config: {name: c, typed_config: {"@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig, resolvers: [{socket_address: {address: `
	b, err := load("cluster_manager: {upstream_bind_config: {source_address: {address: 10.0.0.1, port_value: 0}}}\n" + cares + "10.0.0.53, port_value: 53}}]}}")
	if err != nil || b.Bind == nil || b.Bind.Sources[0].Address.IP.String() != "10.0.0.1" || b.Resolver == nil || b.Resolver.Servers[0].String() != "10.0.0.53:53" {
		t.Errorf("%v %+v", err, b)
	}
	if b, err = load("{}"); err != nil || b.Bind != nil || b.Resolver != nil {
		t.Errorf("nothing is said: %v %+v", err, b)
	}
	_, err = load("cluster_manager: {upstream_bind_config: {source_address: {address: x, port_value: 0}}}\n" + cares + "dns.test, port_value: 53}}]}}")
	for _, want := range []string{"cluster_manager.upstream_bind_config.source_address", "typed_dns_resolver_config.typed_config.resolvers[0]"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}
