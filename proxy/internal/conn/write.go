package conn

import (
	"syscall"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
)

// maxEncrypt is how much plaintext is encrypted before the socket is asked whether it takes
// the result, so that a slow reader does not make encrypted bytes pile up.
const maxEncrypt = 64 << 10

// Flush writes what is in Out, with one system call. What the socket does not take waits for
// it to become writable. Before the connection is open, the flush happens when it is.
func (c *Conn) Flush() {
	if c.state != open || c.waitOut || c.out.Len() == 0 {
		return
	}
	if c.broken != nil {
		c.out.Reset()
		return
	}
	c.write()
}

// FlushLater flushes at the end of this iteration of the loop, once however often it is
// called. It is the way to send a message: the system calls of one iteration follow each other, so the kernel's code
// stays in the caches, and a peer that wakes for the first finds the others as well and is not woken for each (a tenth of
// the CPU time of a request, at 64 connections). Flush is for bulk, which should not wait in memory.
func (c *Conn) FlushLater() {
	if c.flush || c.state >= lingering {
		return
	}
	c.flush = true
	c.loop.Defer(&c.deferred)
}

// Write sends p, after what is in Out. When the socket takes all of it at once nothing is
// copied; the rest is kept in Out. For bodies; small pieces belong into Out.
func (c *Conn) Write(p []byte) {
	if c.state != open || c.waitOut || c.tls != nil || c.broken != nil {
		if c.state <= open {
			c.out.Append(p)
			c.Flush()
		}
		return
	}
	var n int
	var e syscall.Errno
	if head := c.out.Bytes(); len(head) > 0 {
		n, e = sysWritev(c.fd.Sys(), head, p)
	} else {
		n, e = sysSend(c.fd.Sys(), p)
	}
	if e != 0 && !temporary(e) {
		c.failWrite(e)
		return
	}
	c.bytesOut += uint64(n)
	head := min(n, c.out.Len())
	c.out.Drain(head)
	if rest := p[n-head:]; len(rest) > 0 {
		c.out.Append(rest)
	}
	c.afterWrite()
}

// write pushes pending output into the socket until it is empty or full.
func (c *Conn) write() {
	if c.tls != nil {
		c.writeTLS()
		return
	}
	if c.pipe != nil && !c.writePipe() {
		return
	}
	if c.out.Len() > 0 {
		n, e := sysSend(c.fd.Sys(), c.out.Bytes())
		if e != 0 && !temporary(e) {
			c.failWrite(e)
			return
		}
		c.bytesOut += uint64(n)
		c.out.Drain(n)
	}
	c.afterWrite()
}

// writeTLS encrypts only while the socket keeps up.
func (c *Conn) writeTLS() {
	for {
		e := c.tls.FlushOut()
		if e != 0 && !temporary(e) {
			c.failWrite(e)
			return
		}
		if c.tls.PendingOut() > 0 || c.out.Len() == 0 {
			break
		}
		p := c.out.Bytes()
		p = p[:min(len(p), maxEncrypt)]
		err := c.tls.Write(p)
		if e := c.tls.WriteError(); e != 0 {
			c.failWrite(e)
			return
		}
		if err != nil {
			c.fail(&Error{Kind: TLS, Op: opWrite, Err: err})
			return
		}
		c.out.Drain(len(p))
	}
	c.afterWrite()
}

// afterWrite asks for, or drops, the interest in writability, and does what waited for the
// output to be gone.
func (c *Conn) afterWrite() {
	left := c.Pending()
	if left > 0 {
		c.loop.Exhausted(&c.fd, eventloop.EventOut) // the system took less than it was given
	}
	if wait := left > 0; wait != c.waitOut {
		c.waitOut = wait
		c.loop.SetInterestNow(&c.fd, c.interest())
	}
	if c.state == lingering && left > 0 {
		c.waitOn() // counts from the last progress
	}
	if left > c.limit {
		c.above = true
	} else if c.above && left <= c.limit/2 {
		c.above = false
		c.writable = true
		c.loop.Defer(&c.deferred)
	}
	if left > 0 {
		return
	}
	if c.endWrite && !c.wroteEnd {
		c.shutdownWrite()
	}
}

// CloseWrite ends our direction after what is in Out: the peer reads an end, and may go on
// sending. Under TLS close_notify goes first.
func (c *Conn) CloseWrite() {
	if c.endWrite || c.state >= lingering {
		return
	}
	c.endWrite = true
	if c.state == open && !c.waitOut && c.broken == nil {
		c.write()
	}
}

func (c *Conn) shutdownWrite() {
	if c.tls != nil && !c.tls.Ended() {
		if err := c.tls.CloseWrite(); err == nil {
			_ = c.tls.FlushOut()
			if c.tls.PendingOut() > 0 {
				c.waitOut = true
				c.loop.Exhausted(&c.fd, eventloop.EventOut)
				c.loop.SetInterestNow(&c.fd, c.interest())
				return
			}
		}
	}
	c.wroteEnd = true
	_ = syscall.Shutdown(c.fd.Sys(), syscall.SHUT_WR)
	switch {
	case c.state == lingering:
		c.afterLingerFlush()
	case c.eof && !c.paused && c.in.Len() == 0:
		c.fail(nil)
	}
}

func (c *Conn) failWrite(e syscall.Errno) {
	if c.state == lingering {
		c.fail(nil) // we are done with it anyway
		return
	}
	err := &Error{Kind: PeerReset, Op: opWrite, Err: e}
	c.out.Reset()
	c.dropPipe()
	if c.paused || c.full || c.eof || c.rawEOF {
		c.fail(err)
		return
	}
	// The reset may have come behind data that is still to be read: an early answer, for
	// instance. The read that follows ends the connection.
	c.broken = err
	c.waitOut = false
}

func temporary(e syscall.Errno) bool { return e == syscall.EAGAIN || e == syscall.EINTR }
