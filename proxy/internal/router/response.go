package router

import (
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/connpool"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// OnInterim implements connpool.Handler.
func (r *router) OnInterim(req *connpool.Request) {
	if r.state == sent {
		r.s.RespondInterim(&req.Response)
	}
}

// OnResponse implements connpool.Handler: the head of an answer, to be passed on unless it is worth another attempt.
func (r *router) OnResponse(req *connpool.Request, end bool) {
	m := &req.Message
	info := r.s.Info()
	now := r.loop.Now()
	info.UpstreamRxFirst = now
	r.track.head(req)
	r.stopTry()
	r.host.OnResult(r.result(m.Status, &req.Response, end))
	if req.Response.Has(header.XEnvoyImmediateHealthCheckFail) {
		r.host.ImmediateFailure()
	}
	if r.retryAfterResponse(m.Status) {
		return
	}
	r.retry.finished(r.local, r.high, m.Status)
	if r.follow(&req.Response, m.Status) {
		return
	}
	r.countResponse(m.Status)
	r.state = responding
	info.Details = "via_upstream"
	info.ResponseCode = m.Status
	if !end && r.limits.perTryIdle > 0 {
		r.loop.Arm(&r.tryIdleTimer, r.limits.perTryIdle)
	}

	h := &req.Response
	if since := info.RequestEnd; since != 0 && !r.cfg.SuppressEnvoyHeaders {
		h.SetBuilt(serviceTimeKey, strconv.AppendInt(h.Build(), max(0, now-max(since, r.started))/1e6, 10))
	}
	if r.entry.VirtualHost.IncludeAttemptCountInResponse {
		h.SetBuilt(attemptKey, strconv.AppendInt(h.Build(), int64(info.Attempts), 10))
	}
	if len(r.cookies) > 0 {
		r.setCookies(h)
	}
	if len(r.target.ResponseOps) > 0 {
		r.ctx.Response = h
		r.target.ResponseOps.Apply(h, &r.ctx)
	}
	if end {
		r.complete()
	}
	r.s.Respond(h, end)
}

// internal says whether the request came from within, for the statistics that are kept apart by it.
func (r *router) internal() bool { return r.h.Has(header.XEnvoyInternal) }

// countResponse counts an answer by its status.
func (r *router) countResponse(code int) {
	if !r.cfg.NoDynamicStats {
		r.local.CountResponse(code, r.internal())
	}
}

// complete ends the attempt before its last piece is passed on: what the client's side does with that piece may end the stream.
func (r *router) complete() {
	now := r.loop.Now()
	r.s.Info().UpstreamRxLast = now
	if !r.cfg.NoDynamicStats {
		r.local.Record(cluster.RqTime, uint64(max(0, now-r.started)/1e6))
	}
	r.trackRequest()
	r.endTrack()
	r.open = false
	r.state = done
	if r.limits.global > 0 {
		r.loop.Disarm(&r.globalTimer)
	}
	if r.limits.perTryIdle > 0 {
		r.loop.Disarm(&r.tryIdleTimer)
	}
}

// OnData implements connpool.Handler.
func (r *router) OnData(req *connpool.Request, p []byte, end bool) {
	if r.state != responding {
		return // of an answer that is not passed on
	}
	r.s.Info().UpstreamRxBytes += uint64(len(p))
	r.track.received += uint64(len(p))
	s := r.s
	if end {
		r.settle(nil)
		r.complete()
	} else if r.limits.perTryIdle > 0 {
		r.loop.Arm(&r.tryIdleTimer, r.limits.perTryIdle)
	}
	s.RespondData(p, end)
	if !end && r.s == s && r.state == responding && s.ResponseBlocked() {
		req.PauseResponse()
	}
}

// OnTrailers implements connpool.Handler.
func (r *router) OnTrailers(req *connpool.Request) {
	if r.state != responding {
		return
	}
	s := r.s
	r.settle(&req.Trailers)
	r.complete()
	s.RespondTrailers(&req.Trailers)
}

// OnReset implements connpool.Handler: the connection failed under the attempt.
func (r *router) OnReset(req *connpool.Request, why connpool.Reason, err error) {
	r.open = false
	if r.state != sent && r.state != responding {
		return
	}
	if r.state == sent && why == connpool.Termination && r.reused && r.againAtOnce() {
		return
	}
	r.host.OnResult(cluster.Result{Kind: cluster.ResultReset})
	f := failure{reason: why.String(), kind: resetRemote, err: err}
	switch why {
	case connpool.ProtocolError:
		f.kind = resetProtocol
	case connpool.RemoteReset:
		f.kind = resetStream
	case connpool.RemoteRefused:
		f.kind = resetRefused
	}
	r.failed(f)
}
