package hcm

import (
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// http2Conn is a connection that speaks HTTP/2: many streams at a time. What they send in one
// iteration of the loop is written at its end, at once.
type http2Conn struct {
	connection
	codec    http2.Conn
	first    *stream // those that are not complete
	deferred eventloop.Deferred
	awayAt   int64 // when the last GOAWAY follows the first; 0: not draining, or it has
	away     bool  // the last GOAWAY is out
	broke    bool  // a stream of what was just read ended because of what the client sent on it
}

// outBudget is how much is put into the connection's output at a time. What does not fit there
// waits in the codec, where streams take turns.
const outBudget = 64 << 10

// serveHTTP2 makes a new connection one of HTTP/2.
func (m *Manager) serveHTTP2(w *worker, cn *conn.Conn) {
	c := m.newHTTP2(w, cn)
	c.opened()
	c.start()
}

func (m *Manager) newHTTP2(w *worker, cn *conn.Conn) *http2Conn {
	now := w.loop.Now()
	c := &http2Conn{connection: connection{w: w, m: m, c: cn, began: now, lastActive: now}}
	c.timer.Init(c.onTimer)
	c.deferred.Init(c)
	return c
}

func (c *http2Conn) start() {
	now := c.w.loop.Now()
	c.codec.Init(&c.m.http2, (*http2Events)(c), &c.w.http2, c.w.loop.Buffers(), now)
	c.codec.Tick(now, c.w.loop.Rand())
	c.c.SetHandler(c)
	c.speaks(cxHTTP2Total, cxHTTP2Active)
	c.watch()
	c.flushLater()
}

// OnData implements conn.Handler.
func (c *http2Conn) OnData(cn *conn.Conn, eof bool) {
	if p := cn.In().Bytes(); len(p) > 0 && !c.closing {
		c.broke = false
		if err := c.codec.Feed(p, c.w.loop.Now()); err != nil {
			c.failed(err)
		} else if c.codec.HeadSince() != 0 {
			c.watch()
		}
		c.flushLater()
	}
	cn.In().Reset()
	if eof && !c.closing {
		// As in Envoy, and with HTTP/1: a client that has gone away cannot be told from one that
		// will not send more.
		if c.first != nil {
			c.countDestroyActive()
		}
		c.disconnected(true)
		c.closing = true // but not localClose: the client was first
		cn.Close(conn.CloseFlushed)
	}
}

// failed ends a connection whose client does not keep to the protocol. GOAWAY says so.
func (c *http2Conn) failed(err *http2.ConnError) {
	if err.Stat != http2.StatPrematureResets && err.Code != http2.EnhanceYourCalm {
		c.w.inc(cxProtocolError)
	}
	if c.localClose = true; c.first != nil || c.broke {
		c.countDestroyActive()
	}
	for s := c.first; s != nil; s = c.first {
		s.info.Set(streaminfo.DownstreamProtocolError)
		s.info.Details = err.Details
		c.w.inc(rqRxReset)
		c.drop(s)
	}
	c.codec.Pull(c.out(), outBudget)
	c.close(conn.CloseAfterFlush)
}

// flushLater writes at the end of this iteration of the loop.
func (c *http2Conn) flushLater() { c.w.loop.Defer(&c.deferred) }

// RunDeferred implements eventloop.Runner.
func (c *http2Conn) RunDeferred() { c.flush() }

// flush writes what the codec has, as long as the socket takes it.
func (c *http2Conn) flush() {
	cn := c.c
	for !cn.Closed() {
		c.codec.Pull(c.out(), outBudget)
		cn.Flush()
		if cn.Pending() > 0 {
			cn.NotifyWritable()
			break
		}
		if !c.codec.Waiting() {
			break
		}
	}
	if err := c.codec.Failure(); err != nil && !c.closing {
		c.failed(err)
	}
	c.endIfDrained()
}

// OnWritable implements conn.Handler.
func (c *http2Conn) OnWritable(*conn.Conn) { c.flush() }

// OnClose implements conn.Handler.
func (c *http2Conn) OnClose(cn *conn.Conn, err error) {
	if c.first != nil {
		c.countDestroyActive()
	}
	for s := c.first; s != nil; s = s.next {
		s.info.DownstreamClose = streaminfo.CloseTypeOf(err)
	}
	c.disconnected(!c.localClose)
	c.gone(cn, err)
	c.codec.Free()
}

// disconnected ends all streams because the connection is gone.
func (c *http2Conn) disconnected(byClient bool) {
	for s := c.first; s != nil; s = c.first {
		s.disconnected(byClient)
	}
}

// Drain implements listener.Drainer.
func (c *http2Conn) Drain() {
	if !c.draining {
		c.w.inc(cxDrainClose)
	}
	c.drain()
}

// drain asks the client for no more streams, in two steps as RFC 9113, section 6.8, has it: those
// that are on their way when the first GOAWAY arrives are served, until the last one.
func (c *http2Conn) drain() {
	if c.draining || c.closing {
		return
	}
	c.draining = true
	c.codec.Shutdown()
	if d := c.m.cfg.DrainTimeout; d > 0 {
		c.awayAt = c.w.loop.Now() + int64(d+jitter(d, c.m.cfg.DrainJitter, c.w.loop.Rand()))
		c.watch()
	} else {
		c.goAway()
	}
	c.flushLater()
}

func (c *http2Conn) goAway() {
	c.awayAt = 0
	c.away = true
	c.codec.GoAway(http2.NoError)
	c.flushLater()
}

// endIfDrained closes a connection that has served what it had promised to.
func (c *http2Conn) endIfDrained() {
	if c.away && !c.closing && c.codec.Streams() == 0 && !c.codec.Waiting() {
		c.close(conn.CloseAfterFlush)
	}
}

// finished is told by the stream that its response is the codec's matter now.
func (c *http2Conn) finished(s *stream) {
	now := c.w.loop.Now()
	h2 := s.h2
	if s.msg.Connect && s.info.Flags&(streaminfo.UpstreamConnectionFailure|streaminfo.UpstreamConnectionTermination) != 0 {
		h2.LateCode = http2.ConnectError // RFC 9113, 8.5
	}
	c.unlink(s)
	c.codec.Detach(h2, now)
	c.lastActive = now
	c.flushLater()
	c.watch()
}

// drop closes the record of a stream that the codec has ended.
func (c *http2Conn) drop(s *stream) {
	s.complete()
	c.unlink(s)
	c.lastActive = c.w.loop.Now()
	c.watch()
}

func (c *http2Conn) link(s *stream) {
	s.next, s.prev = c.first, nil
	if c.first != nil {
		c.first.prev = s
	}
	c.first = s
}

func (c *http2Conn) unlink(s *stream) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		c.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.next, s.prev, s.h2 = nil, nil, nil
}
