package router

import (
	"net/http"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// timeouts of a request; 0 is none.
type timeouts struct {
	global, perTry, perTryIdle time.Duration
}

// read takes the route's time-outs, which a trusted caller may change by header (the connection manager has removed those of others).
func (t *timeouts) read(r *router, h *header.Map) {
	t.global = r.forward.Timeout
	if r.forward.OwnClock {
		t.global = 0
	} else if most := r.forward.GRPCTimeoutHeaderMax; most != nil { // max_grpc_timeout, the older way
		if d, ok := r.grpcDeadline(*most); ok {
			t.global = d
		}
	}
	if p := r.forward.Retry; p != nil {
		t.perTry, t.perTryIdle = p.PerTryTimeout, p.PerTryIdleTimeout
	}
	if d, ok := milliseconds(h.Value(header.XEnvoyUpstreamRqTimeoutMs)); ok {
		t.global = d
	}
	if d, ok := milliseconds(h.Value(header.XEnvoyUpstreamRqPerTryTimeoutMs)); ok {
		t.perTry = d
	}
	// A try cannot outlast the request.
	if t.global > 0 && t.perTry >= t.global {
		t.perTry = 0
	}
}

// limitDuration bounds the stream as the route says; its deadline may come from a gRPC client. The connection manager keeps the clock.
func (r *router) limitDuration() {
	if !r.forward.OwnClock {
		return
	}
	limit := r.forward.MaxStreamDuration
	if most := r.forward.GRPCTimeoutHeaderMax; most != nil {
		if d, ok := r.grpcDeadline(*most); ok {
			limit = &d
		}
	}
	if limit != nil {
		r.s.SetMaxDuration(int64(*limit))
	}
}

// grpcDeadline is the deadline of a gRPC client, less the route's offset, at most most unless that is 0.
func (r *router) grpcDeadline(most time.Duration) (time.Duration, bool) {
	d, ok := grpcTimeout(r.h.Value(header.GRPCTimeout))
	if !ok {
		return 0, false
	}
	d = max(0, d-r.forward.GRPCTimeoutHeaderOffset)
	if most > 0 && (d == 0 || d > most) {
		d = most
	}
	return d, true
}

// expected is how many milliseconds the host has for its answer, 0 when it has all the time.
func (t *timeouts) expected() int64 {
	if t.perTry > 0 {
		return t.perTry.Milliseconds()
	}
	return t.global.Milliseconds()
}

func milliseconds(v []byte) (time.Duration, bool) {
	if len(v) == 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(v), 10, 32)
	return time.Duration(n) * time.Millisecond, err == nil
}

// grpcTimeout reads grpc-timeout: up to eight digits and a unit
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
func grpcTimeout(v []byte) (time.Duration, bool) {
	if len(v) < 2 || len(v) > 9 {
		return 0, false
	}
	unit := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': 1}[v[len(v)-1]]
	n, err := strconv.ParseUint(string(v[:len(v)-1]), 10, 32)
	if unit == 0 || err != nil {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

// startClock begins the time-outs that count from the end of the request.
func (r *router) startClock() {
	if r.state == done {
		return
	}
	if r.limits.global > 0 {
		r.loop.Arm(&r.globalTimer, r.limits.global)
	}
	r.startTry()
}

// startTry begins the time-outs of the attempt, once it is sent and the request complete.
func (r *router) startTry() {
	if r.state != sent || !r.ended {
		return
	}
	if r.limits.perTry > 0 {
		r.loop.Arm(&r.tryTimer, r.limits.perTry)
	}
	if r.limits.perTryIdle > 0 {
		r.loop.Arm(&r.tryIdleTimer, r.limits.perTryIdle)
	}
}

func (r *router) stopTry() {
	if r.limits.perTry > 0 {
		r.loop.Disarm(&r.tryTimer)
	}
	if r.limits.perTryIdle > 0 {
		r.loop.Disarm(&r.tryIdleTimer)
	}
}

func (r *router) onGlobalTimeout() {
	if r.state == done || r.state == idle {
		return
	}
	r.local.Inc(cluster.RqTimeout)
	r.track.cutOff = r.state != responding
	if r.host != nil && r.req.Active() {
		r.host.OnResult(cluster.Result{Kind: cluster.ResultTimeout})
	}
	r.timedOut("response_timeout")
}

// timedOut ends the request because its time, or that of its last attempt, is over.
func (r *router) timedOut(details string) {
	if r.state == responding {
		r.state, r.open = done, false
		if r.req.Active() {
			r.req.Cancel() // what came stays until the log is written
		}
		r.s.ResetResponse(details, streaminfo.UpstreamRequestTimeout)
		return
	}
	r.dropAttempt()
	r.trackRequest()
	r.countResponse(http.StatusGatewayTimeout)
	r.reply(httpfilter.Reply{
		Code: http.StatusGatewayTimeout, Body: "upstream request timeout", Details: details, Flags: streaminfo.UpstreamRequestTimeout,
		Headers: r.failureHeaders,
	})
}

func (r *router) onTryTimeout() { r.tryOver(cluster.RqPerTryTimeout, "upstream_per_try_timeout") }
func (r *router) onTryIdle()    { r.tryOver(cluster.RqPerTryIdleTimeout, "upstream_per_try_idle_timeout") }

func (r *router) tryOver(stat cluster.Stat, details string) {
	if r.state != sent && r.state != responding {
		return
	}
	r.local.Inc(stat)
	if r.state == responding {
		r.timedOut(details)
		return
	}
	r.host.OnResult(cluster.Result{Kind: cluster.ResultTimeout})
	if r.retryAfterReset(resetTimeout) {
		return
	}
	r.timedOut(details)
}
