package asyncclient

import (
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/connpool"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Retry says what is tried again, how often and when.
type Retry struct {
	// On is the conditions: 5xx, gateway-error, reset, connect-failure, refused-stream and
	// retriable-4xx mean something here. 0: every failure, as Envoy fetches keys.
	On  xdsresource.RetryOn
	Num uint32
	// Base and Max are those of the back-off, which doubles: it is random below Base, then below
	// 3*Base, 7*Base..., at most Max.
	Base, Max time.Duration
	// PerTry bounds an attempt from when it is sent; 0: only the call is bounded.
	PerTry time.Duration
}

// RetryFrom takes a policy as it was configured, for filters whose retry_on counts: without one
// nothing is tried again. nil is none.
func RetryFrom(p *xdsresource.Retry) Retry {
	if p == nil || p.On == 0 {
		return Retry{}
	}
	return Retry(*p)
}

// conditions is On, or what stands for none.
func (r *Retry) conditions() xdsresource.RetryOn {
	switch {
	case r.Num == 0:
		return 0
	case r.On == 0:
		return xdsresource.Retry5xx | xdsresource.RetryGatewayError | xdsresource.RetryReset | xdsresource.RetryConnectFailure
	}
	return r.On
}

func (r *Retry) wantsReset(why connpool.Reason) bool {
	const always = xdsresource.Retry5xx | xdsresource.RetryGatewayError | xdsresource.RetryReset
	switch why {
	case connpool.ReasonOverflow:
		return false
	case connpool.ReasonConnectFailure, connpool.ReasonConnectTimeout:
		return r.conditions()&(always|xdsresource.RetryConnectFailure) != 0
	case connpool.RemoteRefused:
		return r.conditions()&(always|xdsresource.RetryRefusedStream) != 0
	}
	return r.conditions()&always != 0
}

func (r *Retry) wantsResponse(code int) bool {
	return r.conditions()&xdsresource.Retry5xx != 0 && code >= 500 ||
		r.conditions()&xdsresource.RetryGatewayError != 0 && (code >= 502 && code <= 504) ||
		r.conditions()&xdsresource.Retry4xx != 0 && code == 409
}

// retryState is how far a policy is used up.
type retryState struct {
	left  uint32
	made  int
	holds bool // one of the cluster's retries (circuit breaker)
}

// tryAgain takes a retry, if the policy and the cluster allow it, and arms the timer for it.
func (x *exchange) tryAgain() bool {
	s := &x.retry
	s.release(x.local)
	if s.left == 0 {
		x.local.Inc(cluster.RqRetryLimitExceeded)
		return false
	}
	if !x.local.Try(cluster.Retries, false) {
		x.local.Inc(cluster.RqRetryOverflow)
		return false
	}
	s.holds = true
	s.left--
	s.made++
	x.local.Inc(cluster.RqRetry)
	x.local.Inc(cluster.RqRetryBackoffExponential)
	base, most := max(x.in.Retry.Base, time.Millisecond), x.in.Retry.Max
	if most <= 0 {
		most = 10 * base
	}
	ceiling := min(base<<min(s.made, 16)-base, most)
	x.c.loop.Arm(&x.backOff, time.Duration(x.c.loop.Rand()%uint64(ceiling)))
	return true
}

// onceMore repeats at once what an idle time-out of the host has crossed on the wire, as the router
// does, and outside of the policy: such a close is no failure of the service.
func (x *exchange) onceMore() bool {
	if x.repeated || !x.reused {
		return false
	}
	switch string(x.in.Headers.Value(header.Method)) {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE":
	default:
		return false
	}
	x.repeated = true
	x.dropAttempt()
	x.attempt()
	return true
}

func (s *retryState) finished(l *cluster.Local, code int) {
	if s.made > 0 && code < 500 {
		l.Inc(cluster.RqRetrySuccess)
	}
	s.release(l)
}

func (s *retryState) release(l *cluster.Local) {
	if s.holds {
		l.Release(cluster.Retries, false)
		s.holds = false
	}
}
