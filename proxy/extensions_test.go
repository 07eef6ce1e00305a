package proxy

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// discovering is vhdsBootstrap with inline routes and a filter "ext" whose configuration comes from a source.
func discovering(cp string, source, more string) string {
	boot := strings.Replace(vhdsBootstrap(&ads{addr: cp}, ""), `rds: {route_config_name: "80", config_source: {ads: {}}}`,
		`route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]}`, 1)
	return strings.Replace(boot, "          http_filters:\n", fmt.Sprintf(`          http_filters:
          - name: ext
            config_discovery:
              config_source: %s
              type_urls: [type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation]
              %s
`, source, more), 1)
}

// adds is the configuration of a filter that adds a header to responses.
func adds(t *testing.T, value string) *corev3.TypedExtensionConfig {
	raw, err := anypb.New(&headermutationv3.HeaderMutation{Mutations: &headermutationv3.Mutations{ResponseMutations: []*mutationv3.HeaderMutation{{
		Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: "x-ext", Value: value}}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	return &corev3.TypedExtensionConfig{Name: "ext", TypedConfig: raw}
}

// ext is the header that the filter adds, or the status where there is none.
func (r *running) ext() string {
	r.t.Helper()
	code, h, _ := do(r.t, "GET", "http://"+r.ListenerAddrs()["main"])
	if v := h.Get("x-ext"); v != "" {
		return v
	}
	return fmt.Sprint(code)
}

// TestFilterDiscovery: over ADS of both variants, and over a service of its own, a listener waits for a filter's configuration, follows it,
// and keeps the last good one.
func TestFilterDiscovery(t *testing.T) {
	t.Run("delta", func(t *testing.T) {
		cp := startADS(t)
		cp.acks()
		cp.set(xdsresource.TypeExtension, "ext", adds(t, "one"))
		p := run(t, discovering(cp.addr, "{ads: {}}", ""))
		if got := p.ext(); got != "one" {
			t.Fatalf("%s with the first request, want one", got)
		}
		cp.set(xdsresource.TypeExtension, "ext", adds(t, "two"))
		eventually(t, "the second configuration", func() bool { return p.ext() == "two" })
		cp.remove(xdsresource.TypeExtension, "ext")
		eventually(t, "none", func() bool { return p.ext() == "500" })
		cp.set(xdsresource.TypeExtension, "ext", adds(t, "three"))
		eventually(t, "the third configuration", func() bool { return p.ext() == "three" })
	})
	t.Run("state of the world", func(t *testing.T) {
		cp := startWorld(t)
		cp.set(xdsresource.TypeCluster, map[string]proto.Message{})
		cp.set(xdsresource.TypeExtension, map[string]proto.Message{"ext": adds(t, "one")})
		p := run(t, strings.Replace(discovering(cp.addr, "{ads: {}}", ""), "DELTA_GRPC", "GRPC", 1))
		if got := p.ext(); got != "one" {
			t.Fatalf("%s with the first request, want one", got)
		}
		bad := adds(t, "bad")
		bad.TypedConfig.TypeUrl = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
		cp.set(xdsresource.TypeExtension, map[string]proto.Message{"ext": bad})
		eventually(t, "the refusal", func() bool {
			return strings.Contains(cp.refusal(xdsresource.TypeExtension), "the router cannot come by discovery")
		})
		if got := p.ext(); got != "one" {
			t.Errorf("%s after a refusal, want one", got)
		}
		_, dump := p.admin("GET", "/config_dump")
		for _, want := range []string{"envoy.admin.v3.EcdsConfigDump", `"name": "ext"`, "error_state", "the router cannot come by discovery"} {
			if !strings.Contains(normalise(dump), want) {
				t.Errorf("no %s in the dump:\n%s", want, dump)
			}
		}
		if _, all := p.admin("GET", "/stats?filter=extension_config_discovery.http_filter.ext"); !strings.Contains(all, "config_fail: 1") || !strings.Contains(all, "config_reload: 1") {
			t.Errorf("statistics:\n%s", all)
		}
		cp.set(xdsresource.TypeExtension, map[string]proto.Message{"ext": adds(t, "two")})
		eventually(t, "the second configuration", func() bool { return p.ext() == "two" })
	})
}

// TestFilterDiscoveryByFile: a file is followed; without a configuration the default stands in, and requests are refused where there is none.
func TestFilterDiscoveryByFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ext.yaml")
	write := func(resources string) {
		t.Helper()
		next := path + ".next"
		if err := os.WriteFile(next, []byte("version_info: v\nresources: ["+resources+"]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
	}
	config := func(value string) string {
		return `{"@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig, name: ext, typed_config: ` + headerMutation(value) + `}`
	}
	for _, tt := range []struct{ name, more, without string }{
		{"no default", "", "500"},
		{"default after the wait", "default_config: " + headerMutation("default"), "default"},
		{"default at once", "default_config: " + headerMutation("default") + "\n              apply_default_config_without_warming: true", "default"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write("")
			p := run(t, discovering(startADS(t).addr, "{path_config_source: {path: "+path+"}}", tt.more))
			if got := p.ext(); got != tt.without {
				t.Errorf("%s without a configuration, want %s", got, tt.without)
			}
			write(config("one"))
			eventually(t, "the configuration", func() bool { return p.ext() == "one" })
			write(config("two"))
			eventually(t, "the next one", func() bool { return p.ext() == "two" })
		})
	}
}

func headerMutation(value string) string {
	return `{"@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation, mutations: {response_mutations: [{append: {header: {key: x-ext, value: ` + value + `}}}]}}`
}

// TestFilterDiscoveryTime: a listener waits as long as initial_fetch_timeout says.
func TestFilterDiscoveryTime(t *testing.T) {
	cp := startADS(t)
	p := run(t, discovering(cp.addr, "{ads: {}, initial_fetch_timeout: 0.1s}", ""))
	if got := p.ext(); got != "500" {
		t.Errorf("%s without a configuration, want 500", got)
	}
	if _, all := p.admin("GET", "/stats?filter=extension_config_discovery"); !strings.Contains(all, "extension_config_discovery.http_filter.ext.init_fetch_timeout: 1") {
		t.Errorf("statistics:\n%s", all)
	}
}

// TestFilterDiscoveryEnds: a listener that changes keeps the configuration, and the subscription ends with the last listener that needs it.
func TestFilterDiscoveryEnds(t *testing.T) {
	cp := startADS(t)
	cp.acks()
	front := freeAddr(t)
	cp.set(xdsresource.TypeExtension, "ext", adds(t, "one"))
	cp.set(xdsresource.TypeRoute, "r", &routev3.RouteConfiguration{Name: "r", VirtualHosts: []*routev3.VirtualHost{says("all", "hello", "*")}})
	listen := func(idle time.Duration) {
		l := httpListener(t, front, "r", idle)
		filter := l.GetFilterChains()[0].GetFilters()[0]
		var m hcmv3.HttpConnectionManager
		if err := filter.GetTypedConfig().UnmarshalTo(&m); err != nil {
			t.Fatal(err)
		}
		m.HttpFilters = append([]*hcmv3.HttpFilter{{Name: "ext", ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{ConfigDiscovery: &corev3.ExtensionConfigSource{
			ConfigSource: overADS, TypeUrls: []string{adds(t, "").GetTypedConfig().GetTypeUrl()},
		}}}}, m.GetHttpFilters()...)
		raw, err := anypb.New(&m)
		if err != nil {
			t.Fatal(err)
		}
		filter.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: raw}
		cp.set(xdsresource.TypeListener, "http", l)
	}
	listen(time.Hour)
	host, port, _ := net.SplitHostPort(cp.addr)
	p := run(t, fmt.Sprintf(`
node: {id: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
dynamic_resources:
  lds_config: {ads: {}}
  ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
static_resources:
  clusters:
  - name: xds
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}
`, host, port))
	header := func() string {
		_, h, _ := do(t, "GET", "http://"+front)
		return h.Get("x-ext")
	}
	if got := header(); got != "one" {
		t.Fatalf("%q at first, want one", got)
	}
	listen(2 * time.Hour)
	eventually(t, "the changed listener", func() bool {
		_, dump := p.admin("GET", "/config_dump?resource=dynamic_listeners")
		return strings.Contains(dump, "7200s")
	})
	if got := header(); got != "one" {
		t.Errorf("%q after a change of the listener, want one", got)
	}
	cp.set(xdsresource.TypeExtension, "ext", adds(t, "two"))
	eventually(t, "the second configuration", func() bool { return header() == "two" })
	cp.remove(xdsresource.TypeListener, "http")
	eventually(t, "the subscription ends", func() bool { return cp.wants(xdsresource.TypeExtension) == "" })
	if _, all := p.admin("GET", "/stats?filter=extension_config_discovery"); strings.Contains(all, "ext") {
		t.Errorf("statistics stay:\n%s", all)
	}
}
