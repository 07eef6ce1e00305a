package xdsresource

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// readRoute decodes a route configuration whose only route has these fields, in YAML's flow form.
func readRoute(t *testing.T, fields string) (*Route, error) {
	t.Helper()
	v, err := decode(t, &routev3.RouteConfiguration{}, `{name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [{`+fields+`}]}]}`)
	if err != nil {
		return nil, err
	}
	return v.(*RouteConfig).VirtualHosts[0].Routes[0], nil
}

func TestRouteUpgrades(t *testing.T) {
	r, err := readRoute(t, `match: {prefix: /}, route: {cluster: c, upgrade_configs: [{upgrade_type: WebSocket}, {upgrade_type: CONNECT, enabled: false}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]bool{"websocket": true, "connect": false}; !reflect.DeepEqual(r.Forward.Upgrades, want) {
		t.Errorf("%v", r.Forward.Upgrades)
	}
	r, err = readRoute(t, `match: {prefix: /}, route: {cluster: c, upgrade_configs: [{upgrade_type: Connect, connect_config: {allow_post: true, proxy_protocol_config: {version: V2}}}]}`)
	if err != nil || *r.Forward.Terminate != (Terminate{Post: true, ProxyHeader: 2}) {
		t.Errorf("%v, %v", r, err)
	}
	for in, want := range map[string]string{
		`{}`:                                   "upgrade_type: is required",
		`{upgrade_type: a}, {upgrade_type: A}`: `upgrade_configs[1].upgrade_type: "A" stands twice`,
	} {
		if _, err := readRoute(t, `match: {prefix: /}, route: {cluster: c, upgrade_configs: [`+in+`]}`); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

func TestCookieMatchers(t *testing.T) {
	r, err := readRoute(t, `match: {prefix: /, cookies: [{name: s, string_match: {exact: A, ignore_case: true}}, {name: t, string_match: {safe_regex: {regex: "[0-9]"}}, invert_match: true}]}, route: {cluster: c}`)
	if err != nil {
		t.Fatal(err)
	}
	m := r.Match.Cookies
	if m[0] != (CookieMatcher{Name: "s", String: StringMatch{Value: "a", IgnoreCase: true}}) {
		t.Errorf("%+v", m[0])
	}
	if m[1].Name != "t" || !m[1].Invert || !m[1].String.Regex.MatchString("5") || m[1].String.Regex.MatchString("55") {
		t.Errorf("%+v", m[1])
	}
}

func TestFilterStateMatchers(t *testing.T) {
	r, err := readRoute(t, `match: {prefix: /, filter_state: [{key: a, string_match: {exact: x}}, {key: b, address_match: {ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}], invert_match: true}}]}, route: {cluster: c}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []FilterStateMatcher{{Key: "a", String: &StringMatch{Value: "x"}}, {Key: "b", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Invert: true}}
	if !reflect.DeepEqual(r.Match.FilterState, want) {
		t.Errorf("%+v", r.Match.FilterState)
	}
}

func TestRateLimitedBackOff(t *testing.T) {
	const route = `match: {prefix: /}, route: {cluster: c, retry_policy: {retry_on: 5xx, rate_limited_retry_back_off: `
	r, err := readRoute(t, route+`{reset_headers: [{name: Retry-After}, {name: X-Reset, format: UNIX_TIMESTAMP}]}}}`)
	if err != nil {
		t.Fatal(err)
	}
	p := r.Forward.Retry
	if want := []ResetHeader{{"retry-after", false}, {"x-reset", true}}; !reflect.DeepEqual(p.ResetHeaders, want) || p.ResetMax != 300*time.Second {
		t.Errorf("%+v, %v", p.ResetHeaders, p.ResetMax)
	}
	for _, bad := range []string{`{}`, `{reset_headers: [{name: ""}]}`, `{reset_headers: [{name: a}], max_interval: 0s}`} {
		if _, err := readRoute(t, route+bad+`}}`); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestHashPolicies(t *testing.T) {
	r, err := readRoute(t, `match: {prefix: /}, route: {cluster: c, hash_policy: [
		{cookie: {name: s, ttl: 5s, path: /p, attributes: [{name: Secure}, {name: SameSite, value: Lax}]}},
		{header: {header_name: X-User, regex_rewrite: {pattern: {regex: "a(b)"}, substitution: "\\1"}}, terminal: true}, {filter_state: {key: k}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	ttl := 5 * time.Second
	hash := r.Forward.Hash
	if want := (&HashCookie{Name: "s", TTL: &ttl, Path: "/p", Attributes: []HashCookieAttribute{{"Secure", ""}, {"SameSite", "Lax"}}}); !reflect.DeepEqual(hash[0].Cookie, want) {
		t.Errorf("cookie %+v", hash[0].Cookie)
	}
	if hash[2].State != "k" {
		t.Errorf("filter state %+v", hash[2])
	}
	if h := hash[1]; h.Header.Name != "x-user" || h.Rewrite.Regex.ReplaceAllString("xab", h.Rewrite.Substitution) != "xb" || !h.Terminal {
		t.Errorf("header %+v", h)
	}
}

func TestVirtualClusters(t *testing.T) {
	read := func(clusters string) ([]VirtualCluster, error) {
		v, err := decode(t, &routev3.RouteConfiguration{}, `{name: r, virtual_hosts: [{name: v, domains: ["*"], virtual_clusters: [`+clusters+`]}]}`)
		if err != nil {
			return nil, err
		}
		return v.(*RouteConfig).VirtualHosts[0].VirtualClusters, nil
	}
	got, err := read(`{name: carts, headers: [{name: ":path", string_match: {prefix: /cart}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []VirtualCluster{{Name: "carts", Headers: []HeaderMatcher{{Name: ":path", String: &StringMatch{Kind: StringPrefix, Value: "/cart"}}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	for in, want := range map[string]string{
		`{headers: [{name: a, present_match: true}]}`: "virtual_hosts[0].virtual_clusters[0].name: is required",
		`{name: a}`: "virtual_hosts[0].virtual_clusters[0].headers: is required",
	} {
		if _, err := read(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}
