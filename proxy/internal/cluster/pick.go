package cluster

import (
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// localSet is a hostSet with one worker's balancers.
type localSet struct {
	set   *hostSet
	prios []localPriority
}

type localPriority struct {
	all, healthy, degraded localGroup
	table                  lb.Balancer // RING_HASH and MAGLEV: instead of the groups
	tabled                 []*LocalHost
}

type localGroup struct {
	hosts      []*LocalHost
	balancer   lb.Balancer
	localities []localGroup
	locality   lb.Balancer // over localities; nil: not weighted
	weighted   []int32     // which localities it chooses from
}

// localSet makes this worker's balancers for a set.
func (l *Local) localSet(set *hostSet) *localSet {
	ls := &localSet{set: set, prios: make([]localPriority, len(set.prios))}
	for i := range set.prios {
		p, lp := &set.prios[i], &ls.prios[i]
		if l.cfg.LB.HashTable() {
			l.tableOf(lp, p.table)
			continue
		}
		if p.panic {
			lp.all = l.group(&p.all)
			continue
		}
		lp.healthy, lp.degraded = l.group(&p.healthy), l.group(&p.degraded)
	}
	return ls
}

func (l *Local) tableOf(lp *localPriority, t *hashTable) {
	if t == nil {
		return
	}
	lp.tabled = l.localHosts(t.hosts)
	lp.table = lb.Bounded(t.table, t.entries, loadsOf(lp.tabled), l.cfg.LB.HashBalanceFactor, &l.active)
}

func (l *Local) localHosts(members []member) []*LocalHost {
	out := make([]*LocalHost, len(members))
	for i, m := range members {
		out[i] = l.hosts[m.host]
	}
	return out
}

func loadsOf(hosts []*LocalHost) []*lb.Load {
	out := make([]*lb.Load, len(hosts))
	for i, h := range hosts {
		out[i] = &h.Load
	}
	return out
}

func (l *Local) balanced(members []member) localGroup {
	g := localGroup{hosts: l.localHosts(members)}
	g.balancer = lb.New(lb.Make(&l.cfg.LB, l.lm.m.now), loadsOf(g.hosts), l.nextSeed())
	return g
}

func (l *Local) nextSeed() uint64 {
	l.seed = l.seed*6364136223846793005 + 1442695040888963407
	return l.seed >> 16
}

func (l *Local) group(from *group) localGroup {
	g := l.balanced(from.hosts)
	if from.localities == nil {
		return g
	}
	var weights []*lb.Load
	for i := range from.localities {
		loc := &from.localities[i]
		g.localities = append(g.localities, l.balanced(loc.hosts))
		if from.weighted && loc.weight > 0 {
			// Weights are scaled by availability; three digits of it are kept.
			weights = append(weights, &lb.Load{Weight: max(uint32(loc.weight*1000), 1)})
			g.weighted = append(g.weighted, int32(i))
		}
	}
	if from.weighted {
		g.locality = lb.New(lb.Options{}, weights, l.nextSeed())
	}
	return g
}

// Pick chooses the host for a request: nil when none may be used. Nothing is counted until
// OnRequest.
func (l *Local) Pick(c *lb.Context) *LocalHost {
	if c.Override != "" {
		h := l.named(c.Override)
		if c.Missing = h == nil; h != nil && !l.cfg.OverrideStatus.Has(h.Host.state().status()) {
			h = nil
		}
		if h != nil || c.OverrideStrict {
			return h
		}
	}
	for len(c.Candidates) > 0 {
		h := l.named(c.Candidates[0])
		if c.Candidates = c.Candidates[1:]; h != nil {
			return h
		}
	}
	if l.special {
		switch {
		case l.cfg.Type == xdsresource.ClusterOriginalDst:
			return l.pickOriginalDst(c)
		case l.cfg.Type == xdsresource.ClusterAggregate:
			return l.pickAggregate(c)
		case l.cfg.Type == xdsresource.ClusterDynamic:
			return l.pickDynamic(c)
		case l.version.set.subsets != nil:
			return l.pickSubset(l.version.set.subsets, c)
		}
	}
	if len(l.ahead) > 0 && len(c.Avoid) == 0 {
		h := l.ahead[0]
		if l.ahead = l.ahead[1:]; h.Host.Healthy() {
			return h
		}
	}
	return l.pickFrom(l.main, c)
}

// named is the host of an address, nil when there is none.
func (l *Local) named(address string) *LocalHost {
	if l.byAddress == nil {
		l.byAddress = make(map[string]*LocalHost, len(l.hosts))
		for h, lh := range l.hosts {
			l.byAddress[h.Name] = lh
		}
	}
	return l.byAddress[address]
}

// pickFrom picks from one set, again while the request would rather have another host.
func (l *Local) pickFrom(s *localSet, c *lb.Context) *LocalHost {
	if p := l.cfg.LB.HashPolicies; len(p) > 0 {
		c.Rehash(p)
	}
	h := l.pickOnce(s, c)
	for range c.Attempts {
		if h == nil || !l.shuns(h, c) {
			break
		}
		c.Rand = c.Rand*6364136223846793005 + 1442695040888963407
		c.Repeat++
		h = l.pickOnce(s, c)
	}
	c.Repeat = 0
	return h
}

func (l *Local) pickOnce(s *localSet, c *lb.Context) *LocalHost {
	prio, degraded := 0, false
	switch {
	case len(s.prios) == 0:
		l.Inc(LBHealthyPanic) // as in Envoy: where there is no host, none is healthy
		return nil
	case len(s.prios) > 1 || s.set.degradedLoad[0] > 0:
		r := uint32(c.Rand % 100)
		if c.HasHash && s.prios[0].table != nil {
			r = uint32(c.Hash % 100) // the same hash must find the same host
		}
		healthy, degradedLoad := l.loads(s.set, priorityOf)
		if prio, degraded = choose(healthy, degradedLoad, r); prio < 0 {
			return nil
		}
	}
	return l.pickIn(s, prio, degraded, c)
}

// pickIn picks from one priority.
func (l *Local) pickIn(s *localSet, prio int, degraded bool, c *lb.Context) *LocalHost {
	p := &s.prios[prio]
	g := &p.healthy
	switch panics := s.set.prios[prio].panic; {
	case panics:
		l.Inc(LBHealthyPanic)
		if l.cfg.LB.Zone.FailTrafficOnPanic && !l.cfg.LB.HashTable() {
			return nil
		}
		g = &p.all
	case degraded:
		g = &p.degraded
	}
	if p.table != nil {
		return p.tabled[p.table.Pick(c)]
	}
	if g.balancer == nil { // a table of no hosts
		return nil
	}
	switch {
	case g.locality != nil:
		i := g.locality.Pick(c)
		if i < 0 {
			return nil
		}
		g = &g.localities[g.weighted[i]]
	case prio == 0 && s.set.zone != nil && g.localities != nil:
		switch i := s.set.zone.pick(l, c); i {
		case -1:
		case -2:
			return nil
		default:
			g = &g.localities[i]
		}
	}
	return g.pick(c)
}

func (g *localGroup) pick(c *lb.Context) *LocalHost {
	if i := g.balancer.Pick(c); i >= 0 {
		return g.hosts[i]
	}
	return nil
}
