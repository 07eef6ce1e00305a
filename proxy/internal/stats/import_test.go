package stats

import "testing"

// TestImport: counters grow by what another process's grew, each once, also when they come to be
// here only later.
func TestImport(t *testing.T) {
	other, own := NewStore(Options{Workers: 1}), NewStore(Options{})
	set := NewSet(Item{Name: "x"}, Item{Name: "g", Kind: KindGauge})
	b := other.Scope("a").Block(set)
	other.Shard(0).Add(b.Counter(0), 5)
	other.Shard(0).GaugeAdd(b.Gauge(1), 9)
	late := other.Counter("late")
	other.Main().Add(late, 3)

	mine := own.Scope("a").Block(set)
	own.Main().Add(mine.Counter(0), 1)
	imp := own.NewImporter()
	step := func(want string) {
		t.Helper()
		counters, err := other.Counters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		imp.Add(counters)
		if got := string(snapshot(t, own, Query{}).AppendText(nil, Summary)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	step("a.g: 0\na.x: 6\n")
	step("a.g: 0\na.x: 6\n")
	other.Shard(0).Add(b.Counter(0), 2)
	own.Counter("late")
	step("a.g: 0\na.x: 8\nlate: 3\n")
}
