package cluster

import (
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// LocalManager is one worker's clusters. Its methods run on that worker only.
type LocalManager struct {
	m      *Manager
	worker int
	shard  *stats.Shard
	byName map[string]*Local
}

// Get returns the cluster of that name, nil when there is none. A Local may be kept for the
// life of a stream: after the cluster is gone it has no hosts.
func (lm *LocalManager) Get(name string) *Local {
	if l := lm.byName[name]; l != nil {
		return l
	}
	c := lm.m.lookup(name)
	if c == nil {
		return nil
	}
	l := &Local{
		lm: lm, cluster: c, shard: lm.shard, Stats: c.stats,
		hosts: make(map[*Host]*LocalHost),
		seed:  uint64(lm.worker+1) * 0x9e3779b97f4a7c15,
	}
	if len(lm.m.locals) > 1 {
		l.shared = &c.shared
	}
	c.used[lm.worker].Store(true) // before reading the version: later ones are posted to us
	lm.byName[name] = l
	l.apply(c.version.Load())
	return l
}

// update brings the worker's view of a cluster to its current version; posted by the manager.
func (lm *LocalManager) update(c *Cluster) {
	if l := lm.byName[c.name]; l != nil && l.cluster == c {
		l.apply(c.version.Load())
	}
}

// remove drops a cluster; streams that hold its Local find no hosts in it.
func (lm *LocalManager) remove(c *Cluster) {
	l := lm.byName[c.name]
	if l == nil || l.cluster != c {
		return
	}
	delete(lm.byName, c.name)
	l.apply(&version{cfg: l.cfg, limits: l.limits, set: &hostSet{}})
	l.dropOriginalDst()
}

// Local is one worker's view of a cluster.
type Local struct {
	Stats stats.Block // of the whole cluster; see Inc

	lm       *LocalManager
	cluster  *Cluster
	cfg      *xdsresource.Cluster
	shard    *stats.Shard
	version  *version
	detector *detector
	seed     uint64

	hosts map[*Host]*LocalHost
	prios []localPriority

	limits *limits
	shared *shared // nil: this worker is the only one
	held   [2][resources]int64

	codes originCodes
	dst   *originalDst
}

type localPriority struct {
	panic                  bool
	all, healthy, degraded localGroup
}

type localGroup struct {
	hosts      []*LocalHost
	balancer   lb.Balancer
	localities []localGroup
	locality   lb.Balancer // over localities; nil: not weighted
}

// Name returns the cluster's name.
func (l *Local) Name() string { return l.cluster.name }

// Config returns the cluster's configuration as of the last update.
func (l *Local) Config() *xdsresource.Cluster { return l.cfg }

// Shard returns the worker's statistics.
func (l *Local) Shard() *stats.Shard { return l.shard }

// Inc adds one to a counter of the cluster.
func (l *Local) Inc(s Stat) { l.shard.Add(l.Stats.Counter(int(s)), 1) }

// Add adds to a counter of the cluster.
func (l *Local) Add(s Stat, n uint64) { l.shard.Add(l.Stats.Counter(int(s)), n) }

// GaugeAdd changes a gauge of the cluster.
func (l *Local) GaugeAdd(s Stat, d int64) { l.shard.GaugeAdd(l.Stats.Gauge(int(s)), d) }

// Record adds to a histogram of the cluster.
func (l *Local) Record(s Stat, v uint64) { l.shard.Record(l.Stats.Histogram(int(s)), v) }

func (l *Local) apply(v *version) {
	if v == l.version {
		return
	}
	l.version = v
	l.setConfig(v.cfg, v.limits)
	l.detector = v.detector
	keep := make(map[*Host]*LocalHost, len(v.set.hosts))
	for _, h := range v.set.hosts {
		lh := l.hosts[h]
		if lh == nil {
			lh = &LocalHost{Host: h, Local: l}
		}
		lh.Weight = max(h.Info().Weight, 1)
		keep[h] = lh
	}
	gone := l.hosts
	l.hosts = keep
	l.prios = l.prios[:0]
	for i := range v.set.prios {
		p := &v.set.prios[i]
		l.prios = append(l.prios, localPriority{
			panic:    p.panic,
			all:      l.group(p.all.hosts, p.all.localities, p.all.table),
			healthy:  l.group(p.healthy.hosts, p.healthy.localities, p.healthy.table),
			degraded: l.group(p.degraded.hosts, p.degraded.localities, p.degraded.table),
		})
	}
	// Pools last: closing one may pick from the new hosts.
	for h, lh := range gone {
		if keep[h] == nil {
			lh.remove()
		}
	}
}

func (h *LocalHost) remove() {
	h.removed = true
	if h.Pool != nil {
		h.Pool.Close()
	}
}

func (l *Local) group(members []member, localities []localityGroup, table lb.Table) localGroup {
	g := localGroup{hosts: make([]*LocalHost, len(members))}
	loads := make([]*lb.Load, len(members))
	for i, m := range members {
		g.hosts[i] = l.hosts[m.host]
		loads[i] = &g.hosts[i].Load
	}
	l.seed = l.seed*6364136223846793005 + 1442695040888963407
	if table != nil {
		g.balancer = lb.ByTable(table)
	} else {
		g.balancer = lb.New(l.cfg.LB, loads, l.cfg.LeastRequestChoices, l.seed>>16)
	}
	if localities == nil {
		return g
	}
	weights := make([]*lb.Load, len(localities))
	for i, loc := range localities {
		g.localities = append(g.localities, l.group(loc.hosts, nil, loc.table))
		// Weights are scaled by availability; three digits of it are kept.
		weights[i] = &lb.Load{Weight: max(uint32(loc.weight*1000), 1)}
	}
	g.locality = lb.New(xdsresource.LBRoundRobin, weights, 0, l.seed>>16)
	return g
}

// Pick chooses the host for a request: nil when none may be used. Nothing is counted until
// OnRequest.
func (l *Local) Pick(c *lb.Context) *LocalHost {
	if l.cfg.Type == xdsresource.ClusterOriginalDst {
		return l.pickOriginalDst(c)
	}
	h := l.pickOnce(c)
	for range c.Attempts {
		if h == nil || !c.Avoids(&h.Load) {
			break
		}
		c.Rand = c.Rand*6364136223846793005 + 1442695040888963407
		h = l.pickOnce(c)
	}
	return h
}

func (l *Local) pickOnce(c *lb.Context) *LocalHost {
	var g *localGroup
	switch len(l.prios) {
	case 0:
		return nil
	case 1:
		p := &l.prios[0]
		set := l.version.set
		switch {
		case p.panic:
			l.Inc(LBHealthyPanic)
			g = &p.all
		case set.degradedLoad[0] == 0:
			g = &p.healthy
		default:
			g = l.choose(c)
		}
	default:
		g = l.choose(c)
	}
	if g == nil {
		return nil
	}
	if g.locality != nil {
		i := g.locality.Pick(c)
		if i < 0 {
			return nil
		}
		g = &g.localities[i]
	}
	i := g.balancer.Pick(c)
	if i < 0 {
		return nil
	}
	return g.hosts[i]
}

// choose draws a priority, healthy hosts before degraded ones, by the loads.
func (l *Local) choose(c *lb.Context) *localGroup {
	set := l.version.set
	r := uint32(c.Rand % 100)
	if c.HasHash {
		r = uint32(c.Hash % 100) // the same hash must find the same host
	}
	var sum uint32
	for i, load := range set.healthyLoad {
		if sum += load; r < sum {
			if l.prios[i].panic {
				l.Inc(LBHealthyPanic)
				return &l.prios[i].all
			}
			return &l.prios[i].healthy
		}
	}
	for i, load := range set.degradedLoad {
		if sum += load; r < sum {
			if l.prios[i].panic {
				l.Inc(LBHealthyPanic)
				return &l.prios[i].all
			}
			return &l.prios[i].degraded
		}
	}
	return nil
}
