package router_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// TestOverrideHosts: a cluster whose policy is override_host goes by the addresses that a request
// names, in order and one for each attempt, and by its own policy when they are used up.
func TestOverrideHosts(t *testing.T) {
	answers := func(status int) string {
		return proxytest.Server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	}
	good, bad, third := answers(200), answers(502), answers(503)
	endpoint := func(addr, status string) string {
		host, port, _ := strings.Cut(addr, ":")
		return "{health_status: " + status + ", endpoint: {address: {socket_address: {address: " + host + ", port_value: " + port + "}}}}"
	}
	policy := "load_balancing_policy: {policies: [{typed_extension_config: {name: o, typed_config: {'@type': type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost, " +
		"override_host_sources: [{header: X-To}, {metadata: {key: mine, path: [{key: a}, {key: b}]}}], selected_host_key: {key: chosen, path: [{key: at}, {key: host}]}, " +
		"fallback_policy: {policies: [{typed_extension_config: {name: r, typed_config: {'@type': type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin}}}]}}}}]}"
	p := proxytest.Start(t, proxytest.Config{
		Clusters: "- {name: o, connect_timeout: 5s, common_lb_config: {healthy_panic_threshold: {value: 0}}, " + policy + ", load_assignment: {cluster_name: o, endpoints: [{lb_endpoints: [" +
			endpoint(good, "UNHEALTHY") + ", " + endpoint(bad, "UNHEALTHY") + ", " + endpoint(third, "HEALTHY") + "]}]}}",
		Routes: "- {match: {prefix: /}, route: {cluster: o, retry_policy: {retry_on: gateway-error, num_retries: 2}}}",
		Log:    "%RESPONSE_CODE% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %DYNAMIC_METADATA(chosen:at:host)%",
	})
	var want []string
	for _, test := range []struct{ to, log string }{
		{good, "200 1 " + good},
		{bad + "," + good, "200 2 " + good},
		{" 127.0.0.9:1 ,, " + third + ",  " + good, "200 2 " + good},
		{bad, "503 3 " + third},
		{"", "503 3 " + third},
	} {
		p.Get("/", "x-to", test.to)
		want = append(want, test.log)
	}
	for i, got := range p.Log(len(want)) {
		if got != want[i] {
			t.Errorf("%d: %q, want %q", i, got, want[i])
		}
	}
}
