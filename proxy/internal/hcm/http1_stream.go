package hcm

import (
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// This file is what HTTP/1 makes of a stream: how its request is read, and its response written.

// beginHTTP1 starts the record; the request's head has just been parsed, or refused.
func (s *stream) beginHTTP1(c *http1Conn) {
	s.http1 = c
	start := c.headStart
	if start == 0 {
		start = s.w.loop.Now()
	}
	s.info.Protocol = streaminfo.HTTP11
	if s.msg.Minor == 0 && s.req.Len() > 0 {
		s.info.Protocol = streaminfo.HTTP10
	}
	s.keepAlive = s.msg.KeepAlive
	s.w.inc(rqHTTP1Total)
	s.begin(&c.connection, start)
	c.watch()
}

// keepHead copies a head out of a buffer that holds more than this request and parses it again
// there: the buffer stays where it is, so that a thousand small requests in one read do not
// move a thousand large blocks. The bytes are those that have just been accepted.
func (s *stream) keepHead(in *iobuf.Buffer, n int) {
	var b iobuf.Buffer
	b.Init(s.w.loop.Buffers())
	b.Append(in.Bytes()[:n])
	in.Drain(n)
	s.block = b.Take(n)
	s.req.ResetFields()
	limits := s.w.m.limits
	limits.Case = nil // names are in lower case by now; how they came has been seen
	scanned := 0
	if _, err := http1.ParseRequest(s.block.Bytes(), &s.req, &s.msg, &limits, &scanned); err != nil {
		panic("BUG: hcm: a head that was accepted is refused: " + err.Error())
	}
	s.info.RequestHeaderSize = uint32(s.req.Size())
}

// runHTTP1 takes a parsed head on its way.
func (s *stream) runHTTP1() {
	s.body.Start(&s.msg)
	s.run(s.msg.Framing == http1.NoBody)
}

// feed decodes request body and passes it on. It returns how much of p it took; a piece is
// held back until it is known whether it is the last, so that the end comes with it.
func (s *stream) feed(p []byte) int {
	total := 0
	var held []byte
	s.touch()
	for total < len(p) && !s.body.Done() {
		data, n, err := s.body.Next(p[total:])
		if err != nil {
			s.refuse(err)
			return total
		}
		total += n
		s.info.DownstreamMeter.Got(n)
		if len(data) == 0 {
			continue
		}
		if len(held) > 0 {
			s.info.BytesReceived += uint64(len(held))
			s.reqDir.body(held, false)
			if s.over || s.c.c.ReadPaused() && !s.body.Done() {
				// Paused: what was decoded last must still go its way.
				if !s.over {
					s.info.BytesReceived += uint64(len(data))
					s.reqDir.body(data, false)
				}
				return total
			}
		}
		held = data
	}
	s.info.BytesReceived += uint64(len(held))
	if !s.body.Done() {
		if len(held) > 0 {
			s.reqDir.body(held, false)
		}
		return total
	}
	s.requestDone = true
	s.info.RequestEnd = s.w.loop.Now()
	trailers, err := s.body.Trailers(&s.reqT)
	switch {
	case err != nil:
		s.requestDone = false
		s.refuse(err)
	case trailers && s.w.m.cfg.HTTP1.EnableTrailers:
		s.info.DownstreamMeter.GotHead(0, http1.FieldBytes(&s.reqT), 0)
		if len(held) > 0 {
			s.reqDir.body(held, false)
		}
		if !s.over {
			s.reqDir.trailersIn(&s.reqT)
		}
	default:
		s.reqDir.body(held, true)
	}
	return total
}

// refuse answers what the codec would not accept, and ends the connection: where the next
// request would begin is not known.
func (s *stream) refuse(err *http1.Error) {
	s.keepAlive = false
	r := httpfilter.Reply{Code: err.Status, Details: err.Details}
	s.requestDone, s.info.RequestEnd = false, 0
	if err == http1.ErrHostMissing { // well-formed, but for that
		if s.msg.Framing == http1.NoBody {
			s.requestDone = true
			s.info.RequestEnd = s.w.loop.Now()
		}
	} else {
		s.w.inc(cxProtocolError)
		s.info.Set(streaminfo.DownstreamProtocolError)
		r.Body = http1.Reason(err.Status)
	}
	if err.Status < 400 || err.Status >= 500 && err.Status != 501 && err.Status != 505 {
		r.Code = 400
	}
	if s.started {
		s.ResetResponse(err.Details, 0)
		return
	}
	s.Reply(r)
}

// headHTTP1 writes the head of a response.
func (s *stream) headHTTP1(h *header.Map, end, upgraded bool) {
	o := http1.Head{Status: s.code, Proper: s.w.m.cfg.HTTP1.ProperCaseWords}
	if s.tunnel && !upgraded {
		s.keepAlive = false // what the client sent for the other protocol cannot be read as HTTP
	}
	size := h.Size() // without the framing, as in Envoy
	s.frame(h, end, upgraded, &o)
	if !s.requestDone && !s.tunnel {
		s.keepAlive = false // as in Envoy: the rest of the request is not waited for
	}
	if s.c.draining && !upgraded {
		s.keepAlive = false
	}
	o.Upgrade = upgraded && s.code == 101
	o.Close = !s.keepAlive && !upgraded
	o.Minor10 = s.msg.Minor == 0 && s.info.Protocol == streaminfo.HTTP10
	all, fields := http1.AppendResponse(s.c.out(), h, &o)
	s.info.DownstreamMeter.SentHead(all, fields, fields)
	switch {
	case o.Close:
		size += len("connectionclose")
	case o.Minor10:
		size += len("connectionkeep-alive")
	}
	s.info.ResponseHeaderSize = uint32(size)
}

// frame decides how the response's body ends.
func (s *stream) frame(h *header.Map, end, upgraded bool, o *http1.Head) {
	switch {
	case upgraded:
		s.framing = http1.Tunnel
		h.Remove(header.ContentLength)
	case s.msg.Head || s.code == 304 || s.code == 204 || s.code/100 == 1:
		s.framing = http1.NoBody
		switch {
		case s.code == 204:
			h.Remove(header.ContentLength)
		case s.msg.Head && s.code != 304 && s.code/100 != 1 && !h.Has(header.ContentLength):
			o.Chunked = s.msg.Minor == 1 // as a GET would be answered
		}
	case h.Has(header.ContentLength):
		s.framing = http1.ByLength
	case end:
		s.framing = http1.NoBody
		h.AddString(header.ContentLength, "0")
	case s.msg.Minor == 1:
		s.framing = http1.Chunked
		o.Chunked = true
	default:
		s.framing = http1.UntilClose
		s.keepAlive = false
	}
}

// smallWrite is the size up to which copying a piece behind the head costs less than a
// vectored write.
const smallWrite = 4 << 10

// dataHTTP1 writes a piece of a response's body.
func (s *stream) dataHTTP1(p []byte, end bool) {
	cn := s.c.c
	meter := &s.info.DownstreamMeter
	switch {
	case s.framing == http1.NoBody:
	case s.framing == http1.Chunked:
		meter.Put(http1.AppendChunk(cn.Out(), p))
		if end {
			n, _ := http1.AppendLastChunk(cn.Out(), nil)
			meter.Put(n)
		}
	case len(p) > smallWrite:
		meter.Put(len(p))
		cn.Write(p)
	default:
		meter.Put(len(p))
		cn.Out().Append(p)
	}
}

// trailersHTTP1 ends a response with trailers, where its framing has room for them.
func (s *stream) trailersHTTP1(t *header.Map) {
	if s.framing == http1.Chunked {
		if !s.w.m.cfg.HTTP1.EnableTrailers {
			t = nil
		}
		all, fields := http1.AppendLastChunk(s.c.out(), t)
		s.info.DownstreamMeter.SentHead(all, fields, fields)
	}
}

// breakHTTP1 ends the connection of a response that is cut off. What was sent so far is
// flushed, and then the end comes before the length is reached or the last chunk was seen: the
// client can tell. A response that ends with the connection can only be broken by a reset.
func (s *stream) breakHTTP1() {
	c := s.http1
	c.stream = nil
	mode := conn.CloseFlushed
	if s.framing == http1.UntilClose || !s.started {
		mode = conn.CloseReset
	}
	c.close(mode)
}
