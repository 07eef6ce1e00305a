package cluster

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// outlier is what outlier detection knows of a host. The counters are shared by the workers:
// successes only read them while they are zero, so the plain path has no atomic writes.
type outlier struct {
	consecutive5xx     atomic.Uint32
	consecutiveGateway atomic.Uint32
	consecutiveLocal   atomic.Uint32

	// The rest belongs to the manager.
	ejectedAt   time.Time
	backoff     uint32 // times the base ejection time
	ejections   uint32
	successRate float64 // of the last interval, percent; -1: too few requests
}

// cause is why a host is ejected.
type cause uint8

const (
	cause5xx cause = iota
	causeGateway
	causeLocal
	causeSuccessRate
)

// detector turns results into ejections, after Envoy's OutlierDetectionImpl. put runs on
// workers; eject, uneject and judge run under the manager's lock with the time given.
type detector struct {
	cfg *xdsresource.OutlierDetection
	// notify hands a host that crossed a threshold to the manager; it must not block.
	notify     func(*Host, cause)
	count      func(Stat)        // adds one to a counter of the cluster
	gauge      func(Stat, int64) // sets a gauge of the cluster
	percentage func() uint32     // uniform in [0, 100), for the enforcing percentages
}

func newPercentage() uint32 { return rand.Uint32N(100) }

// put feeds one result. Local-origin results count as responses (503, 504 for time-outs)
// unless they are split.
func (d *detector) put(h *LocalHost, r Result) {
	code := r.Code
	switch r.Kind {
	case ResultResponse:
		if d.cfg.SplitExternalLocal {
			d.local(h.Host, true)
		}
	case ResultConnected:
		if d.cfg.SplitExternalLocal {
			d.local(h.Host, true)
			return
		}
		code = 200
	case ResultConnectTimeout, ResultTimeout:
		if d.cfg.SplitExternalLocal {
			d.local(h.Host, false)
			return
		}
		code = 504
	default:
		if d.cfg.SplitExternalLocal {
			d.local(h.Host, false)
			return
		}
		code = 503
	}
	d.response(h, code)
}

func (d *detector) response(h *LocalHost, code int) {
	h.rateTotal++
	host := h.Host
	if code < 500 {
		h.rateSuccess++
		zero(&host.consecutive5xx)
		zero(&host.consecutiveGateway)
		return
	}
	if code == 502 || code == 503 || code == 504 {
		if host.consecutiveGateway.Add(1) == d.cfg.ConsecutiveGatewayFailure {
			d.notify(host, causeGateway)
		}
	} else {
		zero(&host.consecutiveGateway)
	}
	if host.consecutive5xx.Add(1) == d.cfg.Consecutive5xx {
		d.notify(host, cause5xx)
	}
}

func (d *detector) local(host *Host, ok bool) {
	if ok {
		zero(&host.consecutiveLocal)
	} else if host.consecutiveLocal.Add(1) == d.cfg.ConsecutiveLocalFailure {
		d.notify(host, causeLocal)
	}
}

// zero resets a counter, writing only when there is something to reset.
func zero(c *atomic.Uint32) {
	if c.Load() != 0 {
		c.Store(0)
	}
}

// causes holds what differs between causes of an ejection.
var causes = [...]struct {
	detected, enforced Stat
	enforcing          func(*xdsresource.OutlierDetection) uint32
}{
	cause5xx: {EjectionsDetectedConsecutive5xx, EjectionsEnforcedConsecutive5xx,
		func(c *xdsresource.OutlierDetection) uint32 { return c.EnforcingConsecutive5xx }},
	causeGateway: {EjectionsDetectedConsecutiveGateway, EjectionsEnforcedConsecutiveGateway,
		func(c *xdsresource.OutlierDetection) uint32 { return c.EnforcingConsecutiveGatewayFailure }},
	causeLocal: {EjectionsDetectedConsecutiveLocal, EjectionsEnforcedConsecutiveLocal,
		func(c *xdsresource.OutlierDetection) uint32 { return c.EnforcingConsecutiveLocalFailure }},
	causeSuccessRate: {EjectionsDetectedSuccessRate, EjectionsEnforcedSuccessRate,
		func(c *xdsresource.OutlierDetection) uint32 { return c.EnforcingSuccessRate }},
}

// onConsecutive ejects a host whose consecutive failures reached a threshold. It reports
// whether the set of usable hosts has changed. The counter begins anew in any case, so that
// a host which could not be ejected is considered again after as many failures.
func (d *detector) onConsecutive(hosts []*Host, h *Host, why cause, now time.Time) bool {
	switch why {
	case cause5xx:
		h.consecutive5xx.Store(0)
	case causeGateway:
		h.consecutiveGateway.Store(0)
	case causeLocal:
		h.consecutiveLocal.Store(0)
	}
	if h.Ejected() {
		return false
	}
	if why == cause5xx {
		d.count(EjectionsConsecutive5xx) // deprecated in Envoy, still counted there
	}
	return d.eject(hosts, h, why, now)
}

func (d *detector) eject(hosts []*Host, h *Host, why cause, now time.Time) bool {
	d.count(causes[why].detected)
	active := ejected(hosts)
	// max_ejection_percent holds after the ejection, too; always_eject_one_host lets the
	// first one through whatever the percentage.
	if 100*(active+1) > int(d.cfg.MaxEjectionPercent)*len(hosts) && !(active == 0 && d.cfg.AlwaysEjectOneHost) {
		d.count(EjectionsOverflow)
		return false
	}
	d.count(EjectionsTotal)
	if d.percentage() >= causes[why].enforcing(d.cfg) {
		return false
	}
	d.count(EjectionsEnforcedTotal)
	d.count(causes[why].enforced)
	h.ejectedAt = now
	h.ejections++
	// The multiplier stops growing once it has reached the maximum time.
	if time.Duration(h.backoff)*d.cfg.BaseEjectionTime < d.maxTime()+d.cfg.BaseEjectionTime {
		h.backoff++
	}
	h.setFlag(failedOutlierCheck, true)
	d.gauge(EjectionsActive, int64(active+1))
	return true
}

func (d *detector) maxTime() time.Duration {
	return max(d.cfg.MaxEjectionTime, d.cfg.BaseEjectionTime)
}

func ejected(hosts []*Host) int {
	n := 0
	for _, h := range hosts {
		if h.Ejected() {
			n++
		}
	}
	return n
}

// sweep is the work of an interval's end: hosts whose time is over come back, the multiplier
// of hosts that stayed in is lowered. It reports whether the usable hosts have changed.
func (d *detector) sweep(hosts []*Host, now time.Time) bool {
	changed := false
	for _, h := range hosts {
		if !h.Ejected() {
			if h.backoff > 0 {
				h.backoff--
			}
			continue
		}
		if now.Sub(h.ejectedAt) < min(time.Duration(h.backoff)*d.cfg.BaseEjectionTime, d.maxTime()) {
			continue
		}
		h.consecutive5xx.Store(0)
		h.consecutiveGateway.Store(0)
		h.consecutiveLocal.Store(0)
		h.setFlag(failedOutlierCheck, false)
		changed = true
	}
	d.gauge(EjectionsActive, int64(ejected(hosts)))
	return changed
}

// rate is one host's responses in an interval.
type rate struct{ total, success uint32 }

// judge ejects hosts whose success rate is more than SuccessRateStdevFactor/1000 standard
// deviations under the mean of all hosts with enough requests.
func (d *detector) judge(hosts []*Host, rates map[*Host]rate, now time.Time) bool {
	var sum float64
	var valid []*Host
	for _, h := range hosts {
		r := rates[h]
		h.successRate = -1
		if r.total < max(d.cfg.SuccessRateRequestVolume, 1) {
			continue
		}
		h.successRate = 100 * float64(r.success) / float64(r.total)
		if h.Ejected() {
			continue
		}
		valid = append(valid, h)
		sum += h.successRate
	}
	if len(valid) == 0 || len(valid) < int(d.cfg.SuccessRateMinimumHosts) {
		return false
	}
	mean := sum / float64(len(valid))
	var variance float64
	for _, h := range valid {
		variance += (h.successRate - mean) * (h.successRate - mean)
	}
	threshold := mean - math.Sqrt(variance/float64(len(valid)))*float64(d.cfg.SuccessRateStdevFactor)/1000
	changed := false
	for _, h := range valid {
		if h.successRate < threshold {
			changed = d.eject(hosts, h, causeSuccessRate, now) || changed
		}
	}
	return changed
}
