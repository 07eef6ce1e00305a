package hcm

import (
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// This file is what HTTP/2 makes of a stream. Inside, a request is what it is in HTTP/1: an
// extended CONNECT (RFC 8441) is a request to upgrade, as in Envoy.

// beginHTTP2 starts the record; the request's head comes next.
func (s *stream) beginHTTP2(c *http2Conn, h2 *http2.Stream) {
	s.http2, s.h2 = c, h2
	s.info.Protocol = streaminfo.HTTP2
	s.w.inc(rqHTTP2Total)
	s.begin(&c.connection, s.w.loop.Now())
	c.watchStream(s)
}

// runHTTP2 takes the request's head on its way.
func (s *stream) runHTTP2(end bool) {
	h := &s.req
	s.headed = true
	s.info.RequestHeaderSize = uint32(h.Size())
	method := h.Value(header.Method)
	s.msg = http1.Message{Minor: 1, KeepAlive: true, Head: string(method) == "HEAD"}
	if protocol, ok := h.Get(header.Protocol); ok {
		s.msg.Upgrade = true
		h.Set(header.Upgrade, protocol)
		h.SetString(header.Connection, "upgrade")
		h.SetString(header.Method, "GET")
		h.Remove(header.Protocol)
		h.Remove(header.ContentLength)
	} else {
		s.msg.Connect = string(method) == "CONNECT"
	}
	if v, ok := h.Get(header.Expect); ok {
		s.msg.Expect100 = http1.HasToken(v, "100-continue")
	}
	s.run(end)
	if end && s.tunnel && !s.over {
		s.feedEnd()
	}
}

// bodyHTTP2 takes a piece of the request's body.
func (s *stream) bodyHTTP2(p []byte, end bool) {
	s.touch()
	s.info.BytesReceived += uint64(len(p))
	if end {
		s.requestDone = true
		s.info.RequestEnd = s.w.loop.Now()
	}
	s.reqDir.body(p, end)
}

// requestTrailersHTTP2 ends the request.
func (s *stream) requestTrailersHTTP2() {
	if s.tunnel {
		s.feedEnd()
		return
	}
	s.touch()
	s.requestDone = true
	s.info.RequestEnd = s.w.loop.Now()
	s.reqDir.trailersIn(&s.reqT)
}

// resetHTTP2 ends the stream: the client has reset it, or has broken the protocol on it.
func (s *stream) resetHTTP2(code http2.Code, err *http2.StreamError) {
	switch {
	case err == http2.ErrHeaderListSize, err == http2.ErrHeaderCount: // as Envoy has it
		s.info.Set(streaminfo.DownstreamRemoteReset)
		s.info.Details = err.Details
	case err != nil:
		s.info.Set(streaminfo.DownstreamProtocolError)
		s.info.Details = err.Details
	case code == http2.RefusedStream:
		s.info.Set(streaminfo.DownstreamRemoteReset)
		s.info.Details = "http2.remote_refuse"
	default:
		s.info.Set(streaminfo.DownstreamRemoteReset)
		s.info.Details = "http2.remote_reset"
	}
	s.w.inc(rqRxReset)
	if err != nil && !s.headed {
		s.req.Reset() // as in Envoy: what is no request has no headers to the log
	}
	s.http2.broke = s.http2.broke || err != nil
	s.http2.drop(s)
}

// headHTTP2 sends the head of a response.
func (s *stream) headHTTP2(h *header.Map, end, upgraded bool) {
	size := -1
	switch {
	case upgraded:
		s.framing = http1.Tunnel
		h.Remove(header.ContentLength)
		size = h.Size() // as in Envoy, before it is turned into HTTP/2
		h.Remove(header.Connection)
		if s.code == 101 { // RFC 8441, 5
			h.SetString(header.Status, "200")
			h.Remove(header.Upgrade)
		}
	case s.msg.Head || s.code == 304 || s.code == 204:
		s.framing = http1.NoBody
		if s.code == 204 {
			h.Remove(header.ContentLength)
		}
	default:
		s.framing = http1.ByLength
	}
	if size < 0 {
		size = h.Size()
	}
	s.info.ResponseHeaderSize = uint32(size)
	s.http2.codec.SendHeaders(s.h2, h, end)
	s.http2.flushLater()
}

// dataHTTP2 sends a piece of a response's body.
func (s *stream) dataHTTP2(p []byte, end bool) {
	if s.framing == http1.NoBody {
		p = nil
	}
	if len(p) > 0 || end {
		s.http2.codec.SendData(s.h2, p, end)
		s.http2.flushLater()
	}
}

// trailersHTTP2 ends a response with trailers.
func (s *stream) trailersHTTP2(t *header.Map) {
	s.http2.codec.SendTrailers(s.h2, t)
}

// interimHTTP2 sends a 1xx response.
func (s *stream) interimHTTP2(h *header.Map) {
	s.http2.codec.SendInterim(s.h2, h)
	s.http2.flushLater()
}

// continueHead is the interim response to Expect: 100-continue.
var continueHead = makeContinue()

func makeContinue() *header.Map {
	h := &header.Map{}
	h.AddString(header.Status, "100")
	return h
}

// breakHTTP2 resets a stream whose response is cut off. The connection goes on.
func (s *stream) breakHTTP2() {
	c := s.http2
	c.codec.Reset(s.h2, http2.InternalError)
	c.unlink(s)
	c.lastActive = s.w.loop.Now()
	c.flushLater()
	c.watch()
}
