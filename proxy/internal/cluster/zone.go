package cluster

import (
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// localZone is the proxy's own place: its locality, and where its fellows in the local
// cluster are (cluster_manager.local_cluster_name). Immutable.
type localZone struct {
	own     Locality
	healthy map[Locality]uint64 // fellows that are healthy: how many, or what they weigh
	total   uint64              // of these
	places  int                 // localities with any fellow
	ownAny  bool                // there is one here
	panic   bool                // too few of all are usable
}

// newLocalZone looks at the local cluster's priority 0, which has the only hosts that count.
func newLocalZone(own Locality, s *hostSet, threshold float64, byWeight bool) *localZone {
	z := &localZone{own: own, healthy: map[Locality]uint64{}, panic: threshold > 0}
	if len(s.prios) == 0 {
		return z
	}
	p := &s.prios[0]
	any := map[Locality]bool{}
	for _, m := range p.all.hosts {
		any[m.host.Info().Locality] = true
	}
	z.places, z.ownAny = len(any), any[own]
	for _, m := range p.healthy.hosts {
		n := basis(m, byWeight)
		z.healthy[m.host.Info().Locality] += n
		z.total += n
	}
	z.panic = p.usable() < threshold
	return z
}

// basis is what a host counts for in its locality.
func basis(m member, byWeight bool) uint64 {
	if byWeight {
		return uint64(m.weight)
	}
	return 1
}

func basisOf(hosts []member, byWeight bool) (n uint64) {
	for _, m := range hosts {
		n += basis(m, byWeight)
	}
	return n
}

// zoneRouting says how requests to a priority's hosts spread over its localities, so that as
// many as fairness allows stay in the own one; Envoy's regenerateLocalityRoutingStructures.
type zoneRouting struct {
	skip    Stat // counted when the set is published: why there is no routing by zone
	off     bool
	direct  bool
	panic   bool // of the local cluster
	enabled *xdsresource.ZoneAware
	fail    bool
	// localShare of ten thousand requests stay; the others go where residual, which adds up
	// what each locality has left, leads them.
	localShare uint64
	residual   []uint64
}

// route computes the routing of a cluster's priority 0.
func (z *localZone) route(cfg *xdsresource.ZoneAware, p *priority) *zoneRouting {
	r := &zoneRouting{panic: z.panic, enabled: cfg, fail: cfg.FailTrafficOnPanic}
	loc := p.healthy.localities
	switch {
	case len(loc) < 2, z.places < 2 && cfg.ForceMin == 0:
		r.off = true
	case !z.ownAny:
		r.off, r.skip = true, LBLocalClusterNotOK
	case uint64(len(p.healthy.hosts)) < cfg.MinSizeKey.Uint(uint64(cfg.MinClusterSize)):
		r.off, r.skip = true, LBZoneClusterTooSmall
	}
	if r.off {
		return r
	}
	own := localityAt(p, z.own) // index 0, or -1
	here, there := make([]uint64, len(loc)), make([]uint64, len(loc))
	total := basisOf(p.healthy.hosts, cfg.ByWeight)
	for i := range loc {
		if n := basisOf(loc[i].hosts, cfg.ByWeight); n > 0 {
			if z.total > 0 {
				here[i] = 10000 * z.healthy[loc[i].hosts[0].host.Info().Locality] / z.total
			}
			there[i] = 10000 * n / total
		}
	}
	if own == 0 && there[0] > 0 && (there[0] >= here[0] || cfg.ForceMin > 0 && len(loc[0].hosts) >= int(cfg.ForceMin)) {
		r.direct = true
		return r
	}
	if own == 0 && here[0] > 0 {
		r.localShare = there[0] * 10000 / here[0]
	}
	r.residual = make([]uint64, len(loc))
	var acc uint64
	for i := range loc {
		if (i > 0 || own != 0) && there[i] > here[i] {
			acc += there[i] - here[i]
		}
		r.residual[i] = acc
	}
	return r
}

// localityAt is 0 when the priority has any host in the own locality: it comes first there.
func localityAt(p *priority, own Locality) int {
	for _, m := range p.all.hosts {
		if m.host.Info().Locality == own {
			return 0
		}
	}
	return -1
}

// pick draws the index of a locality; -1: any host of the priority, -2: none at all.
func (r *zoneRouting) pick(l *Local, c *lb.Context) int {
	if r.off {
		return -1
	}
	x := lb.Next(c.Rand ^ 0x5851f42d4c957f2d)
	if n := r.enabled.EnabledKey.Uint(uint64(r.enabled.RoutingEnabled)); n < 100 && x%100 >= n {
		return -1
	}
	if r.panic {
		l.Inc(LBLocalClusterNotOK)
		if r.fail {
			return -2
		}
		return -1
	}
	if r.direct {
		l.Inc(LBZoneRoutingAllDirectly)
		return 0
	}
	if x = lb.Next(x); x%10000 < r.localShare {
		l.Inc(LBZoneRoutingSampled)
		return 0
	}
	l.Inc(LBZoneRoutingCrossZone)
	x = lb.Next(x)
	n := len(r.residual)
	if r.residual[n-1] == 0 {
		l.Inc(LBZoneNoCapacityLeft)
		return int(x % uint64(n))
	}
	x %= r.residual[n-1]
	i := 0
	for x >= r.residual[i] {
		i++
	}
	return i
}
