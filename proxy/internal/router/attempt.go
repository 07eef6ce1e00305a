package router

import (
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/connpool"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
)

// attempt is one try to get an answer: a host, and the request to it. A request has one at a time,
// unless it hedges. It implements connpool.Handler, and is used again.
type attempt struct {
	r     *router
	host  *cluster.LocalHost
	req   connpool.Request
	stage stage

	open      bool  // from OnReady until the request may no longer be written
	reused    bool  // the connection served an earlier request
	retried   bool  // its time is over, and another attempt was made beside it
	timedOut  bool  // outlier detection knows of that
	unsettled bool  // the answer is of gRPC, and its trailers have yet to say how it went
	connect   int64 // when its connection was begun; 0: there was one
	started   int64 // when the request was sent
	sent      int64 // when it was sent in full

	info   *conn.Info // of its connection, which may have gone on to another request
	http2  bool
	track  track
	record *record // nil: neither a span nor a log wants to know

	tryTimer, tryIdleTimer eventloop.Timer
}

// stage is where an attempt stands.
type stage uint8

const (
	dropped  stage = iota
	waiting        // for a connection
	asked          // the head is on its way; no answer yet
	answered       // its answer is the request's
)

func newAttempt(r *router) *attempt {
	a := &attempt{r: r}
	a.req.Handler = a
	a.tryTimer.Init(a.onTryTimeout)
	a.tryIdleTimer.Init(a.onTryIdle)
	return a
}

// drop ends what is under way with the host, and forgets what came.
func (a *attempt) drop() {
	a.stopClocks()
	a.endTrack()
	if a.open = false; a.req.Active() {
		if a.record != nil {
			a.record.canceled = true
		}
		a.req.Cancel()
	}
	a.endRecord()
	a.req.Release()
	a.stage, a.host, a.info = dropped, nil, nil
	a.reused, a.retried, a.timedOut, a.unsettled = false, false, false, false
	a.connect, a.started, a.sent = 0, 0, 0
	a.r.forget(a)
}

// attempt picks a host and asks for a connection to it.
func (r *router) attempt() {
	info := r.s.Info()
	info.Attempts++
	if r.entry.VirtualHost.IncludeRequestAttemptCount {
		r.h.SetBuilt(attemptKey, strconv.AppendInt(r.h.Build(), int64(info.Attempts), 10))
	}
	host := r.pick(info.Attempts > 1)
	if host == nil {
		if !r.awaitName() {
			r.withoutHost()
		}
		return
	}
	info.Tried(host.Host)
	if o := r.local.Config().LB.Override; o != nil && o.Selected != nil {
		noteSelected(o.Selected, host.Host.Name, info)
	}
	r.noteHost(host)
	a := r.takeAttempt()
	a.host, a.stage = host, waiting
	a.beginTrack()
	a.beginRecord()
	method := r.h.Value(header.Method)
	req := &a.req
	req.Raw = r.terminates(method)
	req.Head, req.Connect, req.HighPrio = string(method) == "HEAD", string(method) == "CONNECT", r.high
	req.FromHTTP2, req.Upgrade = info.Protocol == streaminfo.HTTP2, r.h.Has(header.Upgrade)
	req.Downstream, req.Meter = info.ConnectionID, &info.UpstreamMeter
	r.held = req.Upgrade || req.Connect || req.Raw
	info.UpstreamConnect = 0
	if t, ok := host.Host.Transport.(*transportsocket.Upstream); ok {
		a.wish(t)
	}
	connpool.Ahead(r.loop, host.Local)
	connpool.For(r.loop, host).Start(req)
	if a.stage == waiting {
		a.connect = r.loop.Now()
		info.UpstreamConnect = a.connect
	}
}

// withoutHost ends a request that finds no host.
func (r *router) withoutHost() {
	r.local.Inc(cluster.CxNoneHealthy)
	r.dropAttempts()
	r.noHost()
}

// pick chooses a host. again: the request has been tried before.
func (r *router) pick(again bool) *cluster.LocalHost {
	r.lb.Rand = r.loop.Rand()
	if again {
		r.lb.Avoid = r.avoid
		return r.local.PickAgain(&r.lb, &r.retryHosts)
	}
	return r.local.Pick(&r.lb)
}

// noteHost remembers the host of an attempt where further ones look at that.
func (r *router) noteHost(h *cluster.LocalHost) {
	if r.retryHosts.UpdateFrequency > 0 {
		r.retryHosts.Tried(h)
	}
	if p := r.retry.policy; p != nil && p.AvoidPreviousHosts {
		r.avoid = append(r.avoid, &h.Load)
	}
}

// OnReady implements connpool.Handler: the attempt has its connection, and the head goes out.
func (a *attempt) OnReady(req *connpool.Request) {
	r := a.r
	a.open, a.reused = true, !req.Fresh()
	a.host.OnResult(cluster.Result{Kind: cluster.ResultReady})
	info := r.s.Info()
	r.rewriteHost(a.host)
	a.stage = asked
	a.started = r.loop.Now()
	a.info, a.http2 = req.Info(), req.HTTP2()
	a.describe(info)
	r.incOwn(route.RqTotal)
	if a.record != nil && r.logs.OnStart {
		a.log(a.own(), format.UpstreamPoolReady)
	}
	end := !r.held && r.ended && r.body.Len() == 0 && r.trailers == nil
	if req.Raw {
		a.startClocks()
		req.OpenRaw(r.rawHeader())
		return
	}
	req.SendHead(r.h, end)
	switch {
	case r.held: // nothing follows before the host's answer
	case end:
		a.sentAll()
	case r.body.Len() > 0:
		a.sendBody(r.body.Bytes(), r.ended && r.trailers == nil)
		if !r.keep {
			r.sentBody = true
			r.body.Reset()
		}
		if !r.ended && !req.Blocked() {
			r.s.ResumeRequest()
		}
	}
	if r.trailers != nil && !r.held {
		a.sendTrailers(r.trailers)
	}
	a.startClocks()
}

// describe says in the record that the attempt is the request's.
func (a *attempt) describe(info *streaminfo.Info) {
	ci := a.info
	info.Host = a.host.Host
	info.UpstreamLocal, info.UpstreamRemote, info.UpstreamTLS, info.UpstreamURI = ci.LocalAddr, ci.RemoteAddr, ci.TLS != nil, ci.PeerURI
	info.UpstreamTLSState, info.UpstreamCertificate, info.UpstreamConnectionID = ci.TLS, ci.LocalCertificate, ci.ID
	info.UpstreamClose = streaminfo.Normal
	if info.UpstreamProtocol = streaminfo.HTTP11; a.http2 {
		info.UpstreamProtocol = streaminfo.HTTP2
	}
	info.UpstreamTxFirst, info.UpstreamTxLast = a.started, a.sent
	if info.UpstreamConnect = a.connect; a.connect != 0 {
		info.UpstreamConnected = a.started
	}
}

// sendBody writes a piece of the request's body.
func (a *attempt) sendBody(p []byte, end bool) {
	a.track.sent += uint64(len(p))
	a.req.SendData(p, end)
	if end {
		a.sentAll()
	}
}

// sendTrailers ends the request.
func (a *attempt) sendTrailers(t *header.Map) {
	a.req.SendTrailers(t)
	a.sentAll()
}

// sentAll notes that the request has been written in full.
func (a *attempt) sentAll() {
	a.sent = a.r.loop.Now()
	a.r.s.Info().UpstreamTxLast = a.sent
}

// OnFailure implements connpool.Handler: there is no connection to the host.
func (a *attempt) OnFailure(_ *connpool.Request, why connpool.Reason, err *conn.Error) {
	f := failure{reason: why.String(), kind: resetConnect}
	if err != nil {
		f.err = err
	}
	switch why {
	case connpool.ReasonOverflow:
		f.kind = resetOverflow
	case connpool.ProtocolError: // an upgrade that the host's HTTP/2 does not offer
		f.kind = resetProtocol
	}
	a.failed(f)
}

// OnWritable implements connpool.Handler.
func (a *attempt) OnWritable(*connpool.Request) {
	if !a.r.ended {
		a.r.s.ResumeRequest()
	}
}
