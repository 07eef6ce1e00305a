package router

import (
	"net"
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/connpool"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
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
	r.state = waiting
	method := r.h.Value(header.Method)
	r.req.Head, r.req.Connect, r.req.HighPrio = string(method) == "HEAD", string(method) == "CONNECT", r.high
	info.UpstreamConnect = 0
	if up := r.upstream(); (up.AutoSNI || up.AutoSANValidation) && r.host.Host.Transport != nil {
		r.nameServer(up)
	}
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
	c := req.Conn()
	r.conn, r.reused = c, !req.Fresh()
	r.host.OnResult(cluster.Result{Kind: cluster.ResultReady})
	info := r.s.Info()
	ci := c.Info()
	info.UpstreamLocal, info.UpstreamTLS, info.UpstreamURI = ci.LocalAddr, ci.TLS != nil, ci.PeerURI
	info.UpstreamTLSState, info.UpstreamConnectionID = ci.TLS, ci.ID
	if info.UpstreamProtocol == streaminfo.None {
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
	upgrade := r.h.Has(header.Upgrade)
	end := r.ended && r.body.Len() == 0 && r.trailers == nil
	r.chunked = !end && !upgrade && !req.Connect && !r.h.Has(header.ContentLength)
	head := http1.Head{
		Empty:   end && !upgrade && !req.Connect && !r.h.Has(header.ContentLength) && mayHaveBody(r.h.Value(header.Method)),
		Chunked: r.chunked, Upgrade: upgrade, Proper: r.upstream().HTTP1.ProperCaseWords,
	}
	http1.AppendRequest(c.Out(), r.h, &head)
	switch {
	case end:
		r.finish()
	case r.body.Len() > 0:
		r.sendBody(r.body.Bytes(), r.ended && r.trailers == nil)
		if !r.keep {
			r.sentBody = true
			r.body.Reset()
		}
		if !r.ended && !c.AboveHighWatermark() {
			r.s.ResumeRequest()
		}
	default:
		c.FlushLater() // together with the first piece of the body, if that is already here
	}
	if r.trailers != nil {
		r.sendTrailers(r.trailers)
	}
	r.startTry()
}

// mayHaveBody reports whether a request of a method is expected to have a body, so that its absence is said (RFC 9110, 8.6).
func mayHaveBody(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "DELETE", "CONNECT", "TRACE":
		return false
	}
	return true
}

// sendBody writes a piece of the request's body.
func (r *router) sendBody(p []byte, end bool) {
	c := r.conn
	switch {
	case r.chunked:
		http1.AppendChunk(c.Out(), p)
		if end {
			http1.AppendLastChunk(c.Out(), nil)
		}
		c.FlushLater()
	case len(p) > 0:
		c.Write(p)
	}
	if end {
		r.finish()
	}
}

// sendTrailers ends the request. A body that is not chunked cannot carry trailers, and a cluster may not want them (enable_trailers):
// then they are dropped, as RFC 9110, section 6.5.1, allows.
func (r *router) sendTrailers(t *header.Map) {
	if r.chunked {
		if !r.upstream().HTTP1.EnableTrailers {
			t = nil
		}
		http1.AppendLastChunk(r.conn.Out(), t)
	}
	r.finish()
}

// finish marks the request as written in full and sends what is left of it.
func (r *router) finish() {
	r.s.Info().UpstreamTxLast = r.loop.Now()
	r.req.Finish()
	if r.req.Message.Framing == http1.Tunnel && r.state == responding {
		r.conn.CloseWrite() // an upgraded stream ends one side at a time
		return
	}
	r.conn.Flush()
}

// OnFailure implements connpool.Handler: there is no connection to the host.
func (r *router) OnFailure(_ *connpool.Request, why connpool.Reason, err *conn.Error) {
	f := failure{reason: why.String(), kind: resetConnect}
	if err != nil {
		f.err = err
	}
	if why == connpool.ReasonOverflow {
		f.kind = resetOverflow
	}
	r.failed(f)
}

// OnWritable implements connpool.Handler.
func (r *router) OnWritable(*connpool.Request) {
	if !r.ended {
		r.s.ResumeRequest()
	}
}
