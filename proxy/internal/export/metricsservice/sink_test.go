package metricsservice

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricspb "github.com/envoyproxy/go-control-plane/envoy/service/metrics/v3"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// service is a metrics service and the way to it.
type service struct {
	metricspb.UnimplementedMetricsServiceServer
	addr string
	got  chan *metricspb.StreamMetricsMessage
	stop func()
}

func (s *service) StreamMetrics(st metricspb.MetricsService_StreamMetricsServer) error {
	for {
		m, err := st.Recv()
		if err != nil {
			return err
		}
		s.got <- m
	}
}

// serve listens, again at the same address if there was one.
func (s *service) serve(t *testing.T) {
	t.Helper()
	if s.addr == "" {
		s.addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	srv, ended := grpc.NewServer(), make(chan struct{})
	metricspb.RegisterMetricsServiceServer(srv, s)
	go func() { defer close(ended); _ = srv.Serve(ln) }()
	s.stop = func() { srv.Stop(); <-ended }
}

func (s *service) GRPC(context.Context) (*grpc.ClientConn, func(), error) {
	c, err := grpc.NewClient("passthrough:///"+s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	return c, func() {}, err
}

func (s *service) HTTP(context.Context) (*http.Client, func(), error) {
	return nil, nil, errors.ErrUnsupported
}

// families are the next messages' until there are so many.
func (s *service) families(t *testing.T, n int) (out []*dto.MetricFamily, messages int, node string) {
	t.Helper()
	for len(out) < n {
		select {
		case m := <-s.got:
			messages++
			if id := m.GetIdentifier().GetNode().GetId(); id != "" {
				node = id
			}
			out = append(out, m.EnvoyMetrics...)
		case <-time.After(time.Minute):
			t.Fatalf("%d families came, want %d", len(out), n)
		}
	}
	return out, messages, node
}

func snapshot(t *testing.T, s *stats.Store) *stats.Snapshot {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := s.Snapshot(t.Context(), stats.Query{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func fill(s *stats.Store) {
	cluster := s.Scope("cluster").Tagged("envoy.cluster_name", "web")
	s.Main().Add(cluster.Counter("upstream_rq_total"), 5)
	s.Main().GaugeSet(s.Gauge("server.live"), 1)
	h := s.Histogram("a.time")
	for range 3 {
		s.Main().Record(h, 7)
	}
	s.Counter("never.used")
}

func TestFamilies(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  xdsresource.MetricsService
		want []string
	}{
		{"by default", xdsresource.MetricsService{Summary: true, Buckets: true}, []string{
			`name:"a.time" type:SUMMARY metric:{summary:{sample_count:3 sample_sum:21 quantile:{quantile:0 value:7.025} quantile:{quantile:0.25 value:7.025} quantile:{quantile:0.5 value:7.05} quantile:{quantile:0.75 value:7.074999999999999} quantile:{quantile:0.9 value:7.074999999999999} quantile:{quantile:0.95 value:7.074999999999999} quantile:{quantile:0.99 value:7.074999999999999} quantile:{quantile:0.995 value:7.074999999999999} quantile:{quantile:0.999 value:7.074999999999999} quantile:{quantile:1 value:7.074999999999999}} timestamp_ms:1000}`,
			`name:"a.time" type:HISTOGRAM metric:{histogram:{sample_count:3 sample_sum:21 bucket:{cumulative_count:0 upper_bound:5} bucket:{cumulative_count:3 upper_bound:10}} timestamp_ms:1000}`,
			`name:"cluster.web.upstream_rq_total" type:COUNTER metric:{counter:{value:5} timestamp_ms:1000}`,
			`name:"server.live" type:GAUGE metric:{gauge:{value:1} timestamp_ms:1000}`,
		}},
		{"labels", xdsresource.MetricsService{Labels: true}, []string{
			`name:"cluster.upstream_rq_total" type:COUNTER metric:{label:{name:"envoy.cluster_name" value:"web"} counter:{value:5} timestamp_ms:1000}`,
			`name:"server.live" type:GAUGE metric:{gauge:{value:1} timestamp_ms:1000}`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := stats.NewStore(stats.Options{Buckets: []stats.BucketRule{{Match: func(string) bool { return true }, Bounds: []float64{5, 10}}}})
			fill(store)
			s := New(c.cfg, nil, nil)
			s.now = func() time.Time { return time.Unix(1, 0) }
			var got []string
			families, _ := s.families(snapshot(t, store))
			for _, f := range families {
				var want dto.MetricFamily
				if i := len(got); i < len(c.want) {
					if err := prototext.Unmarshal([]byte(c.want[i]), &want); err != nil {
						t.Fatal(err)
					}
				}
				got = append(got, f.GetName())
				if f.String() != want.String() {
					t.Errorf("got  %s\nwant %s", f, &want)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("%d families, want %d: %q", len(got), len(c.want), got)
			}
		})
	}
}

// Messages hold so many families at most; the first of a stream says who sends. A service that is away and comes back misses the intervals
// in which it was away, but for the growth of counters.
func TestFlush(t *testing.T) {
	srv := &service{got: make(chan *metricspb.StreamMetricsMessage, 100)}
	srv.serve(t)
	store := stats.NewStore(stats.Options{})
	requests := store.Counter("requests")
	store.Main().Add(requests, 5)
	store.Main().GaugeSet(store.Gauge("live"), 1)
	s := New(xdsresource.MetricsService{Deltas: true, FamiliesAtMost: 1}, srv, &corev3.Node{Id: "me"})
	defer s.Close()
	value := func(families []*dto.MetricFamily) float64 {
		i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "requests" })
		return families[i].GetMetric()[0].GetCounter().GetValue()
	}
	if err := s.Flush(t.Context(), snapshot(t, store)); err != nil {
		t.Fatal(err)
	}
	if f, messages, node := srv.families(t, 2); messages != 2 || node != "me" || value(f) != 5 {
		t.Errorf("%d messages of %q, %v", messages, node, f)
	}
	store.Main().Add(requests, 2)
	if err := s.Flush(t.Context(), snapshot(t, store)); err != nil {
		t.Fatal(err)
	}
	if f, _, node := srv.families(t, 2); node != "" || value(f) != 2 {
		t.Errorf("after two more, of %q: %v", node, f)
	}

	srv.stop()
	store.Main().Add(requests, 3)
	for s.Flush(t.Context(), snapshot(t, store)) == nil { // what is sent into a connection that has just ended shows no error
		store.Main().Add(requests, 3)
	}
	srv.serve(t)
	defer srv.stop()
	store.Main().Add(requests, 4)
	for s.Flush(t.Context(), snapshot(t, store)) != nil {
	}
	if f, _, node := srv.families(t, 2); node != "me" || value(f) != 7 {
		t.Errorf("back again, of %q: %v, want the 3 of before and 4", node, f)
	}
}
