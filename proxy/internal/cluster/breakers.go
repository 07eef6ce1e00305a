package cluster

import (
	"math"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Resource is what a circuit breaker limits.
type Resource uint8

// Resources of a cluster.
const (
	Connections Resource = iota
	Pending
	Requests
	Retries
	resources
)

// shared counts what all workers hold, by priority and resource. Only counted resources stand
// there, and only when there are several workers: a limit that does not exist costs nothing,
// and one worker needs no atomics.
type shared [2][resources]atomic.Int64

// limits are a cluster's breakers of both priorities.
type limits [2]priorityLimits

type priorityLimits struct {
	max [resources]uint32 // math.MaxUint32 is unlimited
	// counted resources have a limit of their own or belong to a retry budget.
	counted [resources]bool
	// budget of active and pending requests, in percent, may be retries; 0: max holds.
	budget    float64
	budgetMin uint32
	// window counts the requests that the budget is of; nil: those under way.
	window *window
	host   uint32 // connections of one host; 0: unlimited
	track  bool   // show what is left
}

// plain reports whether nobody counts the resource.
func (l *priorityLimits) plain(r Resource) bool { return !l.counted[r] && !l.track }

func makeLimits(b *[2]xdsresource.Breakers) *limits {
	l := &limits{}
	for p := range b {
		x := &l[p]
		x.max = [resources]uint32{b[p].MaxConnections, b[p].MaxPendingRequests, b[p].MaxRequests, b[p].MaxRetries}
		for r, m := range x.max {
			x.counted[r] = m != math.MaxUint32
		}
		if x.budget, x.budgetMin = b[p].RetryBudgetPercent, b[p].RetryBudgetMin; x.budget > 0 {
			x.counted[Pending], x.counted[Requests], x.counted[Retries] = true, true, true
			if d := b[p].RetryBudgetInterval; d > 0 {
				x.window = newWindow(d)
			}
		}
		x.host, x.track = b[p].MaxConnectionsPerHost, b[p].TrackRemaining
	}
	return l
}

// remainingSet are the gauges of track_remaining of one priority, in the order of resources.
var remainingSet = stats.NewSet(gauge("remaining_cx"), gauge("remaining_pending"), gauge("remaining_rq"), gauge("remaining_retries"))

// showRemaining makes the gauges where they are wanted. Workers take what they hold off.
func (m *Manager) showRemaining(c *Cluster, l *limits) {
	for p, name := range [...]string{"default", "high"} {
		if !l[p].track {
			continue
		}
		c.remaining[p] = c.scope.Scope("circuit_breakers").Scope(name).Block(remainingSet)
		for r, limit := range l[p].max {
			m.cfg.Stats.Main().GaugeSet(c.remaining[p].Gauge(r), int64(limit))
		}
	}
}

// Try takes one of a resource at a priority (high or default); false when the circuit is
// open. What is taken must be given back by Release with the same arguments.
//
// A retry budget replaces the limit of Retries: the given percentage of the cluster's active
// and pending requests, or of those that began in its interval, but at least the configured minimum.
func (l *Local) Try(r Resource, high bool) bool {
	p := prio(high)
	if !l.used[p][r] {
		l.use(p, r)
	}
	if l.limits[p].plain(r) {
		l.held[p][r]++
		return true
	}
	limit := l.limit(p, r)
	n := l.add(p, r, 1)
	if n > limit {
		l.add(p, r, -1)
		return false
	}
	if w := l.limits[p].window; w != nil && r == Requests {
		w.add(l.lm.m.now())
	}
	l.show(p, r, n >= limit, -1)
	return true
}

// Release gives back what Try took.
func (l *Local) Release(r Resource, high bool) {
	p := prio(high)
	if l.limits[p].plain(r) {
		l.held[p][r]--
		return
	}
	n := l.add(p, r, -1)
	l.show(p, r, n >= l.limit(p, r), 1)
}

// add changes what this worker holds and returns what all of them hold.
func (l *Local) add(p int, r Resource, d int64) int64 {
	l.held[p][r] += d
	if l.shared == nil || !l.limits[p].counted[r] {
		return l.held[p][r]
	}
	return l.shared[p][r].Add(d)
}

func (l *Local) count(p int, r Resource) int64 {
	if l.shared == nil || !l.limits[p].counted[r] {
		return l.held[p][r]
	}
	return l.shared[p][r].Load()
}

func (l *Local) limit(p int, r Resource) int64 {
	lim := &l.limits[p]
	if r == Retries && lim.budget > 0 {
		active := float64(l.count(p, Requests) + l.count(p, Pending))
		if lim.window != nil {
			active = float64(lim.window.count(l.lm.m.now()))
		}
		return max(int64(lim.budget/100*active), int64(lim.budgetMin))
	}
	if lim.max[r] == math.MaxUint32 {
		return math.MaxInt64
	}
	return int64(lim.max[r])
}

// show brings the gauges up to date: open while nothing more may be taken, and what is left.
func (l *Local) show(p int, r Resource, open bool, left int64) {
	if o := &l.cluster.open[p][r]; o.Load() != open && o.CompareAndSwap(!open, open) {
		d := int64(-1)
		if open {
			d = 1
		}
		l.GaugeAdd(CxOpen+Stat(p*int(resources)+int(r)), d)
	}
	if l.limits[p].track {
		l.shard.GaugeAdd(l.version.remaining[p].Gauge(int(r)), left)
	}
}

// use has the gauge of a breaker shown, as Envoy does with the first that is taken of it.
func (l *Local) use(p int, r Resource) {
	l.used[p][r] = true
	l.GaugeAdd(CxOpen+Stat(p*int(resources)+int(r)), 0)
	if r == Connections {
		l.GaugeAdd(CxPoolOpen, 0)
		l.GaugeAdd(HighCxPoolOpen, 0)
	}
}

// TryConnection takes a connection to the host: one of the cluster's, as long as the host has
// not as many as per_host_thresholds allows.
func (h *LocalHost) TryConnection(high bool) bool {
	if most := h.Local.limits[prio(high)].host; most > 0 && h.Host.connections.Load() >= int64(most) {
		return false
	}
	return h.Local.Try(Connections, high)
}

// setConfig moves this worker's holdings over to new limits: what was uncounted and is now
// counted is added to the shared counts, and the other way round.
func (l *Local) setConfig(v *version) {
	l.carry(-1)
	l.cfg, l.limits, l.version = v.cfg, v.limits, v
	l.carry(1)
	for p := range l.held {
		for r := range l.held[p] {
			if r := Resource(r); l.limits[p].counted[r] || l.cluster.open[p][r].Load() {
				l.show(p, r, l.limits[p].counted[r] && l.count(p, r) >= max(l.limit(p, r), 1), 0)
			}
		}
	}
}

// carry adds what this worker holds to the counts that others see, or takes it from them.
func (l *Local) carry(sign int64) {
	if l.limits == nil {
		return
	}
	for p := range l.held {
		for r, n := range l.held[p] {
			if l.shared != nil && l.limits[p].counted[r] {
				l.shared[p][r].Add(sign * n)
			}
			if l.limits[p].track {
				l.shard.GaugeAdd(l.version.remaining[p].Gauge(r), -sign*n)
			}
		}
	}
}

func prio(high bool) int {
	if high {
		return 1
	}
	return 0
}
