package localratelimit_test

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	head = "{'@type': type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: lr, "
	on   = "filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}, "
)

func bucket(n, perFill int) string {
	return fmt.Sprintf("token_bucket: {max_tokens: %d, tokens_per_fill: %d, fill_interval: 3600s}", n, perFill)
}

func filter(body string) string { return "- {name: lr, typed_config: " + head + body + "}}" }

const direct = "- {match: {prefix: /}, direct_response: {status: 200}}"

// codes sends requests, "path name=value..." each, and returns the statuses.
func codes(p *proxytest.Proxy, requests ...string) string {
	var out []string
	for _, r := range requests {
		f := strings.Fields(r)
		var headers []string
		for _, h := range f[1:] {
			k, v, _ := strings.Cut(h, "=")
			headers = append(headers, k, v)
		}
		out = append(out, fmt.Sprint(p.Get(f[0], headers...).StatusCode))
	}
	return strings.Join(out, " ")
}

func TestBucket(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{
		Routes:  direct,
		Filters: filter(on + bucket(2, 1) + ", enable_x_ratelimit_headers: DRAFT_VERSION_03, enable_retry_after_header: true, response_headers_to_add: [{header: {key: x-limited, value: '%REQ(:path)%'}}]"),
		Log:     "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%",
	})
	if got := codes(p, "/", "/", "/"); got != "200 200 429" {
		t.Error(got)
	}
	r := p.Get("/path")
	for name, want := range map[string]string{
		"x-limited": "/path", "x-ratelimit-limit": "2", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "3600", "retry-after": "3600", "content-type": "text/plain",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if r.Text != "local_rate_limited" {
		t.Errorf("body %q", r.Text)
	}
	if got := p.Log(4)[3]; got != "429 local_rate_limited RL" {
		t.Error(got)
	}
	p.WantStats(map[string]int64{
		"lr.http_local_rate_limit.enabled": 4, "lr.http_local_rate_limit.ok": 2, "lr.http_local_rate_limit.rate_limited": 2, "lr.http_local_rate_limit.enforced": 2,
	})
}

func TestDescriptors(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{
		Filters: filter(on + bucket(9, 9) + `, always_consume_default_token_bucket: false, max_dynamic_descriptors: 2, enable_x_ratelimit_headers: DRAFT_VERSION_03,
    descriptors: [{entries: [{key: k, value: one}], ` + bucket(1, 1) + `}, {entries: [{key: k, value: fast}], ` + bucket(50, 50) + `},
      {entries: [{key: k, value: shadow}], shadow_mode: true, ` + bucket(1, 1) + `}, {entries: [{key: d}], ` + bucket(1, 1) + `},
      {entries: [{key: remote_address, value: 127.0.0.1}, {key: query_match, value: here}], ` + bucket(1, 1) + `},
      {entries: [{key: generic_key, value: '%REQ(:method)%'}, {key: q, value: v v}], ` + bucket(1, 1) + `}]`),
		Routes: `- match: {prefix: /}
  route: {cluster: up, rate_limits: [{actions: [{request_headers: {header_name: x-k, descriptor_key: k}}]}, {stage: 1, actions: [{generic_key: {descriptor_value: one, descriptor_key: k}}]},
    {actions: [{request_headers: {header_name: x-d, descriptor_key: d}}]},
    {actions: [{remote_address: {}}, {query_parameter_value_match: {descriptor_value: here, query_parameters: [{name: m, present_match: true}]}}]},
    {actions: [{generic_key: {descriptor_value: '%REQ(:method)%'}}, {query_parameters: {query_parameter_name: p, descriptor_key: q}}]}]}`,
		Upstream: proxytest.Server(t, proxytest.Echo),
	})
	for _, test := range [][2]string{
		{"/ x-k=one|/ x-k=one|/ x-k=fast|/", "200 429 200 200"},
		{"/ x-k=shadow|/ x-k=shadow", "200 200"},
		{"/ x-d=1|/ x-d=1|/ x-d=2|/ x-d=2", "200 429 200 429"},
		{"/ x-d=3|/ x-d=3|/ x-d=1", "200 429 200"}, // the third value pushes the first one out
		{"/?m=1|/?m=1|/?m", "200 429 429"},
		{"/?p=v%20v|/?p=v%20v", "200 429"},
	} {
		if got := codes(p, strings.Split(test[0], "|")...); got != test[1] {
			t.Errorf("%s: %s, want %s", test[0], got, test[1])
		}
	}
	if r := p.Get("/", "x-k", "fast"); r.Header.Get("x-ratelimit-limit") != "50" {
		t.Errorf("headers tell of another bucket: %v", r.Header)
	}
	p.WantStats(map[string]int64{"lr.http_local_rate_limit.shadow_mode": 1})
}

// TestLevels: routes have limits and fractions of their own; a limit that is not enforced marks the
// request.
func TestLevels(t *testing.T) {
	perRoute := func(body string) string { return "typed_per_filter_config: {lr: " + head + body + "}}" }
	p := proxytest.Start(t, proxytest.Config{
		Filters: filter("filter_enabled: {default_value: {numerator: 100}}"),
		Routes: "- {match: {path: /own}, direct_response: {status: 200}, " + perRoute(on+bucket(1, 1)+", status: {code: ServiceUnavailable}, rate_limited_as_resource_exhausted: true") + "}\n" +
			"- {match: {path: /marked}, route: {cluster: up}, " + perRoute("filter_enabled: {default_value: {numerator: 100}}, "+bucket(1, 1)+", request_headers_to_add_when_not_enforced: [{header: {key: x-over, value: limit}}]") + "}\n" +
			"- {match: {path: /never}, direct_response: {status: 200}, " + perRoute(bucket(1, 1)) + "}\n" + direct,
		Upstream: proxytest.Server(t, proxytest.Echo),
	})
	for _, test := range [][2]string{{"/|/|/", "200 200 200"}, {"/own|/own", "200 503"}, {"/never|/never", "200 200"}, {"/marked", "200"}} {
		if got := codes(p, strings.Split(test[0], "|")...); got != test[1] {
			t.Errorf("%s: %s, want %s", test[0], got, test[1])
		}
	}
	if r := p.Get("/marked"); !strings.Contains(r.Text, "x-over: limit") {
		t.Errorf("not marked: %q", r.Text)
	}
	if r := p.Get("/own", "content-type", "application/grpc"); r.Header.Get("Grpc-Status") != "8" {
		t.Errorf("gRPC: %v", r.Header)
	}
}

func TestPerConnection(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{Routes: direct, Filters: filter(on + bucket(1, 1) + ", local_rate_limit_per_downstream_connection: true")})
	for range 2 {
		c := p.Dial()
		for _, want := range []int{200, 429} {
			if r := c.Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").Read("GET"); r.StatusCode != want {
				t.Errorf("%d, want %d", r.StatusCode, want)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for body, want := range map[string]string{
		on + "token_bucket: {max_tokens: 1, fill_interval: 0.01s}":                                                                       "at least 50ms",
		on + bucket(1, 1) + ", local_cluster_rate_limit: {}":                                                                             "local_cluster_rate_limit",
		on + bucket(1, 1) + ", descriptors: [{entries: [{key: a}], " + bucket(1, 1) + "}, {entries: [{key: a}], " + bucket(1, 1) + "}]":  "stands twice",
		on + bucket(1, 1) + ", rate_limits: [{actions: [{remote_address: {}}], limit: {rate_limit: {requests_per_unit: 1, unit: DAY}}}]": "rate_limits[0].limit",
		on + bucket(1, 1) + ", rate_limits: [{actions: [{remote_address: {}}], apply_on_stream_done: true}]":                             "apply_on_stream_done",
		on + bucket(1, 1) + ", rate_limits: [{actions: [{remote_address: {}}], hits_addend: {number: 1, is_negative_hits: true}}]":       "is_negative_hits",
		on + bucket(1, 1) + ", rate_limits: [{stage: 0, actions: [{remote_address: {}}]}]":                                               "rate_limits[0].stage",
		on + bucket(1, 1) + ", rate_limits: [{actions: [{extension: {name: x}}]}]":                                                       "extension",
	} {
		if err := proxytest.Check(proxytest.Config{Routes: direct, Filters: filter(body)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
}

// TestHits: a request may take several tokens, and its descriptor say whether headers tell of them.
func TestHits(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{
		Routes: direct,
		Filters: filter(on + bucket(100, 1) + ", descriptors: [{entries: [{key: c}], " + bucket(5, 1) + "}], rate_limits: [{actions: [{request_headers: {header_name: x-c, descriptor_key: c}}], " +
			"hits_addend: {format: '%REQ(x-hits)%'}, x_ratelimit_option: DRAFT_VERSION_03}]"),
	})
	if got, want := codes(p, "/ x-c=a x-hits=3", "/ x-c=a x-hits=3", "/ x-c=a x-hits=2", "/ x-c=d x-hits=0", "/ x-c=d x-hits=0", "/ x-c=d x-hits=5", "/ x-c=a x-hits=1", "/ x-c=b x-hits=6", "/ x-c=b x-hits=5"), "200 429 200 429 429 200 429 429 200"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if r := p.Get("/", "x-c", "c", "x-hits", "4"); r.Header.Get("x-ratelimit-limit") != "5" || r.Header.Get("x-ratelimit-remaining") != "1" {
		t.Errorf("%v", r.Header)
	}
	if r := p.Get("/"); r.Header.Get("x-ratelimit-limit") != "" {
		t.Errorf("headers tell of the default: %v", r.Header)
	}
}
