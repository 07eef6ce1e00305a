package hcm

import (
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Respond implements httpfilter.Responder.
func (s *stream) Respond(h *header.Map, end bool) {
	if s.over || s.replied || s.resp != nil {
		return
	}
	s.resp = h
	s.logCtx.Response = h
	s.info.ResponseCode = statusOf(h) // filters may ask for it
	s.respDir.start(h, end)
}

// RespondData implements httpfilter.Responder.
func (s *stream) RespondData(p []byte, end bool) {
	if !s.over && !s.replied {
		s.respDir.body(p, end)
	}
}

// RespondTrailers implements httpfilter.Responder.
func (s *stream) RespondTrailers(t *header.Map) {
	if !s.over && !s.replied {
		s.respT = t
		s.logCtx.Trailers = t
		s.respDir.trailersIn(t)
	}
}

// RespondInterim implements httpfilter.Responder. A client that does not read gets none: they would fill
// memory, as nothing holds back a host that sends them without end.
func (s *stream) RespondInterim(h *header.Map) {
	if s.over || s.resp != nil || s.msg.Minor == 0 {
		return // RFC 9110, 15.2: not to HTTP/1.0
	}
	status := statusOf(h)
	if status == 100 && !s.w.m.cfg.Proxy100Continue {
		return // said by us already, or never asked for
	}
	if s.http2 != nil {
		if !s.http2.codec.Behind() {
			s.interimHTTP2(h)
			s.countInterim()
		}
		return
	}
	if s.c.c.AboveHighWatermark() {
		return
	}
	all, fields := http1.AppendResponse(s.c.out(), h, &http1.Head{Status: status})
	s.info.DownstreamMeter.SentHead(all, fields, fields)
	s.c.c.FlushLater()
	s.countInterim()
}

// countInterim counts an interim response, which is one to Envoy's statistics like another.
func (s *stream) countInterim() { s.w.answered(1) }

func statusOf(h *header.Map) int {
	n := 0
	for _, c := range h.Value(header.Status) {
		n = n*10 + int(c-'0')
	}
	return n
}

// responseSink is the response direction's end: the connection.
type responseSink stream

func (k *responseSink) sinkHeaders(h *header.Map, end bool) {
	s := (*stream)(k)
	s.code = statusOf(h)
	s.info.ResponseCode = s.code
	s.info.ResponseStart = s.w.loop.Now()
	if s.w.m.cfg.ProxyStatus != nil {
		s.proxyStatus(h)
	}
	upgraded := s.tunnel && (s.code == 101 || s.msg.Connect && s.code/100 == 2)
	s.mutateResponse(h, upgraded)
	if !s.requestDone {
		s.w.inc(rqBeforeComplete)
	}
	if s.http2 != nil {
		s.headHTTP2(h, end, upgraded)
	} else {
		s.headHTTP1(h, end, upgraded)
	}
	s.started = true
	s.touch()
	if upgraded && s.w.m.cfg.LogOnTunnel {
		s.log(format.DownstreamTunnelEstablished)
	}
	if end {
		s.endResponse()
	} else if s.http2 == nil {
		s.c.c.FlushLater()
	}
}

// mutateResponse sets what we say about ourselves.
func (s *stream) mutateResponse(h *header.Map, upgraded bool) {
	cfg := s.w.m.cfg
	h.Remove(header.TransferEncoding)
	if !upgraded {
		h.Remove(header.Connection)
		h.Remove(header.Upgrade)
	}
	switch cfg.ServerHeader {
	case xdsresource.ServerOverwrite:
		h.SetString(header.Server, cfg.ServerName)
	case xdsresource.ServerAppendIfAbsent:
		if !h.Has(header.Server) {
			h.AddString(header.Server, cfg.ServerName)
		}
	}
	if !h.Has(header.Date) {
		h.Add(header.Date, s.w.dateValue())
	}
	if cfg.Via != "" {
		s.appendVia(h)
	}
	if cfg.AlwaysSetRequestIDInResponse || s.req.Has(header.XEnvoyForceTrace) {
		if id, ok := s.req.Get(header.XRequestID); ok {
			h.Set(header.XRequestID, id)
		}
	}
}

func (k *responseSink) sinkData(p []byte, end bool) {
	s := (*stream)(k)
	s.info.BytesSent += uint64(len(p))
	s.touch()
	if s.http2 != nil {
		if s.dataHTTP2(p, end); end {
			s.endResponse()
		}
		return
	}
	s.dataHTTP1(p, end)
	if end {
		s.endResponse()
		return
	}
	s.c.c.FlushLater()
}

func (k *responseSink) sinkTrailers(t *header.Map) {
	s := (*stream)(k)
	if s.http2 != nil {
		s.trailersHTTP2(t)
	} else {
		s.trailersHTTP1(t)
	}
	s.endResponse()
}

func (k *responseSink) hold() {} // the terminal asks ResponseBlocked
func (k *responseSink) unhold() {
	if k.begun && !k.over {
		k.terminal.OnDownstreamWritable()
	}
}

func (k *responseSink) overflow() {
	s := (*stream)(k)
	s.w.inc(rsTooLarge)
	s.Reply(httpfilter.Reply{Code: 500, Body: "Internal Server Error", Details: "response_payload_too_large"})
}

// endResponse: all of the response is in the out buffer, or in the codec, and goes out at the end of the iteration.
func (s *stream) endResponse() {
	if !s.requestDone {
		s.w.inc(rqRxReset)
	}
	if s.http2 != nil {
		s.info.ResponseEnd = s.w.loop.Now()
		s.info.DownstreamMeter.Put(s.h2.Unsent())
		s.complete()
		s.http2.finished(s)
		return
	}
	s.c.c.FlushLater()
	if s.info.ResponseEnd = s.w.loop.Now(); s.tunnel && s.info.Flags&streaminfo.UpstreamConnectionTermination != 0 {
		s.info.ResponseEnd = 0
		s.w.inc(rqTxReset)
	}
	s.complete()
	s.http1.finished(s)
}

// ResetResponse implements httpfilter.Responder.
func (s *stream) ResetResponse(details string, flags streaminfo.Flags) {
	if s.over {
		return
	}
	s.info.Set(flags)
	if s.info.Details == "" || details != "" {
		s.info.Details = details
	}
	s.w.inc(rqTxReset)
	s.w.inc(rqRxReset)
	s.keepAlive = false
	s.complete()
	if s.http2 != nil {
		s.breakHTTP2()
	} else {
		s.breakHTTP1()
	}
}

// disconnected ends a stream whose connection is gone.
func (s *stream) disconnected(byClient bool) {
	if s.over {
		return
	}
	s.info.Set(streaminfo.DownstreamConnectionTermination)
	if s.info.Details == "" || s.info.ResponseCode == 0 || byClient {
		s.info.Details = "downstream_remote_disconnect"
		if !byClient {
			s.info.Details = "downstream_local_disconnect"
		}
	}
	s.w.inc(rqRxReset)
	s.keepAlive = false
	s.complete()
	if s.http2 != nil {
		s.http2.unlink(s)
	} else {
		s.http1.stream = nil
	}
}

// leftTunnel notes in the record of a tunnel that its client has ended it. The other side was heard
// to its end; to Envoy the tunnel was over with the client's.
func (s *stream) leftTunnel() {
	s.w.inc(rqRxReset)
	s.info.Set(streaminfo.DownstreamConnectionTermination)
	s.info.Details = "downstream_remote_disconnect"
	s.info.RequestEnd, s.info.UpstreamTxLast, s.info.ResponseEnd = 0, 0, 0
}

// log writes an entry of the access logs.
func (s *stream) log(t format.LogType) {
	s.logCtx.LogType = t
	for _, l := range s.w.m.deps.AccessLogs {
		l.Log(s.w.loop.ID(), &s.logCtx)
	}
}

// complete closes the record: filters, statistics, access logs.
func (s *stream) complete() {
	if s.over {
		return
	}
	s.over = true
	if s.left {
		s.leftTunnel()
	}
	s.reqDir.kill()
	s.respDir.kill()
	w := s.w
	s.info.End = w.loop.Now()
	s.nameCluster()
	s.info.RequestHeaderSize = uint32(s.req.Size()) // as it was routed, as in Envoy
	for _, f := range s.completers {
		f.OnComplete(f.seat)
	}
	w.gauge(rqActive, -1)
	if s.info.HealthCheck {
		w.inc(tracingHealthCheck)
	}
	if s.tunnel {
		w.gauge(cxUpgradesActive, -1)
	}
	if class := s.info.ResponseCode / 100; class >= 1 && class <= 5 && !s.restarted {
		if !s.info.HealthCheck { // those say nothing of what clients get
			w.answered(class)
		}
		w.record(rqTime, uint64(s.info.End-s.info.Start)/1e6)
		if w.m.cfg.RouteResolutionStats {
			w.record(rqRouteTime, uint64(s.info.RouteTime.Microseconds()))
			w.record(rqRouteLookUps, uint64(s.info.RouteLookUps))
		}
	}
	s.log(format.DownstreamEnd)
	own := s.ownSpan()
	if s.begun { // last: it gives the memory of the response's headers back
		s.terminal.OnComplete(&s.last)
	}
	if own != nil { // behind those of its calls, of which the last have ended just now
		w.m.spans.reporter.Report(w.loop.ID(), own)
	}
	w.put(s)
}
