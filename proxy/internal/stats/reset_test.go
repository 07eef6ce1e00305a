package stats

import (
	"context"
	"testing"
)

func TestResetCounters(t *testing.T) {
	s := NewStore(Options{Workers: 1})
	c, g := s.Counter("c"), s.Gauge("g")
	b := s.Scope("x").Block(NewSet(Item{Name: "n"}))
	s.Shard(0).Add(c, 2)
	s.Shard(0).GaugeAdd(g, 3)
	s.Main().Inc(b.Counter(0))
	s.ResetCounters()
	snap, err := s.Snapshot(context.Background(), Query{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"c": 0, "x.n": 0, "g": 3} {
		if v, _ := snap.Value(name); v != want {
			t.Errorf("%s = %d, want %d", name, v, want)
		}
	}
}
