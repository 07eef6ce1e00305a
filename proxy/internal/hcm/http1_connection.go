package hcm

import (
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// http1Conn is a connection that speaks HTTP/1: one stream after the other.
type http1Conn struct {
	connection
	stream    *stream // nil: between requests
	headStart int64   // first byte of a head that is not complete; 0: none
	scanned   int
	reading   bool // OnData is on the stack
	unknown   bool // it may be HTTP/2 yet; see choose
}

// serveHTTP1 makes the connection one of HTTP/1. unknown: unless it begins as HTTP/2 does.
func (m *Manager) serveHTTP1(w *worker, cn *conn.Conn, unknown bool) {
	now := w.loop.Now()
	c := &http1Conn{connection: connection{w: w, m: m, c: cn, began: now, lastActive: now}, unknown: unknown}
	c.timer.Init(c.onTimer)
	cn.SetHandler(c)
	c.opened()
	c.watch()
}

// maxTurns is how many pipelined requests are begun in one call. Then others have their turn,
// and the streams that have ended are taken back.
const maxTurns = 64

// OnData implements conn.Handler.
func (c *http1Conn) OnData(cn *conn.Conn, eof bool) {
	if c.unknown && !c.choose(cn, eof) {
		return
	}
	c.reading = true
	for turns := 0; !c.closing; turns++ {
		if turns == maxTurns && cn.In().Len() > 0 {
			c.reading = false
			cn.ResumeRead()
			return // the end, if it has come, waits for the rest
		}
		if c.stream == nil {
			if cn.AboveHighWatermark() {
				// A client that sends requests and does not read answers would fill memory.
				cn.PauseRead()
				break
			}
			if !c.nextRequest(cn) {
				break
			}
		} else if !c.readBody(cn) {
			break
		}
	}
	c.reading = false
	if c.closing {
		cn.In().Reset()
	}
	if eof && !cn.Closed() && !cn.ReadPaused() {
		c.ended()
	}
}

// nextRequest parses a head and runs the request. False: more bytes are needed.
func (c *http1Conn) nextRequest(cn *conn.Conn) bool {
	in := cn.In()
	if in.Len() == 0 {
		return false
	}
	if c.version == 0 {
		c.speaks(cxHTTP1Total, cxHTTP1Active)
	}
	s := c.w.get()
	n, err := http1.ParseRequest(in.Bytes(), &s.req, &s.msg, &c.m.limits, &c.scanned)
	if err == nil && n == 0 {
		c.w.free = append(c.w.free, s) // untouched: parsing begins only with a whole head
		if c.headStart == 0 {
			c.headStart = c.w.loop.Now()
			c.watch()
		}
		return false
	}
	c.scanned = 0
	c.stream = s
	s.beginHTTP1(c)
	if err == nil && s.msg.Absolute && s.claimsTLS() {
		err = http1.ErrSchemeInClear
	}
	if err != nil {
		s.info.DownstreamMeter.Got(in.Len())
		if err != http1.ErrHostMissing {
			s.req.Reset() // as in Envoy: what is no request has no headers to the log
		}
		s.refuse(err)
		return false
	}
	s.info.DownstreamMeter.GotHead(n, s.msg.FieldBytes, s.msg.FieldBytes)
	c.headStart = 0
	c.requests++
	if rest := in.Len() - n; rest > 0 && (s.msg.Framing != http1.ByLength || uint64(rest) > s.msg.Length) {
		s.keepHead(in, n)
		s.runHTTP1()
		return true
	}
	// The usual case: nothing of another request has come. The block goes to the stream whole,
	// uncopied; what is behind the head is body.
	s.block = in.Take(in.Len())
	rest := s.block.Bytes()[n:]
	s.runHTTP1()
	if len(rest) > 0 && c.stream == s && !s.requestDone {
		rest = rest[s.feed(rest):]
	}
	if len(rest) > 0 && !c.closing {
		in.Append(rest) // reading was paused
	}
	return true
}

// readBody feeds the request's body. False: there is nothing to do until something happens.
func (c *http1Conn) readBody(cn *conn.Conn) bool {
	s := c.stream
	p := cn.In().Bytes()
	if s.requestDone || len(p) == 0 || cn.ReadPaused() {
		return false
	}
	n := s.feed(p)
	if n > cn.In().Len() {
		return false // closed meanwhile
	}
	cn.In().Drain(n)
	return n > 0
}

// ended handles the client's end. As in Envoy it ends the connection, with what is under way:
// a client that has gone away cannot be told from one that will not send more.
func (c *http1Conn) ended() {
	if s := c.stream; s != nil {
		if s.tunnel { // each direction of a tunnel ends on its own
			if !s.requestDone && !s.left {
				s.left = true
				c.countDestroyActive()
				s.feedEnd()
			}
			return
		}
		c.countDestroyActive()
		s.disconnected(true)
	}
	c.closing = true // but not localClose: the client was first
	c.c.Close(conn.CloseFlushed)
}

// finished is told by the stream that its response has been sent and its record closed.
func (c *http1Conn) finished(s *stream) {
	c.stream = nil
	c.lastActive = c.w.loop.Now()
	if !s.keepAlive || s.tunnel {
		mode := conn.CloseAfterFlush
		if s.requestDone && c.c.In().Len() == 0 {
			mode = conn.CloseFlushed
		}
		if c.draining {
			c.w.inc(cxDrainClose)
		}
		c.closing, c.localClose = true, !s.left
		c.c.Close(mode)
		return
	}
	c.watch()
	if c.c.AboveHighWatermark() {
		return // OnWritable goes on
	}
	if c.c.ReadPaused() || !c.reading && c.c.In().Len() > 0 || c.c.PeerEnded() {
		c.c.ResumeRead()
	}
}

// Drain implements listener.Drainer: the next response is the last one. An idle connection
// stays until its client speaks or the listener's patience ends, because a request may be on
// its way.
func (c *http1Conn) Drain() {
	c.draining = true
}

// OnWritable implements conn.Handler.
func (c *http1Conn) OnWritable(*conn.Conn) {
	if s := c.stream; s != nil {
		s.writable()
		return
	}
	c.c.ResumeRead()
}

// OnClose implements conn.Handler.
func (c *http1Conn) OnClose(cn *conn.Conn, err error) {
	if s := c.stream; s != nil {
		s.info.DownstreamClose = streaminfo.CloseTypeOf(err)
		if !s.left {
			c.countDestroyActive()
		}
		s.disconnected(!c.localClose)
	}
	c.gone(cn, err)
}

// refuseLate answers a head that did not come in time.
func (c *http1Conn) refuseLate(body, details string, flag streaminfo.Flags) {
	s := c.w.get()
	c.stream = s
	s.beginHTTP1(c)
	s.info.Start = c.headStart
	s.info.DownstreamMeter.Got(c.c.In().Len())
	c.headStart = 0
	s.timeout(httpfilter.Reply{Code: 408, Body: body, Details: details, Flags: flag})
}

// claimsTLS says that a request in absolute form has the scheme https and no TLS, where nobody before us can have had it: filters and applications that
// go by the scheme would take the request for a safe one. As in Envoy, only at the edge.
func (s *stream) claimsTLS() bool {
	cfg := s.w.m.cfg
	return cfg.UseRemoteAddress && cfg.XFFTrustedHops == 0 && s.info.Downstream.TLS == nil && string(s.req.Value(header.Scheme)) == "https"
}
