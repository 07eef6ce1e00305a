package conn

import (
	"syscall"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
)

// One read for each readiness event. The size asked for grows while reads fill it and falls
// back when they do not, so that small messages use small hot blocks and bodies few calls. It
// does not grow beyond the buffer limit: what one read brings would be more than may wait.
const (
	minRead = 16 << 10
	maxRead = 256 << 10
)

// PauseRead stops reading: no OnData until ResumeRead. It costs no system call.
func (c *Conn) PauseRead() {
	if c.paused {
		return
	}
	c.paused = true
	c.updateInterest()
}

// ResumeRead goes on reading. If bytes (or the peer's end) wait in In they are delivered
// again at the end of this iteration of the loop.
func (c *Conn) ResumeRead() {
	if c.state >= lingering || (!c.paused && !c.full && c.in.Len() == 0 && !c.eof) {
		return
	}
	c.paused = false
	c.redeliver = true
	c.loop.Defer(&c.deferred)
}

// ReadPaused reports whether PauseRead is in force.
func (c *Conn) ReadPaused() bool { return c.paused }

// resume is the deferred part of ResumeRead.
func (c *Conn) resume() {
	if c.state != open || c.paused {
		return
	}
	c.full = false
	if c.in.Len() > 0 || c.eof {
		c.handler.OnData(c, c.eof)
		c.checkFull()
	}
	if c.state != open || c.paused || c.full || c.eof {
		return
	}
	if c.detached {
		c.reattach()
		return
	}
	if c.tls != nil {
		c.readTLS() // what was left encrypted, or inside crypto/tls

		if c.state != open {
			return
		}
	}
	c.updateInterest()
}

// checkFull stops reading when the handler leaves a whole limit unconsumed.
func (c *Conn) checkFull() {
	if c.state == open && c.in.Len() >= c.limit && !c.full {
		c.full = true
		c.updateInterest()
	}
}

// onReadable handles a read, error or hang-up event.
func (c *Conn) onReadable(ev eventloop.Events) {
	if c.state == lingering {
		c.discard()
		return
	}
	if c.paused || c.full || c.eof || c.rawEOF {
		c.onHangup(ev)
		return
	}
	if c.tls != nil {
		if _, ok := c.recv(&c.tls.In); ok {
			c.readTLS()
		}
		return
	}
	if c.canSplice() && c.splice() {
		return
	}
	if _, ok := c.recv(&c.in); !ok {
		return
	}
	c.deliver()
}

// deliver gives the handler what is in In.
func (c *Conn) deliver() {
	c.handler.OnData(c, c.eof)
	if c.in.Len() >= c.limit {
		c.checkFull()
	}
	c.checkBothEnded()
}

// recv does one read into buf (In, or the encrypted input of TLS). It returns false when
// there is nothing to deliver: nothing came, or the connection failed.
func (c *Conn) recv(buf readBuffer) (int, bool) {
	want := c.readSize
	if buf.Len() > 0 {
		want = min(want, minRead/4) // room behind a partial message is enough
	}
	p := buf.Reserve(want)
	if most := max(minRead, c.limit); len(p) > most {
		p = p[:most] // the block is larger
	}
	n, e := sysRecv(c.fd.Sys(), p)
	switch {
	case e == 0 && n > 0:
	case e == syscall.EAGAIN || e == syscall.EINTR:
		buf.Commit(0)
		c.notReadable(e)
		return 0, false
	case e != 0:
		buf.Commit(0)
		c.fail(&Error{Kind: PeerReset, Op: opRead, Err: e})
		return 0, false
	}
	buf.Commit(n)
	if n == 0 {
		if c.broken != nil {
			c.fail(c.broken)
			return 0, false
		}
		if c.tls != nil {
			c.rawEOF = true
		} else {
			c.eof = true
		}
		// An end stays to be read for ever: drop the interest at once.
		c.loop.SetInterestNow(&c.fd, c.interest())
		return 0, true
	}
	c.bytesIn += uint64(n)
	if n == len(p) {
		c.readSize = max(minRead, min(c.readSize*4, maxRead, c.limit))
		return n, true
	}
	c.loop.ShortRead(&c.fd)
	if n < c.readSize/8 && c.readSize > minRead {
		c.readSize /= 4
	}
	return n, true
}

// notReadable notes that the system had nothing to read. An interrupted call says nothing.
func (c *Conn) notReadable(e syscall.Errno) {
	if e == syscall.EAGAIN {
		c.loop.Exhausted(&c.fd, eventloop.EventIn)
	}
}

type readBuffer interface {
	Len() int
	Reserve(int) []byte
	Commit(int)
}

// readTLS decrypts what has arrived and delivers it, a buffer limit at a time: what is left
// encrypted raises no event, so it goes on until the input is used up or the handler pauses.
func (c *Conn) readTLS() {
	for {
		got, err := c.decrypt()
		if c.tls.PendingOut() > 0 {
			c.write() // an answer of the protocol itself: key update, alert
		}
		if err != nil {
			if got && c.state == open {
				c.handler.OnData(c, false)
			}
			c.fail(err)
			return
		}
		more := c.in.Len() >= c.limit
		if got && c.state == open {
			c.deliver()
		}
		if c.state != open || c.paused || c.full || c.eof || !more {
			return
		}
	}
}

// decrypt moves plaintext into In until the input is used up or the limit is reached. got:
// there is something to deliver. An error ends the connection.
func (c *Conn) decrypt() (got bool, err *Error) {
	for c.in.Len() < c.limit {
		want := minRead
		if c.in.Len() > 0 {
			want = minRead / 4
		}
		p := c.in.Reserve(want)
		m, err := c.tls.Read(p)
		c.in.Commit(m)
		got = got || m > 0
		switch {
		case err == nil:
			if m < len(p) && c.tls.In.Len() == 0 && !c.rawEOF {
				return got, nil // it would only ask for more
			}
		case err == transportsocket.ErrAgain:
			if c.rawEOF {
				// The socket ended without close_notify (RFC 8446, 6.1: this may be a
				// truncation attack). What came before is delivered, then it is an error.
				return got, &Error{Kind: PeerClosed, Op: opRead}
			}
			return got, nil
		case err == transportsocket.ErrEnded:
			c.eof = true
			c.loop.SetInterestNow(&c.fd, c.interest())
			return true, nil
		default:
			return got, &Error{Kind: TLS, Op: opRead, Err: err}
		}
	}
	return got, nil
}

// onHangup handles an error or hang-up event while nothing is read: an error ends the
// connection, a hang-up is left for later: the descriptor leaves epoll until reading goes on, and
// is reported as it is then.
func (c *Conn) onHangup(ev eventloop.Events) {
	if ev&(eventloop.EventErr|eventloop.EventHup) == 0 {
		return
	}
	if e := socketError(c.fd.Sys()); e != 0 {
		c.fail(&Error{Kind: PeerReset, Op: opRead, Err: e})
		return
	}
	if ev&eventloop.EventHup == 0 {
		return
	}
	if c.eof || c.rawEOF {
		// Both directions have ended, and the peer's end has been delivered.
		if c.endWrite && c.Pending() == 0 {
			c.fail(nil)
		} else {
			c.fail(&Error{Kind: PeerReset, Op: opWrite, Err: syscall.EPIPE})
		}
		return
	}
	fd := c.fd.Sys()
	c.loop.Unregister(&c.fd)
	c.detached = true
	c.detachedFD = fd
}

// reattach puts a hung-up descriptor back into epoll to read the rest.
func (c *Conn) reattach() {
	c.detached = false
	if err := c.loop.RegisterTracked(&c.fd, c.detachedFD, c.interest(), c); err != nil {
		_ = syscall.Close(c.detachedFD)
		c.fail(&Error{Kind: Local, Op: opRead, Err: err})
	}
}

// discard reads and drops, while lingering for the peer's end.
func (c *Conn) discard() {
	p := c.in.Reserve(minRead)
	n, e := sysRecv(c.fd.Sys(), p)
	c.in.Commit(0)
	if e == syscall.EAGAIN || e == syscall.EINTR {
		c.notReadable(e)
		return
	}
	if e != 0 || n == 0 {
		c.eof, c.rawEOF, c.peerLeft = true, true, true
		if e != 0 || c.wroteEnd {
			c.fail(nil)
			return
		}
		c.loop.SetInterestNow(&c.fd, c.interest())
	}
}

// checkBothEnded closes a connection whose two directions have ended in order.
func (c *Conn) checkBothEnded() {
	if c.state == open && c.eof && c.wroteEnd && !c.paused && c.in.Len() == 0 {
		c.fail(nil)
	}
}
