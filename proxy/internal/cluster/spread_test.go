package cluster

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// tier is a priority: hosts by what EDS says of them.
type tier struct{ healthy, unhealthy, degraded int }

// tiers makes endpoints of priorities; hosts are 10.<priority>.<kind>.<n>.
func tiers(ts []tier) *xdsresource.Endpoints {
	e := &xdsresource.Endpoints{}
	for p, t := range ts {
		l := xdsresource.LocalityEndpoints{Priority: uint32(p)}
		for kind, n := range []int{t.healthy, t.unhealthy, t.degraded} {
			for i := range n {
				ep := endpoint(fmt.Sprintf("10.%d.%d.%d:80", p, kind, i+1))
				ep.Health = []xdsresource.HealthStatus{xdsresource.HealthHealthy, xdsresource.HealthUnhealthy, xdsresource.HealthDegraded}[kind]
				l.Endpoints = append(l.Endpoints, ep)
			}
		}
		e.Localities = append(e.Localities, l)
	}
	return e
}

// local builds a cluster with these endpoints and returns a worker's view of it.
func (m *mesh) local(t *testing.T, c *xdsresource.Cluster, e *xdsresource.Endpoints) *Local {
	t.Helper()
	m.update(t, c)
	m.UpdateEndpoints(c.Name, e)
	m.run()
	return m.Local(0).Get(c.Name)
}

// share is what part of the picks went to hosts of a kind, of each of a hundred draws.
func shareOf(l *Local, draws int, is func(*Host) bool) (percent float64, none int) {
	r := rand.New(rand.NewPCG(7, 7))
	hits := 0
	for i := range draws {
		c := lb.Context{Rand: r.Uint64()/100*100 + uint64(i%100)}
		switch h := l.Pick(&c); {
		case h == nil:
			none++
		case is(h.Host):
			hits++
		}
	}
	return 100 * float64(hits) / float64(draws), none
}

// TestSpreadModel compares the loads with Envoy's documentation of priority levels, put here
// as a procedure of its own: health, normalisation, failover, panic.
func TestSpreadModel(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		ts := make([]tier, 1+r.IntN(4))
		for i := range ts {
			ts[i] = tier{r.IntN(5), r.IntN(5), r.IntN(3)}
		}
		threshold := []float64{0, 1, 20, 50, 100}[r.IntN(5)]
		over := []uint32{100, 140, 200}[r.IntN(3)]
		c := eds("c")
		c.PanicThreshold = threshold
		e := tiers(ts)
		e.OverprovisioningFactor = over
		if countEndpoints(e) == 0 {
			continue
		}
		set := newMesh(t, 1, nil).local(t, c, e).version.set
		for len(set.prios) < len(ts) { // the last ones are empty
			ts = ts[:len(ts)-1]
		}
		healthy, degraded, inPanic := documentedSpread(ts, int(over), threshold)
		for i := range ts {
			if int(set.healthyLoad[i]) != healthy[i] || int(set.degradedLoad[i]) != degraded[i] || set.prios[i].panic != inPanic[i] {
				t.Fatalf("seed %d: %+v, factor %d, threshold %v: priority %d has %d/%d panic %v, want %d/%d panic %v", seed, ts, over, threshold,
					i, set.healthyLoad[i], set.degradedLoad[i], set.prios[i].panic, healthy[i], degraded[i], inPanic[i])
			}
		}
	}
}

func documentedSpread(ts []tier, over int, threshold float64) (healthy, degraded []int, inPanic []bool) {
	n := len(ts)
	inPanic = make([]bool, n)
	var levels []int // healthy of all priorities, then degraded of all
	hosts := 0
	for _, kind := range []func(tier) int{func(t tier) int { return t.healthy }, func(t tier) int { return t.degraded }} {
		for _, t := range ts {
			all := t.healthy + t.unhealthy + t.degraded
			level := 0
			if all > 0 {
				level = min(100, over*kind(t)/all)
			}
			levels = append(levels, level)
		}
	}
	normalized := 0
	for _, l := range levels {
		normalized += l
	}
	normalized = min(100, normalized)
	everywhere := true
	for i, t := range ts {
		all := t.healthy + t.unhealthy + t.degraded
		hosts += all
		part := 0.0
		if all > 0 {
			part = 100 * float64(t.healthy+t.degraded) / float64(all)
		}
		inPanic[i] = normalized < 100 && part < threshold
		everywhere = everywhere && inPanic[i]
	}
	load := make([]int, 2*n)
	switch {
	case everywhere:
		rest, first := 100, -1
		for i, t := range ts {
			all := t.healthy + t.unhealthy + t.degraded
			if all > 0 && first < 0 {
				first = i
			}
			load[i] = 100 * all / hosts
			rest -= load[i]
		}
		load[first] += rest
	case normalized == 0:
		load[0] = 100
	default:
		rest, first := 100, -1
		for i, l := range levels {
			if l > 0 && first < 0 {
				first = i
			}
			load[i] = min(rest, l*100/normalized)
			rest -= load[i]
		}
		load[first] += rest
	}
	return load[:n], load[n:], inPanic
}

// TestLocalityModel: the share of a locality is its weight times its availability, over the
// sum of all; hosts of one locality share alike.
func TestLocalityModel(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2))
		e := &xdsresource.Endpoints{OverprovisioningFactor: 140}
		want := make([]float64, 1+r.IntN(5))
		var sum float64
		for i := range want {
			l := xdsresource.LocalityEndpoints{Zone: fmt.Sprint(i), Weight: r.Uint32N(5)}
			all, up := 1+r.IntN(4), 0
			for j := range all {
				ep := endpoint(fmt.Sprintf("10.0.%d.%d:80", i, j+1))
				ep.Health = xdsresource.HealthHealthy
				if up++; r.IntN(3) == 0 {
					up--
					ep.Health = xdsresource.HealthUnhealthy
				}
				l.Endpoints = append(l.Endpoints, ep)
			}
			want[i] = float64(l.Weight) * min(1, 1.4*float64(up)/float64(all))
			sum += want[i]
			e.Localities = append(e.Localities, l)
		}
		c := eds("c")
		c.PanicThreshold = 0
		c.LB.LocalityWeighted = true
		local := newMesh(t, 1, nil).local(t, c, e)
		if sum == 0 {
			continue // weights do not matter then; other tests pick from such sets
		}
		for i := range want {
			zone := fmt.Sprint(i)
			got, none := shareOf(local, 5000, func(h *Host) bool { return h.Info().Locality.Zone == zone })
			if math.Abs(got-100*want[i]/sum) > 0.2 || none > 0 {
				t.Fatalf("seed %d: locality %d got %.2f percent, want %.2f; %d without a host", seed, i, got, 100*want[i]/sum, none)
			}
		}
	}
}

// TestHashLocalityWeights: in a table a locality's weight is shared by its hosts.
func TestHashLocalityWeights(t *testing.T) {
	c := eds("c")
	c.LB = xdsresource.LoadBalancing{Policy: xdsresource.LBMaglev, LocalityWeighted: true}
	e := &xdsresource.Endpoints{Localities: []xdsresource.LocalityEndpoints{
		{Zone: "a", Weight: 3, Endpoints: []xdsresource.Endpoint{endpoint("10.0.0.1:80"), endpoint("10.0.0.2:80"), endpoint("10.0.0.3:80")}},
		{Zone: "b", Weight: 1, Endpoints: []xdsresource.Endpoint{endpoint("10.0.1.1:80")}},
		{Zone: "c", Endpoints: []xdsresource.Endpoint{endpoint("10.0.2.1:80")}},
	}}
	l := newMesh(t, 1, nil).local(t, c, e)
	for zone, want := range map[string]float64{"a": 75, "b": 25, "c": 0} {
		if got, _ := shareOf(l, 20000, func(h *Host) bool { return h.Info().Locality.Zone == zone }); math.Abs(got-want) > 2 {
			t.Errorf("zone %s got %.1f percent, want %v", zone, got, want)
		}
	}
}

// TestTableStatistics: how many entries a table has, and its hosts' fewest and most.
func TestTableStatistics(t *testing.T) {
	for p, want := range map[xdsresource.LBPolicy]map[string]int64{
		xdsresource.LBRingHash: {"ring_hash_lb.size": 1024, "ring_hash_lb.min_hashes_per_host": 512, "ring_hash_lb.max_hashes_per_host": 512},
		xdsresource.LBMaglev:   {"maglev_lb.min_entries_per_host": 32768, "maglev_lb.max_entries_per_host": 32769},
	} {
		m := newMesh(t, 1, nil)
		c := eds("c")
		c.LB.Policy = p
		m.local(t, c, endpoints("10.0.0.1:80", "10.0.0.2:80"))
		for name, v := range want {
			if got := m.stat(t, "cluster.c."+name); got != v {
				t.Errorf("%s is %d, want %d", name, got, v)
			}
		}
	}
}

// TestFailTrafficOnPanic: rather none than a host that is down.
func TestFailTrafficOnPanic(t *testing.T) {
	c := eds("c")
	c.LB.Zone.FailTrafficOnPanic = true
	m := newMesh(t, 1, nil)
	l := m.local(t, c, tiers([]tier{{1, 3, 0}}))
	if _, none := shareOf(l, 100, func(*Host) bool { return true }); none != 100 {
		t.Errorf("%d of 100 picks found no host, want all", none)
	}
	if n := m.stat(t, "cluster.c.lb_healthy_panic"); n != 100 {
		t.Errorf("lb_healthy_panic is %d", n)
	}
}

// TestWeightedPriorityHealth: one heavy host that is down counts for more than a light one.
func TestWeightedPriorityHealth(t *testing.T) {
	e := tiers([]tier{{1, 1, 0}, {1, 0, 0}})
	e.WeightedPriorityHealth, e.OverprovisioningFactor = true, 100
	e.Localities[0].Endpoints[1].Weight = 3 // of 4 in all, down
	l := newMesh(t, 1, nil).local(t, eds("c"), e)
	if got, _ := shareOf(l, 1000, func(h *Host) bool { return h.Info().Priority == 0 }); got != 25 {
		t.Errorf("priority 0 got %v percent, want 25", got)
	}
}
