package cluster

import (
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// publish makes a new version of the cluster and tells the workers. When it is the local
// cluster, those that route by zone are made anew, too.
func (m *Manager) publish(c *Cluster) {
	m.publishOne(c)
	if c.name != m.cfg.LocalCluster || c.name == "" {
		return
	}
	for _, other := range m.clusters {
		if other != c && other.endpoints != nil && !other.cfg.LB.HashTable() && !other.cfg.LB.LocalityWeighted {
			m.publishOne(other)
		}
	}
}

func (m *Manager) publishOne(c *Cluster) {
	o := &setOptions{cfg: c.cfg, weights: make(map[localityKey]uint32), overprovisioning: c.endpoints.OverprovisioningFactor,
		byWeight: c.endpoints.WeightedPriorityHealth, local: m.localZone(c)}
	if o.overprovisioning == 0 {
		o.overprovisioning = 140
	}
	for i := range c.endpoints.Localities {
		l := &c.endpoints.Localities[i]
		o.weights[localityKey{l.Priority, Locality{l.Region, l.Zone, l.SubZone}}] = l.Weight
	}
	m.startSlowly(c)
	set := buildHostSet(o, c.ordered)
	if c.cfg.LB.Subset != nil {
		set.subsets = buildSubsets(o, set)
	}
	m.countSubsets(c, set.subsets)
	if set.zone != nil {
		m.count(c, LBRecalculateZoneStructures)
		if set.zone.skip != 0 {
			m.count(c, set.zone.skip)
		}
	}
	v := &version{cfg: c.cfg, limits: makeLimits(&c.cfg.Breakers), set: set, detector: c.det, checked: len(c.checks.list) > 0, drop: c.endpoints.Drop}
	m.showRemaining(c, v.limits)
	v.remaining = c.remaining
	v.transport, v.names = c.transport, c.names.cache
	if c.transport.secure() {
		transportsocket.NewClientStats(c.scope, nil) // shown before there is anything to count
	}
	if c.transport.proxied() {
		v.lostTLVs = c.scope.Counter("upstream.proxyprotocol.v2_tlvs_exceed_max_length")
	}
	c.track(v)
	c.version.Store(v)
	m.countMembers(c, set)
	m.countTables(c, set)
	m.post(c, func(lm *LocalManager) { lm.update(c) })
}

// localZone is where this proxy stands among its fellows; nil when nobody knows.
func (m *Manager) localZone(c *Cluster) *localZone {
	own := m.clusters[m.cfg.LocalCluster]
	if own == nil || own == c || c.cfg.Type == xdsresource.ClusterOriginalDst {
		return nil
	}
	v := own.version.Load()
	if v == nil {
		return nil
	}
	return newLocalZone(m.cfg.Locality, v.set, c.cfg.Panic(), c.cfg.LB.Zone.ByWeight)
}

// startSlowly begins the slow start of hosts that are healthy and new.
func (m *Manager) startSlowly(c *Cluster) {
	if c.cfg.LB.SlowStart.Window <= 0 {
		return
	}
	for _, h := range c.ordered {
		if h.state() == stateHealthy {
			h.healthySince.CompareAndSwap(0, m.now())
		}
	}
}

func (m *Manager) countSubsets(c *Cluster, s *subsets) {
	var now map[string]*hostSet
	if s != nil {
		now = s.byKey
		m.cfg.Stats.Main().GaugeSet(c.scope.Gauge("lb_subsets_single_host_per_subset_duplicate"), int64(s.duplicates))
	}
	for k := range now {
		if c.subsets[k] == nil {
			m.count(c, LBSubsetsCreated)
		}
	}
	for k := range c.subsets {
		if now[k] == nil {
			m.count(c, LBSubsetsRemoved)
		}
	}
	if len(now)+len(c.subsets) > 0 { // a cluster without subsets has no such statistic
		m.gauge(c, LBSubsetsActive, int64(len(now)))
	}
	c.subsets = now
}

func (m *Manager) countMembers(c *Cluster, set *hostSet) {
	static := c.cfg.Type == xdsresource.ClusterStatic
	if static && len(c.ordered) == 0 {
		return // as in Envoy: nobody has ever been a member
	}
	healthy, degraded, excluded := set.counts()
	m.gauge(c, MembershipTotal, int64(len(c.ordered)))
	m.gauge(c, MembershipHealthy, int64(healthy))
	m.gauge(c, MembershipDegraded, int64(degraded))
	m.gauge(c, MembershipExcluded, int64(excluded))
	if static {
		return // as in Envoy: this one is of hosts that come and go
	}
	var heaviest uint32
	for _, h := range c.ordered {
		heaviest = max(heaviest, h.Info().Weight)
	}
	m.gauge(c, MaxHostWeight, int64(heaviest))
}

// countTables shows the sizes of hash tables, of the last priority that has one, as in Envoy.
func (m *Manager) countTables(c *Cluster, set *hostSet) {
	names := [...]string{"ring_hash_lb.size", "ring_hash_lb.min_hashes_per_host", "ring_hash_lb.max_hashes_per_host"}
	if c.cfg.LB.Policy == xdsresource.LBMaglev {
		names = [...]string{"", "maglev_lb.min_entries_per_host", "maglev_lb.max_entries_per_host"}
	}
	for i := range set.prios {
		t := set.prios[i].table
		if t == nil {
			continue
		}
		size, least, most := t.table.Sizes()
		for i, v := range [...]int{size, least, most} {
			if names[i] != "" {
				m.cfg.Stats.Main().GaugeSet(c.scope.Gauge(names[i]), int64(v))
			}
		}
	}
}
