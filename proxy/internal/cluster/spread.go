package cluster

// This file computes how much of the load each priority takes, after Envoy's
// LoadBalancerBase (recalculatePerPriorityState and recalculatePerPriorityPanic).

// availability is what a priority could take: percent of all load, times overprovisioning.
type availability struct{ healthy, degraded uint32 }

// spread computes the load of each priority: as much as its availability can take, the rest
// spilling to the next, healthy hosts of all priorities before degraded ones. When all
// together are under 100 they are scaled up to it, and priorities whose share of usable hosts
// is under the panic threshold use all of their hosts. When every priority is in panic, load
// goes by the number of hosts alone.
func (s *hostSet) spread(panicThreshold float64) {
	avail := make([]availability, len(s.prios))
	for i := range s.prios {
		avail[i] = s.prios[i].availability()
	}
	inPanic := make([]bool, len(s.prios))
	s.healthyLoad, s.degradedLoad = distribute(avail)
	if len(s.prios) == 0 {
		return
	}
	threshold := min(100, uint64(panicThreshold+0.5))
	total := sum(avail)
	if threshold == 0 && total == 0 {
		s.healthyLoad[0] = 100 // nobody will be found there
		return
	}
	everywhere := true
	for i := range s.prios {
		inPanic[i] = total < 100 && s.prios[i].usable() < float64(threshold)
		everywhere = everywhere && inPanic[i]
		s.prios[i].panic = inPanic[i]
	}
	if everywhere {
		s.spreadByNumber()
	}
}

// availability is the share of usable hosts times the overprovisioning factor, 100 at most.
func (p *priority) availability() availability {
	healthy, degraded, all := uint64(len(p.healthy.hosts)), uint64(len(p.degraded.hosts)), uint64(len(p.all.hosts)-p.excluded)
	if all == 0 || len(p.all.hosts) == p.excluded {
		return availability{}
	}
	if p.byWeight {
		healthy, degraded, all = weightOf(p.healthy.hosts, false), weightOf(p.degraded.hosts, false), weightOf(p.all.hosts, true)
		if all == 0 {
			return availability{}
		}
	}
	over := uint64(p.overprovisioning)
	return availability{uint32(min(100, over*healthy/all)), uint32(min(100, over*degraded/all))}
}

func weightOf(hosts []member, counted bool) uint64 {
	var n uint64
	for _, m := range hosts {
		if !counted || !m.host.excluded() {
			n += uint64(m.weight)
		}
	}
	return n
}

// usable is the percentage of hosts that are healthy or degraded.
func (p *priority) usable() float64 {
	all := len(p.all.hosts) - p.excluded
	if all <= 0 {
		return 0
	}
	return 100*float64(len(p.healthy.hosts))/float64(all) + 100*float64(len(p.degraded.hosts))/float64(all)
}

func sum(avail []availability) uint32 {
	var n uint32
	for _, a := range avail {
		n += a.healthy + a.degraded
	}
	return min(n, 100)
}

// distribute gives each priority its load: healthy hosts first, then degraded ones. What
// rounding leaves over goes to the first that has anything.
func distribute(avail []availability) (healthy, degraded []uint32) {
	healthy, degraded = make([]uint32, len(avail)), make([]uint32, len(avail))
	total := sum(avail)
	if total == 0 {
		return healthy, degraded
	}
	left := uint32(100)
	var first *uint32
	give := func(load *uint32, can uint32) {
		if can > 0 && first == nil {
			first = load
		}
		*load = min(left, can*100/total)
		left -= *load
	}
	for i := range avail {
		give(&healthy[i], avail[i].healthy)
	}
	for i := range avail {
		give(&degraded[i], avail[i].degraded)
	}
	*first += left
	return healthy, degraded
}

func (s *hostSet) spreadByNumber() {
	left, first := uint32(100), -1
	for i := range s.prios {
		s.healthyLoad[i], s.degradedLoad[i] = 0, 0
		n := len(s.prios[i].all.hosts)
		if n > 0 && first < 0 {
			first = i
		}
		if len(s.hosts) > 0 {
			s.healthyLoad[i] = uint32(100 * n / len(s.hosts))
		}
		left -= s.healthyLoad[i]
	}
	s.healthyLoad[max(first, 0)] += left
}

// choose draws a priority by the loads, healthy hosts before degraded ones.
func choose(healthy, degraded []uint32, r uint32) (prio int, isDegraded bool) {
	var sum uint32
	for i, load := range healthy {
		if sum += load; r < sum {
			return i, false
		}
	}
	for i, load := range degraded {
		if sum += load; r < sum {
			return i, true
		}
	}
	return -1, false
}
