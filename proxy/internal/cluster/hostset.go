package cluster

import (
	"slices"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// hostSet is one version of a cluster's hosts, immutable and shared by the workers.
type hostSet struct {
	hosts []*Host // all priorities
	prios []priority
	// healthyLoad and degradedLoad are how many of a hundred requests go to each priority's
	// healthy and degraded hosts; they sum to 100 unless nothing can be picked.
	healthyLoad, degradedLoad []uint32
}

type priority struct {
	panic    bool
	all      group
	healthy  group
	degraded group
}

// group is what a balancer picks from: hosts, and the same hosts by locality when weights
// of localities count.
type group struct {
	hosts      []member
	localities []localityGroup // nil: not weighted
	table      lb.Table        // for RING_HASH and MAGLEV
}

type member struct {
	host   *Host
	weight uint32
}

type localityGroup struct {
	weight float64 // effective: configured weight scaled by availability
	hosts  []member
	table  lb.Table
}

// buildHostSet sorts hosts into priorities and computes their loads, after Envoy's
// LoadBalancerBase::recalculatePerPriorityState.
func buildHostSet(cfg *xdsresource.Cluster, hosts []*Host, localityWeights map[localityKey]uint32, overprovisioning uint32) *hostSet {
	s := &hostSet{hosts: hosts}
	if overprovisioning == 0 {
		overprovisioning = 140
	}
	n := 0
	for _, h := range hosts {
		n = max(n, int(h.Info().Priority)+1)
	}
	byPrio := make([][]*Host, n)
	for _, h := range hosts {
		p := h.Info().Priority
		byPrio[p] = append(byPrio[p], h)
	}
	for p, hs := range byPrio {
		s.prios = append(s.prios, buildPriority(cfg, uint32(p), hs, localityWeights, overprovisioning))
	}
	s.spread(cfg, overprovisioning)
	return s
}

// localityKey names a locality within a priority.
type localityKey struct {
	priority uint32
	Locality
}

func buildPriority(cfg *xdsresource.Cluster, prio uint32, hosts []*Host, weights map[localityKey]uint32, over uint32) priority {
	isHealthy := func(h *Host) bool { return h.Healthy() && !h.degraded() }
	isDegraded := func(h *Host) bool { return h.Healthy() && h.degraded() }
	build := func(keep func(*Host) bool, scaled bool) group {
		g := group{}
		per := make(map[Locality]*localityGroup)
		var order []Locality
		total := make(map[Locality]int)
		for _, h := range hosts {
			i := h.Info()
			total[i.Locality]++
			if !keep(h) {
				continue
			}
			m := member{h, max(i.Weight, 1)}
			g.hosts = append(g.hosts, m)
			if per[i.Locality] == nil {
				per[i.Locality] = &localityGroup{}
				order = append(order, i.Locality)
			}
			per[i.Locality].hosts = append(per[i.Locality].hosts, m)
		}
		g.table = buildTable(cfg, g.hosts)
		if !cfg.LocalityWeighted {
			return g
		}
		// Without any weight there is nothing to weigh by; one locality needs no choice.
		var weighted []localityGroup
		for _, l := range order {
			w := float64(weights[localityKey{prio, l}])
			if w == 0 {
				continue
			}
			lg := *per[l]
			if scaled {
				w *= min(1, float64(over)/100*float64(len(lg.hosts))/float64(total[l]))
			}
			lg.weight = w
			lg.table = buildTable(cfg, lg.hosts)
			weighted = append(weighted, lg)
		}
		if len(weighted) > 1 || len(weighted) == 1 && len(order) > 1 {
			g.localities = weighted
		}
		return g
	}
	p := priority{
		all:      build(func(*Host) bool { return true }, false),
		healthy:  build(isHealthy, true),
		degraded: build(isDegraded, true),
	}
	if len(p.healthy.hosts) == len(p.all.hosts) {
		p.all = p.healthy // the usual case needs one list
	}
	return p
}

func buildTable(cfg *xdsresource.Cluster, hosts []member) lb.Table {
	if cfg.LB != xdsresource.LBRingHash && cfg.LB != xdsresource.LBMaglev || len(hosts) == 0 {
		return nil
	}
	keys := make([]string, len(hosts))
	weights := make([]uint32, len(hosts))
	for i, m := range hosts {
		// Envoy hashes the address, or the host name where LOGICAL_DNS has one.
		keys[i], weights[i] = m.host.Name, m.weight
	}
	if cfg.LB == xdsresource.LBMaglev {
		return lb.NewMaglev(keys, weights, cfg.MaglevTableSize)
	}
	return lb.NewRing(keys, weights, cfg.RingMinSize, cfg.RingMaxSize)
}

// spread computes the load of each priority: as much as its availability, times the
// overprovisioning factor, can take, the rest spilling to the next. When all together are
// under 100 they are scaled up to it; when a priority is in panic, all its hosts are used.
func (s *hostSet) spread(cfg *xdsresource.Cluster, over uint32) {
	n := len(s.prios)
	s.healthyLoad, s.degradedLoad = make([]uint32, n), make([]uint32, n)
	if n == 0 {
		return
	}
	availability := func(part, all int) uint32 {
		if all == 0 {
			return 0
		}
		return min(100, uint32(uint64(over)*uint64(part)/uint64(all)))
	}
	healthy, degraded := make([]uint32, n), make([]uint32, n)
	var sum uint32
	for i := range s.prios {
		p := &s.prios[i]
		healthy[i] = availability(len(p.healthy.hosts), len(p.all.hosts))
		degraded[i] = availability(len(p.degraded.hosts), len(p.all.hosts))
		sum += healthy[i] + degraded[i]
	}
	total := min(sum, 100)
	if total == 0 {
		// Nothing is available. With panic allowed, spread over all hosts by their number.
		s.panicOverAll(cfg)
		return
	}
	left := uint32(100)
	give := func(avail []uint32, load []uint32) {
		for i := range avail {
			l := min(left, avail[i]*100/total)
			load[i] = l
			left -= l
		}
	}
	give(healthy, s.healthyLoad)
	give(degraded, s.degradedLoad)
	if left > 0 { // rounding goes to the first priority that has anything
		if i := slices.IndexFunc(healthy, func(h uint32) bool { return h > 0 }); i >= 0 {
			s.healthyLoad[i] += left
		} else if i := slices.IndexFunc(degraded, func(d uint32) bool { return d > 0 }); i >= 0 {
			s.degradedLoad[i] += left
		}
	}
	for i := range s.prios {
		p := &s.prios[i]
		if all := len(p.all.hosts); all > 0 && sum < 100 {
			usable := 100 * float64(len(p.healthy.hosts)+len(p.degraded.hosts)) / float64(all)
			p.panic = usable < cfg.PanicThreshold
		}
	}
}

func (s *hostSet) panicOverAll(cfg *xdsresource.Cluster) {
	if cfg.PanicThreshold <= 0 {
		return
	}
	left := uint32(100)
	total := len(s.hosts)
	first := -1
	for i := range s.prios {
		p := &s.prios[i]
		p.panic = true
		if len(p.all.hosts) == 0 {
			continue
		}
		if first < 0 {
			first = i
		}
		l := uint32(100 * len(p.all.hosts) / total)
		s.healthyLoad[i] = l
		left -= l
	}
	if first >= 0 {
		s.healthyLoad[first] += left
	}
}

func (s *hostSet) counts() (healthy, degraded int) {
	for i := range s.prios {
		healthy += len(s.prios[i].healthy.hosts)
		degraded += len(s.prios[i].degraded.hosts)
	}
	return healthy, degraded
}
