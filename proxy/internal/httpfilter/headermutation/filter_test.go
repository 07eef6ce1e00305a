package headermutation_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const typ = "'@type': type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"

func perRoute(body string) string {
	return "typed_per_filter_config: {m: {" + typ + "PerRoute, mutations: {" + body + "}}}"
}

// own picks the lines of an echoed request that a test is about.
func own(r proxytest.Response) string {
	return strings.Join(regexp.MustCompile(`(?m)^x-[a-z]: .*$`).FindAllString(r.Text, -1), " ")
}

func TestRequest(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo),
		Filters: "- name: m\n  typed_config:\n    " + typ + `
    mutations:
      request_mutations:
      - {append: {header: {key: x-a, value: "%REQ(x-in)%"}, append_action: APPEND_IF_EXISTS_OR_ADD}}
      - {append: {header: {key: x-b, value: new}, append_action: OVERWRITE_IF_EXISTS}}
      - {append: {header: {key: x-c, value: new}, append_action: ADD_IF_ABSENT}}
      - {remove: x-d}
      - {append: {header: {key: x-d, value: after}}}
      - {remove_on_match: {key_matcher: {prefix: x-gone-}}}
      query_parameter_mutations:
      - {remove: r}
      - {append: {record: {key: nn, value: "a b%REQ(x-in)%"}, action: ADD_IF_ABSENT}}
      - {append: {record: {key: o, value: v}, action: OVERWRITE_IF_EXISTS}}`,
	})
	for _, test := range []struct {
		path    string
		headers []string
		line    string
		want    string
	}{
		{"/p", []string{"x-in", "1"}, "GET /p?nn=a%20b1", "x-a: 1 x-c: new x-d: after"},
		{"/p?r=1&q=2&r", []string{"x-a", "0", "x-b", "0", "x-c", "0", "x-d", "0", "x-gone-1", "0"}, "GET /p?nn=a%20b&q=2", "x-a: 0 x-b: new x-c: 0 x-d: after"},
		{"/p?nn=x&o=y&o=z", nil, "GET /p?nn=x&o=v", "x-c: new x-d: after"},
	} {
		r := p.Get(test.path, test.headers...)
		if line, _, _ := strings.Cut(r.Text, "\n"); line != test.line || own(r) != test.want {
			t.Errorf("%s: %q with %q, want %q with %q", test.path, line, own(r), test.line, test.want)
		}
	}
}

// TestEncodedQuery: what the client has encoded stays encoded. Envoy writes it decoded, space and
// all.
func TestEncodedQuery(t *testing.T) {
	proxytest.Differs(t, "it writes the query decoded, space and all")
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo),
		Filters:  "- {name: m, typed_config: {" + typ + ", mutations: {query_parameter_mutations: [{append: {record: {key: z, value: 'a&b'}}}]}}}",
	})
	r := p.Get("/p?a%20b=c%2fd&e")
	if line, _, _ := strings.Cut(r.Text, "\n"); line != "GET /p?a%20b=c%2fd&e=&z=a%26b" {
		t.Errorf("%q", line)
	}
}

func TestLevelsAndResponse(t *testing.T) {
	set := func(v string) string {
		return "request_mutations: [{append: {header: {key: x-a, value: " + v + "}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}], response_mutations: [{append: {header: {key: x-" + v + ", value: '%RESPONSE_CODE%'}}}, {remove: x-up}]"
	}
	for _, wins := range []string{"false", "true"} {
		p := proxytest.Start(t, proxytest.Config{
			Upstream: proxytest.Server(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("x-up", "1")
				proxytest.Echo(w, r)
			}),
			Filters:     "- {name: m, typed_config: {" + typ + ", most_specific_header_mutations_wins: " + wins + ", mutations: {" + set("filter") + "}}}",
			RouteConfig: perRoute(set("table")), VirtualHost: perRoute(set("vhost")),
			Routes: "- {match: {prefix: /w}, route: {weighted_clusters: {clusters: [{name: up, weight: 1, " + perRoute(set("weighted")) + "}]}}, " + perRoute(set("route")) + "}\n" +
				"- {match: {prefix: /d}, direct_response: {status: 204}}\n- {match: {prefix: /}, route: {cluster: up}}",
		})
		want := map[string]string{"false": "x-a: table", "true": "x-a: weighted"}[wins]
		r := p.Get("/w")
		if own(r) != want {
			t.Errorf("most specific wins %s: %q", wins, own(r))
		}
		for _, level := range []string{"filter", "table", "vhost", "route", "weighted"} {
			if r.Header.Get("x-"+level) != "200" {
				t.Errorf("level %s: %v", level, r.Header)
			}
		}
		if r.Header.Get("x-up") != "" {
			t.Error("x-up was not removed")
		}
		if r = p.Get("/d"); r.Header.Get("x-filter") != "204" {
			t.Errorf("a local reply has %v", r.Header)
		}
	}
}
