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
	global, perTry, perTryIdle, max time.Duration
}

// read takes the route's time-outs, which a trusted caller may change by header (the connection manager has removed those of others).
func (t *timeouts) read(r *router, h *header.Map) {
	t.global = r.forward.Timeout
	if p := r.forward.Retry; p != nil {
		t.perTry, t.perTryIdle = p.PerTryTimeout, p.PerTryIdleTimeout
	}
	if d := r.forward.MaxStreamDuration; d != nil {
		t.max = *d
	}
	if d, ok := milliseconds(h.Value(header.XEnvoyUpstreamRqTimeoutMs)); ok {
		t.global = d
	}
	if d, ok := milliseconds(h.Value(header.XEnvoyUpstreamRqPerTryTimeoutMs)); ok {
		t.perTry = d
	}
	if most := r.forward.GRPCTimeoutHeaderMax; most != nil {
		if d, ok := grpcTimeout(h.Value(header.GRPCTimeout)); ok {
			d = max(0, d-r.forward.GRPCTimeoutHeaderOffset)
			if *most > 0 {
				d = min(d, *most)
			}
			t.max = d
		}
	}
	// A try cannot outlast the request.
	if t.global > 0 && t.perTry >= t.global {
		t.perTry = 0
	}
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
	if r.host != nil && r.req.Active() {
		r.host.OnResult(cluster.Result{Kind: cluster.ResultTimeout})
	}
	r.timedOut("response_timeout")
}

// timedOut ends the request because its time, or that of its last attempt, is over.
func (r *router) timedOut(details string) {
	responding := r.state == responding
	r.dropAttempt()
	if responding {
		r.state = done
		r.s.ResetResponse(details, streaminfo.UpstreamRequestTimeout)
		return
	}
	r.local.CountResponse(http.StatusGatewayTimeout, r.internal())
	r.reply(httpfilter.Reply{
		Code: http.StatusGatewayTimeout, Body: "upstream request timeout", Details: details, Flags: streaminfo.UpstreamRequestTimeout,
		Headers: r.failureHeaders,
	})
}

func (r *router) onTryTimeout() { r.tryOver(cluster.RqPerTryTimeout, "upstream_per_try_timeout") }
func (r *router) onTryIdle()    { r.tryOver(cluster.RqPerTryIdleTimeout, "upstream_per_try_idle_timeout") }

func (r *router) tryOver(stat cluster.Stat, details string) {
	if r.state != sent {
		return
	}
	r.local.Inc(stat)
	r.host.OnResult(cluster.Result{Kind: cluster.ResultTimeout})
	if r.retryAfterReset(resetTimeout) {
		return
	}
	r.timedOut(details)
}

func (r *router) onMaxDuration() {
	if r.state == done || r.state == idle {
		return
	}
	r.local.Inc(cluster.RqMaxDurationReached)
	responding := r.state == responding
	r.dropAttempt()
	if responding {
		r.state = done
		r.s.ResetResponse("upstream_max_stream_duration_reached", streaminfo.UpstreamMaxStreamDurationReached)
		return
	}
	r.reply(httpfilter.Reply{
		Code: http.StatusRequestTimeout, Body: "upstream max stream duration reached", Details: "upstream_max_stream_duration_reached",
		Flags: streaminfo.UpstreamMaxStreamDurationReached,
	})
}
