package hcm

import (
	"errors"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// connection is one downstream connection. While it is idle this is all the memory that HTTP
// holds for it.
type connection struct {
	w      *worker
	m      *Manager
	c      *conn.Conn
	stream *stream // nil: between requests

	timer      eventloop.Timer // one for all time-outs of connection and stream; see due
	timerAt    int64           // when it fires
	began      int64
	lastActive int64 // end of the last request
	headStart  int64 // first byte of a head that is not complete; 0: none
	scanned    int
	requests   uint32
	draining   bool // the next response says connection: close
	closing    bool // no further request is read
	reading    bool // OnData is on the stack
	spoke      bool // the client has sent a byte: what it speaks is known, and counted
	localClose bool
	xfcc       []byte // our element for x-forwarded-client-cert, made once
}

// maxTurns is how many pipelined requests are begun in one call. Then others have their turn,
// and the streams that have ended are taken back.
const maxTurns = 64

// OnData implements conn.Handler.
func (c *connection) OnData(cn *conn.Conn, eof bool) {
	c.reading = true
	for turns := 0; !c.closing; turns++ {
		if turns == maxTurns && cn.In().Len() > 0 {
			cn.ResumeRead()
			break
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
func (c *connection) nextRequest(cn *conn.Conn) bool {
	in := cn.In()
	if in.Len() == 0 {
		return false
	}
	if !c.spoke {
		c.spoke = true
		c.w.inc(cxHTTP1Total)
		c.w.gauge(cxHTTP1Active, 1)
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
	s.begin(c)
	if err != nil {
		s.refuse(err)
		return false
	}
	c.headStart = 0
	c.requests++
	if rest := in.Len() - n; rest > 0 && (s.msg.Framing != http1.ByLength || uint64(rest) > s.msg.Length) {
		s.keepHead(in, n)
		s.run()
		return true
	}
	// The usual case: nothing of another request has come. The block goes to the stream whole,
	// uncopied; what is behind the head is body.
	s.block = in.Take(in.Len())
	rest := s.block.Bytes()[n:]
	s.run()
	if len(rest) > 0 && c.stream == s && !s.requestDone {
		rest = rest[s.feed(rest):]
	}
	if len(rest) > 0 && !c.closing {
		in.Append(rest) // reading was paused
	}
	return true
}

// readBody feeds the request's body. False: there is nothing to do until something happens.
func (c *connection) readBody(cn *conn.Conn) bool {
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
func (c *connection) ended() {
	if s := c.stream; s != nil {
		if s.tunnel { // each direction of a tunnel ends on its own
			if !s.requestDone {
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

// close ends the connection from our side.
func (c *connection) close(mode conn.CloseMode) {
	c.closing = true
	c.localClose = true
	c.c.Close(mode)
}

// finished is told by the stream that its response has been sent and its record closed.
func (c *connection) finished(s *stream) {
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
		c.close(mode)
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
func (c *connection) Drain() {
	c.draining = true
}

// OnWritable implements conn.Handler.
func (c *connection) OnWritable(*conn.Conn) {
	if s := c.stream; s != nil {
		s.writable()
		return
	}
	c.c.ResumeRead()
}

// OnClose implements conn.Handler.
func (c *connection) OnClose(cn *conn.Conn, err error) {
	c.closing = true
	w := c.w
	w.loop.Disarm(&c.timer)
	w.inc(cxDestroy)
	if c.localClose {
		w.inc(cxDestroyLocal)
	} else {
		w.inc(cxDestroyRemote)
	}
	if s := c.stream; s != nil {
		c.countDestroyActive()
		s.disconnected(!c.localClose)
	}
	w.gauge(cxActive, -1)
	if c.spoke {
		w.gauge(cxHTTP1Active, -1)
	}
	if cn.Info().TLS != nil {
		w.gauge(cxSSLActive, -1)
	}
	in, out := cn.Bytes()
	w.add(cxRxBytes, in)
	w.add(cxTxBytes, out)
	w.record(cxLength, uint64(w.loop.Now()-c.began)/1e6)
	var ce *conn.Error
	if errors.As(err, &ce) && ce.Kind == conn.TLS {
		w.inc(cxProtocolError)
	}
}

// countDestroyActive counts a connection that ends with a request under way.
func (c *connection) countDestroyActive() {
	c.w.inc(cxDestroyActiveRq)
	if c.localClose {
		c.w.inc(cxDestroyLocalActiveRq)
	} else {
		c.w.inc(cxDestroyRemoteActiveRq)
	}
}

// never is a deadline that does not come.
const never = int64(1<<63 - 1)

// due is the earliest time at which something of the connection or its stream is overdue.
func (c *connection) due() int64 {
	cfg := c.m.cfg
	at := never
	until := func(from int64, d time.Duration) {
		if d > 0 && from > 0 {
			at = min(at, from+int64(d))
		}
	}
	if !c.draining {
		until(c.began, cfg.MaxConnectionDuration)
	}
	s := c.stream
	if s == nil {
		until(c.lastActive, cfg.IdleTimeout)
		if c.headStart != 0 {
			until(c.headStart, cfg.RequestHeadersTimeout)
			until(c.headStart, cfg.StreamIdleTimeout)
			until(c.headStart, cfg.RequestTimeout)
		}
		return at
	}
	until(s.lastActive, s.idleTimeout)
	until(s.info.Start, cfg.MaxStreamDuration)
	if !s.requestDone {
		until(s.info.Start, cfg.RequestTimeout)
	}
	return at
}

// watch makes sure that the timer fires no later than what is due. A timer that fires too
// early looks again: so a request that ends in time touches no timer at all.
func (c *connection) watch() {
	at := c.due()
	if at == never || c.timer.Armed() && c.timerAt <= at {
		return
	}
	if c.timerAt == 0 {
		c.timer.Init(c.onTimer)
	}
	c.timerAt = at
	c.w.loop.Arm(&c.timer, time.Duration(at-c.w.loop.Now()))
}

func (c *connection) onTimer() {
	now := c.w.loop.Now()
	if c.c.Closed() {
		return
	}
	if c.due() <= now {
		c.overdue(now)
	}
	if !c.closing {
		c.watch()
	}
}

// overdue does what the time-out that has passed asks for.
func (c *connection) overdue(now int64) {
	cfg := c.m.cfg
	past := func(from int64, d time.Duration) bool { return d > 0 && from > 0 && from+int64(d) <= now }
	s := c.stream
	switch {
	case s != nil && past(s.info.Start, cfg.MaxStreamDuration):
		c.w.inc(rqMaxDuration)
		s.timeout(s.timeoutCode(), "downstream duration timeout", "max_duration_timeout", streaminfo.DurationTimeout)
	case s != nil && !s.requestDone && past(s.info.Start, cfg.RequestTimeout):
		c.w.inc(rqTimeout)
		s.timeout(408, "request timeout", "request_overall_timeout", 0)
	case s != nil && past(s.lastActive, s.idleTimeout):
		c.w.inc(rqIdleTimeout)
		s.timeout(s.timeoutCode(), "stream timeout", "stream_idle_timeout", streaminfo.StreamIdleTimeout)
	case s != nil:
		if past(c.began, cfg.MaxConnectionDuration) && !c.draining {
			c.w.inc(cxMaxDuration)
			c.draining = true
		}
	case c.headStart != 0 && past(c.headStart, cfg.RequestHeadersTimeout):
		c.w.inc(rqHeaderTimeout)
		c.refuseLate("request headers timeout", "request_header_timeout")
	case c.headStart != 0 && (past(c.headStart, cfg.RequestTimeout) || past(c.headStart, cfg.StreamIdleTimeout)):
		c.w.inc(rqTimeout)
		c.refuseLate("request timeout", "request_overall_timeout")
	case past(c.began, cfg.MaxConnectionDuration) && !c.draining:
		c.w.inc(cxMaxDuration)
		c.close(conn.CloseAfterFlush)
	case past(c.lastActive, cfg.IdleTimeout):
		c.w.inc(cxIdleTimeout)
		c.close(conn.CloseAfterFlush)
	}
}

// refuseLate answers a head that did not come in time.
func (c *connection) refuseLate(body, details string) {
	s := c.w.get()
	c.stream = s
	s.begin(c)
	s.info.Start = c.headStart
	c.headStart = 0
	s.timeout(408, body, details, 0)
}

// out is where responses are written.
func (c *connection) out() *iobuf.Buffer { return c.c.Out() }

// appendXFCC appends our element for x-forwarded-client-cert.
func (c *connection) appendXFCC(dst []byte) []byte {
	if c.xfcc == nil {
		c.xfcc = makeXFCC(c.c.Info(), c.m.cfg)
	}
	return append(dst, c.xfcc...)
}

var keyXFCC = header.Key{ID: header.XForwardedClientCert, Name: header.XForwardedClientCert.String()}
