package cluster

import (
	"cmp"
	"slices"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// hostSet is one version of a cluster's hosts, or of a subset of them; immutable and shared
// by the workers.
type hostSet struct {
	hosts []*Host // all priorities
	prios []priority
	// healthyLoad and degradedLoad are how many of a hundred requests go to each priority's
	// healthy and degraded hosts; they sum to 100.
	healthyLoad, degradedLoad []uint32
	zone                      *zoneRouting // of priority 0; nil: localities do not matter there
	subsets                   *subsets     // nil: none configured
	single                    bool         // a subset of single_host_per_subset: its host, healthy or not
}

type priority struct {
	panic    bool
	all      group
	healthy  group
	degraded group
	excluded int // of all: hosts that do not count, for better or worse
	table    *hashTable

	overprovisioning uint32
	byWeight         bool // weighted_priority_health
}

// group is what a balancer picks from: hosts, and the same hosts by locality where that
// matters. Localities come in one order in all groups of a priority, the own one first.
type group struct {
	hosts      []member
	localities []localityGroup // nil: of no concern
	weighted   bool            // choose the locality by its weight
}

type member struct {
	host   *Host
	weight uint32
}

type localityGroup struct {
	weight float64 // effective: configured weight scaled by availability
	hosts  []member
}

// hashTable is what RING_HASH and MAGLEV look a priority's hosts up in.
type hashTable struct {
	table   lb.Table
	hosts   []member
	entries []lb.Entry
}

// setOptions are what a host set is made under besides its hosts.
type setOptions struct {
	cfg              *xdsresource.Cluster
	weights          map[localityKey]uint32 // nil: localities have none
	overprovisioning uint32
	byWeight         bool // weighted_priority_health
	local            *localZone
}

// localityKey names a locality within a priority.
type localityKey struct {
	priority uint32
	Locality
}

// buildHostSet sorts hosts into priorities and computes their loads.
func buildHostSet(o *setOptions, hosts []*Host) *hostSet {
	s := &hostSet{hosts: hosts}
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
		s.prios = append(s.prios, buildPriority(o, uint32(p), hs))
	}
	s.spread(o.cfg.Panic())
	if o.cfg.LB.HashTable() {
		for i := range s.prios {
			s.prios[i].table = buildTable(o, uint32(i), &s.prios[i])
		}
	} else if n > 0 && o.local != nil && !o.cfg.LB.LocalityWeighted {
		s.zone = o.local.route(&o.cfg.LB.Zone, &s.prios[0])
	}
	return s
}

// buildPriority partitions a priority's hosts by health.
func buildPriority(o *setOptions, prio uint32, hosts []*Host) priority {
	p := priority{overprovisioning: o.overprovisioning, byWeight: o.byWeight}
	weighted := o.cfg.LB.LocalityWeighted && !o.cfg.LB.HashTable()
	zoned := prio == 0 && o.local != nil && !o.cfg.LB.LocalityWeighted && !o.cfg.LB.HashTable()
	var order []Locality // nil: not wanted
	if weighted || zoned {
		order = localitiesOf(hosts, o.local)
	}
	for _, h := range hosts {
		m := member{h, max(h.Info().Weight, 1)}
		p.all.hosts = append(p.all.hosts, m)
		if h.excluded() {
			p.excluded++
		}
		switch h.state() {
		case stateHealthy:
			p.healthy.hosts = append(p.healthy.hosts, m)
		case stateDegraded:
			p.degraded.hosts = append(p.degraded.hosts, m)
		}
	}
	if len(p.healthy.hosts) == len(p.all.hosts) {
		p.healthy.hosts = p.all.hosts // the usual case needs one list
	}
	if len(order) < 2 {
		return p // one locality needs no choice
	}
	total := make(map[Locality]int, len(order)) // hosts that count
	for _, h := range hosts {
		if !h.excluded() {
			total[h.Info().Locality]++
		}
	}
	for _, g := range []*group{&p.healthy, &p.degraded} {
		g.localities = split(g.hosts, order)
		if weighted {
			g.weighted = weigh(o, prio, g.localities, order, total)
			if !g.weighted {
				g.localities = nil // without any weight there is nothing to choose by
			}
		}
	}
	return p
}

// localitiesOf returns the localities of hosts in order, the own one first.
func localitiesOf(hosts []*Host, local *localZone) []Locality {
	seen := make(map[Locality]bool)
	var order []Locality
	for _, h := range hosts {
		if l := h.Info().Locality; !seen[l] {
			seen[l] = true
			order = append(order, l)
		}
	}
	slices.SortFunc(order, func(a, b Locality) int {
		if local != nil && (a == local.own) != (b == local.own) {
			if a == local.own {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.SubZone, b.SubZone))
	})
	return order
}

func split(hosts []member, order []Locality) []localityGroup {
	out := make([]localityGroup, len(order))
	index := make(map[Locality]int, len(order))
	for i, l := range order {
		index[l] = i
	}
	for _, m := range hosts {
		i := index[m.host.Info().Locality]
		out[i].hosts = append(out[i].hosts, m)
	}
	return out
}

// weigh sets the localities' effective weights: as configured, scaled down as fewer of a
// locality's hosts are available than overprovisioning makes up for. It reports whether any
// locality has a weight.
func weigh(o *setOptions, prio uint32, localities []localityGroup, order []Locality, total map[Locality]int) bool {
	any := false
	for i := range localities {
		l := &localities[i]
		w := o.weights[localityKey{prio, order[i]}]
		if w == 0 || len(l.hosts) == 0 {
			continue
		}
		l.weight = float64(w) * min(1, float64(o.overprovisioning)/100*float64(len(l.hosts))/float64(max(total[order[i]], 1)))
		any = true
	}
	return any
}

// buildTable makes the table of a priority: of its healthy hosts, of all when it is in panic.
// Localities' weights go into those of their hosts.
func buildTable(o *setOptions, prio uint32, p *priority) *hashTable {
	hosts := p.healthy.hosts // as in Envoy no degraded ones, though no other may be there
	if p.panic {
		hosts = p.all.hosts
	}
	t := &hashTable{}
	share := localityShares(o, prio, hosts)
	for _, m := range hosts {
		w := float64(m.weight)
		if share != nil {
			if w *= share[m.host.Info().Locality]; w == 0 {
				continue // a locality without weight gets no request
			}
		}
		t.hosts = append(t.hosts, m)
		t.entries = append(t.entries, lb.Entry{Key: hashKey(&o.cfg.LB, m.host), Weight: w})
	}
	switch cfg := &o.cfg.LB; {
	case len(t.hosts) == 0:
		return nil
	case cfg.Policy == xdsresource.LBMaglev:
		t.table = lb.NewMaglev(t.entries, cfg.MaglevTableSize)
	case cfg.Murmur:
		t.table = lb.NewRing(t.entries, cfg.RingMinSize, cfg.RingMaxSize, lb.Murmur2)
	default:
		t.table = lb.NewRing(t.entries, cfg.RingMinSize, cfg.RingMaxSize, lb.Hash)
	}
	return t
}

// localityShares returns what a host's weight is multiplied with for its locality's: that
// weight over the sum of the weights of its hosts. nil: localities are not weighted.
func localityShares(o *setOptions, prio uint32, hosts []member) map[Locality]float64 {
	if !o.cfg.LB.LocalityWeighted {
		return nil
	}
	sum := make(map[Locality]float64)
	any := false
	for _, m := range hosts {
		l := m.host.Info().Locality
		sum[l] += float64(m.weight)
		any = any || o.weights[localityKey{prio, l}] > 0
	}
	if !any {
		return nil
	}
	for l, s := range sum {
		sum[l] = float64(o.weights[localityKey{prio, l}]) / s
	}
	return sum
}

// hashKey is what stands for a host in a table: its metadata "envoy.lb"/"hash_key", else its
// address, or its name where that is asked for.
func hashKey(cfg *xdsresource.LoadBalancing, h *Host) string {
	if k, ok := h.Info().Metadata["envoy.lb"]["hash_key"].(string); ok {
		return k
	}
	if cfg.HashHostname {
		return h.Hostname
	}
	return h.Name
}

func (s *hostSet) counts() (healthy, degraded, excluded int) {
	for i := range s.prios {
		healthy += len(s.prios[i].healthy.hosts)
		degraded += len(s.prios[i].degraded.hosts)
		excluded += s.prios[i].excluded
	}
	return healthy, degraded, excluded
}
