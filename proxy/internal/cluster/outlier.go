package cluster

import (
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

	*history // nil where no outlier detection has been configured: a third of a host's size
}

// history is what outlier detection remembers of a host. It belongs to the manager.
type history struct {
	ejectedAt    time.Time
	unejectedAt  time.Time
	jitter       time.Duration
	backoff      uint32 // times the base ejection time
	ejections    uint32
	successRates [2]float64 // by origin: of the last interval, percent; -1: too few requests

	// Of detect_degraded_hosts, likewise.
	degradedAt    time.Time
	recoveredAt   time.Time
	degradedTimes uint32 // times the base ejection time
}

func newHistory() *history { return &history{successRates: [2]float64{-1, -1}} }

// origin is where a result comes from: the host, or our way to it.
type origin uint8

const (
	external origin = iota
	localOrigin
)

// detector turns results into ejections, after Envoy's OutlierDetectionImpl. put runs on
// workers; eject, uneject and judge run under the manager's lock with the time given.
type detector struct {
	cfg *xdsresource.OutlierDetection
	// notify hands a host that crossed a threshold to the manager; it must not block.
	notify func(*Host, cause)
	count  func(Stat)          // adds one to a counter of the cluster
	gauge  func(Stat, int64)   // sets a gauge of the cluster
	random func(uint64) uint64 // uniform below its argument: enforcing percentages, jitter
	event  func(*outlierEvent) // writes the event log; nil: there is none

	// Of the last interval, by origin and in percent; -1: too few hosts.
	average, threshold [2]float64
}

func randomBelow(n uint64) uint64 { return rand.Uint64N(n) }

// put feeds one result. Local-origin results count as responses (503, 504 for time-outs)
// unless they are split.
func (d *detector) put(h *LocalHost, r Result) {
	split := d.cfg.SplitExternalLocal
	switch r.Kind {
	case ResultResponse:
		code := d.counted(r.Code)
		if r.Degraded && d.cfg.DetectDegraded && code < 500 && h.Host.health.Load()&degradedOutlier == 0 {
			d.notify(h.Host, causeDegraded)
		}
		d.response(h, code)
	case ResultReady:
		if split {
			d.local(h, true)
		}
	case ResultConnected:
		if split {
			d.local(h, true)
		} else {
			d.response(h, 200)
		}
	case ResultConnectTimeout, ResultTimeout:
		if split {
			d.local(h, false)
		} else {
			d.response(h, 504)
		}
	default:
		if split {
			d.local(h, false)
		} else {
			d.response(h, 503)
		}
	}
}

// counted is the status that a response counts as: its own, or, where the configuration says which are errors, 200 for what is none and 500
// for what is one below.
func (d *detector) counted(code int) int {
	switch errors := d.cfg.Errors; {
	case errors == nil:
		return code
	case !errors.Has(code):
		return 200
	}
	return max(code, 500)
}

func (d *detector) response(h *LocalHost, code int) {
	h.rates[external].total++
	host := h.Host
	if code < 500 {
		h.rates[external].success++
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

func (d *detector) local(h *LocalHost, ok bool) {
	h.rates[localOrigin].total++
	if ok {
		h.rates[localOrigin].success++
		zero(&h.Host.consecutiveLocal)
	} else if h.Host.consecutiveLocal.Add(1) == d.cfg.ConsecutiveLocalFailure {
		d.notify(h.Host, causeLocal)
	}
}

// zero resets a counter, writing only when there is something to reset.
func zero(c *atomic.Uint32) {
	if c.Load() != 0 {
		c.Store(0)
	}
}

// rate is one host's results in an interval.
type rate struct{ total, success uint32 }

// rates are those of both origins.
type rates [2]rate

func (r *rates) add(o rates) {
	for i := range r {
		r[i].total += o[i].total
		r[i].success += o[i].success
	}
}
