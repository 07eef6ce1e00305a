package router_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// hosts are endpoints of a cluster; each has the text behind its address among its fields.
func hosts(name string, addrs ...string) string {
	var list []string
	for i := 0; i < len(addrs); i += 2 {
		host, port, _ := strings.Cut(addrs[i], ":")
		list = append(list, "{endpoint: {address: {socket_address: {address: "+host+", port_value: "+port+"}}}"+addrs[i+1]+"}")
	}
	return "- {name: " + name + ", connect_timeout: 5s, load_assignment: {cluster_name: " + name + ", endpoints: [{lb_endpoints: [" + strings.Join(list, ", ") + "]}]}}"
}

// TestHostPredicates: a further attempt takes another host than those that its policy names.
func TestHostPredicates(t *testing.T) {
	answers := func(status int) string {
		return proxytest.Server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	}
	const canary = ", metadata: {filter_metadata: {envoy.lb: {canary: true, tier: [test, new]}}}"
	const ext = `{name: p, typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.host.`
	for _, predicate := range []string{
		"{name: envoy.retry_host_predicates.omit_canary_hosts}",
		ext + "omit_canary_hosts.v3.OmitCanaryHostsPredicate}}",
		ext + "omit_host_metadata.v3.OmitHostMetadataConfig, metadata_match: {filter_metadata: {envoy.lb: {tier: new}}}}}",
		ext + "previous_hosts.v3.PreviousHostsPredicate}}",
	} {
		p := proxytest.Start(t, proxytest.Config{
			Clusters: hosts("h", answers(503), canary, answers(200), "", answers(503), canary),
			Routes: "- {match: {prefix: /}, route: {cluster: h, retry_policy: {retry_on: 5xx, num_retries: 2, retry_back_off: {base_interval: 0.001s}, " +
				"host_selection_retry_max_attempts: 200, retry_host_predicate: [" + predicate + "]}}}",
			Log: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
		})
		const requests = 12
		for range requests {
			if resp := p.Get("/"); resp.StatusCode != 200 {
				t.Errorf("%s: %d", predicate, resp.StatusCode)
			}
		}
		several := 0
		for _, n := range p.Log(requests) {
			if n != "1" {
				several++
			}
		}
		if several < requests/3 {
			t.Errorf("%s: only %d requests were tried again; the test says nothing", predicate, several)
		}
	}
}

// TestHedge: an attempt that is late is joined by another, the first good answer counts, and what
// is left of the others is ended.
func TestHedge(t *testing.T) {
	var asked, ended atomic.Int64
	var bodies sync.Map
	up := proxytest.Server(t, func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		b, _ := io.ReadAll(r.Body)
		bodies.Store(n, string(b))
		if n%2 == 1 { // the first of each request is never answered
			<-r.Context().Done()
			ended.Add(1)
			return
		}
		fmt.Fprintf(w, "attempt %s", r.Header.Get("X-Envoy-Attempt-Count"))
	})
	p := proxytest.Start(t, proxytest.Config{
		Upstream:    up,
		VirtualHost: "include_request_attempt_count: true\nhedge_policy: {hedge_on_per_try_timeout: true}",
		Routes: "- {match: {prefix: /off}, route: {cluster: up, hedge_policy: {}, retry_policy: {retry_on: connect-failure, per_try_timeout: 0.05s}}}\n" +
			"- {match: {prefix: /}, route: {cluster: up, retry_policy: {retry_on: connect-failure, num_retries: 1, per_try_timeout: 0.05s, retry_back_off: {base_interval: 0.001s}}}}",
		Log: "%RESPONSE_CODE% %UPSTREAM_REQUEST_ATTEMPT_COUNT%",
	})
	const requests = 5
	body := strings.Repeat("x", 70_000)
	for range requests {
		if resp := p.Do("POST", "/", nil, body); resp.StatusCode != 200 || resp.Text != "attempt 2" {
			t.Errorf("%d %q", resp.StatusCode, resp.Text)
		}
	}
	// The route's own policy takes the place of the virtual host's.
	if resp := p.Get("/off"); resp.StatusCode != 504 {
		t.Errorf("without hedging: %d", resp.StatusCode)
	}
	for i, got := range p.Log(requests + 1) {
		if want := "200 2"; i < requests && got != want {
			t.Errorf("log: %q, want %q", got, want)
		}
	}
	bodies.Range(func(n, b any) bool {
		if n.(int64) <= 2*requests && b != body {
			t.Errorf("attempt %d got %d bytes", n, len(b.(string)))
		}
		return true
	})
	p.WantStats(map[string]int64{
		"cluster.up.upstream_rq_retry": requests, "cluster.up.upstream_rq_per_try_timeout": 1, "cluster.up.upstream_rq_active": 0,
		"cluster.up.circuit_breakers.default.rq_retry_open": 0,
	})
	proxytest.Eventually(t, func() error {
		if n := ended.Load(); n != requests+1 {
			return fmt.Errorf("%d attempts were ended, want %d", n, requests+1)
		}
		return nil
	})
}

// TestHedgeMany has clients hedge at once before a host that answers at all speeds and not at all,
// while some of them leave. Nothing may be left over.
func TestHedgeMany(t *testing.T) {
	var n atomic.Int64
	up := proxytest.Server(t, func(w http.ResponseWriter, r *http.Request) {
		i := n.Add(1) * 7919 % 31
		select {
		case <-time.After(time.Duration(i) * time.Millisecond):
		case <-r.Context().Done():
			return
		}
		switch i % 4 {
		case 0:
			w.WriteHeader(503)
		case 1:
			panic(http.ErrAbortHandler)
		default:
			fmt.Fprint(w, "ok")
		}
	})
	p := proxytest.Start(t, proxytest.Config{
		Upstream: up,
		Routes: "- {match: {prefix: /}, route: {cluster: up, timeout: 1s, hedge_policy: {hedge_on_per_try_timeout: true}, " +
			"retry_policy: {retry_on: 5xx, num_retries: 4, per_try_timeout: 0.01s, retry_back_off: {base_interval: 0.001s}}}}",
		UpstreamCluster: "circuit_breakers: {thresholds: [{max_retries: 1000}]}",
	})
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for i := range 12 {
				conn := p.Dial()
				conn.Send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
				if (c+i)%5 == 0 {
					conn.Close()
					continue
				}
				resp, err := http.ReadResponse(conn.R, nil)
				if err != nil {
					t.Error(err)
					continue
				}
				if resp.StatusCode != 200 && resp.StatusCode != 503 {
					t.Errorf("answer: %d", resp.StatusCode)
				}
				conn.Close()
			}
		})
	}
	wg.Wait()
	p.WantStats(map[string]int64{"cluster.up.upstream_rq_active": 0, "cluster.up.upstream_rq_pending_active": 0, "http.t.downstream_rq_active": 0})
	if p.Stat("cluster.up.upstream_rq_retry") < 20 {
		t.Errorf("%d attempts beside the first; the test says nothing", p.Stat("cluster.up.upstream_rq_retry"))
	}
}
