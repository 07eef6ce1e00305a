package proxy

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// vhdsBootstrap is a listener with the routes "80" of RDS, and the filter on_demand.
func vhdsBootstrap(cp *ads, onDemand string) string {
	host, port, _ := net.SplitHostPort(cp.addr)
	return fmt.Sprintf(`
node: {id: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  cds_config: {ads: {}}
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
          rds: {route_config_name: "80", config_source: {ads: {}}}
          http_filters:
          - name: envoy.filters.http.on_demand
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand
              %s
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
`, onDemand, host, port)
}

var (
	overADS  = &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
	overGRPC = &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
		ApiType: corev3.ApiConfigSource_DELTA_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
		GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "xds"},
		}}},
	}}}
)

// says is a virtual host that answers by itself.
func says(name, text string, domains ...string) *routev3.VirtualHost {
	return &routev3.VirtualHost{Name: name, Domains: domains, Routes: []*routev3.Route{{
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: 200, Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}},
		}},
	}}}
}

// routesWith is a route configuration that gets virtual hosts from a source, beside its own.
func routesWith(vhds *corev3.ConfigSource, own ...*routev3.VirtualHost) *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{Name: "80", VirtualHosts: own}
	if vhds != nil {
		rc.Vhds = &routev3.Vhds{ConfigSource: vhds}
	}
	return rc
}

// get asks for a host and says what came: the body, or the status where there is none.
func (r *running) get(host string) string {
	r.t.Helper()
	code, _, body := do(r.t, "GET", "http://"+r.ListenerAddrs()["main"], "Host", host)
	if code != 200 {
		return fmt.Sprint(code)
	}
	return body
}

// becomes waits for an answer that only a change of the configuration brings.
func (r *running) becomes(host, want string) {
	r.t.Helper()
	eventually(r.t, host+" becomes "+want, func() bool { return r.get(host) == want })
}

// acks lets the control plane send more than it remembers answers for.
func (a *ads) acks() {
	go func() {
		for {
			select {
			case <-a.answers:
			case <-a.t.Context().Done():
				return
			}
		}
	}()
}

// TestVHDS: virtual hosts come one by one beside those of the route configuration, without and with being
// asked for, change and go.
func TestVHDS(t *testing.T) {
	for name, src := range map[string]*corev3.ConfigSource{"ads": overADS, "own stream": overGRPC} {
		t.Run(name, func(t *testing.T) {
			cp := startADS(t)
			cp.lazy = true
			cp.acks()
			const vh = xdsresource.TypeVirtualHost
			cp.set(xdsresource.TypeRoute, "80", routesWith(src, says("own", "own", "own")))
			cp.set(vh, "80/a", says("80/a", "a", "a", "a:80"))
			p := run(t, vhdsBootstrap(cp, ""))
			if got := p.get("own"); got != "own" {
				t.Errorf("own says %q", got)
			}
			if got := cp.wants(vh); got != "" {
				t.Errorf("asked for %q before a request", got)
			}
			var wg sync.WaitGroup
			for range 4 { // on both workers
				wg.Go(func() {
					if got := p.get("a"); got != "a" {
						t.Errorf("a says %q", got)
					}
				})
			}
			wg.Wait()
			if got := p.get("A:80"); got != "a" || cp.wants(vh) != "80/a" {
				t.Errorf("a:80 says %q, asked for %q", got, cp.wants(vh))
			}
			if got := p.get("none"); got != "404" {
				t.Errorf("none says %q", got)
			}

			// What is asked for and not there is told when it comes.
			cp.set(vh, "80/none", says("80/none", "some", "none"))
			p.becomes("none", "some")
			// Nobody asked for this one.
			cp.lazy = false
			cp.set(vh, "80/b", says("80/b", "b", "b", "c"))
			p.becomes("b", "b")
			// A domain moves within one response and one by one.
			cp.set(vh, "80/b", says("80/b", "b2", "b"))
			p.becomes("b", "b2")
			cp.set(vh, "80/c", says("80/c", "c", "c"))
			p.becomes("c", "c")
			cp.remove(vh, "80/b")
			p.becomes("b", "404")
			if got := p.get("own") + p.get("a") + p.get("c"); got != "ownac" {
				t.Errorf("the others say %q", got)
			}

			// The route configuration changes below them, and its source of virtual hosts does not.
			cp.set(xdsresource.TypeRoute, "80", routesWith(src, says("own", "own2", "own")))
			p.becomes("own", "own2")
			if got := p.get("a") + p.get("none") + p.get("c"); got != "asomec" {
				t.Errorf("the others say %q", got)
			}
			_, dump := p.admin("GET", "/config_dump?resource=dynamic_route_configs")
			for _, s := range []string{`"own2"`, `"80/a"`, `"80/none"`, `"80/c"`} {
				if !strings.Contains(dump, s) {
					t.Errorf("%s is not in the dump: %s", s, dump)
				}
			}
			_, stats := p.admin("GET", "/stats?usedonly&filter=vhds")
			for _, s := range []string{"http.main.rds.vhds.80.config_reload", "http.main.rds.vhds.80.update_success", "http.main.rds.vhds.80.update_attempt"} {
				if !strings.Contains(stats, s) {
					t.Errorf("%s is not among the statistics:\n%s", s, stats)
				}
			}

			// Without vhds they are gone, and names are given back.
			cp.set(xdsresource.TypeRoute, "80", routesWith(nil, says("own", "own3", "own")))
			p.becomes("own", "own3")
			if got := p.get("a"); got != "404" {
				t.Errorf("a says %q without vhds", got)
			}
			eventually(t, "names are given back", func() bool { return cp.wants(vh) == "" })
			cp.set(xdsresource.TypeRoute, "80", routesWith(src))
			p.becomes("a", "a")
		})
	}
}

// TestVHDSThenCluster: a request waits for its virtual host first, and for its cluster after that.
func TestVHDSThenCluster(t *testing.T) {
	cp := startADS(t)
	cp.lazy = true
	cp.acks()
	cp.set(xdsresource.TypeRoute, "80", routesWith(overADS))
	vh := says("80/app", "", "app")
	vh.Routes[0].Action = &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "app"}}}
	cp.set(xdsresource.TypeVirtualHost, "80/app", vh)
	cp.set(xdsresource.TypeCluster, "app", edsCluster("app"))
	cp.set(xdsresource.TypeEndpoints, "app", endpoints("app", backend(t, "hello")))
	p := run(t, vhdsBootstrap(cp, "odcds: {source: {ads: {}}, timeout: 20s}"))
	code, _, body := do(t, "POST", "http://"+p.ListenerAddrs()["main"], "Host", "app")
	if code != 200 || body != "hello" {
		t.Errorf("%d %q, want 200 hello", code, body)
	}
}

// TestVHDSSilent: a request waits no longer than it may for a control plane that does not answer.
func TestVHDSSilent(t *testing.T) {
	cp := startADS(t)
	cp.lazy, cp.silent = true, true
	cp.acks()
	cp.set(xdsresource.TypeRoute, "80", routesWith(overADS))
	p := run(t, vhdsBootstrap(cp, "odcds: {source: {ads: {}}, timeout: 0.2s}"))
	began := time.Now()
	if got := p.get("none"); got != "404" || time.Since(began) < 200*time.Millisecond {
		t.Errorf("%s after %v", got, time.Since(began))
	}
	eventually(t, "its name is given back", func() bool { return cp.wants(xdsresource.TypeVirtualHost) == "" })
}

// TestVHDSRefused: what cannot be taken is refused by name, and leaves the rest and its own last version.
func TestVHDSRefused(t *testing.T) {
	cp := startADS(t)
	const vh = xdsresource.TypeVirtualHost
	cp.set(xdsresource.TypeRoute, "80", routesWith(overADS, says("own", "own", "own")))
	cp.set(vh, "80/a", says("80/a", "a", "a"))
	p := run(t, vhdsBootstrap(cp, ""))
	refused := func(want string) {
		t.Helper()
		if r := cp.answer(vh); !strings.Contains(r.GetErrorDetail().GetMessage(), want) {
			t.Errorf("answer %v, want %q", r.GetErrorDetail(), want)
		}
	}
	refused("")
	for _, x := range []struct {
		name string
		vh   *routev3.VirtualHost
		want string
	}{
		{"80/a", says("80/a", "a2", "own"), `80/a: virtual host "80/a": domain "own" is already used by virtual host "own"`},
		{"80/b", says("80/b", "b", "b", "a"), `domain "a" is already used by virtual host "80/a"`},
		{"80/c", &routev3.VirtualHost{Name: "80/c"}, "domains: value must contain at least 1 item(s)"},
		{"80", says("80", "d", "d"), `virtual host "80" is not named <route configuration>/<host>`},
		{"80/e", says("80/e", strings.Repeat("x", 5000), "e"), "max_direct_response_body_size_bytes"},
	} {
		cp.set(vh, x.name, x.vh)
		refused(x.want)
		if got := p.get("a") + p.get("own"); got != "aown" {
			t.Errorf("%s: they say %q", x.name, got)
		}
	}
	if _, dump := p.admin("GET", "/config_dump?resource=dynamic_route_configs"); !strings.Contains(dump, "error_state") || strings.Contains(dump, "a2") && !strings.Contains(dump, `"a"`) {
		t.Errorf("the dump does not show the refusal: %s", dump)
	}

	rds := func(want string, rc *routev3.RouteConfiguration) {
		t.Helper()
		cp.set(xdsresource.TypeRoute, "80", rc)
		if r := cp.answer(xdsresource.TypeRoute); !strings.Contains(r.GetErrorDetail().GetMessage(), want) {
			t.Errorf("answer %v, want %q", r.GetErrorDetail(), want)
		}
	}
	rds(`with "80/a", which VHDS has brought`, routesWith(overADS, says("own", "own", "a")))
	sotw := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
		ApiType: corev3.ApiConfigSource_GRPC, GrpcServices: overGRPC.GetApiConfigSource().GetGrpcServices(),
	}}}
	rds("vhds.config_source.api_config_source.api_type: GRPC is not supported here", routesWith(sotw))
	rds("vhds.config_source: ads or api_config_source is required", routesWith(&corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{PathConfigSource: &corev3.PathConfigSource{Path: "/dev/null"}},
	}))
	elsewhere := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
		ApiType:      corev3.ApiConfigSource_DELTA_GRPC,
		GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "far"}}}},
	}}}
	rds(`vhds.config_source: cluster "far" is not a static cluster`, routesWith(elsewhere))
	if got := p.get("a") + p.get("own"); got != "aown" {
		t.Errorf("they say %q", got)
	}
}

// TestVHDSAlias: a host that is known by another name comes by that, and goes with it; a resource without
// content says that there is none.
func TestVHDSAlias(t *testing.T) {
	cp := startADS(t)
	cp.lazy, cp.silent = true, true
	cp.acks()
	cp.set(xdsresource.TypeRoute, "80", routesWith(overADS))
	p := run(t, vhdsBootstrap(cp, "odcds: {source: {ads: {}}, timeout: 20s}"))
	packed, err := anypb.New(says("of-app", "app", "app", "app.ns"))
	if err != nil {
		t.Fatal(err)
	}
	get := func(host, want string) func() {
		var wg sync.WaitGroup
		wg.Go(func() {
			if got := p.get(host); got != want {
				t.Errorf("%s says %q, want %q", host, got, want)
			}
		})
		eventually(t, "it is asked for", func() bool { return strings.Contains(cp.wants(xdsresource.TypeVirtualHost), "80/"+host) })
		return wg.Wait
	}
	wait := get("app", "app")
	cp.send(xdsresource.TypeVirtualHost, resourceOf("80/of-app", "1", packed, "80/app"))
	wait()
	if got := p.get("app.ns"); got != "app" {
		t.Errorf("app.ns says %q", got)
	}
	wait = get("none", "404")
	cp.send(xdsresource.TypeVirtualHost, resourceOf("80/none", "1", nil, "80/none"))
	wait()
	cp.remove(xdsresource.TypeVirtualHost, "80/of-app")
	p.becomes("app", "404")
}

// TestVHDSReconnect: a new stream is told what is held, so that nothing is sent again.
func TestVHDSReconnect(t *testing.T) {
	cp := startADS(t)
	cp.lazy = true
	cp.acks()
	const vh = xdsresource.TypeVirtualHost
	cp.set(xdsresource.TypeRoute, "80", routesWith(overADS))
	cp.set(vh, "80/a", says("80/a", "a", "a"))
	cp.set(vh, "80/b", says("80/b", "b", "b"))
	p := run(t, vhdsBootstrap(cp, ""))
	if got := p.get("a") + p.get("b") + p.get("none"); got != "ab404" {
		t.Errorf("they say %q", got)
	}
	cp.dropStreams()
	eventually(t, "the names are asked for again", func() bool { return cp.wants(vh) == "80/a 80/b 80/none" })
	first := cp.first(vh)
	if got := first.GetInitialResourceVersions(); len(got) != 2 || got["80/a"] == "" || got["80/b"] == "" {
		t.Errorf("initial_resource_versions are %v", got)
	}
	cp.set(vh, "80/a", says("80/a", "a2", "a"))
	p.becomes("a", "a2")
	if got := p.get("b"); got != "b" {
		t.Errorf("b says %q", got)
	}
}
