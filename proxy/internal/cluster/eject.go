package cluster

import (
	"math"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// cause is why a host is ejected.
type cause uint8

const (
	cause5xx cause = iota
	causeGateway
	causeLocal
	causeSuccessRate
	causeLocalSuccessRate
	causeFailurePercentage
	causeLocalFailurePercentage
	causeDegraded // marks the host and does not eject it
)

// causes holds what differs between causes of an ejection.
var causes = [...]struct {
	name               string // as Envoy's event log has it
	detected, enforced Stat
	enforcing          func(*xdsresource.OutlierDetection) uint32
}{
	cause5xx: {"CONSECUTIVE_5XX", EjectionsDetectedConsecutive5xx, EjectionsEnforcedConsecutive5xx,
		func(c *xdsresource.OutlierDetection) uint32 { return c.EnforcingConsecutive5xx }},
	causeGateway: {"CONSECUTIVE_GATEWAY_FAILURE", EjectionsDetectedConsecutiveGateway, EjectionsEnforcedConsecutiveGateway,
		func(c *xdsresource.OutlierDetection) uint32 { return c.EnforcingConsecutiveGatewayFailure }},
	causeLocal: {"CONSECUTIVE_LOCAL_ORIGIN_FAILURE", EjectionsDetectedConsecutiveLocal, EjectionsEnforcedConsecutiveLocal,
		func(c *xdsresource.OutlierDetection) uint32 { return c.EnforcingConsecutiveLocalFailure }},
	causeSuccessRate: {"SUCCESS_RATE", EjectionsDetectedSuccessRate, EjectionsEnforcedSuccessRate,
		func(c *xdsresource.OutlierDetection) uint32 { return c.EnforcingSuccessRate }},
	causeLocalSuccessRate: {"SUCCESS_RATE_LOCAL_ORIGIN", EjectionsDetectedLocalSuccessRate, EjectionsEnforcedLocalSuccessRate,
		func(c *xdsresource.OutlierDetection) uint32 { return c.EnforcingLocalSuccessRate }},
	causeFailurePercentage: {"FAILURE_PERCENTAGE", EjectionsDetectedFailurePercentage, EjectionsEnforcedFailurePercentage,
		func(c *xdsresource.OutlierDetection) uint32 { return c.EnforcingFailurePercentage }},
	causeLocalFailurePercentage: {"FAILURE_PERCENTAGE_LOCAL_ORIGIN", EjectionsDetectedLocalFailurePercentage, EjectionsEnforcedLocalFailurePercentage,
		func(c *xdsresource.OutlierDetection) uint32 { return c.EnforcingLocalFailurePercentage }},
	causeDegraded: {name: "DEGRADED", detected: EjectionsDetectedDegradation},
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
	if h.Ejected() {
		return false // for another reason, a moment ago
	}
	active := ejected(hosts)
	// max_ejection_percent holds after the ejection, too; always_eject_one_host lets the
	// first one through whatever the percentage.
	if 100*(active+1) > int(min(d.cfg.MaxEjectionPercent, 100))*len(hosts) && !(active == 0 && d.cfg.AlwaysEjectOneHost) {
		d.count(EjectionsOverflow)
		return false
	}
	if why == cause5xx || why == causeSuccessRate {
		d.count(EjectionsTotal) // deprecated in Envoy, and of these two causes only
	}
	e := outlierEvent{host: h, why: why, now: now, last: h.unejectedAt}
	if o := why.origin(); o < 2 {
		e.rate, e.average, e.threshold = h.successRates[o], d.average[o], d.threshold[o]
	}
	if d.random(100) >= uint64(causes[why].enforcing(d.cfg)) {
		d.log(&e)
		return false
	}
	d.count(EjectionsEnforcedTotal)
	d.count(causes[why].enforced)
	h.ejectedAt = now
	h.ejections++
	h.jitter = 0
	if j := d.cfg.MaxEjectionTimeJitter; j > 0 {
		// So that hosts which left together do not come back together.
		h.jitter = time.Duration(d.random(uint64(j/time.Millisecond)+1)) * time.Millisecond
	}
	// The multiplier stops growing once it has reached the maximum time.
	if time.Duration(h.backoff)*d.cfg.BaseEjectionTime < d.maxTime()+d.cfg.BaseEjectionTime {
		h.backoff++
	}
	h.setFlag(failedOutlierCheck, true)
	d.gauge(EjectionsActive, int64(active+1))
	e.enforced = true
	d.log(&e)
	return true
}

func (d *detector) log(e *outlierEvent) {
	if d.event != nil {
		d.event(e)
	}
}

// origin is the one whose rates a cause is about; 2: it is not about rates.
func (c cause) origin() origin {
	switch c {
	case causeSuccessRate, causeFailurePercentage:
		return external
	case causeLocalSuccessRate, causeLocalFailurePercentage:
		return localOrigin
	}
	return 2
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

// sweep is the first work of an interval's end: hosts whose time is over come back. It
// reports whether the usable hosts have changed. judge follows, when the rates are known,
// and then calm.
func (d *detector) sweep(hosts []*Host, now time.Time) bool {
	changed := false
	for _, h := range hosts {
		h.successRates = [2]float64{-1, -1}
		changed = d.recover(h, now) || changed
		if !h.Ejected() {
			continue
		}
		if now.Sub(h.ejectedAt) < min(time.Duration(h.backoff)*d.cfg.BaseEjectionTime, d.maxTime())+h.jitter {
			continue
		}
		d.uneject(hosts, h, now)
		changed = true
	}
	return changed
}

// uneject takes a host back in.
func (d *detector) uneject(hosts []*Host, h *Host, now time.Time) {
	h.consecutive5xx.Store(0)
	h.consecutiveGateway.Store(0)
	h.consecutiveLocal.Store(0)
	h.unejectedAt = now
	h.setFlag(failedOutlierCheck, false)
	d.gauge(EjectionsActive, int64(ejected(hosts)))
	d.log(&outlierEvent{host: h, uneject: true, last: h.ejectedAt, now: now})
}

// calm lowers the multiplier of hosts that have stayed in for an interval.
func (d *detector) calm(hosts []*Host, now time.Time) {
	for _, h := range hosts {
		if h.backoff > 0 && !h.Ejected() && now.Sub(h.unejectedAt) >= d.cfg.Interval {
			h.backoff--
		}
		if h.degradedTimes > 0 && !h.degradedByOutlier() && now.Sub(h.recoveredAt) >= d.cfg.Interval {
			h.degradedTimes--
		}
	}
}

// judge ejects hosts by the rates of an interval, of both origins.
func (d *detector) judge(hosts []*Host, all map[*Host]rates, now time.Time) bool {
	d.average, d.threshold = [2]float64{-1, -1}, [2]float64{-1, -1}
	if len(hosts) < int(d.cfg.SuccessRateMinimumHosts) && len(hosts) < int(d.cfg.FailurePercentageMinimumHosts) {
		return false
	}
	changed := d.judgeOrigin(hosts, all, external, causeSuccessRate, causeFailurePercentage, now)
	return d.judgeOrigin(hosts, all, localOrigin, causeLocalSuccessRate, causeLocalFailurePercentage, now) || changed
}

// judgeOrigin ejects hosts whose success rate is more than SuccessRateStdevFactor/1000
// standard deviations under the mean of all hosts with enough requests, and those that fail
// a given percentage.
func (d *detector) judgeOrigin(hosts []*Host, all map[*Host]rates, o origin, outlying, failing cause, now time.Time) bool {
	var rated, counted []*Host
	var sum float64
	for _, h := range hosts {
		r := all[h][o]
		if h.Ejected() || r.total == 0 {
			continue
		}
		success := 100 * float64(r.success) / float64(r.total)
		if r.total >= min(d.cfg.SuccessRateRequestVolume, d.cfg.FailurePercentageRequestVolume) {
			h.successRates[o] = success
		}
		if r.total >= d.cfg.SuccessRateRequestVolume {
			rated = append(rated, h)
			sum += success
		}
		if r.total >= d.cfg.FailurePercentageRequestVolume {
			counted = append(counted, h)
		}
	}
	changed := false
	if len(rated) > 0 && len(rated) >= int(d.cfg.SuccessRateMinimumHosts) {
		mean := sum / float64(len(rated))
		var variance float64
		for _, h := range rated {
			variance += (h.successRates[o] - mean) * (h.successRates[o] - mean)
		}
		threshold := mean - math.Sqrt(variance/float64(len(rated)))*float64(d.cfg.SuccessRateStdevFactor)/1000
		d.average[o], d.threshold[o] = mean, threshold
		for _, h := range rated {
			if h.successRates[o] < threshold {
				d.count(EjectionsSuccessRate) // deprecated in Envoy, and of both origins
				changed = d.eject(hosts, h, outlying, now) || changed
			}
		}
	}
	if len(counted) > 0 && len(counted) >= int(d.cfg.FailurePercentageMinimumHosts) {
		for _, h := range counted {
			if 100-h.successRates[o] >= float64(d.cfg.FailurePercentageThreshold) {
				changed = d.eject(hosts, h, failing, now) || changed
			}
		}
	}
	return changed
}
