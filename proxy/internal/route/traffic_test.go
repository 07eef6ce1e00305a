package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func headersOf(path string) *header.Map {
	var h header.Map
	h.SetString(header.Path, path)
	h.SetString(header.Authority, "a.example")
	return &h
}

// countedTable has virtual hosts that are counted, and one that is not.
func countedTable(t *testing.T, names ...string) *Table {
	t.Helper()
	cfg := &xdsresource.RouteConfig{Name: "t"}
	for _, n := range names {
		v := &xdsresource.VirtualHost{
			Name: n, Domains: []string{n + ".example"},
			Routes: []*xdsresource.Route{{Name: "r", Direct: &xdsresource.DirectResponse{Status: 200}}},
		}
		if n != "plain" {
			v.Routes[0].StatPrefix = "all"
			v.VirtualClusters = []xdsresource.VirtualCluster{{
				Name: "carts", Headers: []xdsresource.HeaderMatcher{{Name: ":path", String: &xdsresource.StringMatch{Kind: xdsresource.StringPrefix, Value: "/cart"}}},
			}}
		}
		cfg.VirtualHosts = append(cfg.VirtualHosts, v)
	}
	table, err := Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestVirtualCluster(t *testing.T) {
	table := countedTable(t, "a", "plain")
	table.Count(stats.NewStore(stats.Options{}).Owned)
	a, plain := table.VirtualHosts()[0], table.VirtualHosts()[1]
	for path, want := range map[string]string{"/cart/1": "carts", "/": ""} {
		if c := a.VirtualCluster(headersOf(path)); c == nil || c.Name != want || c.Traffic == nil {
			t.Errorf("the virtual cluster of %s is %+v, want %q", path, c, want)
		}
	}
	if c := plain.VirtualCluster(headersOf("/")); c != nil {
		t.Errorf("a virtual host without virtual clusters has %+v", c)
	}
	if plain.Entries[0].Traffic != nil {
		t.Error("a route without stat_prefix counts")
	}
}

// TestTrafficCounts: names and values, and what the counting of a request allocates once its statistics are there.
func TestTrafficCounts(t *testing.T) {
	store := stats.NewStore(stats.Options{Workers: 1})
	table := countedTable(t, "a")
	table.Count(store.Owned)
	v, shard, h := table.VirtualHosts()[0], store.Shard(0), headersOf("/cart")
	count := func() {
		for _, t := range []*Traffic{v.VirtualCluster(h).Traffic, v.Entries[0].Traffic, nil} {
			t.Inc(shard, RqTotal)
			t.Answered(shard, 503)
			t.Took(shard, 3)
		}
	}
	count()
	want := []string{
		"vhost.a.route.all.upstream_rq_503: 1", "vhost.a.route.all.upstream_rq_5xx: 1", "vhost.a.route.all.upstream_rq_completed: 1",
		"vhost.a.route.all.upstream_rq_total: 1",
		"vhost.a.vcluster.carts.upstream_rq_503: 1", "vhost.a.vcluster.carts.upstream_rq_5xx: 1", "vhost.a.vcluster.carts.upstream_rq_completed: 1",
		"vhost.a.vcluster.carts.upstream_rq_total: 1",
	}
	if got := shown(t, store); !slices.Equal(got, want) {
		t.Errorf("statistics are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := testing.AllocsPerRun(100, count); n != 0 {
		t.Errorf("counting allocates %v times", n)
	}
}

// TestTrafficOfEdits: a virtual host that an edit keeps goes on counting, one that it takes away is shown no more, and
// what another table still has stays.
func TestTrafficOfEdits(t *testing.T) {
	store := stats.NewStore(stats.Options{Workers: 1})
	old := countedTable(t, "a", "b", "plain")
	old.Count(store.Owned)
	for _, v := range old.VirtualHosts()[:2] {
		v.Entries[0].Traffic.Inc(store.Shard(0), RqTotal)
	}
	e := old.Edit()
	e.Remove(old.VirtualHosts()[1])
	next := e.Table()
	next.Count(store.Owned)
	old.Retire(next)
	if got, want := shown(t, store), []string{"vhost.a.route.all.upstream_rq_total: 1"}; !slices.Equal(got, want) {
		t.Errorf("after an edit there is %v, want %v", got, want)
	}
	again := countedTable(t, "a")
	again.Count(store.Owned)
	next.Retire(again)
	if got, want := shown(t, store), []string{"vhost.a.route.all.upstream_rq_total: 1"}; !slices.Equal(got, want) {
		t.Errorf("after a new version there is %v, want %v", got, want)
	}
	again.Retire(nil)
	if got := shown(t, store); len(got) != 0 {
		t.Errorf("when all tables are gone there is %v", got)
	}
}

// shown are the counters that have a value.
func shown(t *testing.T, s *stats.Store) (out []string) {
	t.Helper()
	snap, err := s.Snapshot(t.Context(), stats.Query{UsedOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	snap.Each(func(st stats.Stat) {
		if st.Kind == stats.KindCounter {
			v, _ := snap.Value(st.Name)
			out = append(out, fmt.Sprintf("%s: %d", st.Name, v))
		}
	})
	slices.Sort(out)
	return out
}
