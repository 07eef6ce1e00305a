package router

import (
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/connpool"
	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// OnInterim implements connpool.Handler.
func (a *attempt) OnInterim(req *connpool.Request) {
	if a.stage == asked {
		a.r.countResponse(req.Message.Status)
		a.r.s.RespondInterim(&req.Response)
	}
}

// OnResponse implements connpool.Handler: the head of an answer, to be passed on unless it is worth another attempt.
func (a *attempt) OnResponse(req *connpool.Request, end bool) {
	r, m := a.r, &req.Message
	info := r.s.Info()
	now := r.loop.Now()
	info.UpstreamRxFirst = now
	a.track.head(req)
	a.noteAnswer(req)
	a.stopClocks()
	a.host.OnResult(a.result(m.Status, &req.Response, end))
	if req.Response.Has(header.XEnvoyImmediateHealthCheckFail) {
		a.host.ImmediateFailure()
	}
	bad := r.retry.on != 0 && r.retry.wantsResponse(m.Status, &req.Response)
	if bad && !a.retried && r.retryAfterResponse(a, m.Status) {
		return
	}
	if !a.retried {
		r.retryOver(!bad)
	}
	if r.follow(&req.Response, m.Status) {
		return
	}
	if bad && r.hopes(a) {
		a.drop()
		return
	}
	r.choose(a)
	r.retry.release(r.local, r.high)
	r.countResponse(m.Status)
	r.state = responding
	info.Details = "via_upstream"
	info.ResponseCode = m.Status
	if !end && r.limits.perTryIdle > 0 {
		r.loop.Arm(&a.tryIdleTimer, r.limits.perTryIdle)
	}

	h := &req.Response
	if since := info.RequestEnd; since != 0 && !r.cfg.SuppressEnvoyHeaders {
		h.SetBuilt(serviceTimeKey, strconv.AppendInt(h.Build(), max(0, now-max(since, a.started))/1e6, 10))
	}
	r.sayAttempts(h)
	if len(r.cookies) > 0 {
		r.setCookies(h)
	}
	if len(r.target.ResponseOps) > 0 {
		r.ctx.Response = h
		r.target.ResponseOps.Apply(h, &r.ctx)
	}
	if end {
		a.complete()
	}
	if r.held && m.Framing == http1.Tunnel {
		r.openTunnel(a)
	}
	r.s.Respond(h, end)
}

// internal says whether the request came from within, for the statistics that are kept apart by it.
func (r *router) internal() bool { return r.h.Has(header.XEnvoyInternal) }

// countResponse counts an answer by its status.
func (r *router) countResponse(code int) {
	if r.cfg.NoDynamicStats || r.s.Info().HealthCheck {
		return
	}
	if r.cfg.NoGRPCCodeStats && grpcstatus.Is(r.h.Value(header.ContentType)) {
		r.local.CountUncoded(code, r.internal())
	} else {
		r.local.CountResponse(code, r.internal())
	}
	for _, t := range r.own() {
		t.Answered(r.shard, code)
	}
}

// complete ends the attempt before its last piece is passed on: what the client's side does with that piece may end the stream.
func (a *attempt) complete() {
	r := a.r
	now := r.loop.Now()
	r.s.Info().UpstreamRxLast = now
	if !r.cfg.NoDynamicStats && !r.s.Info().HealthCheck {
		ms := uint64(max(0, now-a.started) / 1e6)
		r.local.RecordTime(ms, r.internal())
		for _, t := range r.own() {
			t.Took(r.shard, ms)
		}
	}
	r.trackRequest()
	a.endTrack()
	if a.record != nil {
		a.record.rxLast = now
	}
	a.endRecord()
	a.open = false
	r.state = done
	if r.limits.global > 0 {
		r.loop.Disarm(&r.globalTimer)
	}
	if r.limits.perTryIdle > 0 {
		r.loop.Disarm(&a.tryIdleTimer)
	}
}

// OnData implements connpool.Handler.
func (a *attempt) OnData(req *connpool.Request, p []byte, end bool) {
	r := a.r
	if r.state != responding || a.stage != answered {
		return // of an answer that is not passed on
	}
	r.s.Info().UpstreamRxBytes += uint64(len(p))
	a.track.received += uint64(len(p))
	s := r.s
	if end {
		if info := s.Info(); req.Message.Framing == http1.Tunnel && !req.Raw && info.UpstreamProtocol != streaminfo.HTTP2 && !r.ended {
			// A host that leaves a tunnel first has cut it off, to Envoy's logs.
			info.Set(streaminfo.UpstreamConnectionTermination)
			info.Details = "upstream_reset_after_response_started{connection_termination}"
		}
		a.settle(nil)
		a.complete()
	} else if r.limits.perTryIdle > 0 {
		r.loop.Arm(&a.tryIdleTimer, r.limits.perTryIdle)
	}
	s.RespondData(p, end)
	if !end && r.s == s && r.state == responding && s.ResponseBlocked() {
		req.PauseResponse()
	}
}

// OnTrailers implements connpool.Handler.
func (a *attempt) OnTrailers(req *connpool.Request) {
	r := a.r
	if r.state != responding || a.stage != answered {
		return
	}
	s := r.s
	a.noteTrailers(req)
	a.settle(&req.Trailers)
	a.complete()
	s.RespondTrailers(&req.Trailers)
}

// OnReset implements connpool.Handler: the connection failed under the attempt.
func (a *attempt) OnReset(req *connpool.Request, why connpool.Reason, err error) {
	a.open = false
	if a.stage != asked && a.stage != answered || a.r.state == done {
		return
	}
	if a.stage == asked && why == connpool.Termination && a.reused && a.again() {
		return
	}
	a.host.OnResult(cluster.Result{Kind: cluster.ResultReset})
	a.r.s.Info().UpstreamClose = streaminfo.CloseTypeOf(err)
	f := failure{reason: why.String(), kind: resetRemote, err: err}
	switch why {
	case connpool.ProtocolError:
		f.kind = resetProtocol
	case connpool.RemoteReset:
		f.kind = resetStream
	case connpool.RemoteRefused:
		f.kind = resetRefused
	}
	a.failed(f)
}
