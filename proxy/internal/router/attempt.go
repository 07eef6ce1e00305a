package router

import (
	"net"
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/connpool"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// attempt picks a host and asks for a connection to it.
func (r *router) attempt() {
	info := r.s.Info()
	info.Attempts++
	r.lb.Rand = r.loop.Rand()
	r.host = r.local.Pick(&r.lb)
	if r.host == nil {
		r.local.Inc(cluster.CxNoneHealthy)
		r.noHost()
		return
	}
	info.Tried(r.host.Host)
	if o := r.local.Config().LB.Override; o != nil && o.Selected != nil {
		noteSelected(o.Selected, r.host.Host.Name, info)
	}
	r.beginTrack()
	r.state = waiting
	method := r.h.Value(header.Method)
	r.req.Head, r.req.Connect, r.req.HighPrio = string(method) == "HEAD", string(method) == "CONNECT", r.high
	r.req.FromHTTP2, r.req.Upgrade = info.Protocol == streaminfo.HTTP2, r.h.Has(header.Upgrade)
	r.req.Downstream = info.ConnectionID
	info.UpstreamConnect = 0
	if up := r.upstream(); (up.AutoSNI || up.AutoSANValidation) && r.host.Host.Transport != nil {
		r.nameServer(up)
	}
	connpool.Ahead(r.loop, r.host.Local)
	connpool.For(r.loop, r.host).Start(&r.req)
	if r.state == waiting {
		info.UpstreamConnect = r.loop.Now()
	}
}

// nameServer asks for a connection whose TLS names the request's host (auto_sni,
// auto_san_validation): the host that is sent, after rewriting, without its port.
func (r *router) nameServer(up *xdsresource.UpstreamHTTP) {
	r.rewriteHost()
	name := string(r.h.Value(header.Authority))
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	if up.AutoSNI {
		r.req.SNI = name
	}
	if up.AutoSANValidation {
		r.req.VerifyName = name
	}
}

// OnReady implements connpool.Handler: the attempt has its connection, and the head goes out.
func (r *router) OnReady(req *connpool.Request) {
	r.open, r.reused = true, !req.Fresh()
	r.host.OnResult(cluster.Result{Kind: cluster.ResultReady})
	info := r.s.Info()
	ci := req.Info()
	info.UpstreamLocal, info.UpstreamRemote, info.UpstreamTLS, info.UpstreamURI = ci.LocalAddr, ci.RemoteAddr, ci.TLS != nil, ci.PeerURI
	info.UpstreamTLSState, info.UpstreamConnectionID = ci.TLS, ci.ID
	if req.HTTP2() {
		info.UpstreamProtocol = streaminfo.HTTP2
	} else if info.UpstreamProtocol == streaminfo.None {
		info.UpstreamProtocol = streaminfo.HTTP11
	}
	r.rewriteHost()
	if r.entry.VirtualHost.IncludeRequestAttemptCount {
		r.h.SetBuilt(attemptKey, strconv.AppendInt(r.h.Build(), int64(info.Attempts), 10))
	}
	r.state = sent
	r.started = r.loop.Now()
	info.UpstreamTxFirst = r.started
	if info.UpstreamConnect != 0 {
		info.UpstreamConnected = r.started
	}
	end := r.ended && r.body.Len() == 0 && r.trailers == nil
	req.SendHead(r.h, end)
	switch {
	case end:
		r.sentAll()
	case r.body.Len() > 0:
		r.sendBody(r.body.Bytes(), r.ended && r.trailers == nil)
		if !r.keep {
			r.sentBody = true
			r.body.Reset()
		}
		if !r.ended && !req.Blocked() {
			r.s.ResumeRequest()
		}
	}
	if r.trailers != nil {
		r.sendTrailers(r.trailers)
	}
	r.startTry()
}

// sendBody writes a piece of the request's body.
func (r *router) sendBody(p []byte, end bool) {
	r.track.sent += uint64(len(p))
	r.req.SendData(p, end)
	if end {
		r.sentAll()
	}
}

// sendTrailers ends the request.
func (r *router) sendTrailers(t *header.Map) {
	r.req.SendTrailers(t)
	r.sentAll()
}

// sentAll notes that the request has been written in full.
func (r *router) sentAll() { r.s.Info().UpstreamTxLast = r.loop.Now() }

// OnFailure implements connpool.Handler: there is no connection to the host.
func (r *router) OnFailure(_ *connpool.Request, why connpool.Reason, err *conn.Error) {
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
	r.failed(f)
}

// OnWritable implements connpool.Handler.
func (r *router) OnWritable(*connpool.Request) {
	if !r.ended {
		r.s.ResumeRequest()
	}
}
