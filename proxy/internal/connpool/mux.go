package connpool

import (
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/http2/options"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// mux is what a connection of HTTP/2 has besides what every Client has: it carries many requests at a time. What they send
// in one iteration of the loop is written at its end, at once.
type mux struct {
	*Client
	codec    http2.Conn
	cfg      http2.Config
	deferred eventloop.Deferred
	timer    eventloop.Timer
	timerAt  int64
	goneAway bool // the host takes no more requests
	// codecStats are the cluster's, "cluster.<name>.http2.*".
	codecStats stats.Block
}

// outBudget is how much is put into the connection's output at a time. What does not fit there waits in the codec, where
// streams take turns.
const outBudget = 64 << 10

// upstreamWindow is the connection's window where nothing is configured. A few readers that are slow must not hold up the
// others, who share the connection with them.
const upstreamWindow = 24 << 20

// newMux makes a connection that is open one of HTTP/2.
func newMux(c *Client) *mux {
	p := c.pool
	cfg := p.local.Config()
	m := &mux{Client: c, cfg: options.Config(&cfg.HTTP.HTTP2)}
	if m.cfg.ConnWindow == 0 {
		m.cfg.ConnWindow = upstreamWindow
	}
	m.cfg.MaxHeaderBytes, m.cfg.MaxHeaders = int(cfg.HTTP.MaxResponseHeadersKB)<<10, int(cfg.HTTP.MaxResponseHeaders)
	m.codecStats = p.local.Block("http2", options.Stats)
	m.deferred.Init(m)
	m.timer.Init(m.onTimer)
	m.codec.Init(&m.cfg, (*muxEvents)(m), &p.streams, p.loop.Buffers(), p.loop.Now())
	m.codec.Tick(p.loop.Now(), p.loop.Rand())
	c.c.SetHandler(m)
	c.mux = m
	p.muxes = append(p.muxes, m)
	c.idleSince = p.loop.Now()
	m.watch()
	m.flushLater()
	return m
}

// takes reports whether the connection takes another request. An upgrade waits until it is known whether the host does that.
func (m *mux) takes(r *Request) bool {
	return !m.goneAway && !m.draining && !m.c.Closed() && m.codec.Capacity() > 0 && (!r.Upgrade || m.codec.Settled())
}

// OnConnected implements conn.ConnectHandler; it is told to the Client.
func (m *mux) OnConnected(*conn.Conn) {}

// OnData implements conn.Handler.
func (m *mux) OnData(cn *conn.Conn, eof bool) {
	if p := cn.In().Bytes(); len(p) > 0 && !cn.Closed() {
		if err := m.codec.Feed(p, m.pool.loop.Now()); err != nil {
			m.failed(err)
			return
		}
		m.flushLater()
	}
	cn.In().Reset()
	if eof && !cn.Closed() {
		m.remote = true
		m.close()
	}
}

// failed ends the connection because the host does not keep to the protocol.
func (m *mux) failed(err *http2.ConnError) {
	m.pool.local.Inc(cluster.CxProtocolError)
	m.leave()
	m.endStreams(ProtocolError, err)
	m.codec.Pull(m.c.Out(), outBudget)
	m.local = true
	m.c.Close(conn.CloseFlushed)
}

// endStreams ends the requests that are under way.
func (m *mux) endStreams(why Reason, err error) {
	counted := false
	m.codec.Each(func(s *http2.Stream) {
		if r, ok := s.User.(*Request); ok {
			if !counted { // once, and not for streams whose requests are over
				counted = true
				m.countActive()
			}
			m.release(r)
			if why == Termination { // as in Envoy, though they have waited for nothing
				m.pool.local.Inc(cluster.RqPendingFailureEject)
			}
			r.Handler.OnReset(r, why, err)
		}
	})
}

func (m *mux) flushLater() { m.pool.loop.Defer(&m.deferred) }

// RunDeferred implements eventloop.Runner.
func (m *mux) RunDeferred() { m.flush() }

// flush writes what the codec has, as long as the socket takes it; and looks whether there is room for requests that wait.
func (m *mux) flush() {
	for !m.c.Closed() {
		m.codec.Pull(m.c.Out(), outBudget)
		m.c.Flush()
		if m.c.Pending() > 0 {
			m.c.NotifyWritable()
			break
		}
		if !m.codec.Waiting() {
			break
		}
	}
	if m.c.Closed() {
		return
	}
	if err := m.codec.Failure(); err != nil {
		m.failed(err)
		return
	}
	m.pool.serve()
	if m.codec.Streams() == 0 && !m.c.Closed() {
		m.rest()
	}
}

// rest ends a connection that has served what it may, and lets the others wait for the idle time-out.
func (m *mux) rest() {
	if m.goneAway || m.draining || m.pool.closed {
		m.close()
		return
	}
	m.watch()
}

// OnWritable implements conn.Handler.
func (m *mux) OnWritable(*conn.Conn) { m.flush() }

// OnClose implements conn.Handler.
func (m *mux) OnClose(cn *conn.Conn, err error) {
	m.leave()
	m.remote = m.remote || !m.local
	m.pool.loop.Disarm(&m.timer)
	m.endStreams(Termination, err)
	m.codec.Free()
	if m.requests == 0 {
		// It was of no use: what waits for a host's settings must not dial again and again for a host that has none.
		m.pool.eject(ReasonConnectFailure, nil)
	}
	m.Client.OnClose(cn, err)
}

// leave takes the connection out of those that get requests.
func (m *mux) leave() {
	m.goneAway = true
	p := m.pool
	for i, x := range p.muxes {
		if x == m {
			p.muxes = append(p.muxes[:i], p.muxes[i+1:]...)
			return
		}
	}
}

// retire is leave for a connection that ends with its last request.
func (m *mux) retire() {
	m.leave()
	m.draining = true
	m.flushLater()
}

// due is the earliest time at which something of the connection is overdue.
func (m *mux) due() int64 {
	at := m.codec.Due()
	cfg := &m.pool.local.Config().HTTP
	until := func(from int64, d time.Duration) {
		if d > 0 && (at == 0 || from+int64(d) < at) {
			at = from + int64(d)
		}
	}
	if !m.draining {
		until(m.began, cfg.MaxConnectionDuration)
	}
	if m.codec.Streams() == 0 {
		until(m.idleSince, cfg.IdleTimeout)
	}
	return at
}

// watch makes sure that the timer fires no later than what is due. One that fires too early looks again.
func (m *mux) watch() {
	at := m.due()
	if at == 0 || m.timer.Armed() && m.timerAt <= at {
		return
	}
	m.timerAt = at
	m.pool.loop.Arm(&m.timer, time.Duration(at-m.pool.loop.Now()))
}

func (m *mux) onTimer() {
	if m.c.Closed() {
		return
	}
	now := m.pool.loop.Now()
	cfg := &m.pool.local.Config().HTTP
	past := func(from int64, d time.Duration) bool { return d > 0 && from+int64(d) <= now }
	switch {
	case m.codec.Tick(now, m.pool.loop.Rand()):
		m.close()
		return
	case m.codec.Streams() == 0 && past(m.idleSince, cfg.IdleTimeout):
		m.pool.local.Inc(cluster.CxIdleTimeout)
		m.close()
		return
	case !m.draining && past(m.began, cfg.MaxConnectionDuration):
		m.pool.local.Inc(cluster.CxMaxDurationReached)
		m.retire()
	}
	m.flushLater()
	m.watch()
}
