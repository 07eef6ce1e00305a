package proxy

import (
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	metricspb "github.com/envoyproxy/go-control-plane/envoy/service/metrics/v3"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"
)

// TestStatsConfig goes through stats_config as a whole: tags, what is there, buckets, intervals, and
// the fault filter's statistics.
func TestStatsConfig(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer backend.Close()
	text := staticBootstrap(backend.Listener.Addr().String()) + `
stats_flush_on_admin: true
stats_config:
  use_all_default_tags: true
  stats_tags:
  - {tag_name: zone, fixed_value: z1}
  - {tag_name: which, regex: '^http\.((.+?)\.)downstream'}
  stats_matcher: {exclusion_list: {patterns: [{prefix: cluster.backend.circuit_breakers}]}}
  histogram_bucket_settings:
  - {match: {suffix: downstream_rq_time}, buckets: [10, 20]}
`
	text = strings.Replace(text, "          http_filters:\n", `          http_filters:
          - name: envoy.filters.http.fault
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
              abort: {http_status: 503, percentage: {numerator: 100}}
              headers: [{name: x-fail, present_match: true}]
`, 1)
	r := run(t, text)
	url := "http://" + r.ListenerAddrs()["main"]
	do(t, "GET", url+"/direct")
	if code, _, _ := do(t, "GET", url+"/direct", "X-Fail", "1"); code != 503 {
		t.Errorf("fault: %d", code)
	}
	get := func(path, want string, no ...string) {
		t.Helper()
		_, got := r.admin("GET", path)
		if !strings.Contains(got, want) {
			t.Errorf("%s: no %q in\n%s", path, want, got)
		}
		for _, n := range no {
			if strings.Contains(got, n) {
				t.Errorf("%s: %q in\n%s", path, n, got)
			}
		}
	}
	get("/stats?filter=fault", "http.ingress_http.fault.aborts_injected: 1\nhttp.ingress_http.fault.active_faults: 0\nhttp.ingress_http.fault.delays_injected: 0\nhttp.ingress_http.fault.faults_overflow: 0\nhttp.ingress_http.fault.response_rl_injected: 0\n", "circuit_breakers")
	get("/stats?histogram_buckets=cumulative&filter=downstream_rq_time", "http.ingress_http.downstream_rq_time: B10(")
	get("/stats/prometheus?filter=ingress_http.downstream_rq_total", `envoy_http_downstream_rq_total{zone="z1",envoy_http_conn_manager_prefix="ingress_http",which="ingress_http"} `)
	get("/stats/prometheus?filter=ingress_http.downstream_rq_time", `le="20"} 2`, `le="0.5"`)
	get("/stats?type=Gauges&filter=server.(live|uptime)", "server.live: 1\n", "server.concurrency")
	get("/stats?hidden=x", "usage: /stats?hidden=(include|only|exclude)")
	get("/stats?histogram_buckets=x", "usage: /stats?histogram_buckets=")
	get("/stats?format=x", "usage: /stats?format=")
	get("/stats?type=x", "invalid &type= param")
	get("/stats/prometheus?histogram_buckets=detailed", "unsupported prometheus histogram bucket mode")
}

func TestStatsSinks(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_, port, _ := net.SplitHostPort(pc.LocalAddr().String())
	run(t, `
stats_flush_interval: 0.02s
stats_sinks:
- name: envoy.stat_sinks.dog_statsd
  typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.DogStatsdSink, prefix: me, max_bytes_per_datagram: 1400, address: {socket_address: {protocol: UDP, address: 127.0.0.1, port_value: `+port+`}}}
static_resources: {clusters: [{name: a, connect_timeout: 1s}]}
`)
	buf := make([]byte, 2048)
	eventually(t, "the sink sends", func() bool {
		n, _, err := pc.ReadFrom(buf)
		return err == nil && strings.Contains(string(buf[:n]), "me.server.live:1|g")
	})
	_, err = New(Config{Overlay: []byte(`stats_sinks: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.HystrixSink}}]`)})
	if err == nil || !strings.Contains(err.Error(), `sink "x" of type envoy.config.metrics.v3.HystrixSink is not supported`) {
		t.Errorf("another sink: %v", err)
	}
}

// metricsServer hands on who the first message of each stream is of, and what is in it.
type metricsServer struct {
	metricspb.UnimplementedMetricsServiceServer
	first chan *metricspb.StreamMetricsMessage
}

func (m metricsServer) StreamMetrics(st metricspb.MetricsService_StreamMetricsServer) error {
	got, err := st.Recv()
	if err != nil {
		return err
	}
	m.first <- got
	<-st.Context().Done()
	return nil
}

// TestMetricsService: statistics go to a metrics service by a cluster of the bootstrap.
func TestMetricsService(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, m, ended := grpc.NewServer(), metricsServer{first: make(chan *metricspb.StreamMetricsMessage, 10)}, make(chan struct{})
	metricspb.RegisterMetricsServiceServer(srv, m)
	go func() { defer close(ended); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Stop(); <-ended })
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	run(t, `
node: {id: me, cluster: mine}
stats_flush_interval: 0.02s
stats_sinks:
- name: envoy.stat_sinks.metrics_service
  typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig, transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: metrics}}, histogram_emit_mode: SUMMARY}
static_resources:
  clusters:
  - name: metrics
    connect_timeout: 1s
    load_assignment: {cluster_name: metrics, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: `+port+`}}}}]}]}
`)
	select {
	case got := <-m.first:
		live := slices.ContainsFunc(got.GetEnvoyMetrics(), func(f *dto.MetricFamily) bool { return f.GetName() == "server.live" })
		if id := got.GetIdentifier().GetNode().GetId(); id != "me" || !live {
			t.Errorf("%d families of %q, without server.live", len(got.GetEnvoyMetrics()), id)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
	}
	for what, want := range map[string]string{
		"":                           "grpc_service.envoy_grpc.cluster_name: is required",
		"transport_api_version: V2,": "transport_api_version: V2 is not supported",
	} {
		_, err := New(Config{Overlay: []byte(`stats_sinks: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig, ` + what + ` grpc_service: {}}}]`)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", what, err, want)
		}
	}
}
