package hcm

import (
	"errors"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// connection is what a downstream connection is in either version of HTTP. http1Conn and
// http2Conn embed it. While it is idle, they are all the memory that HTTP holds for it.
type connection struct {
	w *worker
	m *Manager
	c *conn.Conn

	timer      eventloop.Timer // one for all time-outs of connection and streams; see due
	timerAt    int64           // when it fires
	began      int64
	lastActive int64 // end of the last request
	requests   uint32
	draining   bool // no request is to follow those that have come
	closing    bool // no further request is read
	localClose bool
	version    int    // the gauge of its version of HTTP; 0: the client has not spoken
	xfcc       []byte // our element for x-forwarded-client-cert, made once
}

// opened counts a connection.
func (c *connection) opened() {
	w := c.w
	w.inc(cxTotal)
	w.gauge(cxActive, 1)
	if c.c.Info().TLS != nil {
		w.inc(cxSSLTotal)
		w.gauge(cxSSLActive, 1)
	}
}

// speaks counts a connection by its version, once that is known.
func (c *connection) speaks(total, active int) {
	c.version = active
	c.w.inc(total)
	c.w.gauge(active, 1)
}

// close ends the connection from our side.
func (c *connection) close(mode conn.CloseMode) {
	c.closing = true
	c.localClose = true
	c.c.Close(mode)
}

// gone counts the end.
func (c *connection) gone(cn *conn.Conn, err error) {
	c.closing = true
	w := c.w
	w.loop.Disarm(&c.timer)
	w.inc(cxDestroy)
	if c.localClose && !cn.PeerLeft() {
		w.inc(cxDestroyLocal)
	} else {
		w.inc(cxDestroyRemote)
	}
	w.gauge(cxActive, -1)
	if cn.GaveUp() {
		w.inc(cxDelayedClose)
	}
	if c.version != 0 {
		w.gauge(c.version, -1)
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

// out is where responses are written.
func (c *connection) out() *iobuf.Buffer { return c.c.Out() }

// armBefore makes sure that the timer fires no later than at. A timer that fires too early
// looks again: so a request that ends in time touches no timer at all.
func (c *connection) armBefore(at int64) {
	if at == never || c.timer.Armed() && c.timerAt <= at {
		return
	}
	c.timerAt = at
	c.w.loop.Arm(&c.timer, time.Duration(at-c.w.loop.Now()))
}
