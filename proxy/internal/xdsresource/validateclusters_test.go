package xdsresource

import (
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

func onlyA(name string) bool { return name == "a" }

func lines(problems []Problem) string {
	return strings.Join((&Error{Problems: problems}).Lines(), "\n")
}

// TestUnknownClusters: every cluster that a route names is held against those that are there.
func TestUnknownClusters(t *testing.T) {
	const unset = ""
	for _, tt := range []struct {
		validate string
		route    string
		def      bool
		want     string // "": none
	}{
		{unset, `route: {cluster: a}`, true, ""},
		{unset, `route: {cluster: b}`, true, `virtual_hosts[0].routes[0].route.cluster: unknown cluster "b"; add it, or set validate_clusters: false`},
		{unset, `route: {cluster: b}`, false, ""},
		{"validate_clusters: true", `route: {cluster: b}`, false, `virtual_hosts[0].routes[0].route.cluster: unknown cluster "b"`},
		{"validate_clusters: false", `route: {cluster: b}`, true, ""},
		{unset, `route: {cluster: a, request_mirror_policies: [{cluster: a}, {cluster: m}]}`, true, `virtual_hosts[0].routes[0].route.request_mirror_policies[1].cluster: unknown cluster "m"`},
		{unset, `route: {weighted_clusters: {clusters: [{name: a, weight: 1}, {name: c, weight: 1}]}}`, true, `virtual_hosts[0].routes[0].route.weighted_clusters.clusters[1].name: unknown cluster "c"`},
		{unset, `route: {cluster_header: x-cluster}`, true, ""},
		{unset, `redirect: {host_redirect: b}`, true, ""},
		{"request_mirror_policies: [{cluster: m}]", `direct_response: {status: 200}`, true, `request_mirror_policies[0].cluster: unknown cluster "m"`},
	} {
		text := `{name: r, ` + tt.validate + `, virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, ` + tt.route + `}]}]}`
		v, err := decode(t, &routev3.RouteConfiguration{}, strings.ReplaceAll(text, "r, ,", "r,"))
		if err != nil {
			t.Fatal(err)
		}
		got := lines(v.(*RouteConfig).UnknownClusters(onlyA, tt.def))
		if (got == "") != (tt.want == "") || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s %s: %q, want %q", tt.validate, tt.route, got, tt.want)
		}
	}
}

func TestUnknownClustersOfListeners(t *testing.T) {
	const hcm = `filters: [{name: h, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: h, http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}], `
	const routes = `virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: b}}]}]`
	v, err := decode(t, &listenerv3.Listener{}, `{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}},
		filter_chains: [{filter_chain_match: {destination_port: 1}, `+hcm+`route_config: {name: r, `+routes+`}}}]}],
		default_filter_chain: {`+hcm+`scoped_routes: {name: s, scope_key_builder: {fragments: [{header_value_extractor: {name: x, index: 0}}]}, scoped_route_configurations_list: {scoped_route_configurations: [
			{name: one, key: {fragments: [{string_key: a}]}, route_configuration: {name: r, `+routes+`}},
			{name: two, key: {fragments: [{string_key: b}]}, route_configuration: {name: r, validate_clusters: false, `+routes+`}}]}}}}]}}`)
	if err != nil {
		t.Fatal(err)
	}
	const why = `virtual_hosts[0].routes[0].route.cluster: unknown cluster "b"; add it, or set validate_clusters: false`
	want := "filter_chains[0].filters[0].typed_config.route_config." + why + "\n" +
		"default_filter_chain.filters[0].typed_config.scoped_routes.scoped_route_configurations_list.scoped_route_configurations[0].route_configuration." + why
	if got := lines(v.(*Listener).UnknownClusters(onlyA)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
