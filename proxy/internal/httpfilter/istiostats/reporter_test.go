package istiostats

import (
	"crypto/tls"
	"log/slog"
	"strings"
	"testing"

	xdstype "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/peermetadata"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func config(t testing.TB, js string) *anypb.Any {
	t.Helper()
	v := &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(js), v); err != nil {
		t.Fatal(err)
	}
	a, err := anypb.New(&xdstype.TypedStruct{TypeUrl: typeURL, Value: v})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newReporter(t testing.TB, js string, d xdsresource.Direction) (*Reporter, *stats.Store) {
	t.Helper()
	cfg, err := ParseConfig(nil, config(t, js))
	if err != nil {
		t.Fatal(err)
	}
	store := stats.NewStore(stats.Options{Workers: 1})
	r, err := New(cfg, Deps{Stats: store, Workers: 1, Direction: d, Logger: slog.New(slog.DiscardHandler), Own: peermetadata.Peer{
		Workload: "webapp", Namespace: "istioinaction", CanonicalName: "webapp", App: "webapp", Cluster: "Kubernetes",
		Principal: "spiffe://cluster.local/ns/istioinaction/sa/webapp"}})
	if err != nil {
		t.Fatal(err)
	}
	return r, store
}

func prometheus(t testing.TB, s *stats.Store) string {
	t.Helper()
	p, err := s.Snapshot(t.Context(), stats.Query{UsedOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	return string(p.AppendPrometheus(nil))
}

func catalog() *peermetadata.Peer {
	return &peermetadata.Peer{Workload: "catalog-v1", Namespace: "istioinaction", CanonicalName: "catalog", CanonicalRevision: "v1",
		App: "catalog", Version: "v1", Cluster: "Kubernetes"}
}

func upstream() *xdsresource.Cluster {
	return &xdsresource.Cluster{Name: "outbound|80||catalog.istioinaction.svc.cluster.local", Metadata: xdsresource.Metadata{"istio": {"services": []any{
		map[string]any{"host": "catalog.istioinaction.svc.cluster.local", "name": "catalog", "namespace": "istioinaction"}}}}}
}

func request(authority string, pairs ...string) *header.Map {
	h := &header.Map{}
	h.AddString(header.Authority, authority)
	for _, p := range pairs {
		n, v, _ := strings.Cut(p, ": ")
		h.AddName(n, []byte(v))
	}
	return h
}

func has(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(text, l+"\n") {
			t.Errorf("no line\n%s\nin\n%s", l, text)
		}
	}
}

// TestSource holds the whole line as Istio's proxies export it.
func TestSource(t *testing.T) {
	r, store := newReporter(t, `{}`, xdsresource.DirectionOutbound)
	i := &streaminfo.Info{ResponseCode: 200, UpstreamPeer: catalog(), Cluster: upstream(), BytesReceived: 3, BytesSent: 502,
		UpstreamURI: "spiffe://cluster.local/ns/istioinaction/sa/catalog"}
	c := &format.Context{Request: request("catalog.istioinaction"), Info: i}
	r.worker(0).countRequest(c, 7)
	r.worker(0).countRequest(c, 12)
	labels := `{reporter="source",source_workload="webapp",source_canonical_service="webapp",source_canonical_revision="latest",` +
		`source_workload_namespace="istioinaction",source_principal="spiffe://cluster.local/ns/istioinaction/sa/webapp",source_app="webapp",` +
		`source_version="unknown",source_cluster="Kubernetes",destination_workload="catalog-v1",destination_workload_namespace="istioinaction",` +
		`destination_principal="spiffe://cluster.local/ns/istioinaction/sa/catalog",destination_app="catalog",destination_version="v1",` +
		`destination_service="catalog.istioinaction.svc.cluster.local",destination_canonical_service="catalog",destination_canonical_revision="v1",` +
		`destination_service_name="catalog",destination_service_namespace="istioinaction",destination_cluster="Kubernetes",request_protocol="http",` +
		`response_code="200",grpc_response_status="",response_flags="-",connection_security_policy="unknown"`
	has(t, prometheus(t, store),
		"# TYPE istio_requests_total counter", "istio_requests_total"+labels+"} 2",
		"istio_request_duration_milliseconds_bucket"+labels+`,le="10"} 1`, "istio_request_duration_milliseconds_sum"+labels+"} 19",
		"istio_request_bytes_sum"+labels+"} 6", "istio_response_bytes_sum"+labels+"} 1004", "istio_response_bytes_count"+labels+"} 2")
}

func TestDestination(t *testing.T) {
	r, store := newReporter(t, `{}`, xdsresource.DirectionInbound)
	i := &streaminfo.Info{ResponseCode: 503, Flags: streaminfo.UpstreamConnectionFailure, DownstreamPeer: catalog(), Cluster: &xdsresource.Cluster{Name: "inbound|8080||"},
		Downstream: &conn.Info{TLS: &tls.ConnectionState{}, PeerURI: "spiffe://cluster.local/ns/istioinaction/sa/catalog"}}
	r.worker(0).countRequest(&format.Context{Request: request("webapp:8080", "content-type: application/grpc"), Info: i}, 1)
	text := prometheus(t, store)
	for _, l := range []string{`reporter="destination"`, `source_workload="catalog-v1"`, `destination_workload="webapp"`,
		`source_principal="spiffe://cluster.local/ns/istioinaction/sa/catalog"`, `destination_principal="spiffe://cluster.local/ns/istioinaction/sa/webapp"`,
		`destination_service="webapp"`, `destination_service_namespace="istioinaction"`, `request_protocol="grpc"`, `response_code="503"`,
		`grpc_response_status="14"`, `response_flags="UF"`, `connection_security_policy="mutual_tls"`} {
		if !strings.Contains(text, l) {
			t.Errorf("no %s in\n%s", l, text)
		}
	}
	r, store = newReporter(t, `{}`, xdsresource.DirectionInbound)
	r.worker(0).countRequest(&format.Context{Request: request("webapp"), Info: &streaminfo.Info{ResponseCode: 200, Downstream: &conn.Info{}}}, 1)
	if text := prometheus(t, store); !strings.Contains(text, `source_workload="unknown"`) || !strings.Contains(text, `connection_security_policy="none"`) {
		t.Error(text)
	}
}

func TestUnknownDestinations(t *testing.T) {
	for name, tt := range map[string]struct {
		js   string
		info streaminfo.Info
		want []string
	}{
		"passthrough":      {`{}`, streaminfo.Info{UpstreamCluster: "PassthroughCluster"}, []string{`destination_service="ext.test"`, `destination_service_name="PassthroughCluster"`}},
		"black hole":       {`{}`, streaminfo.Info{Cluster: &xdsresource.Cluster{Name: "BlackHoleCluster"}}, []string{`destination_service_name="BlackHoleCluster"`}},
		"no host fallback": {`{"disable_host_header_fallback":true}`, streaminfo.Info{}, []string{`destination_service="unknown"`, `destination_service_name="unknown"`}},
		"removed label":    {`{"metrics":[{"name":"requests_total","tags_to_remove":["destination_service"]}]}`, streaminfo.Info{}, []string{`destination_version="unknown",destination_canonical_service`}},
	} {
		t.Run(name, func(t *testing.T) {
			r, store := newReporter(t, tt.js, xdsresource.DirectionOutbound)
			r.worker(0).countRequest(&format.Context{Request: request("ext.test:443"), Info: &tt.info}, 1)
			text := prometheus(t, store)
			for _, w := range tt.want {
				if !strings.Contains(text, w) {
					t.Errorf("no %s in\n%s", w, text)
				}
			}
		})
	}
}

func TestEndpointWorkload(t *testing.T) {
	p := peerOfWorkload("catalog-v1;istioinaction;catalog;v1;Kubernetes")
	if p == nil || p.Workload != "catalog-v1" || p.CanonicalRevision != "v1" || peerOfWorkload("") != nil {
		t.Errorf("%+v", p)
	}
}

func TestTCP(t *testing.T) {
	r, store := newReporter(t, `{}`, xdsresource.DirectionOutbound)
	i := &streaminfo.Info{Cluster: upstream()}
	c := r.NewTCP(0, i)
	c.Opened()
	i.BytesSent, i.BytesReceived = 10, 4
	c.Report()
	i.BytesSent = 25
	c.Closed()
	text := prometheus(t, store)
	for name, want := range map[string]string{"opened_total": "1", "closed_total": "1"} {
		if !strings.Contains(text, "istio_tcp_connections_"+name+"{") || !strings.Contains(text, "} "+want) {
			t.Errorf("%s in\n%s", name, text)
		}
	}
	if !strings.Contains(text, `request_protocol="tcp",response_flags="-",connection_security_policy="unknown"} 25`) || strings.Contains(text, "response_code") {
		t.Error(text)
	}
}

// TestHostsAreBounded: made-up host names do not become series without end.
func TestHostsAreBounded(t *testing.T) {
	r, _ := newReporter(t, `{}`, xdsresource.DirectionOutbound)
	w := r.worker(0)
	for i := range 3 * maxHosts {
		w.countRequest(&format.Context{Request: request(string(rune('a'+i%26)) + strings.Repeat("x", i%100) + string(rune('0'+i%10)) + ".test" + strings.Repeat("y", i/100)), Info: &streaminfo.Info{}}, 1)
	}
	if len(w.hosts) > maxHosts || len(w.http) > maxSeries {
		t.Errorf("%d hosts, %d series", len(w.hosts), len(w.http))
	}
}

func TestConfig(t *testing.T) {
	for js, want := range map[string]string{
		`{"nope":1}`:         "nope: is not supported",
		`{"reporter":"BAD"}`: "none of",
		`{"metrics":[{"name":"requests_total","dimensions":{"a":"b"}}]}`: "dimensions is not supported",
	} {
		if _, err := ParseConfig(nil, config(t, js)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", js, err)
		}
	}
	r, store := newReporter(t, `{"metrics":[{"name":"request_bytes","drop":true}],"tcp_reporting_duration":"15s"}`, xdsresource.DirectionOutbound)
	r.worker(0).countRequest(&format.Context{Request: request("a"), Info: &streaminfo.Info{}}, 1)
	if text := prometheus(t, store); strings.Contains(text, "istio_request_bytes") || !strings.Contains(text, "istio_response_bytes") {
		t.Error(text)
	}
}

func TestNoAllocations(t *testing.T) {
	for _, d := range []xdsresource.Direction{xdsresource.DirectionInbound, xdsresource.DirectionOutbound} {
		r, _ := newReporter(t, `{}`, d)
		w := r.worker(0)
		a := &format.Context{Request: request("ext.test:80"), Info: &streaminfo.Info{ResponseCode: 200, UpstreamPeer: catalog(), Downstream: &conn.Info{}}}
		b := &format.Context{Request: request("catalog"), Info: &streaminfo.Info{ResponseCode: 503, Cluster: upstream(), Downstream: &conn.Info{}}}
		run := func() { w.countRequest(a, 1); w.countRequest(b, 2) }
		run()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("direction %d: %v allocations", d, n)
		}
	}
}

func BenchmarkCount(b *testing.B) {
	r, _ := newReporter(b, `{}`, xdsresource.DirectionOutbound)
	w := r.worker(0)
	c := &format.Context{Request: request("catalog"), Info: &streaminfo.Info{ResponseCode: 200, Cluster: upstream(), UpstreamPeer: catalog()}}
	for b.Loop() {
		w.countRequest(c, 3)
	}
}
