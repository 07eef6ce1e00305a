package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// scopeOf is a scope for requests whose x-shop is key.
func scopeOf(name, key, routes string, onDemand bool) *routev3.ScopedRouteConfiguration {
	return &routev3.ScopedRouteConfiguration{
		Name: name, RouteConfigurationName: routes, OnDemand: onDemand,
		Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{
			{Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: key}},
		}},
	}
}

// TestScopedRDS: scopes come from the control plane; their routes at once, or with the first request that needs them.
func TestScopedRDS(t *testing.T) {
	cp := startADS(t)
	cp.lazy = true
	routes := func(name, text string) *routev3.RouteConfiguration {
		return &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{says("all", text, "*")}}
	}
	cp.set(xdsresource.TypeScopedRoutes, "eager", scopeOf("eager", "a", "ra", false))
	cp.set(xdsresource.TypeScopedRoutes, "late", scopeOf("late", "b", "rb", true))
	cp.set(xdsresource.TypeRoute, "ra", routes("ra", "one"))
	cp.set(xdsresource.TypeRoute, "rb", routes("rb", "two"))
	p := run(t, strings.Replace(vhdsBootstrap(cp, ""), `rds: {route_config_name: "80", config_source: {ads: {}}}`, `scoped_routes:
            name: shops
            scope_key_builder: {fragments: [{header_value_extractor: {name: x-shop, index: 0}}]}
            rds_config_source: {ads: {}}
            scoped_rds: {scoped_rds_config_source: {ads: {}}}`, 1))
	url := "http://" + p.ListenerAddrs()["main"]
	get := func(shop string) string {
		t.Helper()
		code, _, body := do(t, "GET", url, "x-shop", shop)
		return fmt.Sprint(code, " ", body)
	}
	eventually(t, "the routes of the first scope", func() bool { return get("a") == "200 one" })
	if got := cp.wants(xdsresource.TypeRoute); got != "ra" {
		t.Errorf("%q is asked for before a request needs it", got)
	}
	if got := get("b"); got != "200 two" {
		t.Errorf("%s from the scope on demand, want 200 two", got)
	}
	if got := get("none"); got != "404 " {
		t.Errorf("%s without a scope, want 404", got)
	}

	// A scope leads elsewhere, another cannot be used, one goes.
	cp.set(xdsresource.TypeRoute, "rc", routes("rc", "three"))
	cp.set(xdsresource.TypeScopedRoutes, "eager", scopeOf("eager", "a", "rc", false))
	eventually(t, "the other routes", func() bool { return get("a") == "200 three" })
	eventually(t, "the old ones are given back", func() bool { return cp.wants(xdsresource.TypeRoute) == "rb rc" })
	cp.set(xdsresource.TypeScopedRoutes, "thief", scopeOf("thief", "b", "ra", false))
	eventually(t, "the refusal", func() bool {
		return strings.Contains(cp.answer(xdsresource.TypeScopedRoutes).GetErrorDetail().GetMessage(), `thief: key: is that of scope "late"`)
	})
	if got := get("b"); got != "200 two" {
		t.Errorf("%s after a refusal, want 200 two", got)
	}
	if _, all := p.admin("GET", "/stats?filter=scoped_rds"); !strings.Contains(all, "http.main.scoped_rds.shops.all_scopes: 2") || !strings.Contains(all, "http.main.scoped_rds.shops.on_demand_scopes: 1") {
		t.Errorf("statistics:\n%s", all)
	}
	// Two exchange their keys in one response.
	cp.setAll(xdsresource.TypeScopedRoutes, map[string]proto.Message{"eager": scopeOf("eager", "b", "rc", false), "late": scopeOf("late", "a", "rb", true)})
	eventually(t, "the exchange", func() bool { return get("a") == "200 two" && get("b") == "200 three" })
	cp.setAll(xdsresource.TypeScopedRoutes, map[string]proto.Message{"eager": scopeOf("eager", "a", "rc", false), "late": scopeOf("late", "b", "rb", true)})
	eventually(t, "the way back", func() bool { return get("a") == "200 three" && get("b") == "200 two" })

	// Routes on demand that are not there are asked for once, and come when they are.
	cp.set(xdsresource.TypeScopedRoutes, "nowhere", scopeOf("nowhere", "c", "rd", true))
	eventually(t, "the answer that there are none", func() bool { return get("c") == "404 " })
	began := time.Now()
	if got := get("c"); got != "404 " || time.Since(began) > 14*time.Second { // else it waits for 15 s, the default of initial_fetch_timeout
		t.Errorf("%s after %v where it is known that there are no routes", got, time.Since(began))
	}
	cp.set(xdsresource.TypeRoute, "rd", routes("rd", "four"))
	eventually(t, "routes that come late", func() bool { return get("c") == "200 four" })
	cp.remove(xdsresource.TypeScopedRoutes, "nowhere")
	cp.remove(xdsresource.TypeScopedRoutes, "late")
	eventually(t, "the scope is gone", func() bool { return get("b") == "404 " })
	eventually(t, "its routes are given back", func() bool { return cp.wants(xdsresource.TypeRoute) == "rc" })
}

// TestScopedRDSTime: a listener waits for scopes that do not come as long as initial_fetch_timeout says, and serves nobody then.
func TestScopedRDSTime(t *testing.T) {
	cp := startADS(t)
	cp.mute = xdsresource.TypeScopedRoutes
	p := run(t, strings.Replace(vhdsBootstrap(cp, ""), `rds: {route_config_name: "80", config_source: {ads: {}}}`, `scoped_routes:
            name: shops
            scope_key_builder: {fragments: [{header_value_extractor: {name: x-shop, index: 0}}]}
            rds_config_source: {ads: {}}
            scoped_rds: {scoped_rds_config_source: {ads: {}, initial_fetch_timeout: 0.1s}}`, 1))
	if code, _, _ := do(t, "GET", "http://"+p.ListenerAddrs()["main"], "x-shop", "a"); code != 404 {
		t.Errorf("%d without scopes, want 404", code)
	}
	if _, all := p.admin("GET", "/stats?filter=scoped_rds"); !strings.Contains(all, "http.main.scoped_rds.shops.init_fetch_timeout: 1") {
		t.Errorf("statistics:\n%s", all)
	}
}

// TestScopedRDSByStateOfTheWorld: what a response leaves out is gone, and one that is refused in part changes the rest. The dump shows
// what came and what was refused.
func TestScopedRDSByStateOfTheWorld(t *testing.T) {
	cp := startWorld(t)
	routes := func(name, text string) *routev3.RouteConfiguration {
		return &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{says("all", text, "*")}}
	}
	inline := func(name, key, text string) *routev3.ScopedRouteConfiguration {
		s := scopeOf(name, key, "", false)
		s.RouteConfiguration = routes(name, text)
		return s
	}
	cp.set(xdsresource.TypeCluster, map[string]proto.Message{})
	cp.set(xdsresource.TypeRoute, map[string]proto.Message{"ra": routes("ra", "one"), "rb": routes("rb", "two")})
	cp.set(xdsresource.TypeScopedRoutes, map[string]proto.Message{"eager": scopeOf("eager", "a", "ra", false), "late": scopeOf("late", "b", "rb", true), "own": inline("own", "c", "three")})
	boot := strings.Replace(vhdsBootstrap(&ads{addr: cp.addr}, ""), `rds: {route_config_name: "80", config_source: {ads: {}}}`, `scoped_routes:
            name: shops
            scope_key_builder: {fragments: [{header_value_extractor: {name: x-shop, index: 0}}]}
            rds_config_source: {ads: {}}
            scoped_rds: {scoped_rds_config_source: {ads: {}}}`, 1)
	p := run(t, strings.Replace(boot, "DELTA_GRPC", "GRPC", 1))
	url := "http://" + p.ListenerAddrs()["main"]
	get := func(shop string) string {
		t.Helper()
		code, _, body := do(t, "GET", url, "x-shop", shop)
		return fmt.Sprint(code, " ", body)
	}
	eventually(t, "the first scopes", func() bool { return get("a") == "200 one" && get("c") == "200 three" })
	if got := cp.wanted(xdsresource.TypeRoute); got != "ra" {
		t.Errorf("%q is asked for before a request needs it", got)
	}
	if got := get("b"); got != "200 two" {
		t.Errorf("%s from the scope on demand, want 200 two", got)
	}
	_, dump := p.admin("GET", "/config_dump?resource=dynamic_scoped_route_configs")
	dump = normalise(dump)
	for _, want := range []string{`"name": "shops"`, `"version_info": "3"`, `"name": "eager"`, `"name": "late"`, `"on_demand": true`, `"route_configuration_name": "ra"`, "last_updated"} {
		if !strings.Contains(dump, want) {
			t.Errorf("no %s in the dump:\n%s", want, dump)
		}
	}

	// One is gone, one has changed, one is refused: the others count.
	cp.set(xdsresource.TypeScopedRoutes, map[string]proto.Message{"late": scopeOf("late", "b", "rb", true), "own": inline("own", "c", "four"), "thief": scopeOf("thief", "b", "rb", false)})
	eventually(t, "the second response", func() bool { return get("a") == "404 " && get("b") == "200 two" && get("c") == "200 four" })
	eventually(t, "the refusal", func() bool {
		return strings.Contains(cp.refusal(xdsresource.TypeScopedRoutes), `thief: key: is that of scope "late"`)
	})
	if _, dump := p.admin("GET", "/config_dump?resource=dynamic_scoped_route_configs"); !strings.Contains(dump, "error_state") || !strings.Contains(dump, `is that of scope \"late\"`) || strings.Contains(dump, `"name": "eager"`) {
		t.Errorf("the dump after a refusal:\n%s", dump)
	}
	cp.set(xdsresource.TypeScopedRoutes, map[string]proto.Message{})
	eventually(t, "all scopes are gone", func() bool { return get("b") == "404 " && get("c") == "404 " })
}

// TestInlineScopesInDump: scopes of the configuration stand in the dump as well.
func TestInlineScopesInDump(t *testing.T) {
	cp := startADS(t)
	p := run(t, strings.Replace(vhdsBootstrap(cp, ""), `rds: {route_config_name: "80", config_source: {ads: {}}}`, `scoped_routes:
            name: shops
            scope_key_builder: {fragments: [{header_value_extractor: {name: x-shop, index: 0}}]}
            scoped_route_configurations_list: {scoped_route_configurations: [{name: one, key: {fragments: [{string_key: a}]}, route_configuration: {name: r, virtual_hosts: []}}]}`, 1))
	for path, want := range map[string][]string{
		"/config_dump": {"envoy.admin.v3.ScopedRoutesConfigDump", `"inline_scoped_route_configs"`, `"string_key": "a"`},
		"/config_dump?resource=inline_scoped_route_configs": {"ScopedRoutesConfigDump.InlineScopedRouteConfigs", `"name": "shops"`, `"name": "one"`, "last_updated"},
	} {
		_, dump := p.admin("GET", path)
		dump = normalise(dump)
		for _, w := range want {
			if !strings.Contains(dump, w) {
				t.Errorf("%s: no %s in\n%s", path, w, dump)
			}
		}
	}
}
