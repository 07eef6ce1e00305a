package cluster

import (
	"fmt"
	"math"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestSpreadAsEnvoy is a table of clusters whose picks were measured with Envoy 1.40: 3000
// requests each through a static cluster of loopback hosts, by group of hosts and what EDS
// said of them. The expected numbers are those that Envoy's rules give, in percent; the
// measured ones stand beside them.
func TestSpreadAsEnvoy(t *testing.T) {
	type group struct {
		prio           uint32
		zone           string
		weight         uint32
		up, down, poor int
	}
	type change func(*xdsresource.Cluster)
	weighted := func(c *xdsresource.Cluster) { c.LB.LocalityWeighted = true }
	for _, tt := range []struct {
		name     string
		change   change
		groups   []group
		want     map[string]float64 // by group and h, u or d
		measured string
	}{
		{"spill", nil, []group{{0, "", 0, 1, 1, 0}, {1, "", 0, 2, 0, 0}},
			map[string]float64{"0h": 70, "1h": 30}, "68.4 31.6"},
		{"both below", nil, []group{{0, "", 0, 1, 4, 0}, {1, "", 0, 1, 4, 0}},
			map[string]float64{"0h": 10, "0u": 40, "1h": 10, "1u": 40}, "10.1 40.2 10.0 39.8"},
		{"one in panic", nil, []group{{0, "", 0, 1, 9, 0}, {1, "", 0, 3, 3, 0}},
			map[string]float64{"0h": 1.7, "0u": 15.3, "1h": 83}, "1.7 15.5 82.8"},
		{"all in panic, of different size", nil, []group{{0, "", 0, 1, 5, 0}, {1, "", 0, 0, 2, 0}},
			map[string]float64{"0h": 12.5, "0u": 62.5, "1u": 25}, "12.5 62.8 24.7"},
		{"no panic allowed", func(c *xdsresource.Cluster) { c.PanicThreshold = 0 }, []group{{0, "", 0, 1, 4, 0}, {1, "", 0, 1, 4, 0}},
			map[string]float64{"0h": 50, "1h": 50}, "49.8 50.2"},
		{"all down, no panic allowed", func(c *xdsresource.Cluster) { c.PanicThreshold = 0 }, []group{{0, "", 0, 0, 2, 0}},
			map[string]float64{"none": 100}, "503: 100"},
		{"degraded after healthy", nil, []group{{0, "", 0, 1, 1, 2}, {1, "", 0, 1, 1, 0}},
			map[string]float64{"0h": 35, "1h": 65}, "35.0 65.0"},
		{"degraded only", nil, []group{{0, "", 0, 0, 0, 2}}, map[string]float64{"0d": 100}, "100"},
		{"three tiers", nil, []group{{0, "", 0, 1, 3, 0}, {1, "", 0, 1, 3, 0}, {2, "", 0, 4, 0, 0}},
			map[string]float64{"0h": 35, "1h": 35, "2h": 30}, "34.2 37.4 28.4"},
		{"localities three to one", weighted, []group{{0, "a", 3, 2, 0, 0}, {0, "b", 1, 1, 0, 0}},
			map[string]float64{"0h": 75, "1h": 25}, "75.0 25.0"},
		{"a locality half down", weighted, []group{{0, "a", 1, 2, 2, 0}, {0, "b", 1, 2, 0, 0}},
			map[string]float64{"0h": 100 * .7 / 1.7, "1h": 100 / 1.7}, "41.2 58.8"},
		{"a locality mostly down", weighted, []group{{0, "a", 1, 1, 3, 0}, {0, "b", 1, 4, 0, 0}},
			map[string]float64{"0h": 100 * .35 / 1.35, "1h": 100 / 1.35}, "25.9 74.1"},
		{"a locality without weight", weighted, []group{{0, "a", 0, 2, 0, 0}, {0, "b", 1, 1, 0, 0}},
			map[string]float64{"1h": 100}, "100"},
		{"localities in panic", weighted, []group{{0, "a", 3, 1, 3, 0}, {0, "b", 1, 0, 2, 0}},
			map[string]float64{"0h": 100 / 6., "0u": 50, "1u": 200 / 6.}, "16.7 50.0 33.3"},
		{"degraded localities", weighted, []group{{0, "a", 3, 0, 0, 2}, {0, "b", 1, 0, 0, 1}},
			map[string]float64{"0d": 75, "1d": 25}, "75.0 25.0"},
		{"no traffic in a panic", func(c *xdsresource.Cluster) { c.LB.Zone.FailTrafficOnPanic = true }, []group{{0, "", 0, 1, 3, 0}},
			map[string]float64{"none": 100}, "503: 100"},
		{"a ring of degraded hosts", func(c *xdsresource.Cluster) { c.LB.Policy = xdsresource.LBRingHash }, []group{{0, "", 0, 0, 0, 2}},
			map[string]float64{"none": 100}, "503: 100"},
		{"random in a panic", func(c *xdsresource.Cluster) { c.LB.Policy = xdsresource.LBRandom }, []group{{0, "", 0, 1, 3, 0}},
			map[string]float64{"0h": 25, "0u": 75}, "23.4 76.6"},
		{"localities in a Maglev table", func(c *xdsresource.Cluster) { weighted(c); c.LB.Policy = xdsresource.LBMaglev },
			[]group{{0, "a", 3, 3, 0, 0}, {0, "b", 1, 1, 0, 0}}, map[string]float64{"0h": 75, "1h": 25}, "73.2 26.8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := eds("c")
			if tt.change != nil {
				tt.change(c)
			}
			e := &xdsresource.Endpoints{OverprovisioningFactor: 140}
			for gi, g := range tt.groups {
				l := xdsresource.LocalityEndpoints{Priority: g.prio, Zone: g.zone, Weight: g.weight}
				for kind, n := range []int{g.up, g.down, g.poor} {
					for i := range n {
						ep := endpoint(fmt.Sprintf("10.%d.%d.%d:80", gi, kind, i+1))
						ep.Health = []xdsresource.HealthStatus{xdsresource.HealthHealthy, xdsresource.HealthUnhealthy, xdsresource.HealthDegraded}[kind]
						l.Endpoints = append(l.Endpoints, ep)
					}
				}
				e.Localities = append(e.Localities, l)
			}
			l := newMesh(t, 1, nil).local(t, c, e)
			for gi := range tt.groups {
				for kind, letter := range "hud" {
					got, none := shareOf(l, 20000, func(h *Host) bool {
						a := h.Address.IP.As4()
						return int(a[1]) == gi && int(a[2]) == kind
					})
					if want := tt.want[fmt.Sprintf("%d%c", gi, letter)]; math.Abs(got-want) > 1.2 {
						t.Errorf("group %d, %c: %.1f percent, want %.1f (Envoy: %s)", gi, letter, got, want, tt.measured)
					}
					if want := tt.want["none"]; float64(none)/200 != want {
						t.Errorf("%d of 20000 without a host", none)
					}
				}
			}
		})
	}
}
