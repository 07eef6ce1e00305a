package cluster_test

import (
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// TestPredictivePreconnect: the first request has connections made for those that follow, at the
// hosts that they go to.
func TestPredictivePreconnect(t *testing.T) {
	for _, tc := range []struct {
		policy string
		hosts  int
		want   int64 // connections after one request
	}{
		{"ROUND_ROBIN", 1, 1}, {"ROUND_ROBIN", 3, 3}, {"ROUND_ROBIN", 2, 2}, {"RANDOM", 1, 1},
		{"LEAST_REQUEST", 3, 1}, {"RING_HASH", 3, 1}, // there is no telling which host is next
	} {
		eps := ""
		for range tc.hosts {
			_, port, _ := net.SplitHostPort(proxytest.Server(t, proxytest.Echo))
			eps += "\n      - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: " + port + "}}}"
		}
		p := proxytest.Start(t, proxytest.Config{
			Routes: "- {match: {prefix: /}, route: {cluster: ahead}}",
			Clusters: `
- name: ahead
  connect_timeout: 5s
  lb_policy: ` + tc.policy + `
  preconnect_policy: {predictive_preconnect_ratio: 3}
  load_assignment:
    cluster_name: ahead
    endpoints:
    - lb_endpoints:` + eps,
		})
		if r := p.Get("/"); r.StatusCode != http.StatusOK {
			t.Fatal(r.StatusCode)
		}
		proxytest.Eventually(t, func() error {
			if got := p.Stat("cluster.ahead.upstream_cx_total"); got != tc.want {
				return fmt.Errorf("%s, %d hosts: %d connections, want %d", tc.policy, tc.hosts, got, tc.want)
			}
			return nil
		})
		for range 2 {
			p.Get("/")
		}
		p.WantStats(map[string]int64{"cluster.ahead.upstream_rq_total": 3})
	}
}
