package cluster

import "time"

// This file is detect_degraded_hosts: a host whose answer has x-envoy-degraded gets requests only while
// others cannot take them all. Times are those of ejections, counted apart from these, and without jitter.

// degrade marks a host. It reports whether that is new.
func (d *detector) degrade(h *Host, now time.Time) bool {
	if h.degradedByOutlier() {
		return false // two workers saw it at once
	}
	d.count(EjectionsDetectedDegradation)
	h.degradedAt = now
	if time.Duration(h.degradedTimes)*d.cfg.BaseEjectionTime < d.maxTime()+d.cfg.BaseEjectionTime {
		h.degradedTimes++
	}
	h.setFlag(degradedOutlier, true)
	d.log(&outlierEvent{host: h, why: causeDegraded, enforced: true, now: now, last: h.unejectedAt})
	return true
}

// recover takes the mark off a host when its time is over, and reports whether it did.
func (d *detector) recover(h *Host, now time.Time) bool {
	if !h.degradedByOutlier() || now.Sub(h.degradedAt) < min(time.Duration(h.degradedTimes)*d.cfg.BaseEjectionTime, d.maxTime()) {
		return false
	}
	h.recoveredAt = now
	h.setFlag(degradedOutlier, false)
	d.log(&outlierEvent{host: h, uneject: true, last: h.ejectedAt, now: now})
	return true
}

func (h *Host) degradedByOutlier() bool { return h.health.Load()&degradedOutlier != 0 }
