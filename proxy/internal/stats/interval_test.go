package stats

import (
	"strings"
	"testing"
)

// TestIntervals holds what Envoy 1.40 prints for the values 1, 1 and 2, recorded in one interval.
func TestIntervals(t *testing.T) {
	s := NewStore(Options{Workers: 1})
	h := s.Histogram("a.time")
	for _, v := range []uint64{1, 1, 2} {
		s.Shard(0).Record(h, v)
	}
	flush := func() {
		t.Helper()
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	text := func(b Buckets) string { return string(snapshot(t, s, Query{}).AppendText(nil, b)) }
	const quantiles = "P0(1.0333333333333334,1.0333333333333334) P25(1.0333333333333334,1.0333333333333334) P50(1.0666666666666667,1.0666666666666667) " +
		"P75(2.05,2.05) P90(2.05,2.05) P95(2.05,2.05) P99(2.05,2.05) P99.5(2.05,2.05) P99.9(2.05,2.05) P100(2.05,2.05)\n"
	if got := text(Summary); !strings.HasPrefix(got, "a.time: P0(nan,1.03333) ") {
		t.Errorf("before the first flush: %s", got)
	}
	flush()
	if got, want := text(Detailed), "a.time:\n  totals=1,0.1:2, 2,0.1:1\n  intervals=1,0.1:2, 2,0.1:1\n  summary="+quantiles; got != want {
		t.Errorf("detailed:\n%s\nwant\n%s", got, want)
	}
	if got := text(Cumulative); !strings.HasPrefix(got, "a.time: B0.5(0,0) B1(2,2) B5(3,3) B10(3,3)") || !strings.Contains(got, "B600000(3,3) B1.8e+06(3,3) B3.6e+06(3,3)\n") {
		t.Errorf("cumulative: %s", got)
	}
	if got := text(Disjoint); !strings.HasPrefix(got, "a.time: B0.5(0,0) B1(2,2) B5(1,1) B10(0,0)") {
		t.Errorf("disjoint: %s", got)
	}
	s.Shard(0).Record(h, 7)
	flush()
	if got := text(Disjoint); !strings.HasPrefix(got, "a.time: B0.5(0,0) B1(0,2) B5(0,1) B10(1,1)") {
		t.Errorf("second interval: %s", got)
	}
	json := string(snapshot(t, s, Query{}).AppendJSON(nil, Detailed))
	if !strings.HasPrefix(json, `{"stats":[{"histograms":{"supported_percentiles":[0,25,50,75,90,95,99,99.5,99.9,100],"details":[{"name":"a.time","totals":[{"lower_bound":1,"width":0.1,"count":2},`) ||
		!strings.Contains(json, `"intervals":[{"lower_bound":7,"width":0.1,"count":1}]`) {
		t.Errorf("detailed JSON: %s", json)
	}
	json = string(snapshot(t, s, Query{}).AppendJSON(nil, Disjoint))
	if !strings.HasPrefix(json, `{"stats":[{"histograms":[{"name":"a.time","buckets":[{"upper_bound":0.5,"interval":0,"cumulative":0},{"upper_bound":1,"interval":0,"cumulative":2},`) {
		t.Errorf("disjoint JSON: %s", json)
	}
	flush()
	if got := text(Summary); !strings.HasPrefix(got, "a.time: P0(nan,") {
		t.Errorf("an interval without values: %s", got)
	}
}

func TestMatcherAndBuckets(t *testing.T) {
	prefix := func(p string) func(string) bool { return func(n string) bool { return strings.HasPrefix(n, p) } }
	f := func(m *Matcher, want string) {
		t.Helper()
		s := NewStore(Options{Matcher: m})
		s.Counter("a.x")
		s.Counter("b.x")
		if got := string(snapshot(t, s, Query{}).AppendText(nil, Summary)); got != want {
			t.Errorf("%+v: %q, want %q", m, got, want)
		}
	}
	f(nil, "a.x: 0\nb.x: 0\n")
	f(&Matcher{RejectAll: true}, "")
	f(&Matcher{Patterns: []func(string) bool{prefix("a")}}, "a.x: 0\n")
	f(&Matcher{Patterns: []func(string) bool{prefix("a")}, Exclude: true}, "b.x: 0\n")

	s := NewStore(Options{Buckets: []BucketRule{{Match: prefix("a"), Bounds: []float64{2, 4}}}})
	s.Main().Record(s.Histogram("a.time"), 3)
	got := string(snapshot(t, s, Query{}).AppendPrometheus(nil))
	if !strings.Contains(got, `le="2"} 0`) || !strings.Contains(got, `le="4"} 1`) || strings.Contains(got, `le="0.5"`) {
		t.Errorf("buckets:\n%s", got)
	}
}
