package dynatrace

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
)

const ours = "100f8eb3-ef7dd@dt" // of the environment 9712ad40 and its cluster 980957

// request asks for a path and carries the lines of tracestate.
func request(path string, states ...string) *header.Map {
	h := &header.Map{}
	h.AddString(header.Method, "GET")
	h.AddString(header.Path, path)
	for _, s := range states {
		h.AddString(header.Tracestate, s)
	}
	return h
}

var call = tracing.Context{TraceHigh: 0x463ac35c9f6413ad, TraceLow: 0x48485a3953bb6124, Span: 7, Format: tracing.W3C}

// TestSample: the answers are Envoy's to the same requests; test/differential asks it (sampling).
func TestSample(t *testing.T) {
	const began = ours + "=fw4;0;0;0;0;0;0;5f;3b1a;8h0101"
	full := strings.Repeat("a=1,", 31)
	atm := []tracing.Attribute{{Key: "supportability.atm_sampling_ratio", Int: 1}, {Key: "trace.capture.reasons", Texts: []string{"atm"}}}
	eighth := []tracing.Attribute{{Key: "supportability.atm_sampling_ratio", Int: 8}, {Key: "sampling.threshold", Int: 63050394783186944}}
	for _, tt := range []struct {
		name, state, want string
		sampling          tracing.Sampling
		attributes        []tracing.Attribute
	}{
		{"nothing came", "", began, tracing.Sampled, atm},
		{"another's", "vendor=1", began + ",vendor=1", tracing.Sampled, atm},
		{"spaces", "a=1 , b@x=2 3,\t,c=/", began + ",a=1,b@x=2 3,c=/", tracing.Sampled, atm},
		{"damaged", "vendor=1,UPPER=2", began, tracing.Sampled, atm},
		{"no value", "vendor=1,other", began, tracing.Sampled, atm},
		{"an empty value", "vendor=", began, tracing.Sampled, atm},
		{"two signs", "vendor=1=2", began, tracing.Sampled, atm},
		{"31 entries", full[:len(full)-1], began + "," + full[:len(full)-1], tracing.Sampled, atm},
		{"full", full + "a=1", full + "a=1", tracing.Sampled, atm},
		{"more than full", full + "a=1,a=1", began, tracing.Sampled, atm},
		{"decided", ours + "=fw4;0;0;0;0;0;3;1f,vendor=1", "", tracing.Sampled, eighth},
		{"decided against", ours + "=fw4;0;0;0;0;1;3;1f", "", tracing.NotSampled, eighth},
		{"decided, in other fields anything", ours + "=fw4;a;b;;x;2;3;1f", "", tracing.Sampled, eighth},
		{"decided twice", ours + "=fw4;0;0;0;0;0;3;1f," + ours + "=fw4;0;0;0;0;1;2;1f", "", tracing.Sampled, eighth},
		{"damaged of ours", "a=1," + ours + "=fw4;0;0;0;0;0;3,b=2", began + ",a=1,b=2", tracing.Sampled, atm},
		{"another cluster's", "100f8eb3-1@dt=fw4;0;0;0;0;1;2;1f", began + ",100f8eb3-1@dt=fw4;0;0;0;0;1;2;1f", tracing.Sampled, atm},
	} {
		s := New("9712ad40", 980957, 1000, 1)
		got := s.Sample(0, request("/ok", tt.state), call, true)
		if got.State != tt.want || got.Sampling != tt.sampling || !reflect.DeepEqual(s.Attributes(got.Note), tt.attributes) {
			t.Errorf("%s: %v, %q, %v\nwant %v, %q, %v", tt.name, got.Sampling, got.State, s.Attributes(got.Note), tt.sampling, tt.want, tt.attributes)
		}
	}
	two := New("9712ad40", 980957, 1000, 1).Sample(0, request("/ok", "a=1", "b=2"), call, true)
	if two.State != began+",a=1,b=2" {
		t.Errorf("two lines: %q", two.State)
	}
	if c := New("9712ad40", 980957, 1000, 1).Sample(0, request("/ok", "a=1"), call, false); c.State != began {
		t.Errorf("a tracestate without a traceparent counted: %q", c.State)
	}
}

func TestTenant(t *testing.T) {
	for tenant, want := range map[string]string{"": "0-1@dt", "abc12345": "5b3f9fed-1@dt", "zwölf": "e35fd2b5-1@dt"} {
		if s := New(tenant, 1, 1, 1); s.key != want {
			t.Errorf("%q: %s, want %s", tenant, s.key, want)
		}
	}
	if s := New("", -5, 1, 1); s.key != "0-fffffffb@dt" {
		t.Errorf("a negative cluster: %s", s.key)
	}
}

func TestTag(t *testing.T) {
	for text, want := range map[string]tag{
		"fw4;0;0;0;0;1;15;ff":                       {ignored: true, exponent: 15, path: 255},
		"fw4;0;0;0;0;0;31;1f;3b1a;8h0101":           {exponent: 31, path: 31, reasons: 1, explained: true},
		"fw4;0;0;0;0;0;1;1f;8h013f":                 {exponent: 1, path: 31, reasons: 63, explained: true},
		"fw4;0;0;0;0;0;1;1f;2hab;8h0100;8h0101":     {exponent: 1, path: 31, explained: true},
		"fw4;0;0;0;0;0;1;1f;8h010000000000000021":   {exponent: 1, path: 31, reasons: 33, explained: true},
		"fw4;0;0;0;0;0;1;1f;8h01000000000000000021": {exponent: 1, path: 31},
		"fw4;0;0;0;0;0;1;1f;8h0140":                 {exponent: 1, path: 31},
		"fw4;0;0;0;0;0;1;1f;8h0201":                 {exponent: 1, path: 31},
		"fw4;0;0;0;0;0;1;1f;8h01zz":                 {exponent: 1, path: 31},
		"fw4;0;0;0;0;0;1;1f;8h011":                  {exponent: 1, path: 31},
		"fw4;0;0;0;0;0;1;1f;;8h;":                   {exponent: 1, path: 31},
	} {
		if got, ok := parseTag([]byte(text)); !ok || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", "fw4", "fw3;0;0;0;0;0;1;1f", "fw4;0;0;0;0;0;1", "fw4;0;0;0;0;0;;1f", "fw4;0;0;0;0;0;-1;1f", "fw4;0;0;0;0;0;x;1f", "fw4;0;0;0;0;0;32;1f", "fw4;0;0;0;0;0;1;",
		"fw4;0;0;0;0;0;1;xyz", "fw4;0;0;0;0;0;1;100000000",
	} {
		if got, ok := parseTag([]byte(text)); ok {
			t.Errorf("%s was taken: %+v", text, got)
		}
	}
}

// TestSummary: what is frequent keeps its place whatever else comes, and what is rare shares places.
func TestSummary(t *testing.T) {
	s := newSummary()
	for i := range 1000 {
		s.offer([]byte("often"))
		s.offer(fmt.Appendf(nil, "once %d", i))
		if i%2 == 0 {
			s.offer([]byte("half"))
		}
	}
	if len(s.ranked) != kinds || len(s.by) != kinds || s.ranked[0].kind != "often" || s.ranked[0].count != 1000 || s.ranked[1].kind != "half" || s.ranked[1].count < 500 {
		t.Fatalf("%d places, %d kinds, first %+v, then %+v", len(s.ranked), len(s.by), s.ranked[0], s.ranked[1])
	}
	var sum uint64
	for i, c := range s.ranked {
		sum += c.count
		if c.at != i || s.by[c.kind] != c || i > 0 && c.count > s.ranked[i-1].count {
			t.Errorf("place %d: %+v", i, c)
		}
	}
	if sum != 2500 {
		t.Errorf("%d requests are counted, want 2500", sum)
	}
	two := newSummary()
	two.offer([]byte("half"))
	two.offer([]byte("other"))
	if all := merge([]*summary{two, s}); len(all) != kinds || all[0].kind != "often" || all[1].kind != "half" || all[1].count != s.ranked[1].count+1 {
		t.Errorf("of two workers: %d, %+v", len(all), all[:2])
	}
}

func TestPlan(t *testing.T) {
	for _, tt := range []struct {
		name   string
		counts []uint64
		wanted uint32
		want   []uint8
	}{
		{"less than wanted", []uint64{400, 100}, 1000, []uint8{0, 0}},
		{"one kind", []uint64{4000}, 1000, []uint8{2}},
		{"one kind, no power of two", []uint64{7999}, 1000, []uint8{2}},
		{"the rare leave theirs to the frequent", []uint64{2000, 100}, 1000, []uint8{1, 0}},
		{"both are frequent", []uint64{16000, 8000}, 1000, []uint8{5, 4}},
		{"the greatest exponent", []uint64{1 << 40}, 1000, []uint8{15}},
		{"fewer wanted than there are kinds", []uint64{64, 2, 1}, 2, []uint8{6, 1, 0}},
		{"none wanted", []uint64{64, 2}, 0, []uint8{0, 0}},
	} {
		var top []counter
		for i, n := range tt.counts {
			top = append(top, counter{kind: fmt.Sprint(i), count: n})
		}
		p := newPlan(top, tt.wanted)
		for i, want := range tt.want {
			if got := p.exponent(fmt.Append(nil, i)); got != want {
				t.Errorf("%s: kind %d has %d, want %d", tt.name, i, got, want)
			}
		}
		if got := p.exponent([]byte("unknown")); got != tt.want[len(tt.want)-1] {
			t.Errorf("%s: another kind has %d", tt.name, got)
		}
	}
	if newPlan(nil, 1000) != nil {
		t.Error("a plan of nothing")
	}
}

// TestExponents: they grow with the first requests, and then are those of a plan.
func TestExponents(t *testing.T) {
	s := New("", 0, 4, 2)
	next := func(worker int, path string) uint32 { return s.Sample(worker, request(path), call, false).Note & 0xff }
	for i, want := range []uint32{0, 1, 1, 2, 2, 3} { // half of what is wanted each, of both workers
		if got := next(i%2, "/often?q=1"); got != want {
			t.Errorf("request %d: exponent %d, want %d", i+1, got, want)
		}
	}
	next(0, "/rare")
	s.Plan() // six of /often, one of /rare: 2 of each are wanted
	if often, rare, other := next(0, "/often"), next(1, "/rare"), next(0, "/other"); often != 1 || rare != 0 || other != 0 {
		t.Errorf("exponents %d, %d and %d of another", often, rare, other)
	}
	s.Want(1)
	s.Plan()
	s.Plan() // nothing came
	if got := next(0, "/often"); got != most {
		t.Errorf("with none of a half: exponent %d", got)
	}
	long := strings.Repeat("x", 10*longestKind)
	next(1, "/"+long)
	if n := len(s.shards[1].counts.ranked[0].kind); n != longestKind {
		t.Errorf("a kind has %d bytes", n)
	}
}

func TestSamplerOfManyWorkers(t *testing.T) {
	s := New("a", 1, 100, 4)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				s.Sample(w, request(fmt.Sprintf("/%d", i%150)), call, false)
			}
		})
	}
	for range 20 {
		s.Plan()
		s.Want(50)
	}
	wg.Wait()
}

// FuzzSample: what is written is read as it was meant, whatever came.
func FuzzSample(f *testing.F) {
	f.Add("/ok?q", ours+"=fw4;0;0;0;0;0;3;1f", true)
	f.Add("", ours+"=fw4;0;0;0;0;1;99999999999;1f;8h01ffffff", true)
	f.Add("/", "a=1,,\t b@c=2 ,"+strings.Repeat("d=3,", 40), true)
	f.Add("*", "=,=", false)
	f.Fuzz(func(t *testing.T, path, state string, had bool) {
		s := New("9712ad40", 980957, 1, 1)
		got := s.Sample(0, request(path, state), call, had)
		if len(got.State) > len(state)+100 {
			t.Fatalf("%d bytes became %d", len(state), len(got.State))
		}
		s.Attributes(got.Note)
		if !strings.HasPrefix(got.State, ours) {
			return // it is full, or was decided before
		}
		again := New("9712ad40", 980957, 1, 1).Sample(0, request(path, got.State), call, true)
		if again.State != "" || again.Note != got.Note || again.Sampling != got.Sampling {
			t.Errorf("%q: %+v is read as %+v", state, got, again)
		}
	})
}
