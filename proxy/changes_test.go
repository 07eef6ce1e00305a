package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// httpListener is a listener whose routes come from RDS. idle makes versions differ.
func httpListener(t *testing.T, addr, routes string, idle time.Duration) *listenerv3.Listener {
	t.Helper()
	router, err := anypb.New(&routerv3.Router{})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := anypb.New(&hcmv3.HttpConnectionManager{
		StatPrefix: "http",
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			RouteConfigName: routes,
			ConfigSource:    &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}},
		}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: router},
		}},
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(idle)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &listenerv3.Listener{
		Name: "http", Address: socket(addr),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "envoy.filters.network.http_connection_manager", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: cfg},
		}}}},
	}
}

func weighted(name string, weights map[string]uint32) *routev3.RouteConfiguration {
	w := &routev3.WeightedCluster{}
	for c, n := range weights {
		w.Clusters = append(w.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: c, Weight: wrapperspb.UInt32(n)})
	}
	return &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{{
		Name: "all", Domains: []string{"*"},
		Routes: []*routev3.Route{{
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: w},
			}},
		}},
	}}}
}

// TestChangesUnderLoad flips weights, clusters, endpoints, route tables and the listener
// itself under keep-alive load: no request may fail.
func TestChangesUnderLoad(t *testing.T) {
	changes := 300
	if testing.Short() {
		changes = 40
	}
	var backends []string
	for i := range 3 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "backend %d", i) }))
		t.Cleanup(s.Close)
		backends = append(backends, s.Listener.Addr().String())
	}
	cp := startADS(t)
	front := freeAddr(t)
	for i, name := range []string{"a", "b"} {
		cp.set(xdsresource.TypeCluster, name, edsCluster(name))
		cp.set(xdsresource.TypeEndpoints, name, endpoints(name, backends[i]))
	}
	cp.set(xdsresource.TypeRoute, "r0", weighted("r0", map[string]uint32{"a": 100}))
	cp.set(xdsresource.TypeRoute, "r1", weighted("r1", map[string]uint32{"b": 100}))
	cp.set(xdsresource.TypeListener, "http", httpListener(t, front, "r0", time.Hour))
	host, port, _ := net.SplitHostPort(cp.addr)
	p := run(t, fmt.Sprintf(`
node: {id: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
dynamic_resources:
  lds_config: {ads: {}}
  cds_config: {ads: {}}
  ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
static_resources:
  clusters:
  - name: xds
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}
`, host, port))

	var good, bad atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			tr := &http.Transport{MaxIdleConnsPerHost: 2}
			defer tr.CloseIdleConnections()
			client := &http.Client{Transport: tr, Timeout: 10 * time.Second}
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := client.Get("http://" + front + "/")
				if err != nil {
					bad.Add(1)
					t.Errorf("request: %v", err)
					continue
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 {
					bad.Add(1)
					t.Errorf("request: status %d, body %q, %v", resp.StatusCode, body, err)
					continue
				}
				good.Add(1)
			}
		})
	}
	drain := func(url string) { // every change is applied before the next
		if d := cp.answer(url).GetErrorDetail(); d != nil {
			t.Errorf("refused: %s", d.GetMessage())
		}
	}
	drain(xdsresource.TypeListener)
	for i := range changes {
		// Requests under way see both sides of every change.
		seen := good.Load()
		eventually(t, "requests between two changes", func() bool { return good.Load() >= seen+5 || bad.Load() > 0 })
		switch i % 5 {
		case 0: // weights
			cp.set(xdsresource.TypeRoute, fmt.Sprintf("r%d", i/5%2), weighted(fmt.Sprintf("r%d", i/5%2), map[string]uint32{"a": uint32(1 + i%90), "b": 10}))
		case 1: // endpoints come and go
			cp.set(xdsresource.TypeEndpoints, "a", endpoints("a", backends[0], backends[2-i/5%2]))
			drain(xdsresource.TypeEndpoints)
		case 2: // the cluster's own settings
			c := edsCluster("b")
			c.ConnectTimeout = durationpb.New(time.Duration(1+i%3) * time.Second)
			cp.set(xdsresource.TypeCluster, "b", c)
			drain(xdsresource.TypeCluster)
		case 3: // the filter chain is replaced, its connections drained
			cp.set(xdsresource.TypeListener, "http", httpListener(t, front, "r0", time.Duration(1+i)*time.Minute))
			drain(xdsresource.TypeListener)
		case 4: // another route table
			cp.set(xdsresource.TypeListener, "http", httpListener(t, front, fmt.Sprintf("r%d", i/5%2), time.Duration(1+i)*time.Minute))
			drain(xdsresource.TypeListener)
		}
	}
	close(stop)
	clients.Wait()
	t.Logf("%d requests during %d changes, %d failed", good.Load(), changes, bad.Load())
	if good.Load() == 0 {
		t.Error("no request went through")
	}
	if _, body := p.admin("GET", "/stats?filter=membership_total"); body == "" {
		t.Error("no statistics of the clusters")
	}
}
