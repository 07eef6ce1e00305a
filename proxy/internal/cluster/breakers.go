package cluster

import (
	"math"
	"sync/atomic"

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

// shared counts what all workers hold, by priority and resource. Only limited resources are
// counted there, and only when there are several workers: a limit that does not exist costs
// nothing, and one worker needs no atomics.
type shared [2][resources]atomic.Int64

// limits are a cluster's breakers; math.MaxUint32 is unlimited.
type limits [2][resources]uint32

func makeLimits(b *[2]xdsresource.Breakers) *limits {
	l := &limits{}
	for p := range b {
		l[p] = [resources]uint32{b[p].MaxConnections, b[p].MaxPendingRequests, b[p].MaxRequests, b[p].MaxRetries}
	}
	return l
}

// Try takes one of a resource at a priority (high or default); false when the circuit is
// open. What is taken must be given back by Release with the same arguments.
//
// A retry budget replaces the limit of Retries: the given percentage of requests and pending
// requests now active on this worker, but at least the configured minimum.
func (l *Local) Try(r Resource, high bool) bool {
	p := prio(high)
	if l.try(p, r) {
		return true
	}
	if l.cluster.open[p][r].CompareAndSwap(false, true) {
		l.GaugeAdd(CxOpen+Stat(p*int(resources)+int(r)), 1)
	}
	return false
}

func (l *Local) try(p int, r Resource) bool {
	limit := l.limits[p][r]
	held := &l.held[p][r]
	if limit == math.MaxUint32 {
		*held++
		return true
	}
	if b := &l.cfg.Breakers[p]; r == Retries && b.RetryBudgetPercent > 0 {
		active := float64(l.held[p][Requests] + l.held[p][Pending])
		limit = max(uint32(active*b.RetryBudgetPercent/100), b.RetryBudgetMin)
		if uint32(*held) >= limit {
			return false
		}
		*held++
		return true
	}
	if l.shared == nil {
		if uint32(*held) >= limit {
			return false
		}
		*held++
		return true
	}
	if l.shared[p][r].Add(1) > int64(limit) {
		l.shared[p][r].Add(-1)
		return false
	}
	*held++
	return true
}

// Release gives back what Try took.
func (l *Local) Release(r Resource, high bool) {
	p := prio(high)
	l.held[p][r]--
	if l.cluster.open[p][r].Load() && l.cluster.open[p][r].CompareAndSwap(true, false) {
		l.GaugeAdd(CxOpen+Stat(p*int(resources)+int(r)), -1)
	}
	if l.shared != nil && l.counted(p, r) {
		l.shared[p][r].Add(-1)
	}
}

func (l *Local) counted(p int, r Resource) bool {
	return l.limits[p][r] != math.MaxUint32 && (r != Retries || l.cfg.Breakers[p].RetryBudgetPercent == 0)
}

// setConfig moves this worker's holdings over to new limits: what was uncounted and is now
// limited is added to the shared counts, and the other way round.
func (l *Local) setConfig(cfg *xdsresource.Cluster, lim *limits) {
	if l.shared != nil {
		for p := range l.held {
			for r := range l.held[p] {
				if l.limits != nil && l.counted(p, Resource(r)) {
					l.shared[p][r].Add(-l.held[p][r])
				}
			}
		}
	}
	l.cfg, l.limits = cfg, lim
	if l.shared != nil {
		for p := range l.held {
			for r := range l.held[p] {
				if l.counted(p, Resource(r)) {
					l.shared[p][r].Add(l.held[p][r])
				}
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
