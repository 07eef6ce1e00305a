package cluster

import (
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
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
	if lm.m.lookup(name) != c {
		return nil // it has gone meanwhile, which nobody would tell us
	}
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
	l.apply(&version{cfg: l.cfg, limits: l.limits, set: &hostSet{}, remaining: l.version.remaining,
		budgets: l.version.budgets, sizes: l.version.sizes})
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
	tls      *transportsocket.Stats // made when first needed
	seed     uint64
	special  bool // Pick has more to look at than one set of hosts

	hosts    map[*Host]*LocalHost
	main     *localSet
	sets     map[*hostSet]*localSet // of subsets, when first asked for
	resolved map[string]resolution
	// byAddress holds hosts by address, when first asked for.
	byAddress map[string]*LocalHost
	// byName holds the hosts of a dynamic forward proxy cluster by name, when first asked for.
	byName  map[string]*LocalHost
	active  int          // requests in flight on all hosts
	waiting int          // requests that wait for connections
	conns   int          // connections, open and under way
	ahead   []*LocalHost // of requests to come: see Ahead

	limits *limits
	shared *shared // nil: this worker is the only one
	held   [2][resources]int64
	used   [2][resources]bool // breakers whose gauges are shown

	codes     originCodes
	completed [4]stats.Counter   // by the same kinds; that of all is a fixed one
	times     [4]stats.Histogram // likewise
	dst       *originalDst
	aggregate *aggregate // made when it is first asked for
	beside    map[any]any
	retry     *Retry // of the pick that is under way
}

// Name returns the cluster's name.
func (l *Local) Name() string { return l.cluster.name }

// Config returns the cluster's configuration as of the last update.
func (l *Local) Config() *xdsresource.Cluster { return l.cfg }

// Health is how many of the cluster's hosts take requests, and how many there are.
func (l *Local) Health() (healthy, total int) {
	for h := range l.hosts {
		if h.Healthy() {
			healthy++
		}
	}
	return healthy, len(l.hosts)
}

// Shard returns the worker's statistics.
func (l *Local) Shard() *stats.Shard { return l.shard }

// Block returns statistics that not every cluster has, below the cluster's own. It takes a lock: keep the block.
func (l *Local) Block(name string, set *stats.Set) stats.Block {
	return l.cluster.scope.Scope(name).Block(set)
}

// Scope is where statistics of the cluster have their names. Making one takes a lock: keep it.
func (l *Local) Scope() stats.Scope { return l.cluster.scope }

// Beside returns what another package keeps beside the worker's view of the cluster, as long as that
// is there; it is made when it is first asked for. Keys are as those of a context.
func (l *Local) Beside(key any, made func() any) any {
	v, ok := l.beside[key]
	if !ok {
		v = made()
		if l.beside == nil {
			l.beside = map[any]any{}
		}
		l.beside[key] = v
	}
	return v
}

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
	fresh := l.version == nil
	other := !fresh && l.cfg.HTTP.Protocol != v.cfg.HTTP.Protocol // connections that speak it are not for further requests
	l.setConfig(v)
	l.detector = v.detector
	keep := make(map[*Host]*LocalHost, len(v.set.hosts))
	moved := false // hosts have come or gone
	for _, h := range v.set.hosts {
		lh := l.hosts[h]
		added := lh == nil
		if added {
			lh = &LocalHost{Host: h, Local: l}
		}
		moved = moved || added
		lh.Weight = max(h.Info().Weight, 1)
		lh.HealthySince = h.healthySince.Load()
		keep[h] = lh
	}
	gone := l.hosts
	l.hosts = keep
	l.ahead = nil
	l.sets, l.resolved, l.byAddress, l.byName = nil, nil, nil, nil
	l.main = l.localSet(v.set)
	l.aggregate = nil
	switch v.cfg.Type {
	case xdsresource.ClusterOriginalDst, xdsresource.ClusterAggregate, xdsresource.ClusterDynamic:
		l.special = true
	default:
		l.special = v.set.subsets != nil
	}
	// Pools last: closing one may pick from the new hosts.
	for h, lh := range gone {
		if keep[h] == nil {
			moved = true
			lh.remove()
		}
	}
	for h, lh := range keep {
		failed := h.health.Load()&(failedActiveHC|failedOutlierCheck) != 0
		switch fails := failed && !lh.failed; {
		case fails && v.cfg.CloseOnHealthFailure:
			lh.fail()
		case lh.Pool != nil && (fails || other || moved && !fresh && v.cfg.CloseOnHostChange):
			// A host that fails may be good again by another way: new connections find it.
			lh.Pool.Drain()
		}
		lh.failed = failed
	}
}

func (h *LocalHost) remove() {
	h.removed = true
	if h.Pool != nil {
		h.Pool.Close()
	}
}

// Drops reports whether a request is to be refused (drop_overloads), given random bits, and
// whether every request is.
func (l *Local) Drops(random uint64) (drop, all bool) {
	d := l.version.drop
	if d == nil {
		return false, false
	}
	return d.Hit(random), d.Numerator >= d.Denominator
}
