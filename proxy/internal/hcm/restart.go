package hcm

import (
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// Restart implements httpfilter.Responder. The record of the request so far is closed, and another
// stream object takes over the request, the client's side and nothing else: filters and route see
// the request as a new one, as in Envoy's recreateStream. What the connection manager has settled
// about the client is not done again.
func (s *stream) Restart(response *header.Map, body []byte) {
	s.info.Details = "internal_redirect"
	s.info.ResponseCode = statusOf(response)
	s.info.ResponseHeaderSize = uint32(response.Size())
	s.resp, s.logCtx.Response = response, response
	s.restarted = true
	c, h2, block, start := s.c, s.h2, s.block, s.info.Start
	s.block = nil
	next := s.w.get()
	s.complete()

	// The log is written; nobody looks at these any more.
	next.req, s.req = s.req, next.req
	next.block = block
	next.msg, next.body = s.msg, s.body
	if next.http1, next.http2 = s.http1, s.http2; next.http2 != nil {
		next.http2.unlink(s)
		next.h2 = h2
		h2.User, h2.Head, h2.Trailers, h2.Meter = next, &next.req, &next.reqT, &next.info.DownstreamMeter
		next.http2.link(next)
		s.w.inc(rqHTTP2Total)
	} else {
		next.http1.stream = next
		s.w.inc(rqHTTP1Total)
	}
	next.keepAlive, next.internal, next.secure, next.requestDone = s.keepAlive, s.internal, s.secure, true
	from, to := &s.info, &next.info
	next.begin(c, start)
	to.Protocol, to.Remote, to.RequestID, to.RequestEnd = from.Protocol, from.Remote, from.RequestID, from.RequestEnd
	to.BytesReceived, to.DownstreamMeter, to.Redirects = from.BytesReceived, from.DownstreamMeter, from.Redirects
	if next.http2 != nil {
		next.http2.watchStream(next)
	} else {
		next.http1.watch()
	}

	next.trace()
	next.Route()
	next.findDisabled()
	next.traceRoute()
	gen := next.reqDir.gen
	next.reqDir.start(&next.req, len(body) == 0)
	if len(body) > 0 && next.reqDir.gen == gen {
		next.reqDir.body(body, true)
	}
}
