package dnscache

import (
	"math/rand/v2"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// minRefresh keeps a name server that answers with a lifetime of 0 from being flooded.
const minRefresh = time.Second

// Pace says when names are resolved again, after Envoy's DnsRefresh: at the
// refresh rate or when the answer is no good any more, a little later by chance; after a
// failure at random below an interval that doubles each time.
type Pace struct {
	cfg    *xdsresource.DNS
	next   time.Duration // the interval after another failure; 0: the first one
	random func(uint64) uint64
}

// NewPace returns the pace of a configuration, which it keeps.
func NewPace(cfg *xdsresource.DNS) *Pace { return &Pace{cfg: cfg, random: rand.Uint64N} }

// Wait is the time to the next resolution, of which ok says whether the last one was answered. ttl is how long the answer is good, 0: unknown.
func (p *Pace) Wait(ok bool, ttl time.Duration) time.Duration {
	refresh := p.cfg.Refresh
	if refresh <= 0 {
		refresh = 5 * time.Second
	}
	if !ok {
		if p.cfg.FailureBase <= 0 {
			return refresh
		}
		interval := max(p.next, p.cfg.FailureBase)
		p.next = min(2*interval, max(p.cfg.FailureMax, p.cfg.FailureBase))
		return max(time.Duration(p.random(uint64(interval/time.Millisecond)+1))*time.Millisecond, time.Millisecond)
	}
	p.next = 0
	if p.cfg.RespectTTL && ttl > 0 {
		least := minRefresh
		if p.cfg.MinRefresh > 0 {
			least = p.cfg.MinRefresh
		}
		refresh = max(ttl, least)
	}
	if j := p.cfg.Jitter / time.Millisecond; j > 0 {
		refresh += time.Duration(p.random(uint64(j))) * time.Millisecond
	}
	return refresh
}
