package conn

import (
	"syscall"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
)

// Splicing moves the bytes of a bulk transfer from socket to socket inside the kernel, by way
// of a pipe. The pipe counts as output of the destination, in front of Out, and is held only
// while something is in it; so a small message, or a slow destination, takes the ordinary way,
// and the order of bytes never depends on which way they took.

// SpliceHandler is a handler whose connection splices.
type SpliceHandler interface {
	// OnSpliced: n bytes have gone to the destination, or into its pending output.
	OnSpliced(c *Conn, n int)
}

const (
	spliceFlags = 1 | 2 // SPLICE_F_MOVE | SPLICE_F_NONBLOCK
	setPipeSize = 1031  // F_SETPIPE_SZ
	pipeSize    = 256 << 10
	maxPipes    = 16 // idle ones of a worker
	// minSplice is the least that one splice must bring to go on splicing: below that two
	// more system calls cost more than the copying.
	minSplice = 16 << 10
)

// pipe is bytes on their way inside the kernel.
type pipe struct {
	r, w int
	n    int
}

type pipesKey struct{}

// pipes is a worker's idle, empty pipes.
type pipes struct{ idle []*pipe }

func pipesOf(l *eventloop.Loop) *pipes {
	if p, ok := l.Attached(pipesKey{}).(*pipes); ok {
		return p
	}
	p := &pipes{}
	l.Attach(pipesKey{}, p)
	l.AtEnd(func() {
		for _, x := range p.idle {
			x.close()
		}
	})
	return p
}

// get returns nil when the process has no descriptors left; bytes then go the ordinary way.
func (p *pipes) get() *pipe {
	if n := len(p.idle); n > 0 {
		x := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return x
	}
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_NONBLOCK|syscall.O_CLOEXEC); err != nil {
		return nil
	}
	// Larger saves calls; the system may refuse it.
	_, _, _ = syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fds[1]), setPipeSize, pipeSize)
	return &pipe{r: fds[0], w: fds[1]}
}

func (p *pipes) put(x *pipe) {
	if x.n > 0 || len(p.idle) >= maxPipes {
		x.close()
		return
	}
	p.idle = append(p.idle, x)
}

func (x *pipe) close() {
	sysClose(x.r)
	sysClose(x.w)
}

// SpliceTo makes bulk data that arrives go straight to dst, when both are raw. The handler,
// which must be a SpliceHandler, still gets by OnData what arrives in small pieces or while
// dst is behind, and the end. A nil dst stops it.
func (c *Conn) SpliceTo(dst *Conn) {
	if dst != nil && (c.tls != nil || dst.tls != nil) {
		return
	}
	c.spliceDst = dst
}

// canSplice reports whether the next read should be a splice: the last ones were large, and
// nothing is in the way.
func (c *Conn) canSplice() bool {
	d := c.spliceDst
	return d != nil && c.readSize > minRead && c.in.Len() == 0 && d.state == open && d.broken == nil && d.Pending() == 0
}

// splice does one round; false when the ordinary way is to be taken.
func (c *Conn) splice() bool {
	d := c.spliceDst
	all := pipesOf(c.loop)
	p := all.get()
	if p == nil {
		return false
	}
	n, e := sysSplice(c.fd.Sys(), p.w, min(pipeSize, d.limit))
	if e != 0 || n == 0 {
		all.put(p)
		if e == syscall.EAGAIN || e == syscall.EINTR {
			c.notReadable(e)
			return true
		}
		c.readSize = minRead
		return false // recv says what it is: the end, an error, or a socket that cannot splice
	}
	if n < minSplice {
		c.readSize = minRead
	}
	p.n = n
	c.bytesIn += uint64(n)
	d.pipe = p
	d.write()
	c.handler.(SpliceHandler).OnSpliced(c, n)
	return true
}

// writePipe moves what is in the pipe to the socket; false when the socket is full or broken.
func (c *Conn) writePipe() bool {
	p := c.pipe
	for p.n > 0 {
		m, e := sysSplice(p.r, c.fd.Sys(), p.n)
		if e != 0 && !temporary(e) {
			c.failWrite(e)
			return false
		}
		if m == 0 {
			c.afterWrite()
			return false
		}
		p.n -= m
		c.bytesOut += uint64(m)
	}
	c.dropPipe()
	return true
}

// dropPipe gives the pipe back, with what is in it.
func (c *Conn) dropPipe() {
	if c.pipe != nil {
		pipesOf(c.loop).put(c.pipe)
		c.pipe = nil
	}
}

func sysSplice(from, to, n int) (int, syscall.Errno) {
	r, _, e := syscall.RawSyscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), spliceFlags)
	if e != 0 {
		return 0, e
	}
	return int(r), 0
}
