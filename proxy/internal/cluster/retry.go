package cluster

import (
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Retry is what further attempts of one request ask of the choice of their hosts. The zero value asks
// nothing.
type Retry struct {
	// OmitCanary and OmitMetadata are hosts that another is rather taken for
	// (retry_host_predicate); nil: none by metadata.
	OmitCanary   bool
	OmitMetadata *xdsresource.MetadataMatch
	// UpdateFrequency is after how many attempts each the priorities that were tried take no more load
	// (retry_priority previous_priorities); 0: they do.
	UpdateFrequency int

	tried             []*LocalHost
	excluded          []bool // by priority
	healthy, degraded []uint32
}

// Reset makes it new, and keeps its memory.
func (r *Retry) Reset() {
	clear(r.tried)
	*r = Retry{tried: r.tried[:0], excluded: r.excluded[:0]}
}

// Tried notes the host of an attempt.
func (r *Retry) Tried(h *LocalHost) { r.tried = append(r.tried, h) }

// PickAgain is Pick for an attempt that is not the request's first.
func (l *Local) PickAgain(c *lb.Context, r *Retry) *LocalHost {
	l.retry = r
	defer func() { l.retry = nil }()
	return l.Pick(c)
}

// shuns reports whether another host is rather taken.
func (l *Local) shuns(h *LocalHost, c *lb.Context) bool {
	if c.Avoids(&h.Load) {
		return true
	}
	r := l.retry
	if r == nil || !r.OmitCanary && r.OmitMetadata == nil {
		return false
	}
	md := h.Host.Info().Metadata["envoy.lb"]
	if canary, _ := md["canary"].(bool); canary && r.OmitCanary {
		return true
	}
	return r.OmitMetadata != nil && r.OmitMetadata.Matches(md, true)
}

// loads are the shares of priorities for the pick that is under way. of is the number of a host's
// priority in the set, -1 for none.
func (l *Local) loads(s *hostSet, of func(*LocalHost) int) (healthy, degraded []uint32) {
	r := l.retry
	if r == nil || r.UpdateFrequency == 0 || len(r.tried) < r.UpdateFrequency || !r.update(s, of) {
		return s.healthyLoad, s.degradedLoad
	}
	return r.healthy, r.degraded
}

// update takes priorities that were tried out, when it is time. When none would be left all come back
// in. False: the shares stay as they are.
func (r *Retry) update(s *hostSet, of func(*LocalHost) int) bool {
	if len(r.tried)%r.UpdateFrequency != 0 && len(r.healthy) == len(s.prios) {
		return true
	}
	for len(r.excluded) < len(s.prios) {
		r.excluded = append(r.excluded, false)
	}
	for _, h := range r.tried {
		if p := of(h); p >= 0 && p < len(r.excluded) {
			r.excluded[p] = true
		}
	}
	avail := make([]availability, len(s.prios))
	look := func() bool {
		for i := range s.prios {
			avail[i] = availability{}
			if !r.excluded[i] {
				avail[i] = s.prios[i].availability()
			}
		}
		return sum(avail) > 0
	}
	if !look() {
		clear(r.excluded)
		r.tried = r.tried[:0]
		if !look() {
			return false
		}
	}
	r.healthy, r.degraded = distribute(avail)
	return true
}

// priorityOf is the number of a host's priority in its own cluster.
func priorityOf(h *LocalHost) int { return int(h.Host.Info().Priority) }
