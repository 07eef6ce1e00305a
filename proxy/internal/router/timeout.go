package router

import (
	"net/http"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// timeouts of a request; 0 is none.
type timeouts struct {
	global, perTry, perTryIdle time.Duration
	hedge                      bool // a try that is over stays, and another joins it
	code                       int  // of the answer when time is over
	grpc                       bool // the host is told of it by grpc-timeout
}

// read takes the route's time-outs, which a trusted caller may change by header (the connection manager has removed those of others).
func (t *timeouts) read(r *router, h *header.Map) {
	t.global = r.forward.Timeout
	if r.forward.OwnClock {
		t.global = 0
	} else if most := r.forward.GRPCTimeoutHeaderMax; most != nil && grpcstatus.Is(h.Value(header.ContentType)) {
		t.grpc, t.global = true, r.callTimeout(*most)
	}
	if p := r.retryPolicy(); p != nil {
		t.perTry, t.perTryIdle = p.PerTryTimeout, p.PerTryIdleTimeout
	}
	asked := h.Value(header.XEnvoyUpstreamRqTimeoutMs)
	if v, ok := h.GetKey(expectedKey); ok && r.cfg.RespectExpected {
		asked = v
	}
	if d, ok := milliseconds(asked); ok {
		t.global = d
	}
	if d, ok := milliseconds(h.Value(header.XEnvoyUpstreamRqPerTryTimeoutMs)); ok {
		t.perTry = d
	}
	t.hedge = r.forward.HedgeTries
	switch string(h.Value(header.XEnvoyHedgeOnPerTryTimeout)) {
	case "true":
		t.hedge = true
	case "false":
		t.hedge = false
	}
	if t.code = http.StatusGatewayTimeout; h.Has(header.XEnvoyUpstreamRqTimeoutAltResponse) {
		t.code = http.StatusNoContent
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
			// A host of gRPC is told what holds, which may be less than what the client has asked for.
			if asked, _ := grpcTimeout(r.h.Value(header.GRPCTimeout)); asked != d && grpcstatus.Is(r.h.Value(header.ContentType)) {
				r.h.SetBuilt(header.Key{ID: header.GRPCTimeout}, appendGRPCTimeout(r.h.Build(), d.Milliseconds()))
			}
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

// callTimeout is the time-out of a call of gRPC by the older fields, max_grpc_timeout and
// grpc_timeout_offset: the client's, which may be none, less the offset where that leaves some.
func (r *router) callTimeout(most time.Duration) time.Duration {
	d, _ := grpcTimeout(r.h.Value(header.GRPCTimeout))
	if off := r.forward.GRPCTimeoutHeaderOffset; off < d {
		d -= off
	}
	if most > 0 && (d == 0 || d > most) {
		d = most
	}
	return d
}

// expected is how many milliseconds the host has for its answer after so much time, 0 when it has all
// the time. Where tries are hedged each has as long as the request.
func (t *timeouts) expected(passed time.Duration) int64 {
	d := t.perTry
	if d == 0 || t.hedge {
		d = t.global
	}
	if d == 0 {
		return 0
	}
	if t.global > 0 {
		d = min(d, t.global-passed)
	}
	return max(d.Milliseconds(), 1) // 0 would be all the time
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

// appendGRPCTimeout writes milliseconds as grpc-timeout: eight digits at most, of the first unit that
// has room for them.
func appendGRPCTimeout(dst []byte, ms int64) []byte {
	const most = 99_999_999
	unit := byte('m')
	for _, u := range []struct {
		name byte
		of   int64
	}{{'S', 1000}, {'M', 60}, {'H', 60}} {
		if ms <= most {
			break
		}
		ms, unit = ms/u.of, u.name
	}
	return append(strconv.AppendInt(dst, min(ms, most), 10), unit)
}

// startClock begins the time-outs that count from the end of the request.
func (r *router) startClock() {
	if r.state == done {
		return
	}
	r.endedAt = r.loop.Now()
	if r.limits.global > 0 {
		r.loop.Arm(&r.globalTimer, r.limits.global)
	}
	if r.cur != nil {
		r.cur.startClocks()
	}
}

// startClocks begins the time-outs of an attempt, once it is sent and the request complete.
func (a *attempt) startClocks() {
	r := a.r
	if a.stage != asked || !r.ended {
		return
	}
	if r.limits.perTry > 0 {
		r.loop.Arm(&a.tryTimer, r.limits.perTry)
	}
	if r.limits.perTryIdle > 0 {
		r.loop.Arm(&a.tryIdleTimer, r.limits.perTryIdle)
	}
}

func (a *attempt) stopClocks() {
	if a.tryTimer.Armed() {
		a.r.loop.Disarm(&a.tryTimer)
	}
	if a.tryIdleTimer.Armed() {
		a.r.loop.Disarm(&a.tryIdleTimer)
	}
}

func (r *router) onGlobalTimeout() {
	if r.state == done || r.state == idle {
		return
	}
	for _, a := range r.attempts {
		r.local.Inc(cluster.RqTimeout)
		r.incOwn(route.RqTimeout)
		a.track.cutOff = a.stage != answered
		if a.stage != answered && !a.timedOut {
			a.host.OnResult(cluster.Result{Kind: cluster.ResultTimeout})
		}
	}
	r.timedOut("response_timeout")
}

// timedOut ends the request because its time, or that of its last attempt, is over.
func (r *router) timedOut(details string) {
	if r.state == responding {
		r.state, r.cur.open = done, false
		if r.cur.req.Active() {
			r.cur.req.Cancel() // what came stays until the log is written
		}
		if rec := r.cur.record; rec != nil {
			rec.canceled = true
			r.cur.endRecord()
		}
		r.s.ResetResponse(details, streaminfo.UpstreamRequestTimeout)
		return
	}
	for range r.attempts {
		r.countResponse(r.limits.code)
	}
	r.dropAttempts()
	r.trackRequest()
	body := "upstream request timeout"
	if r.limits.code != http.StatusGatewayTimeout {
		body = ""
	}
	r.reply(httpfilter.Reply{Code: r.limits.code, Body: body, Details: details, Flags: streaminfo.UpstreamRequestTimeout, Headers: r.sayAttempts})
}

func (a *attempt) onTryTimeout() { a.tryOver(cluster.RqPerTryTimeout, "upstream_per_try_timeout") }
func (a *attempt) onTryIdle() {
	a.tryOver(cluster.RqPerTryIdleTimeout, "upstream_per_try_idle_timeout")
}

// tryOver ends an attempt whose time is over. With hedging it goes on, and another joins it.
func (a *attempt) tryOver(stat cluster.Stat, details string) {
	r := a.r
	switch {
	case a.stage == answered:
		r.local.Inc(stat)
		r.timedOut(details)
		return
	case a.stage != asked || a.retried:
		return
	}
	if flag := streaminfo.UpstreamRequestTimeout; stat == cluster.RqPerTryIdleTimeout {
		a.noteFlag(streaminfo.StreamIdleTimeout, "")
	} else {
		a.noteFlag(flag, "")
	}
	a.host.OnResult(cluster.Result{Kind: cluster.ResultTimeout})
	if r.limits.hedge {
		a.timedOut = true
		if r.retry.on != 0 && r.takeRetry() {
			a.retried, r.hedged = true, true
			r.pause(true)
		}
		return
	}
	r.local.Inc(stat)
	if r.retryAfterReset(a, resetTimeout) {
		return
	}
	r.timedOut(details)
}
