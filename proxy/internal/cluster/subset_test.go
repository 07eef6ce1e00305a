package cluster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// labelled makes endpoints with metadata "envoy.lb".
func labelled(md ...map[string]any) *xdsresource.Endpoints {
	l := xdsresource.LocalityEndpoints{}
	for i, m := range md {
		ep := endpoint(fmt.Sprintf("10.0.0.%d:80", i+1))
		ep.Metadata = xdsresource.Metadata{"envoy.lb": m}
		l.Endpoints = append(l.Endpoints, ep)
	}
	return &xdsresource.Endpoints{Localities: []xdsresource.LocalityEndpoints{l}}
}

// found are the last numbers of the hosts that picks with a wish end at.
func found(l *Local, want *xdsresource.MetadataMatch) []int {
	seen := map[int]bool{}
	for i := range 60 {
		c := lb.Context{Rand: lb.Next(uint64(i)), Subset: want}
		if h := l.Pick(&c); h != nil {
			a := h.Host.Address.IP.As4()
			seen[int(a[3])] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func subsetCluster(s xdsresource.Subset) *xdsresource.Cluster {
	c := eds("c")
	c.LB.Subset = &s
	return c
}

func keys(k ...string) xdsresource.SubsetSelector { return xdsresource.SubsetSelector{Keys: k} }

func wish(kv ...any) *xdsresource.MetadataMatch {
	m := map[string]any{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i].(string)] = kv[i+1]
	}
	return xdsresource.NewMetadataMatch(m)
}

// TestSubsetModel: a wish whose keys are those of a selector finds the hosts that have all of
// its values; any other falls back. Held against a search of all hosts for each wish.
func TestSubsetModel(t *testing.T) {
	names := []string{"a", "b", "c"}
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 6))
		hosts := make([]map[string]any, 1+r.IntN(8))
		for i := range hosts {
			hosts[i] = map[string]any{}
			for _, k := range names {
				if r.IntN(4) > 0 {
					hosts[i][k] = []any{"x", "y", true, float64(1), "1", []any{"x", "z"}}[r.IntN(6)]
				}
			}
		}
		cfg := xdsresource.Subset{Fallback: xdsresource.SubsetFallback(1 + r.IntN(3)), Default: wish("a", "x"), ListAsAny: r.IntN(2) == 0}
		for range 1 + r.IntN(3) {
			var ks []string
			for _, k := range names {
				if r.IntN(2) == 0 {
					ks = append(ks, k)
				}
			}
			if len(ks) > 0 {
				cfg.Selectors = append(cfg.Selectors, xdsresource.SubsetSelector{Keys: ks, Fallback: xdsresource.SubsetFallback(r.IntN(4))})
			}
		}
		l := newMesh(t, 1, nil).local(t, subsetCluster(cfg), labelled(hosts...))
		for range 20 {
			want := map[string]any{}
			for _, k := range names {
				if r.IntN(2) == 0 {
					want[k] = []any{"x", "y", true, float64(1), "1"}[r.IntN(5)]
				}
			}
			got, should := found(l, xdsresource.NewMetadataMatch(want)), searched(cfg, hosts, want)
			if !slices.Equal(got, should) {
				t.Fatalf("seed %d: hosts %v, selectors %+v, fallback %d: %v finds %v, want %v", seed, hosts, cfg.Selectors, cfg.Fallback, want, got, should)
			}
		}
	}
}

// searched looks at every host for what the subset policy says of a wish.
func searched(cfg xdsresource.Subset, hosts []map[string]any, want map[string]any) []int {
	has := func(h map[string]any, k string, v any) bool {
		list, ok := h[k].([]any)
		return reflect.DeepEqual(h[k], v) || ok && cfg.ListAsAny && slices.Contains(list, v)
	}
	with := func(want map[string]any) (out []int) {
		for i, h := range hosts {
			all := true
			for k, v := range want {
				all = all && has(h, k, v)
			}
			if all {
				out = append(out, i+1)
			}
		}
		return out
	}
	fall := func(f xdsresource.SubsetFallback) []int {
		switch f {
		case xdsresource.SubsetAnyEndpoint:
			return with(nil)
		case xdsresource.SubsetDefault:
			return with(map[string]any{"a": "x"})
		}
		return nil
	}
	ks := slices.Sorted(maps.Keys(want))
	covered := false // by an earlier selector whose keys go on
	for _, s := range cfg.Selectors {
		if !slices.Equal(s.Keys, ks) {
			covered = covered || len(s.Keys) > len(ks) && slices.Equal(s.Keys[:len(ks)], ks)
			continue
		}
		if hit := with(want); len(hit) > 0 {
			return hit
		}
		if s.Fallback != xdsresource.SubsetNotDefined && !covered {
			return fall(s.Fallback)
		}
		break // the first selector with these keys decides
	}
	return fall(cfg.Fallback)
}

func TestSubsetRules(t *testing.T) {
	three := []map[string]any{
		{"version": "1", "stage": "prod"}, {"version": "1", "stage": "dev"}, {"version": "2", "stage": "prod"},
	}
	for _, tt := range []struct {
		name string
		cfg  xdsresource.Subset
		want *xdsresource.MetadataMatch
		hits []int
		stat string
	}{
		{"selected", xdsresource.Subset{Selectors: []xdsresource.SubsetSelector{keys("version")}}, wish("version", "1"), []int{1, 2}, "lb_subsets_selected"},
		{"no wish, no fallback", xdsresource.Subset{Selectors: []xdsresource.SubsetSelector{keys("version")}}, nil, nil, ""},
		{"no wish, any", xdsresource.Subset{Fallback: xdsresource.SubsetAnyEndpoint, Selectors: []xdsresource.SubsetSelector{keys("version")}}, nil, []int{1, 2, 3}, "lb_subsets_fallback"},
		{"keys of no selector", xdsresource.Subset{Fallback: xdsresource.SubsetNoFallback, Selectors: []xdsresource.SubsetSelector{keys("version")}}, wish("version", "1", "stage", "dev"), nil, ""},
		{"redundant keys", xdsresource.Subset{AllowRedundantKeys: true, Selectors: []xdsresource.SubsetSelector{keys("version")}}, wish("version", "1", "color", "red"), []int{1, 2}, "lb_subsets_selected"},
		{"keys subset", xdsresource.Subset{Selectors: []xdsresource.SubsetSelector{
			{Keys: []string{"stage", "version"}, Fallback: xdsresource.SubsetKeys, FallbackKeys: []string{"stage"}}, keys("stage"),
		}}, wish("version", "3", "stage", "prod"), []int{1, 3}, "lb_subsets_selected"},
		{"single host", xdsresource.Subset{Selectors: []xdsresource.SubsetSelector{{Keys: []string{"version"}, SingleHost: true}}}, wish("version", "1"), []int{1}, "lb_subsets_selected"},
		{"panic", xdsresource.Subset{Fallback: xdsresource.SubsetDefault, Default: wish("version", "9"), PanicModeAny: true, Selectors: []xdsresource.SubsetSelector{keys("version")}},
			wish("version", "3"), []int{1, 2, 3}, "lb_subsets_fallback_panic"},
		{"fallback list", xdsresource.Subset{FallbackList: true, Selectors: []xdsresource.SubsetSelector{keys("version"), keys("stage", "version")}},
			wish("version", "3", "fallback_list", []any{map[string]any{"version": "4"}, map[string]any{"version": "2"}}), []int{3}, "lb_subsets_selected"},
		{"fallback list with other keys", xdsresource.Subset{FallbackList: true, Selectors: []xdsresource.SubsetSelector{keys("stage", "version")}},
			wish("stage", "dev", "fallback_list", []any{map[string]any{"version": "2"}, map[string]any{"version": "1"}}), []int{2}, "lb_subsets_selected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t, 1, nil)
			l := m.local(t, subsetCluster(tt.cfg), labelled(three...))
			if got := found(l, tt.want); !slices.Equal(got, tt.hits) {
				t.Errorf("found %v, want %v", got, tt.hits)
			}
			if tt.stat != "" && m.stat(t, "cluster.c."+tt.stat) == 0 {
				t.Errorf("%s is 0", tt.stat)
			}
		})
	}
}

// TestSubsetsComeAndGo: the subsets follow the hosts, and are counted.
func TestSubsetsComeAndGo(t *testing.T) {
	m := newMesh(t, 1, nil)
	l := m.local(t, subsetCluster(xdsresource.Subset{Selectors: []xdsresource.SubsetSelector{keys("v")}}), labelled(map[string]any{"v": "1"}, map[string]any{"v": "2"}))
	m.UpdateEndpoints("c", labelled(map[string]any{"v": "2"}, map[string]any{"v": "2"}))
	m.run()
	if got := found(l, wish("v", "2")); !slices.Equal(got, []int{1, 2}) || found(l, wish("v", "1")) != nil {
		t.Errorf("found %v of version 2", got)
	}
	for stat, want := range map[string]int64{"active": 1, "created": 2, "removed": 1} {
		if got := m.stat(t, "cluster.c.lb_subsets_"+stat); got != want {
			t.Errorf("lb_subsets_%s is %d, want %d", stat, got, want)
		}
	}
}

// TestSubsetLocalityWeights: within a subset localities have their weights only when asked,
// and smaller ones when scaled.
func TestSubsetLocalityWeights(t *testing.T) {
	e := &xdsresource.Endpoints{OverprovisioningFactor: 100}
	for z, versions := range [][]string{{"1", "2", "2", "2"}, {"1"}} {
		l := xdsresource.LocalityEndpoints{Zone: fmt.Sprint(z), Weight: 40}
		for i, v := range versions {
			ep := endpoint(fmt.Sprintf("10.0.%d.%d:80", z, i+1))
			ep.Metadata = xdsresource.Metadata{"envoy.lb": {"v": v}}
			l.Endpoints = append(l.Endpoints, ep)
		}
		e.Localities = append(e.Localities, l)
	}
	for _, tt := range []struct {
		aware, scale bool
		want         int // of 100 picks in zone 0
	}{{false, false, 50}, {true, false, 50}, {true, true, 20}} { // 40*1/4 of 10+40
		c := subsetCluster(xdsresource.Subset{LocalityWeightAware: tt.aware, ScaleLocalityWeight: tt.scale, Selectors: []xdsresource.SubsetSelector{keys("v")}})
		c.LB.LocalityWeighted = true
		l := newMesh(t, 1, nil).local(t, c, e)
		n := 0
		for range 1000 {
			if h := l.Pick(&lb.Context{Subset: wish("v", "1")}); h.Host.Info().Locality.Zone == "0" {
				n++
			}
		}
		if n < tt.want*10-5 || n > tt.want*10+5 {
			t.Errorf("aware %v, scale %v: %d of 1000 in zone 0, want %d percent", tt.aware, tt.scale, n, tt.want)
		}
	}
}

func TestSubsetPickDoesNotAllocate(t *testing.T) {
	l := newMesh(t, 1, nil).local(t, subsetCluster(xdsresource.Subset{Selectors: []xdsresource.SubsetSelector{keys("v")}}), labelled(map[string]any{"v": "1"}, map[string]any{"v": "1"}))
	c := lb.Context{Subset: wish("v", "1")}
	if n := testing.AllocsPerRun(100, func() { l.Pick(&c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
