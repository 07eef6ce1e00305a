package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// onDemandBootstrap is a listener that sends requests to the cluster that x-to names, and asks for it.
// more is a line of dynamic_resources.
func onDemandBootstrap(cp *ads, source, timeout, more string) string {
	host, port, _ := net.SplitHostPort(cp.addr)
	return fmt.Sprintf(`
node: {id: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  %s
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          route_config:
            name: r
            validate_clusters: false
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /never}
                route: {cluster_header: x-to}
                typed_per_filter_config: {envoy.filters.http.on_demand: {"@type": type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.PerRouteConfig}}
              - {match: {prefix: /}, route: {cluster_header: x-to}}
          http_filters:
          - name: envoy.filters.http.on_demand
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand
              odcds: {source: %s, timeout: %s}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: xds
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}
`, more, source, timeout, host, port)
}

func backend(t *testing.T, says string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, says) }))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// TestOnDemand: a request waits for its cluster and the endpoints, over ADS beside all clusters, beside none,
// and over a stream of its own.
func TestOnDemand(t *testing.T) {
	own := "{api_config_source: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}, resource_api_version: V3}"
	for name, test := range map[string]struct{ source, more string }{
		"beside all":  {"{ads: {}, resource_api_version: V3}", "cds_config: {ads: {}, resource_api_version: V3}"},
		"beside none": {"{ads: {}, resource_api_version: V3}", ""},
		"own stream":  {own, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cp := startADS(t)
			cp.lazy = true
			cp.set(xdsresource.TypeCluster, "app", edsCluster("app"))
			p := run(t, onDemandBootstrap(cp, test.source, "20s", test.more))
			url := "http://" + p.ListenerAddrs()["main"]

			if code, _, _ := do(t, "GET", url+"/never", "x-to", "app"); code != 503 {
				t.Errorf("%d where the route turns it off, want 503", code)
			}
			if code, _, _ := do(t, "GET", url, "x-to", "none"); code != 503 {
				t.Errorf("%d from a cluster that is not there, want 503", code)
			}
			eventually(t, "its name is given back", func() bool { return cp.wants(xdsresource.TypeCluster) == "" })

			var wg sync.WaitGroup
			for range 4 { // on both workers
				wg.Go(func() {
					if code, _, body := do(t, "POST", url, "x-to", "app"); code != 200 || body != "hello" {
						t.Errorf("%d %q, want 200 hello", code, body)
					}
				})
			}
			eventually(t, "endpoints are asked for", func() bool { return cp.wants(xdsresource.TypeEndpoints) == "app" })
			cp.set(xdsresource.TypeEndpoints, "app", endpoints("app", backend(t, "hello")))
			wg.Wait()
			if got := cp.wants(xdsresource.TypeCluster); got != "app" {
				t.Errorf("subscribed to %q, want app", got)
			}

			// What goes is given back, and comes again for the next who asks.
			cp.remove(xdsresource.TypeCluster, "app")
			eventually(t, "the cluster's name is given back", func() bool { return cp.wants(xdsresource.TypeCluster) == "" })
			if code, _, _ := do(t, "GET", url, "x-to", "app"); code != 503 {
				t.Errorf("%d from a cluster that is gone, want 503", code)
			}
			cp.set(xdsresource.TypeCluster, "app", edsCluster("app"))
			if code, _, body := do(t, "GET", url, "x-to", "app"); code != 200 || body != "hello" {
				t.Errorf("%d %q from a cluster that has come back, want 200 hello", code, body)
			}
		})
	}
}

// TestOnDemandRefused: those who wait for a cluster that cannot be used are told at once.
func TestOnDemandRefused(t *testing.T) {
	cp := startADS(t)
	cp.lazy = true
	bad := edsCluster("bad")
	bad.LrsServer = bad.GetEdsClusterConfig().GetEdsConfig()
	cp.set(xdsresource.TypeCluster, "bad", bad)
	p := run(t, onDemandBootstrap(cp, "{ads: {}}", "600s", ""))
	if code, _, _ := do(t, "GET", "http://"+p.ListenerAddrs()["main"], "x-to", "bad"); code != 503 {
		t.Errorf("%d, want 503", code)
	}
	eventually(t, "its name is given back", func() bool { return cp.wants(xdsresource.TypeCluster) == "" })
}

// TestOnDemandTimeout: a request waits for a cluster without endpoints no longer than it may, and goes on to
// nowhere. One whose client has gone waits no more.
func TestOnDemandTimeout(t *testing.T) {
	cp := startADS(t)
	cp.lazy = true
	cp.silent = true
	const patience = 200 * time.Millisecond
	p := run(t, onDemandBootstrap(cp, "{ads: {}}", "0.2s", ""))
	url := "http://" + p.ListenerAddrs()["main"]
	began := time.Now()
	if code, _, _ := do(t, "GET", url, "x-to", "none"); code != 503 || time.Since(began) < patience {
		t.Errorf("%d after %v, want 503 after %v", code, time.Since(began), patience)
	}
	eventually(t, "its name is given back", func() bool { return cp.wants(xdsresource.TypeCluster) == "" })

	// The cluster comes, its endpoints after the first request's time.
	cp.set(xdsresource.TypeCluster, "app", edsCluster("app"))
	if code, _, _ := do(t, "GET", url, "x-to", "app"); code != 503 {
		t.Errorf("%d from a cluster without endpoints, want 503", code)
	}
	cp.set(xdsresource.TypeEndpoints, "app", endpoints("app", backend(t, "late")))
	eventually(t, "later requests find it", func() bool {
		code, _, body := do(t, "GET", url, "x-to", "app")
		return code == 200 && body == "late"
	})
}

func TestOnDemandClientGoes(t *testing.T) {
	cp := startADS(t)
	cp.lazy = true
	cp.silent = true
	p := run(t, onDemandBootstrap(cp, "{ads: {}}", "600s", ""))
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+p.ListenerAddrs()["main"], nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-to", "none")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req); err == nil {
			resp.Body.Close()
			t.Errorf("an answer: %d", resp.StatusCode)
		}
	}()
	eventually(t, "it is asked for", func() bool { return cp.wants(xdsresource.TypeCluster) == "none" })
	cancel()
	<-done
	eventually(t, "its name is given back", func() bool { return cp.wants(xdsresource.TypeCluster) == "" })
}

// TestOnDemandSource: a source that is nowhere is named.
func TestOnDemandSource(t *testing.T) {
	boot := onDemandBootstrap(startADS(t), "{ads: {}}", "1s", "")
	boot = strings.Replace(boot, "ads_config:", "# ads_config:", 1)
	p, err := New(Config{Bootstrap: []byte(boot)})
	if err == nil {
		err = p.Run(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "odcds.source names ads, but dynamic_resources.ads_config is missing") {
		t.Errorf("error %v", err)
	}
}
