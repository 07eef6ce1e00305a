package hcm

import (
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
)

// due is the earliest time at which something of the connection is overdue, besides its streams.
func (c *http2Conn) due() earliest {
	cfg := c.m.cfg
	at := earliest(never)
	if !c.draining {
		at.until(c.began, c.longest())
		if c.first == nil {
			at.until(c.lastActive, c.m.idle())
		}
	}
	for _, t := range [...]int64{c.awayAt, c.codec.Due()} {
		if t != 0 {
			at = min(at, earliest(t))
		}
	}
	at.until(c.codec.HeadSince(), cfg.RequestHeadersTimeout)
	return at
}

// watch makes sure that the timer fires no later than that.
func (c *http2Conn) watch() { c.armBefore(int64(c.due())) }

// watchStream is watch for a stream that has just begun, or changed its time-outs.
func (c *http2Conn) watchStream(s *stream) {
	at := earliest(never)
	s.due(&at)
	c.armBefore(int64(at))
}

// watchAll is watch for the connection and all of its streams.
func (c *http2Conn) watchAll() {
	at := c.due()
	for s := c.first; s != nil; s = s.next {
		s.due(&at)
	}
	c.armBefore(int64(at))
}

// Rescale implements listener.Rescaler.
func (c *http2Conn) Rescale() { c.watchAll() }

func (c *http2Conn) onTimer() {
	if c.c.Closed() {
		return
	}
	c.overdue(c.w.loop.Now())
	if !c.closing {
		c.watchAll()
	}
	c.flushLater()
}

// overdue does what the time-outs that have passed ask for.
func (c *http2Conn) overdue(now int64) {
	cfg := c.m.cfg
	for s := c.first; s != nil; {
		next := s.next
		s.overdue(now)
		s = next
	}
	if c.codec.Tick(now, c.w.loop.Rand()) {
		c.disconnected(false)
		c.close(conn.CloseNow)
		return
	}
	switch {
	case past(now, c.codec.HeadSince(), cfg.RequestHeadersTimeout):
		c.w.inc(rqHeaderTimeout)
		c.disconnected(false)
		c.close(conn.CloseAfterFlush)
	case c.awayAt != 0 && c.awayAt <= now:
		c.goAway()
	case c.draining:
	case past(now, c.began, c.longest()):
		c.w.inc(cxMaxDuration)
		c.drain()
	case c.first == nil && past(now, c.lastActive, c.m.idle()):
		c.w.inc(cxIdleTimeout)
		c.drain()
	}
}
