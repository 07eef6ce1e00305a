package healthcheck

import (
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Outcome is how one check ended.
type Outcome uint8

// Outcomes, after Envoy's HealthCheckFailureType.
const (
	Success Outcome = iota
	Active          // the host answered that it is not well, or not as expected
	Network         // there was no answer
	Timeout         // there was none in time
	Passive         // a response to somebody's request said so
)

// String is the name in the event log; "" for Success.
func (o Outcome) String() string {
	return [...]string{"", "ACTIVE", "NETWORK", "NETWORK_TIMEOUT", "PASSIVE"}[o]
}

// Result is one check's.
type Result struct {
	Outcome   Outcome
	Degraded  bool // of Success
	Retriable bool // of Active: the threshold counts
	Exclude   bool // of Active and Passive: x-envoy-immediate-health-check-fail was there
	Status    int  // of an HTTP answer
	Verified  bool // the answer was asked for the name of its service
}

// Change is what a result did to the host's health.
type Change uint8

// Changes.
const (
	Unchanged Change = iota
	Pending          // it would change, were it not for the threshold
	Changed
)

// Session is the health of one host as its checks see it. New ones are out until the first
// check says otherwise.
type Session struct {
	cfg                *xdsresource.HealthCheck
	failed             bool
	degraded           bool
	timedOut           bool
	excluded           bool
	waiting            bool // for the first check, and not to be counted until then
	checked            bool
	healthy, unhealthy uint32
}

// NewSession begins with a host that was not checked yet. With waiting it is left out of all
// counts until it has been.
func NewSession(cfg *xdsresource.HealthCheck, waiting bool) *Session {
	return &Session{cfg: cfg, failed: true, waiting: waiting}
}

// Failed, Degraded, TimedOut, Excluded and Waiting are the host's health flags.
func (s *Session) Failed() bool   { return s.failed }
func (s *Session) Degraded() bool { return s.degraded }
func (s *Session) TimedOut() bool { return s.timedOut }
func (s *Session) Excluded() bool { return s.excluded }
func (s *Session) Waiting() bool  { return s.waiting }

// Checked reports whether there was any result.
func (s *Session) Checked() bool { return s.checked }

// On takes a result, and returns what it changed and the events to be logged.
func (s *Session) On(r Result) (Change, []Event) {
	var ch Change
	var events []Event
	if r.Outcome == Success {
		ch, events = s.success(r)
	} else {
		ch, events = s.failure(r)
	}
	s.checked = true
	return ch, events
}

func (s *Session) success(r Result) (ch Change, events []Event) {
	s.unhealthy = 0
	if s.failed {
		// The first result ever decides alone, so that a start is quick.
		if s.healthy++; !s.checked || s.healthy == s.cfg.HealthyThreshold {
			s.failed, s.timedOut, s.excluded = false, false, false
			ch = Changed
			events = append(events, Event{Kind: AddHealthy, First: !s.checked})
		} else {
			ch = Pending
		}
	}
	if ch != Changed && s.cfg.AlwaysLogSuccess {
		events = append(events, Event{Kind: Succeeded})
	}
	ch = s.arrived(ch)
	if r.Degraded != s.degraded {
		s.degraded = r.Degraded
		kind := NoLongerDegraded
		if r.Degraded {
			kind = BecameDegraded
		}
		events = append(events, Event{Kind: kind})
		if ch == Unchanged {
			ch = Changed
		}
	}
	return ch, events
}

func (s *Session) failure(r Result) (ch Change, events []Event) {
	s.healthy = 0
	network := r.Outcome == Network || r.Outcome == Timeout
	if !s.failed {
		// An answer that is a failure decides at once; only its absence, and answers that are
		// called retriable, have a threshold.
		if s.unhealthy++; !network && !r.Retriable || s.unhealthy == s.cfg.UnhealthyThreshold {
			s.failed = true
			ch = Changed
			events = append(events, Event{Kind: EjectUnhealthy, Failure: r.Outcome, Status: r.Status})
		} else {
			ch = Pending
		}
	}
	if r.Exclude {
		s.excluded = true
	}
	s.timedOut = r.Outcome == Timeout && s.failed
	ch = s.arrived(ch)
	if !s.checked || s.cfg.AlwaysLogFailures {
		events = append(events, Event{Kind: CheckFailed, Failure: r.Outcome, First: !s.checked, Status: r.Status})
	}
	return ch, events
}

// arrived ends the wait for the first check, which changes what is counted.
func (s *Session) arrived(ch Change) Change {
	if s.waiting {
		s.waiting = false
		return Changed
	}
	return ch
}

// Next is the time to the next check, after one with this outcome and change. traffic says
// whether the cluster has ever been used; random returns a number below its argument.
func (s *Session) Next(ok bool, ch Change, traffic bool, random func(uint64) uint64) time.Duration {
	c := s.cfg
	var d time.Duration
	switch pending := ch == Pending; {
	case !traffic && ok && !pending:
		d = c.NoTrafficHealthyInterval
	case !traffic:
		d = c.NoTrafficInterval
	case !ok && pending:
		d = c.UnhealthyEdgeInterval
	case !ok:
		d = c.UnhealthyInterval
	case pending:
		d = c.HealthyEdgeInterval
	default:
		d = c.Interval
	}
	return jitter(d, c.IntervalJitterPercent, c.IntervalJitter, random)
}

// First is the time to the first check.
func (s *Session) First(random func(uint64) uint64) time.Duration {
	if s.cfg.InitialJitter <= 0 {
		return 0
	}
	return jitter(0, s.cfg.IntervalJitterPercent, s.cfg.InitialJitter, random)
}

func jitter(d time.Duration, percent uint32, most time.Duration, random func(uint64) uint64) time.Duration {
	ms := uint64(d / time.Millisecond)
	if n := uint64(percent) * ms / 100; n > 0 {
		ms += random(n)
	}
	if n := uint64(most / time.Millisecond); n > 0 {
		ms += random(n)
	}
	return time.Duration(max(ms, 1)) * time.Millisecond
}
