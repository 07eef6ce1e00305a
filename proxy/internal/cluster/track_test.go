package cluster_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// histogram is what the admin API says of one: how many values, and their sum.
func histogram(t *testing.T, p *proxytest.Proxy, name string) (n int, sum int) {
	t.Helper()
	resp, err := http.Get("http://" + p.Admin + "/stats?format=json&histogram_buckets=detailed&filter=" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Stats []struct {
			Histograms struct {
				Details []struct {
					Totals []struct {
						Lower float64 `json:"lower_bound"`
						Count int
					}
				}
			}
		}
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	for _, s := range got.Stats {
		for _, d := range s.Histograms.Details {
			for _, b := range d.Totals {
				n += b.Count
				sum += b.Count * int(b.Lower)
			}
		}
	}
	return n, sum
}

// TestTrackClusterStats: sizes of messages of each attempt, and shares of time-outs.
func TestTrackClusterStats(t *testing.T) {
	first := true
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if r.URL.Path == "/slow" {
				<-r.Context().Done()
				return
			}
			if first = !first; !first {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			_, _ = io.WriteString(w, "answer")
		}),
		UpstreamCluster: "track_cluster_stats: {timeout_budgets: true, request_response_sizes: true}",
		Routes: `
- {match: {prefix: /slow}, route: {cluster: up, timeout: 0.05s}}
- {match: {prefix: /}, route: {cluster: up, timeout: 100s, retry_policy: {retry_on: 5xx, retry_back_off: {base_interval: 0.001s}}}}
`,
	})
	if r := p.Do("POST", "/", nil, "four"); r.StatusCode != 200 || r.Text != "answer" {
		t.Fatalf("%d %q", r.StatusCode, r.Text)
	}
	if r := p.Get("/slow"); r.StatusCode != 504 {
		t.Fatalf("%d", r.StatusCode)
	}
	for _, tc := range []struct {
		name        string
		count       int
		least, most int
	}{
		{"upstream_rq_body_size", 3, 8, 8},
		{"upstream_rs_body_size", 2, 6, 12}, // of an answer that is retried less may have come
		{"upstream_rq_headers_count", 3, 15, 45},
		{"upstream_rq_headers_size", 3, 200, 1000},
		{"upstream_rs_headers_count", 2, 6, 12},
		{"upstream_rs_headers_size", 2, 100, 400},
		{"upstream_rq_timeout_budget_percent_used", 2, 90, 150},
		{"upstream_rq_timeout_budget_per_try_percent_used", 2, 0, 0},
	} {
		proxytest.Eventually(t, func() error {
			n, sum := histogram(t, p, "cluster.up."+tc.name+"$")
			if n != tc.count || sum < tc.least || sum > tc.most {
				return fmt.Errorf("%s: %d values that sum to %d, want %d and %d to %d", tc.name, n, sum, tc.count, tc.least, tc.most)
			}
			return nil
		})
	}
}
