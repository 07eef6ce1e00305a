package router

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// retryState is the retry policy of one request, from its route and its headers, and how far it is used up.
type retryState struct {
	on      xdsresource.RetryOn
	left    uint32
	codes   []int
	headers []header.Key             // of an answer that is retried, as the request says
	policy  *xdsresource.RetryPolicy // nil: from headers alone

	made   int
	holds  bool // one of the cluster's retries (circuit breaker)
	freeby bool // the attempt outside of the policy was made
	// timedOut: the next attempt is made because the time of one was over.
	timedOut bool
	// reset is when the response that is retried allows the next attempt; 0: it does not say.
	reset time.Duration
}

// begin reads the policy. Headers of a trusted caller add conditions and replace the number, as in Envoy.
func (s *retryState) begin(p *xdsresource.RetryPolicy, h *header.Map) {
	s.policy = p
	if p != nil {
		s.on, s.left, s.codes = p.On, p.NumRetries, p.StatusCodes
		if len(p.RequestHeaders) > 0 && !slices.ContainsFunc(p.RequestHeaders, func(m xdsresource.HeaderMatcher) bool {
			c := route.NewHeaderMatcher(&m)
			return c.Match(h)
		}) {
			s.on = 0
		}
	}
	if v := h.Value(header.XEnvoyRetryOn); v != nil {
		s.on |= parseRetryOn(string(v))
		s.left = max(s.left, 1)
	}
	if v := h.Value(header.XEnvoyRetryGRPCOn); v != nil {
		s.on |= parseRetryOn(string(v))
		s.left = max(s.left, 1)
	}
	if v := h.Value(header.XEnvoyRetriableHeaderNames); v != nil {
		for name := range strings.SplitSeq(string(v), ",") {
			s.headers = append(s.headers, header.KeyOf(strings.ToLower(strings.TrimSpace(name))))
		}
	}
	if v := h.Value(header.XEnvoyRetriableStatusCodes); v != nil {
		codes := slices.Clone(s.codes)
		for _, c := range strings.Split(string(v), ",") {
			if n, err := strconv.Atoi(strings.TrimSpace(c)); err == nil {
				codes = append(codes, n)
			}
		}
		s.codes = codes
	}
	if v := h.Value(header.XEnvoyMaxRetries); v != nil {
		if n, err := strconv.ParseUint(string(v), 10, 32); err == nil {
			s.left = uint32(n)
		}
	}
}

func parseRetryOn(v string) xdsresource.RetryOn {
	var on xdsresource.RetryOn
	for _, name := range strings.Split(v, ",") {
		on |= retryOn(strings.TrimSpace(name))
	}
	return on
}

func retryOn(name string) xdsresource.RetryOn {
	switch name {
	case "5xx":
		return xdsresource.Retry5xx
	case "gateway-error":
		return xdsresource.RetryGatewayError
	case "reset":
		return xdsresource.RetryReset
	case "reset-before-request":
		return xdsresource.RetryResetBeforeRequest
	case "connect-failure":
		return xdsresource.RetryConnectFailure
	case "envoy-ratelimited":
		return xdsresource.RetryEnvoyRatelimited
	case "retriable-4xx":
		return xdsresource.Retry4xx
	case "refused-stream":
		return xdsresource.RetryRefusedStream
	case "retriable-status-codes":
		return xdsresource.RetryStatusCodes
	case "retriable-headers":
		return xdsresource.RetryHeaders
	case "cancelled":
		return xdsresource.RetryGRPCCancelled
	case "deadline-exceeded":
		return xdsresource.RetryGRPCDeadlineExceeded
	case "internal":
		return xdsresource.RetryGRPCInternal
	case "resource-exhausted":
		return xdsresource.RetryGRPCResourceExhausted
	case "unavailable":
		return xdsresource.RetryGRPCUnavailable
	}
	return 0 // unknown conditions in a request's header mean nothing, as in Envoy
}

// possible reports whether the body must be kept for another attempt.
func (s *retryState) possible() bool { return s.on != 0 && s.left > 0 }

// wantsReset judges an attempt without an answer (Envoy's RetryStateImpl::wouldRetryFromReset).
func (s *retryState) wantsReset(k resetKind, requestSent bool) bool {
	if k == resetOverflow {
		return false
	}
	if s.on&(xdsresource.Retry5xx|xdsresource.RetryGatewayError|xdsresource.RetryReset) != 0 {
		return true
	}
	if k == resetRefused && s.on&xdsresource.RetryRefusedStream != 0 {
		return true
	}
	if k == resetConnect && s.on&xdsresource.RetryConnectFailure != 0 {
		return true
	}
	return !requestSent && s.on&xdsresource.RetryResetBeforeRequest != 0
}

// wantsResponse judges an answer (RetryStateImpl::wouldRetryFromHeaders).
func (s *retryState) wantsResponse(code int, h *header.Map) bool {
	if h.Has(header.XEnvoyRatelimited) {
		return s.on&xdsresource.RetryEnvoyRatelimited != 0
	}
	switch {
	case s.on&xdsresource.Retry5xx != 0 && code >= 500 && code < 600,
		s.on&xdsresource.RetryGatewayError != 0 && (code == http.StatusBadGateway || code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout),
		s.on&xdsresource.Retry4xx != 0 && code == http.StatusConflict,
		s.on&xdsresource.RetryStatusCodes != 0 && slices.Contains(s.codes, code):
		return true
	}
	if s.on&xdsresource.RetryHeaders != 0 && s.wantsHeaders(h) {
		return true
	}
	return s.wantsGRPC(h)
}

// wantsHeaders looks for headers that ask for another attempt.
func (s *retryState) wantsHeaders(h *header.Map) bool {
	for _, k := range s.headers {
		if h.Find(k, 0) >= 0 {
			return true
		}
	}
	if s.policy == nil {
		return false
	}
	for i := range s.policy.Headers {
		m := route.NewHeaderMatcher(&s.policy.Headers[i])
		if m.Match(h) {
			return true
		}
	}
	return false
}

// wantsGRPC judges a gRPC status that came in the head (a trailers-only answer).
func (s *retryState) wantsGRPC(h *header.Map) bool {
	const grpc = xdsresource.RetryGRPCCancelled | xdsresource.RetryGRPCDeadlineExceeded | xdsresource.RetryGRPCInternal |
		xdsresource.RetryGRPCResourceExhausted | xdsresource.RetryGRPCUnavailable
	if s.on&grpc == 0 {
		return false
	}
	switch string(h.Value(header.GRPCStatus)) {
	case "1":
		return s.on&xdsresource.RetryGRPCCancelled != 0
	case "4":
		return s.on&xdsresource.RetryGRPCDeadlineExceeded != 0
	case "8":
		return s.on&xdsresource.RetryGRPCResourceExhausted != 0
	case "13":
		return s.on&xdsresource.RetryGRPCInternal != 0
	case "14":
		return s.on&xdsresource.RetryGRPCUnavailable != 0
	}
	return false
}

// take uses up one retry; false when there is none left, or the circuit for retries is open.
func (r *router) takeRetry() bool {
	s := &r.retry
	s.release(r.local, r.high)
	if r.sentBody {
		return false
	}
	if s.left == 0 {
		r.local.Inc(cluster.RqRetryLimitExceeded)
		r.incOwn(route.RqRetryLimitExceeded)
		r.s.Info().Set(streaminfo.UpstreamRetryLimitExceeded)
		return false
	}
	if n := r.local.Config().Keys.UseRetry.Uint(100); n < 100 && r.loop.Rand()%100 >= n {
		return false
	}
	if !r.local.Try(cluster.Retries, r.high) {
		r.local.Inc(cluster.RqRetryOverflow)
		r.incOwn(route.RqRetryOverflow)
		r.s.Info().Set(streaminfo.UpstreamOverflow)
		return false
	}
	s.holds = true
	s.left--
	s.made++
	r.local.Inc(cluster.RqRetry)
	r.incOwn(route.RqRetry)
	return true
}

// retryOver ends the policy's part: an attempt is final. content: the policy would not have it
// repeated, which is what Envoy counts as the success of a retry.
func (r *router) retryOver(content bool) {
	if r.retry.made > 0 && content {
		r.local.Inc(cluster.RqRetrySuccess)
		r.incOwn(route.RqRetrySuccess)
	}
	r.retry.release(r.local, r.high)
}

func (s *retryState) release(l *cluster.Local, high bool) {
	if s.holds {
		l.Release(cluster.Retries, high)
		s.holds = false
	}
}

// retryAfterReset schedules another attempt after one without an answer, if the policy wants it.
func (r *router) retryAfterReset(a *attempt, k resetKind) bool {
	if !r.retry.wantsReset(k, a.stage == asked) || !r.takeRetry() {
		return false
	}
	a.drop()
	r.pause(k == resetTimeout)
	return true
}

// retryAfterResponse schedules another attempt instead of passing an answer on.
func (r *router) retryAfterResponse(a *attempt, code int) bool {
	if !r.takeRetry() {
		return false
	}
	r.local.CountRetriedResponse(code)
	if p := r.retry.policy; p != nil {
		r.retry.reset = resetInterval(p, &a.req.Response, r.loop.WallNow())
	}
	a.drop()
	r.pause(false)
	return true
}

// pause waits before the next attempt: for what the response asks, and up to half as much again; else a random time below
// base * (2^n - 1), at most the maximum, as Envoy's jittered back-off.
func (r *router) pause(timedOut bool) {
	r.pausing, r.retry.timedOut = true, timedOut
	r.lb.Override = "" // as in Envoy: a retry may go anywhere
	if d := r.retry.reset; d > 0 {
		r.retry.reset = 0
		r.local.Inc(cluster.RqRetryBackoffRatelimited)
		r.loop.Arm(&r.backOffTimer, d+time.Duration(r.loop.Rand()%uint64(d/2)))
		return
	}
	base, most := r.backOffTimes()
	ceiling := min(base<<min(r.retry.made, 16)-base, most)
	r.local.Inc(cluster.RqRetryBackoffExponential)
	r.loop.Arm(&r.backOffTimer, time.Duration(r.loop.Rand()%uint64(max(ceiling, 1))))
}

// backOffTimes are the first and the longest pause between attempts.
func (r *router) backOffTimes() (base, most time.Duration) {
	base, most = 25*time.Millisecond, 250*time.Millisecond
	p := r.retry.policy
	if p == nil || p.BackOffBase <= 0 {
		return base, most
	}
	base, most = p.BackOffBase, p.BackOffMax
	if ms := p.BackOffKey.Uint(0); ms > 0 {
		base, most = time.Duration(min(ms, 1<<20))*time.Millisecond, 0
	}
	if most <= 0 {
		most = 10 * base
	}
	return base, most
}

func (r *router) onBackOff() {
	if !r.pausing {
		return
	}
	r.pausing = false
	if vh := r.entry.VirtualHost; vh.IncludeIsTimeoutRetry {
		r.h.SetKeyString(timeoutRetryKey, strconv.FormatBool(r.retry.timedOut))
	}
	r.expect()
	r.attempt()
}

// expect tells the host how much time is left for an answer.
func (r *router) expect() {
	var passed time.Duration
	if r.endedAt != 0 {
		passed = time.Duration(r.loop.Now() - r.endedAt)
	}
	ms := r.limits.expected(passed)
	if ms > 0 && !r.cfg.SuppressEnvoyHeaders {
		r.h.SetBuilt(expectedKey, strconv.AppendInt(r.h.Build(), ms, 10))
	}
	if ms > 0 && r.limits.grpc {
		r.h.SetBuilt(grpcTimeoutKey, appendGRPCTimeout(r.h.Build(), ms))
	}
}

// avoidHosts takes what the policy says of further attempts' hosts.
func (r *router) avoidHosts() {
	p := r.retry.policy
	if p == nil {
		return
	}
	r.retryHosts.OmitCanary, r.retryHosts.OmitMetadata, r.retryHosts.UpdateFrequency = p.OmitCanary, p.OmitMetadata, p.PriorityUpdate
	if p.AvoidPreviousHosts || p.OmitCanary || p.OmitMetadata != nil {
		r.lb.Attempts = int(max(p.HostSelectionMaxAttempts, 1))
	}
}

// again repeats an idempotent request whose reused connection was closed under it (see the package comment).
func (a *attempt) again() bool {
	r := a.r
	if r.retry.freeby || r.sentBody || r.body.Len() > 0 && !r.keep || r.hedged {
		return false
	}
	switch string(r.h.Value(header.Method)) {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE":
	default:
		return false
	}
	r.retry.freeby = true
	a.dropRecord() // nobody else knows of it
	a.drop()
	r.s.Info().Attempts--
	r.attempt()
	return true
}
