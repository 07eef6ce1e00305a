package conn

import (
	"syscall"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
)

// CloseMode is how Close ends a connection.
type CloseMode uint8

// Modes. OnClose comes in every mode, when the descriptor is closed.
const (
	// CloseNow closes at once; pending output is dropped.
	CloseNow CloseMode = iota
	// CloseAfterFlush writes what is pending, half-closes, and waits for the peer's end,
	// discarding what it sends, as long as SetDelayedClose says. So the peer can read all of an
	// answer that was given before its request had been read in full (RFC 9112, section 9.6).
	CloseAfterFlush
	// CloseFlushed writes what is pending and closes without waiting for the peer: for
	// connections whose input has been read in full.
	CloseFlushed
	// CloseReset closes at once with a RST, so that the peer sees a failure and not an end.
	CloseReset
)

// Close ends the connection. The handler hears nothing more but OnClose, with a nil error.
// A connection that is closing in order may be closed harder.
func (c *Conn) Close(mode CloseMode) {
	if c.state == closed || (c.state == lingering && (mode == CloseAfterFlush || mode == CloseFlushed)) {
		return
	}
	if mode == CloseReset && c.fd.Sys() >= 0 {
		_ = syscall.SetsockoptLinger(c.fd.Sys(), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	}
	if mode == CloseNow || mode == CloseReset || c.state != open || c.detached || c.broken != nil {
		c.fail(nil)
		return
	}
	c.state = lingering
	c.mode = mode
	c.handlerPaused()
	c.armLinger()
	c.endWrite = true // what is pending now is all
	if c.Pending() > 0 && !c.waitOut {
		c.write()
		if c.state == closed {
			return
		}
	}
	if c.Pending() == 0 {
		c.finishOutput()
	}
}

// handlerPaused makes the connection read again on its own account: to drop input.
func (c *Conn) handlerPaused() {
	c.paused, c.full = false, false
	c.loop.SetInterestNow(&c.fd, c.interest())
}

// SetDelayedClose sets how long a closing connection waits: for the peer to take some of the
// pending output, and then, in mode CloseAfterFlush, for the peer's end. The default is
// DelayedCloseTimeout. 0 waits for output as long as it takes, and not for the peer's end.
func (c *Conn) SetDelayedClose(d time.Duration) { c.patience = d }

// GaveUp reports whether the connection was closed because that time was over.
func (c *Conn) GaveUp() bool { return c.gaveUp }

// PeerLeft reports whether the peer was the one who ended a closing connection.
func (c *Conn) PeerLeft() bool { return c.peerLeft }

func (c *Conn) armLinger() {
	c.timer.Init(func() {
		c.gaveUp = true
		c.fail(nil)
	})
	c.waitOn()
}

// waitOn begins the patience anew.
func (c *Conn) waitOn() {
	if c.patience > 0 {
		c.loop.Arm(&c.timer, c.patience)
	}
}

// finishOutput ends our direction once everything is written.
func (c *Conn) finishOutput() {
	if !c.wroteEnd {
		c.shutdownWrite()
		return
	}
	c.afterLingerFlush()
}

// afterLingerFlush decides what a closing connection still waits for.
func (c *Conn) afterLingerFlush() {
	if c.mode == CloseFlushed || c.patience <= 0 || c.eof || c.rawEOF {
		c.fail(nil)
		return
	}
	c.waitOn()
}

// fail closes the descriptor now and calls OnClose at the end of this iteration. A nil err
// is our own close.
func (c *Conn) fail(err *Error) {
	if c.state == closed {
		return
	}
	wasConnecting := c.state <= handshaking
	c.state = closed
	if err != nil {
		c.err = err
	}
	c.loop.Disarm(&c.timer)
	if c.dial != nil && c.dial.race != nil {
		c.dial.race.end()
	}
	if c.tls != nil {
		c.tls.Abort()
	}
	if fd := c.fd.Sys(); fd >= 0 {
		if c.info.LocalAddr.IsValid() || wasConnecting || c.info.Path != "" {
			// Known, or never asked for.
		} else {
			c.info.LocalAddr = localAddr(fd)
		}
		c.loop.Forget(&c.fd)
		sysClose(fd)
	} else if c.detached {
		c.detached = false
		sysClose(c.detachedFD)
	}
	c.dropPipe()
	c.spliceDst = nil
	c.notify = true
	c.loop.Defer(&c.deferred)
}

// finish gives everything back and tells the handler.
func (c *Conn) finish() {
	h := c.handler
	h.OnClose(c, c.err)
	if c.owner != nil {
		c.owner.OnConnClosed(c)
	}
	c.in.Reset()
	c.out.Reset()
	if c.tls != nil {
		c.tls.Free()
	}
}

var _ eventloop.Runner = (*Conn)(nil)
