package stats

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

func text(t *testing.T, s *Store) string {
	t.Helper()
	return string(snapshot(t, s, Query{}).AppendText(nil, Summary))
}

// attached returns a store whose one worker has stopped, so that the test is the only one to write.
func attached() *Store {
	s := NewStore(Options{Workers: 1})
	s.Attach(0, func(func()) bool { return false })
	return s
}

// TestOwnersShareNames: a statistic stays as long as somebody owns it.
func TestOwnersShareNames(t *testing.T) {
	s := attached()
	a, b := s.Owned(), s.Owned()
	c := a.Scope("http").Counter("rq_total")
	s.Shard(0).Inc(c)
	if got := b.Scope("http").Counter("rq_total"); got != c {
		t.Errorf("the second owner got handle %d, the first %d", got, c)
	}
	a.Scope("http").Counter("rq_total") // once more is not twice
	a.Close()
	a.Close()
	if got := text(t, s); got != "http.rq_total: 1\n" {
		t.Errorf("one owner of two has closed: %q", got)
	}
	if got := a.Scope("http").Counter("rq_total"); got != c {
		t.Error("an owner that has closed lost its statistic to itself")
	}
	b.Close()
	if got := text(t, s); got != "" {
		t.Errorf("both have closed: %q", got)
	}
	a.Scope("http").Counter("late")
	if got := text(t, s); got != "" {
		t.Errorf("an owner that has closed shows %q", got)
	}
	// The next one of that name begins anew, whatever the old one's connections still count.
	d := s.Owned()
	if fresh := d.Scope("http").Counter("rq_total"); fresh == c {
		t.Error("a handle that may still be in use was given out again")
	}
	s.Shard(0).Inc(c)
	if got := text(t, s); got != "http.rq_total: 0\n" {
		t.Errorf("the name came back as %q", got)
	}
	// What the process owns stays.
	s.Scope("http").Counter("rq_total")
	d.Close()
	s.Close()
	if got := text(t, s); got != "http.rq_total: 0\n" {
		t.Errorf("the process's own statistic: %q", got)
	}
	runtime.KeepAlive(a)
	runtime.KeepAlive(b)
	runtime.KeepAlive(d)
}

// TestNumbersAreUsedAgain: with the last reference to an owner its numbers are free, and clean.
func TestNumbersAreUsedAgain(t *testing.T) {
	s := attached()
	other := s.Counter("other")
	s.Shard(0).Add(other, 7)
	begin := func() *Store {
		o := s.Owned()
		sc := o.Scope("cluster").Tagged(TagCluster, "web")
		b := sc.Block(testSet)
		s.Shard(0).Inc(b.Counter(0))
		s.Shard(0).GaugeAdd(b.Gauge(1), 3)
		s.Shard(0).Record(b.Histogram(2), 5)
		s.Main().Inc(sc.Counter("single"))
		s.Shard(0).Record(sc.Histogram("time"), 9)
		return o
	}
	o := begin()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.r.mu.Lock()
	slots, hists := s.r.slots, s.r.hists
	s.r.mu.Unlock()
	o.Close()
	runtime.GC()
	if s.r.free() > 0 {
		t.Fatal("numbers were freed although somebody has the owner")
	}
	runtime.KeepAlive(o)
	o = nil
	for i := 0; s.r.free() < 3; i++ {
		if i == 1000 {
			t.Fatal("the collector never freed the numbers")
		}
		runtime.GC()
		<-time.After(time.Millisecond)
	}
	o = s.Owned()
	sc := o.Scope("cluster").Tagged(TagCluster, "db")
	sc.Block(testSet)
	sc.Counter("single")
	sc.Histogram("time")
	want := "cluster.db.rq_active: 0\ncluster.db.rq_total: 0\ncluster.db.single: 0\ncluster.db.upstream_rq_total: 0\nother: 7\n" +
		"cluster.db.rq_time: No recorded values\ncluster.db.time: No recorded values\n"
	if got := text(t, s); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if s.r.slots != slots || s.r.hists != hists {
		t.Errorf("%d slots and %d histograms, want %d and %d as before", s.r.slots, s.r.hists, slots, hists)
	}
	// An interval does not see what stood there before.
	s.Shard(0).Record(sc.Histogram("time"), 2)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := text(t, s); !strings.Contains(got, "cluster.db.time: P0(2.05,2.05)") {
		t.Errorf("the interval of a histogram whose place was another's:\n%s", got)
	}
	runtime.KeepAlive(o)
}

// free is how many blocks, slots and histograms wait to be used again.
func (r *registry) free() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.freeSlots) + len(r.freeHists)
	for _, spans := range r.freeBlocks {
		n += len(spans)
	}
	return n
}

// TestChurnIsFlat: owners that come and go leave nothing behind.
func TestChurnIsFlat(t *testing.T) {
	s := attached()
	for i := range 2000 {
		o := s.Owned()
		o.Scope("cluster").Tagged(TagCluster, string(rune('a'+i%26))).Block(testSet)
		o.Close()
		if i%50 == 0 {
			runtime.GC()
		}
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if len(s.r.entries)+len(s.r.blocks) > 0 || s.r.slots > 2000 {
		t.Errorf("%d entries, %d blocks, %d slots", len(s.r.entries), len(s.r.blocks), s.r.slots)
	}
}
