package healthcheck_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func filter(more string) string {
	return "- {name: h, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck, headers: [{name: ':path', string_match: {exact: /healthz}}], " + more + "}}"
}

const logFormat = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%"

func TestOwnAnswers(t *testing.T) {
	for name, test := range map[string]struct{ more, log string }{
		"plain":         {"pass_through_mode: false", "200 health_check_ok -"},
		"healthy":       {"pass_through_mode: false, cluster_min_healthy_percentages: {up: {value: 100}}", "200 health_check_ok_cluster_healthy -"},
		"no cluster":    {"pass_through_mode: false, cluster_min_healthy_percentages: {none: {value: 1}}", "503 health_check_failed_no_cluster_found LH"},
		"empty":         {"pass_through_mode: false, cluster_min_healthy_percentages: {empty: {value: 1}}", "503 health_check_failed_cluster_empty LH"},
		"unhealthy":     {"pass_through_mode: false, cluster_min_healthy_percentages: {sick: {value: 1}}", "503 health_check_failed_cluster_unhealthy LH"},
		"empty is fine": {"pass_through_mode: false, cluster_min_healthy_percentages: {empty: {value: 0}}", "200 health_check_ok_cluster_healthy -"},
	} {
		p := proxytest.Start(t, proxytest.Config{
			Filters: filter(test.more), Log: logFormat, Upstream: proxytest.Server(t, proxytest.Echo),
			Clusters: "- {name: empty, connect_timeout: 1s, load_assignment: {cluster_name: empty}}\n" +
				"- {name: sick, connect_timeout: 1s, load_assignment: {cluster_name: sick, endpoints: [{lb_endpoints: [{health_status: UNHEALTHY, endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]}}",
		})
		r := p.Get("/healthz")
		if got := p.Log(1)[0]; got != test.log {
			t.Errorf("%s: %s, want %s", name, got, test.log)
		}
		if r.Header.Get("x-envoy-upstream-healthchecked-cluster") != "test" || r.Text != "" {
			t.Errorf("%s: %v %q", name, r.Header, r.Text)
		}
		if r = p.Do("POST", "/healthz", nil, "some", "body"); (r.StatusCode == 200) != strings.HasPrefix(test.log, "200") {
			t.Errorf("%s with a body: %d", name, r.StatusCode)
		}
		if r = p.Get("/other"); !strings.HasPrefix(r.Text, "GET /other") || r.Header.Get("x-envoy-immediate-health-check-fail") != "" {
			t.Errorf("%s: another request: %v %q", name, r.Header, r.Text)
		}
	}
}

// TestFailing: an operator's word goes before everything.
func TestFailing(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{Filters: filter("pass_through_mode: false"), Log: logFormat, Upstream: proxytest.Server(t, proxytest.Echo)})
	resp, err := http.Post("http://"+p.Admin+"/healthcheck/fail", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	p.Get("/healthz")
	if got := p.Log(1)[0]; got != "503 health_check_failed LH" {
		t.Error(got)
	}
	if r := p.Get("/other"); r.StatusCode != 200 || r.Header.Get("x-envoy-immediate-health-check-fail") != "true" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
}

// TestPassThrough: the server is asked once in a while.
func TestPassThrough(t *testing.T) {
	var asked atomic.Int64
	up := proxytest.Server(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.WriteHeader(503)
	})
	for _, test := range []struct {
		more  string
		asked int64
		log   string
	}{
		{"pass_through_mode: true", 3, "503 via_upstream -"},
		{"pass_through_mode: true, cache_time: 600s", 1, "503 health_check_cached LH"},
	} {
		asked.Store(0)
		p := proxytest.Start(t, proxytest.Config{Filters: filter(test.more), Log: logFormat, Upstream: up})
		for range 3 {
			p.Get("/healthz")
		}
		if got := p.Log(3)[2]; asked.Load() != test.asked || got != test.log {
			t.Errorf("%s: asked %d times, %s; want %d, %s", test.more, asked.Load(), got, test.asked, test.log)
		}
	}
}

func TestRefused(t *testing.T) {
	for more, want := range map[string]string{
		"pass_through_mode: false, cache_time: 1s":                                   "cache_time",
		"pass_through_mode: true, cluster_min_healthy_percentages: {up: {value: 1}}": "cluster_min_healthy_percentages",
	} {
		if err := proxytest.Check(proxytest.Config{Filters: filter(more)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", more, err)
		}
	}
}
