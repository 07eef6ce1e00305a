package stats

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func snapshot(t testing.TB, s *Store, q Query) *Snapshot {
	t.Helper()
	p, err := s.Snapshot(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestShardsAreSummed(t *testing.T) {
	s := NewStore(Options{Workers: 3})
	c, g := s.Counter("a.total"), s.Gauge("a.active")
	for i := range 3 {
		s.Shard(i).Add(c, uint64(i+1))
	}
	// Opened on one worker, closed on another.
	s.Shard(0).GaugeAdd(g, 5)
	s.Shard(2).GaugeAdd(g, -3)
	s.Main().Inc(c)
	p := snapshot(t, s, Query{})
	if v, _ := p.Value("a.total"); v != 7 {
		t.Errorf("counter %d", v)
	}
	if v, _ := p.Value("a.active"); v != 2 {
		t.Errorf("gauge %d", v)
	}
	if s.Counter("a.total") != c {
		t.Error("the same name gave another handle")
	}
}

func TestZeroHandlesGoNowhere(t *testing.T) {
	s := NewStore(Options{Workers: 1})
	real := s.Counter("real")
	s.Shard(0).Inc(0)
	s.Shard(0).Record(0, 5)
	var none Scope
	s.Shard(0).Inc(none.Counter("x"))
	s.Shard(0).Inc(Block{}.Counter(3))
	p := snapshot(t, s, Query{})
	if v, _ := p.Value("real"); v != 0 || real == 0 {
		t.Error("a zero handle reached a statistic")
	}
}

// TestSnapshotPosts reads an attached worker on its own goroutine only.
func TestSnapshotPosts(t *testing.T) {
	s := NewStore(Options{Workers: 2})
	c := s.Counter("n")
	work, done := make(chan func()), make(chan struct{})
	go func() {
		defer close(done)
		for f := range work {
			s.Shard(0).Inc(c)
			f()
		}
	}()
	s.Attach(0, func(f func()) bool { work <- f; return true })
	s.Attach(1, func(func()) bool { return false }) // stopped
	for i := range 100 {
		if v, _ := snapshot(t, s, Query{}).Value("n"); v != int64(i+1) {
			t.Fatalf("%d, want %d", v, i+1)
		}
	}
	close(work)
	<-done
	s.Attach(0, func(func()) bool { return true }) // never answers
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Snapshot(ctx, Query{}); err == nil {
		t.Error("a worker that does not answer gave no error")
	}
}

var testSet = NewSet(
	Item{"rq_total", KindCounter}, Item{"rq_active", KindGauge}, Item{"rq_time", KindHistogram}, Item{"upstream_rq_total", KindCounter})

func TestBlocks(t *testing.T) {
	s := NewStore(Options{Workers: 1})
	sc := func(n string) Scope { return s.Scope("cluster").Tagged(TagCluster, n) }
	a, b := sc("a.b").Block(testSet), sc("c").Block(testSet)
	if sc("a.b").Block(testSet) != a {
		t.Error("the same scope gave another block")
	}
	s.Shard(0).Inc(a.Counter(3))
	s.Shard(0).Add(b.Counter(3), 2)
	s.Shard(0).Record(a.Histogram(2), 3)
	p := snapshot(t, s, Query{UsedOnly: true})
	if got, want := string(p.AppendText(nil, Summary)), "cluster.a.b.upstream_rq_total: 1\ncluster.c.upstream_rq_total: 2\n"+
		"cluster.a.b.rq_time: P0(nan,3.05) P25(nan,3.05) P50(nan,3.05) P75(nan,3.05) P90(nan,3.05) P95(nan,3.05) P99(nan,3.05) P99.5(nan,3.05) P99.9(nan,3.05) P100(nan,3.05)\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTextAndJSON(t *testing.T) {
	s := NewStore(Options{Workers: 1})
	s.Gauge("server.live")
	s.Main().GaugeSet(s.Gauge("server.live"), 1)
	s.Main().Add(s.Counter("http.admin.rq_total"), 7)
	s.Main().Add(s.Counter("never"), 0)
	s.Histogram("h.empty")
	if got, want := string(snapshot(t, s, Query{}).AppendText(nil, Summary)),
		"http.admin.rq_total: 7\nnever: 0\nserver.live: 1\nh.empty: No recorded values\n"; got != want {
		t.Errorf("got\n%s", got)
	}
	if got := string(snapshot(t, s, Query{UsedOnly: true, Filter: regexp.MustCompile("live|never")}).AppendText(nil, Summary)); got != "server.live: 1\n" {
		t.Errorf("filtered: %q", got)
	}
	var v struct {
		Stats []map[string]any `json:"stats"`
	}
	if err := json.Unmarshal(snapshot(t, s, Query{}).AppendJSON(nil, Summary), &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Stats) != 4 || v.Stats[0]["name"] != "http.admin.rq_total" || v.Stats[0]["value"] != 7.0 || v.Stats[3]["histograms"] == nil {
		t.Errorf("JSON %v", v.Stats)
	}
	if err := json.Unmarshal(NewStore(Options{}).emptyJSON(t), &v); err != nil {
		t.Error(err)
	}
}

func (s *Store) emptyJSON(t *testing.T) []byte {
	return snapshot(t, s, Query{}).AppendJSON(nil, Summary)
}

func TestTagExtraction(t *testing.T) {
	for _, tt := range []struct {
		name, bare string
		tags       []Tag
	}{
		{"cluster.web.upstream_rq_200", "cluster.upstream_rq", []Tag{{TagResponseCode, "200"}, {TagCluster, "web"}}},
		{"cluster.web.upstream_rq_5xx", "cluster.upstream_rq_xx", []Tag{{TagCodeClass, "5"}, {TagCluster, "web"}}},
		{"cluster.web.external.upstream_rq_2xx", "cluster.external.upstream_rq_xx", []Tag{{TagCodeClass, "2"}, {TagCluster, "web"}}},
		{"cluster.web.retry.upstream_rq_503", "cluster.retry.upstream_rq", []Tag{{TagResponseCode, "503"}, {TagCluster, "web"}}},
		{"http.ingress_http.downstream_rq_xx", "http.downstream_rq_xx", []Tag{{TagHTTPPrefix, "ingress_http"}}},
		{"listener.0.0.0.0_15001.downstream_cx_total", "listener.downstream_cx_total", []Tag{{TagListener, "0.0.0.0_15001"}}},
		{"listener_manager.lds.version", "listener_manager.lds.version", nil},
		{"server.live", "server.live", nil},
		{"cluster_manager.active_clusters", "cluster_manager.active_clusters", nil},
	} {
		bare, tags := extract(tt.name, nil)
		if bare != tt.bare || !slices.Equal(tags, tt.tags) {
			t.Errorf("%s: %s %v, want %s %v", tt.name, bare, tags, tt.bare, tt.tags)
		}
	}
}

func TestPrometheus(t *testing.T) {
	s := NewStore(Options{Workers: 1})
	w := s.Shard(0)
	for i, name := range []string{"outbound|80||web.ns.svc.cluster.local", `odd"\name`} {
		sc := s.Scope("cluster").Tagged(TagCluster, name)
		b := sc.Block(testSet)
		w.Add(b.Counter(0), uint64(i+1))
		w.Inc(sc.Counter("upstream_rq_200"))
	}
	w.Record(s.Histogram("http.x.rq_time"), 5)
	w.Record(s.Histogram("http.x.rq_time"), 300)
	w.Inc(s.CustomCounter("istio_requests_total", []Tag{{"reporter", "source"}, {"response_code", "200"}}))
	got := string(snapshot(t, s, Query{UsedOnly: true}).AppendPrometheus(nil))
	want := `# TYPE envoy_cluster_rq_total counter
envoy_cluster_rq_total{envoy_cluster_name="odd\"\\name"} 2
envoy_cluster_rq_total{envoy_cluster_name="outbound|80||web.ns.svc.cluster.local"} 1
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="odd\"\\name"} 1
envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="outbound|80||web.ns.svc.cluster.local"} 1
# TYPE envoy_http_rq_time histogram
envoy_http_rq_time_bucket{envoy_http_conn_manager_prefix="x",le="0.5"} 0
envoy_http_rq_time_bucket{envoy_http_conn_manager_prefix="x",le="1"} 0
envoy_http_rq_time_bucket{envoy_http_conn_manager_prefix="x",le="5"} 1
`
	if !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant it to begin\n%s", got, want)
	}
	for _, line := range []string{
		`envoy_http_rq_time_bucket{envoy_http_conn_manager_prefix="x",le="250"} 1`,
		`envoy_http_rq_time_bucket{envoy_http_conn_manager_prefix="x",le="500"} 2`,
		`envoy_http_rq_time_bucket{envoy_http_conn_manager_prefix="x",le="3600000"} 2`,
		`envoy_http_rq_time_bucket{envoy_http_conn_manager_prefix="x",le="+Inf"} 2`,
		`envoy_http_rq_time_sum{envoy_http_conn_manager_prefix="x"} 305`,
		`envoy_http_rq_time_count{envoy_http_conn_manager_prefix="x"} 2`,
		"# TYPE istio_requests_total counter",
		`istio_requests_total{reporter="source",response_code="200"} 1`,
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %s in\n%s", line, got)
		}
	}
}

// TestTagRules: Istio's bootstrap names the tags itself and turns the defaults off.
func TestTagRules(t *testing.T) {
	s := NewStore(Options{Workers: 1, NoDefaultTags: true, Tags: []TagRule{
		{Name: "cluster_name", Regex: regexp.MustCompile(`^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)`)},
		{Name: "response_code", Regex: regexp.MustCompile(`(_rq(_(\d{3})))$`)},
		{Name: "mesh", Fixed: "m"},
	}})
	w := s.Shard(0)
	w.Inc(s.Scope("cluster").Tagged(TagCluster, "outbound|80||a.ns.svc.cluster.local").Counter("upstream_cx_total"))
	got := string(snapshot(t, s, Query{UsedOnly: true}).AppendPrometheus(nil))
	if want := `envoy_cluster_upstream_cx_total{cluster_name="outbound|80||a.ns.svc.cluster.local",mesh="m"} 1`; !strings.Contains(got, want) {
		t.Errorf("got\n%s\nwant %s", got, want)
	}
}

// TestHistogramAgainstValues checks buckets exactly and quantiles to the resolution.
func TestHistogramAgainstValues(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var h hist
	var vs []uint64
	for range 20000 {
		v := uint64(math.Pow(10, r.Float64()*7)) - 1
		vs = append(vs, v)
		h.record(v)
	}
	slices.Sort(vs)
	for i, n := range h.cumulative(Bounds) {
		want, _ := slices.BinarySearchFunc(vs, Bounds[i], func(v uint64, b float64) int {
			if float64(v) <= b {
				return -1
			}
			return 1
		})
		if n != uint64(want) {
			t.Errorf("le %v: %d, want %d", Bounds[i], n, want)
		}
	}
	for i, q := range h.quantiles(Quantiles) {
		want := float64(vs[min(int(Quantiles[i]*float64(len(vs))), len(vs)-1)])
		if math.Abs(q-want) > want*0.11+1 {
			t.Errorf("quantile %v is %v, values say %v", Quantiles[i], q, want)
		}
	}
	for _, v := range []uint64{0, 1, 9, 10, 11, 99, 100, 101, 109, 110, 111, 999, 1000, 1001, 1e6, 1e6 + 1, math.MaxInt64, math.MaxUint64} {
		var one hist
		one.record(v)
		n := 0
		one.each(func(low, high float64, most uint64, c uint64) {
			n++
			if v < 1e18 && (float64(v) < low || v > most) {
				t.Errorf("%d fell into [%v, %v] with %d as its most", v, low, high, most)
			}
		})
		if n != 1 {
			t.Errorf("%d fell into %d bins", v, n)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	s := NewStore(Options{Workers: 1})
	c, g, h := s.Counter("c"), s.Gauge("g"), s.Histogram("h")
	w := s.Shard(0)
	f := func() {
		w.Inc(c)
		w.GaugeAdd(g, 1)
		w.Record(h, 7)
		w.Record(h, 700)
	}
	f()
	if n := testing.AllocsPerRun(1000, f); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestMemoryFollowsUse: ten thousand clusters of which few are used cost little.
func TestMemoryFollowsUse(t *testing.T) {
	items := make([]Item, 90)
	for i := range items {
		items[i] = Item{fmt.Sprintf("stat_%d", i), KindCounter}
	}
	set := NewSet(items...)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := NewStore(Options{Workers: 2})
	for i := range 10000 {
		b := s.Scope("cluster").Tagged(TagCluster, fmt.Sprint("c", i)).Block(set)
		if i%1000 == 0 {
			s.Shard(0).Inc(b.Counter(4))
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if per := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / 10000; per > 600 {
		t.Errorf("%d bytes a cluster", per)
	}
	runtime.KeepAlive(s)
}

func BenchmarkAdd(b *testing.B) {
	s := NewStore(Options{Workers: 1})
	c := s.Counter("c")
	w := s.Shard(0)
	w.Inc(c)
	for b.Loop() {
		w.Add(c, 1)
	}
}

func BenchmarkRecord(b *testing.B) {
	s := NewStore(Options{Workers: 1})
	h := s.Histogram("h")
	w := s.Shard(0)
	i := uint64(0)
	for b.Loop() {
		i++
		w.Record(h, i&1023)
	}
}

// TestGauges: a version is a number of 64 bits without a sign; a count may be a little below zero.
func TestGauges(t *testing.T) {
	for v, want := range map[uint64]string{0: "0", 7: "7", math.MaxUint64: "-1", 1 << 63: "9223372036854775808", 0xdeadbeefdeadbeef: "16045690984833335023"} {
		if got := string(appendGauge(nil, v)); got != want {
			t.Errorf("%d is shown as %s", v, got)
		}
	}
}

// TestOrderOfTags: labels have the order in which Envoy's extractors take tags out of names.
func TestOrderOfTags(t *testing.T) {
	s := NewStore(Options{})
	vhost := s.Scope("vhost").Tagged(TagVirtualHost, "v")
	s.Main().Inc(vhost.Scope("route").Tagged(TagRoute, "r").Counter("upstream_rq_200"))
	s.Main().Inc(vhost.Scope("vcluster").Tagged(TagVirtualCluster, "c").Counter("upstream_rq_2xx"))
	got := string(snapshot(t, s, Query{}).AppendPrometheus(nil))
	for _, want := range []string{
		`envoy_vhost_route_upstream_rq{envoy_response_code="200",envoy_virtual_host="v",envoy_route="r"} 1`,
		`envoy_vhost_vcluster_upstream_rq_xx{envoy_response_code_class="2",envoy_virtual_cluster="c",envoy_virtual_host="v"} 1`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nlacks\n%s", got, want)
		}
	}
}
