package cluster

import (
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// aggregate is one worker's view of an aggregate cluster: the priorities of its members, one
// member after the other. The aggregate has no hosts of its own, and picks a priority only:
// the member to which that belongs picks the host, by its own policy.
type aggregate struct {
	members []aggregateMember
	set     hostSet // loads over slots; its hosts are the members'
	slots   []slot
}

// aggregateMember is a member as of the last look: when its version has changed, all is made anew.
type aggregateMember struct {
	local   *Local // nil: there is no such cluster yet
	version *version
	name    string
}

// slot is a priority of a member.
type slot struct {
	local *Local
	prio  int
}

func (l *Local) pickAggregate(c *lb.Context) *LocalHost {
	a := l.aggregate
	if a == nil || a.stale(l.lm) {
		a = l.newAggregate()
		l.aggregate = a
	}
	h := l.pickMember(a, c)
	for range c.Attempts {
		if h == nil || !l.shuns(h, c) {
			break
		}
		c.Rand = lb.Next(c.Rand)
		c.Repeat++
		h = l.pickMember(a, c)
	}
	c.Repeat = 0
	return h
}

func (l *Local) pickMember(a *aggregate, c *lb.Context) *LocalHost {
	if len(a.slots) == 0 {
		l.Inc(LBHealthyPanic)
		return nil
	}
	r := uint32(c.Rand % 100)
	if c.HasHash {
		r = uint32(c.Hash % 100)
	}
	healthy, degradedLoad := a.set.healthyLoad, a.set.degradedLoad
	if l.retry != nil {
		healthy, degradedLoad = l.loads(&a.set, a.slotOf)
	}
	i, degraded := choose(healthy, degradedLoad, r)
	if i < 0 {
		return nil
	}
	hash, has := c.Hash, c.HasHash
	h := a.slots[i].pick(c, degraded)
	c.Hash, c.HasHash = hash, has // a member may have hashed by policies of its own
	return h
}

// pick has the member choose among its hosts.
func (s slot) pick(c *lb.Context, degraded bool) *LocalHost {
	m := s.local
	if m.special { // it has more to look at than priorities
		return m.Pick(c)
	}
	if p := m.cfg.LB.HashPolicies; len(p) > 0 {
		c.Rehash(p)
	}
	return m.pickIn(m.main, s.prio, degraded, c)
}

// slotOf is the number of a host's slot, -1 when there is none any more.
func (a *aggregate) slotOf(h *LocalHost) int {
	for i, s := range a.slots {
		if s.local == h.Local && s.prio == priorityOf(h) {
			return i
		}
	}
	return -1
}

// stale reports whether a member has come, gone or changed.
func (a *aggregate) stale(lm *LocalManager) bool {
	for i := range a.members {
		m := &a.members[i]
		if l := lm.Get(m.name); l != m.local || l != nil && l.version != m.version {
			return true
		}
	}
	return false
}

func (l *Local) newAggregate() *aggregate {
	a := &aggregate{}
	a.add(l.lm, l.cfg, map[string]bool{l.cluster.name: true})
	if len(a.slots) > 0 {
		a.set.spread(l.cfg.Panic())
	}
	return a
}

// add appends the members of a cluster. A member that is an aggregate itself is taken apart.
// Each cluster counts where it comes first: one that is reached again adds nothing, be it by a
// circle or by a second way, so that the work stays below the number of clusters.
func (a *aggregate) add(lm *LocalManager, cfg *xdsresource.Cluster, seen map[string]bool) {
	for _, name := range cfg.Members {
		if seen[name] {
			continue
		}
		seen[name] = true
		m := lm.Get(name)
		x := aggregateMember{local: m, name: name}
		if m != nil {
			x.version = m.version
		}
		a.members = append(a.members, x)
		if m == nil {
			continue
		}
		if m.cfg.Type == xdsresource.ClusterAggregate {
			a.add(lm, m.cfg, seen)
			continue
		}
		a.set.hosts = append(a.set.hosts, m.version.set.hosts...)
		for p := range m.version.set.prios {
			a.set.prios = append(a.set.prios, m.version.set.prios[p])
			a.slots = append(a.slots, slot{m, p})
		}
	}
}
