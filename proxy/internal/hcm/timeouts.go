package hcm

import (
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// never is a deadline that does not come.
const never = int64(1<<63 - 1)

// earliest is the least of some deadlines.
type earliest int64

// until adds a deadline, if there is one.
func (e *earliest) until(from int64, d time.Duration) {
	if d > 0 && from > 0 {
		*e = min(*e, earliest(from+int64(d)))
	}
}

func past(now, from int64, d time.Duration) bool { return d > 0 && from > 0 && from+int64(d) <= now }

// idle is how long a connection without streams may stay, longest how long any may: under overload less
// than configured.
func (m *Manager) idle() time.Duration {
	return m.deps.Overload.Scaled(xdsresource.ConnectionIdleTimer, m.cfg.IdleTimeout)
}

// The jitter is the connection's own for as long as it lasts, and takes no memory: it is made of its number.
func (c *connection) longest() time.Duration {
	cfg := c.m.cfg
	d := c.m.deps.Overload.Scaled(xdsresource.ConnectionMaxTimer, cfg.MaxConnectionDuration)
	if cfg.DurationJitter > 0 {
		d += jitter(d, cfg.DurationJitter, c.c.Info().ID*0x9e3779b97f4a7c15) // the golden ratio spreads numbers that follow each other
	}
	return d
}

// jitter is a random part of d, below most of it.
func jitter(d time.Duration, most float64, random uint64) time.Duration {
	if n := uint64(float64(d) * most); n > 0 {
		return time.Duration(random % n)
	}
	return 0
}

func (m *Manager) streamIdle(d time.Duration) time.Duration {
	return m.deps.Overload.Scaled(xdsresource.StreamIdleTimer, d)
}

// due adds the earliest time at which something of the stream is overdue.
func (s *stream) due(e *earliest) {
	cfg := s.w.m.cfg
	e.until(s.lastActive, s.w.m.streamIdle(s.idleTimeout))
	e.until(s.info.Start, s.maxDuration)
	e.until(s.lastEntry, cfg.LogInterval)
	if !s.requestDone {
		e.until(s.info.Start, cfg.RequestTimeout)
	}
}

// overdue does what a time-out of the stream that has passed asks for; false: none has.
func (s *stream) overdue(now int64) bool {
	cfg := s.w.m.cfg
	if past(now, s.lastEntry, cfg.LogInterval) {
		s.lastEntry = now
		s.log(format.DownstreamPeriodic)
	}
	switch {
	case past(now, s.info.Start, s.maxDuration):
		s.w.inc(rqMaxDuration)
		s.timeout(httpfilter.Reply{Code: s.timeoutCode(), Body: "downstream duration timeout", Details: "max_duration_timeout", GRPC: int(grpcstatus.DeadlineExceeded)})
	case !s.requestDone && past(now, s.info.Start, cfg.RequestTimeout):
		s.w.inc(rqTimeout)
		s.timeout(httpfilter.Reply{Code: 408, Body: "request timeout", Details: "request_overall_timeout"})
	case past(now, s.lastActive, s.w.m.streamIdle(s.idleTimeout)):
		s.w.inc(rqIdleTimeout)
		s.timeout(httpfilter.Reply{Code: s.timeoutCode(), Body: "stream timeout", Details: "stream_idle_timeout", Flags: streaminfo.StreamIdleTimeout})
	default:
		return false
	}
	return true
}

// due is the earliest time at which something of the connection or its stream is overdue.
func (c *http1Conn) due() int64 {
	cfg := c.m.cfg
	at := earliest(never)
	if !c.draining {
		at.until(c.began, c.longest())
	}
	switch {
	case c.stream != nil:
		c.stream.due(&at)
	case c.headStart != 0:
		at.until(c.headStart, cfg.RequestHeadersTimeout)
		at.until(c.headStart, c.m.streamIdle(cfg.StreamIdleTimeout))
		at.until(c.headStart, cfg.RequestTimeout)
		at.until(c.headStart, cfg.MaxStreamDuration)
		fallthrough
	default:
		at.until(c.lastActive, c.m.idle())
	}
	return int64(at)
}

func (c *http1Conn) watch() { c.armBefore(c.due()) }

// Rescale implements listener.Rescaler.
func (c *http1Conn) Rescale() { c.watch() }

func (c *http1Conn) onTimer() {
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
func (c *http1Conn) overdue(now int64) {
	cfg := c.m.cfg
	s := c.stream
	switch {
	case s != nil:
		if !s.overdue(now) && past(now, c.began, c.longest()) && !c.draining {
			c.w.inc(cxMaxDuration)
			c.draining = true
		}
	case c.headStart != 0 && past(now, c.headStart, cfg.RequestHeadersTimeout):
		c.w.inc(rqHeaderTimeout)
		c.refuseLate("request header timeout", "request_header_timeout", 0)
	case c.headStart != 0 && past(now, c.headStart, cfg.MaxStreamDuration):
		c.w.inc(rqMaxDuration)
		c.refuseLate("downstream duration timeout", "max_duration_timeout", 0)
	case c.headStart != 0 && past(now, c.headStart, cfg.RequestTimeout):
		c.w.inc(rqTimeout)
		c.refuseLate("request timeout", "request_overall_timeout", 0)
	case c.headStart != 0 && past(now, c.headStart, c.m.streamIdle(cfg.StreamIdleTimeout)):
		c.w.inc(rqIdleTimeout)
		c.refuseLate("stream timeout", "stream_idle_timeout", streaminfo.StreamIdleTimeout)
	case past(now, c.began, c.longest()) && !c.draining:
		c.w.inc(cxMaxDuration)
		if cfg.EndWithRequest {
			c.draining = true
			return
		}
		c.close(conn.CloseAfterFlush)
	case past(now, c.lastActive, c.m.idle()):
		c.w.inc(cxIdleTimeout)
		c.close(conn.CloseAfterFlush)
	}
}

// timeoutCode is 504 when the response is late, 408 when the request is.
func (s *stream) timeoutCode() int {
	if s.requestDone {
		return 504
	}
	return 408
}

// timeout answers a request that took too long.
func (s *stream) timeout(r httpfilter.Reply) {
	if s.started || s.over {
		s.ResetResponse(r.Details, r.Flags)
		return
	}
	if !s.requestDone { // else the next request may follow
		s.keepAlive = false
	}
	s.Reply(r)
}
