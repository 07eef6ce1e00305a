package rbac_test

import (
	"slices"
	"strings"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/rbac"
	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const filterType = `"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC`

func filter(body string) string {
	return "- name: rbac\n  typed_config:\n    " + filterType + "\n" + indent(body, "    ")
}

// TestPolicyLabels: Prometheus has the name of a policy and the rules' prefix as labels, before the policy has decided anything.
func TestPolicyLabels(t *testing.T) {
	policy := func(name string) string {
		return `"` + name + `": {permissions: [{any: true}], principals: [{any: true}]}`
	}
	s := stats.NewStore(stats.Options{Workers: 1})
	for _, body := range []string{
		"track_per_rule_stats: true\nrules: {action: DENY, policies: {" + policy("ns[a]-policy[b.c]-rule[0]") + "}}\n" +
			"shadow_rules_stat_prefix: istio_dry_run_deny_\nshadow_rules: {action: DENY, policies: {" + policy("ns[a]-policy[d]-rule[1]") + "}}",
		"track_per_rule_stats: true\nrules_stat_prefix: p.\nrules: {action: ALLOW, policies: {" + policy("e") + "}}",
		"rules: {action: ALLOW, policies: {" + policy("not tracked") + "}}",
	} {
		js, err := yaml.YAMLToJSON([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		m := &rbacv3.RBAC{}
		if err := protojson.Unmarshal(js, m); err != nil {
			t.Fatal(err)
		}
		a, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := rbac.ParseConfig(nil, a)
		if err != nil {
			t.Fatal(err)
		}
		rbac.New(cfg, s.Scope("http").Tagged(stats.TagHTTPPrefix, "inbound_0.0.0.0_80;"), 1)
	}
	snap, err := s.Snapshot(t.Context(), stats.Query{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(snap.AppendPrometheus(nil))) {
		if strings.Contains(line, "_policy_") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		"# TYPE envoy_http_rbac_policy_allowed counter",
		`envoy_http_rbac_policy_allowed{envoy_rbac_policy_name="e",envoy_rbac_http_prefix="p",envoy_http_conn_manager_prefix="inbound_0.0.0.0_80;"} 0`,
		"# TYPE envoy_http_rbac_policy_denied counter",
		`envoy_http_rbac_policy_denied{envoy_rbac_policy_name="ns[a]-policy[b.c]-rule[0]",envoy_http_conn_manager_prefix="inbound_0.0.0.0_80;"} 0`,
		"# TYPE envoy_http_rbac_policy_shadow_denied counter",
		`envoy_http_rbac_policy_shadow_denied{envoy_rbac_policy_name="ns[a]-policy[d]-rule[1]",envoy_rbac_http_prefix="istio_dry_run_deny_",envoy_http_conn_manager_prefix="inbound_0.0.0.0_80;"} 0`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func indent(s, by string) string {
	return by + strings.ReplaceAll(strings.Trim(s, "\n"), "\n", "\n"+by) + "\n"
}

// TestRules asks each kind of permission and principal about a request that it takes and one that
// it does not.
func TestRules(t *testing.T) {
	up := proxytest.Server(t, proxytest.Echo)
	for name, test := range map[string]struct {
		permission, principal string
		yes, no               []string // path, then headers
	}{
		"path":         {"{url_path: {path: {exact: /a}}}", "", []string{"/a?x=1"}, []string{"/a/b"}},
		"path prefix":  {"{url_path: {path: {prefix: /a, ignore_case: true}}}", "", []string{"/Abc"}, []string{"/b"}},
		"path regex":   {"{url_path: {path: {safe_regex: {regex: '/[0-9]+'}}}}", "", []string{"/12"}, []string{"/12a"}},
		"fragment":     {"{not_rule: {url_path: {path: {suffix: secret}}}}", "", []string{"/open"}, []string{"/secret?a"}},
		"header":       {"{header: {name: x-a, string_match: {contains: b}}}", "", []string{"/", "x-a", "abc"}, []string{"/", "x-a", "c"}},
		"header twice": {"{header: {name: x-a, string_match: {exact: b}}}", "", []string{"/", "x-a", "a", "x-a", "b"}, []string{"/", "x-a", "a,b"}},
		"not twice":    {"{header: {name: x-a, string_match: {exact: b}, invert_match: true}}", "", []string{"/", "x-a", "a", "x-a", "c"}, []string{"/", "x-a", "a", "x-a", "b"}},
		"missing":      {"{header: {name: x-a, present_match: true, invert_match: true}}", "", []string{"/"}, []string{"/", "x-a", "1"}},
		"method":       {"{header: {name: ':method', string_match: {exact: GET}}}", "", []string{"/"}, nil},
		"and":          {"{and_rules: {rules: [{url_path: {path: {prefix: /a}}}, {header: {name: x-a, present_match: true}}]}}", "", []string{"/a", "x-a", "1"}, []string{"/a"}},
		"or":           {"{or_rules: {rules: [{url_path: {path: {prefix: /a}}}, {header: {name: x-a, present_match: true}}]}}", "", []string{"/b", "x-a", "1"}, []string{"/b"}},
		"destination":  {"{destination_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}", "", []string{"/"}, nil},
		"elsewhere":    {"{destination_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}", "", nil, []string{"/"}},
		"port":         {"{destination_port: 1}", "", nil, []string{"/"}},
		"port range":   {"{destination_port_range: {start: 1024, end: 65536}}", "", []string{"/"}, nil},
		"below range":  {"{destination_port_range: {start: 1, end: 1024}}", "", nil, []string{"/"}},
		"server name":  {"{requested_server_name: {exact: a}}", "", nil, []string{"/"}},
		"no SNI":       {"{requested_server_name: {exact: ''}}", "", []string{"/"}, nil},
		"metadata":     {"{metadata: {filter: f, path: [{key: k}], value: {string_match: {exact: v}}}}", "", nil, []string{"/"}},
		"no metadata":  {"{metadata: {filter: f, path: [{key: k}], value: {present_match: true}, invert: true}}", "", []string{"/"}, nil},
		"route metadata": {"{sourced_metadata: {metadata_source: ROUTE, metadata_matcher: {filter: f, path: [{key: k}], value: {list_match: {one_of: {double_match: {range: {start: 1, end: 3}}}}}}}}",
			"", []string{"/list"}, []string{"/"}},
		"route metadata or": {"{sourced_metadata: {metadata_source: ROUTE, metadata_matcher: {filter: f, path: [{key: b}], value: {or_match: {value_matchers: [{null_match: {}}, {bool_match: true}]}}}}}",
			"", []string{"/list"}, []string{"/"}},
		"source":           {"", "{source_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}", []string{"/", "x-forwarded-for", "9.9.9.9"}, nil},
		"direct remote":    {"", "{direct_remote_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}", []string{"/", "x-forwarded-for", "9.9.9.9"}, nil},
		"remote":           {"", "{remote_ip: {address_prefix: 9.0.0.0, prefix_len: 8}}", []string{"/", "x-forwarded-for", "9.9.9.9"}, []string{"/"}},
		"authenticated":    {"", "{authenticated: {}}", nil, []string{"/"}},
		"any ids":          {"", "{or_ids: {ids: [{authenticated: {}}, {header: {name: x-a, present_match: true}}]}}", []string{"/", "x-a", "1"}, []string{"/"}},
		"all ids":          {"", "{and_ids: {ids: [{any: true}, {not_id: {header: {name: x-a, present_match: true}}}]}}", []string{"/"}, []string{"/", "x-a", "1"}},
		"path of ids":      {"", "{url_path: {path: {exact: /a}}}", []string{"/a"}, []string{"/b"}},
		"no filter state":  {"", "{filter_state: {key: k, string_match: {contains: a}}}", nil, []string{"/"}},
		"metadata of ids":  {"", "{metadata: {filter: f, path: [{key: k}], value: {present_match: true}}}", nil, []string{"/"}},
		"sourced metadata": {"", "{sourced_metadata: {metadata_matcher: {filter: f, path: [{key: k}], value: {present_match: true}}}}", nil, []string{"/"}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.permission == "" {
				test.permission = "{any: true}"
			}
			if test.principal == "" {
				test.principal = "{any: true}"
			}
			p := proxytest.Start(t, proxytest.Config{
				Upstream: up,
				Filters:  filter("rules: {policies: {p: {permissions: [" + test.permission + "], principals: [" + test.principal + "]}}}"),
				Routes: "- {match: {path: /list}, route: {cluster: up}, metadata: {filter_metadata: {f: {k: [7, 2], b: true}}}}\n" +
					"- {match: {prefix: /}, route: {cluster: up}, metadata: {filter_metadata: {f: {k: [7], b: false}}}}",
			})
			if test.yes != nil {
				if r := p.Get(test.yes[0], test.yes[1:]...); r.StatusCode != 200 {
					t.Errorf("%q: %d %q", test.yes, r.StatusCode, r.Text)
				}
			}
			if test.no != nil {
				if r := p.Get(test.no[0], test.no[1:]...); r.StatusCode != 403 || r.Text != "RBAC: access denied" {
					t.Errorf("%q: %d %q", test.no, r.StatusCode, r.Text)
				}
			}
		})
	}
}

// TestShadowAndRoutes: actions, shadow rules, statistics, metadata and the levels of routes.
func TestShadowAndRoutes(t *testing.T) {
	perRoute := func(body string) string {
		return "typed_per_filter_config: {rbac: {'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute" + body + "}}"
	}
	all := "permissions: [{any: true}], principals: [{any: true}]"
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo),
		Filters: filter(`
rules:
  action: DENY
  policies:
    b-bad: {permissions: [{header: {name: x-bad, present_match: true}}], principals: [{any: true}]}
    a-worse: {permissions: [{header: {name: x-worse, present_match: true}}], principals: [{any: true}]}
shadow_rules:
  policies:
    shadow: {permissions: [{header: {name: x-shadow, present_match: true}}], principals: [{any: true}]}
rules_stat_prefix: e_
shadow_rules_stat_prefix: s_
track_per_rule_stats: true
`),
		VirtualHost: perRoute(", rbac: {rules: {action: ALLOW, policies: {vhost: {" + strings.ReplaceAll(all, "any: true}], principals", "header: {name: x-v, present_match: true}}], principals") + "}}}}"),
		Routes: "- {match: {path: /filter}, route: {cluster: up}, " + perRoute(", rbac: {rules: {action: DENY, policies: {r: {"+all+"}}}}") + "}\n" +
			"- {match: {path: /open}, route: {cluster: up}, " + perRoute("") + "}\n" +
			"- {match: {path: /log}, route: {cluster: up}, " + perRoute(", rbac: {rules: {action: LOG, policies: {r: {permissions: [{header: {name: x-log, present_match: true}}], principals: [{any: true}]}}}}") + "}\n" +
			"- {match: {path: /off}, route: {cluster: up}, typed_per_filter_config: {rbac: {'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}}\n" +
			"- {match: {path: /weighted}, route: {weighted_clusters: {clusters: [{name: up, weight: 1, " + perRoute("") + "}]}}}\n" +
			"- {match: {prefix: /}, route: {cluster: up}}",
		Log: "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %DYNAMIC_METADATA(envoy.filters.http.rbac:e_enforced_effective_policy_id)% %DYNAMIC_METADATA(envoy.filters.http.rbac:e_enforced_engine_result)% %DYNAMIC_METADATA(envoy.common:access_log_hint)%",
	})
	want := func(code int, path string, headers ...string) {
		t.Helper()
		if r := p.Get(path, headers...); r.StatusCode != code {
			t.Errorf("%s %q: %d %q, want %d", path, headers, r.StatusCode, r.Text, code)
		}
	}
	want(403, "/")
	want(200, "/", "x-v", "1")
	want(403, "/filter", "x-v", "1")
	want(200, "/open")
	want(200, "/log", "x-log", "1")
	want(200, "/log")
	want(200, "/off")
	want(200, "/weighted")
	for i, want := range []string{
		"403 rbac_access_denied_matched_policy[none] - none denied -",
		"200 via_upstream - vhost allowed -",
		"403 rbac_access_denied_matched_policy[r] - r denied -",
		"200 via_upstream - - - -",
		"200 via_upstream - r allowed true",
		"200 via_upstream - - allowed false",
		"200 via_upstream - - - -",
		"200 via_upstream - - - -",
	} {
		if got := p.Log(8)[i]; got != strings.Replace(want, "none denied", "- denied", 1) {
			t.Errorf("log line %d: %q, want %q", i, got, want)
		}
	}
	p.WantStats(map[string]int64{
		"http.t.rbac.e_.allowed": 3, "http.t.rbac.e_.denied": 2, "http.t.rbac.s_.shadow_denied": 0,
	})
}

// TestFilterLevel: the filter's own rules with everything on.
func TestFilterLevel(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo),
		Filters: filter(`
rules:
  action: DENY
  policies:
    b-bad: {permissions: [{header: {name: x-bad, present_match: true}}], principals: [{any: true}]}
    "a worse": {permissions: [{header: {name: x-worse, present_match: true}}], principals: [{any: true}]}
shadow_rules:
  policies:
    shadow: {permissions: [{header: {name: x-shadow, present_match: true}}], principals: [{any: true}]}
rules_stat_prefix: e_
shadow_rules_stat_prefix: s_
track_per_rule_stats: true
`),
		Log: "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %DYNAMIC_METADATA(envoy.filters.http.rbac)%",
	})
	p.Get("/")
	p.Get("/", "x-shadow", "1")
	p.Get("/", "x-bad", "1", "x-worse", "1")
	p.Get("/", "x-bad", "1")
	r := p.Do("POST", "/", []string{"x-bad", "1", "content-type", "application/grpc"}, "x")
	if r.StatusCode != 200 || r.Header.Get("Grpc-Status") != "7" || r.Header.Get("Grpc-Message") != "RBAC: access denied" {
		t.Errorf("gRPC: %d %v", r.StatusCode, r.Header)
	}
	for i, want := range []string{
		`200 via_upstream - {"e_enforced_engine_result":"allowed","s_shadow_engine_result":"denied"}`,
		`200 via_upstream - {"e_enforced_engine_result":"allowed","s_shadow_effective_policy_id":"shadow","s_shadow_engine_result":"allowed"}`,
		`403 rbac_access_denied_matched_policy[a_worse] - {"e_enforced_effective_policy_id":"a worse","e_enforced_engine_result":"denied","s_shadow_engine_result":"denied"}`,
		`403 rbac_access_denied_matched_policy[b-bad] - {"e_enforced_effective_policy_id":"b-bad","e_enforced_engine_result":"denied","s_shadow_engine_result":"denied"}`,
		`200 rbac_access_denied_matched_policy[b-bad] - {"e_enforced_effective_policy_id":"b-bad","e_enforced_engine_result":"denied","s_shadow_engine_result":"denied"}`,
	} {
		if got := p.Log(5)[i]; got != want {
			t.Errorf("log line %d: %q, want %q", i, got, want)
		}
	}
	p.WantStats(map[string]int64{
		"http.t.rbac.e_.allowed": 2, "http.t.rbac.e_.denied": 3, "http.t.rbac.s_.shadow_allowed": 1, "http.t.rbac.s_.shadow_denied": 4,
		"http.t.rbac.e_.policy.b-bad.denied": 2, "http.t.rbac.e_.policy.a worse.denied": 1, "http.t.rbac.s_.policy.shadow.shadow_allowed": 1,
	})
}
