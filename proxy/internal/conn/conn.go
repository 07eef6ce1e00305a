package conn

import (
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
)

// DefaultBufferLimit is Envoy's per_connection_buffer_limit_bytes default, 1 MiB.
const DefaultBufferLimit = 1 << 20

// DelayedCloseTimeout is the patience of a closing connection where SetDelayedClose has not set
// another: Envoy's default of delayed_close_timeout.
const DelayedCloseTimeout = time.Second

// DefaultHandshakeTimeout bounds a TLS handshake where nothing else is configured, so that
// silent peers cannot pile up.
const DefaultHandshakeTimeout = 15 * time.Second

// Handler is told what happens on a connection. It is called on the loop.
type Handler interface {
	// OnData: new bytes are at the end of c.In(). The handler drains what it consumes and
	// leaves the rest. eof: the peer has half-closed; nothing follows. Once the peer has,
	// every further OnData (after ResumeRead) has eof true. A handler that leaves as much as
	// the buffer limit in In stops reading until it calls ResumeRead.
	OnData(c *Conn, eof bool)
	// OnWritable: the pending output fell to the low watermark (half of the limit) or below
	// after it had been found above the high one.
	OnWritable(c *Conn)
	// OnClose comes exactly once. err is nil after our own Close and when both sides have
	// ended in order; else it is a *Error.
	OnClose(c *Conn, err error)
}

// ConnectHandler is implemented by handlers of dialled connections, and of accepted ones that
// do TLS: OnConnected comes when data can flow.
type ConnectHandler interface {
	OnConnected(c *Conn)
}

// Owner is told when a connection is gone, after its handler: for what accepted it or keeps
// it in a pool and must count it whoever handles it.
type Owner interface {
	OnConnClosed(c *Conn)
}

type state uint8

const (
	connecting  state = iota
	handshaking       // TLS
	open
	lingering // our side is done and flushing or waiting for the peer's end
	closed
)

// Conn is a connection. Everything is owned by the loop.
type Conn struct {
	loop    *eventloop.Loop
	handler Handler
	owner   Owner // may be nil
	fd      eventloop.FD
	tls     *transportsocket.Session // nil: raw
	dial    *dialState               // only while connecting

	in, out  iobuf.Buffer
	deferred eventloop.Deferred
	timer    eventloop.Timer // connect, handshake or delayed close

	state     state
	mode      CloseMode
	paused    bool // PauseRead
	full      bool // In reached the limit
	eof       bool // the peer's end was read
	rawEOF    bool // TLS: the socket ended
	detached  bool // taken out of epoll because the peer hung up while we do not read
	above     bool // pending output was found above the high watermark
	endWrite  bool // CloseWrite was called
	wroteEnd  bool // and the socket is shut down for writing
	waitOut   bool // the socket is full: EventOut is asked for
	redeliver bool // deferred: ResumeRead
	flush     bool // deferred: FlushLater
	writable  bool // deferred: OnWritable
	connected bool // deferred: OnConnected of a connection that connected at once
	gaveUp    bool // the patience of closing has ended
	peerLeft  bool // the peer ended while closing waited
	notify    bool // deferred: OnClose

	limit    int           // high watermark in bytes; the low one is half
	patience time.Duration // of a closing connection; see SetDelayedClose
	readSize int
	err      error  // for OnClose
	broken   *Error // writing failed; what is left to read ends the connection
	info     Info

	detachedFD int

	spliceDst *Conn // bulk input goes there by way of the kernel
	pipe      *pipe // output on its way inside the kernel, before Out; nil: none

	bytesIn, bytesOut uint64
}

// Loop is the worker that the connection lives on.
func (c *Conn) Loop() *eventloop.Loop { return c.loop }

// SetHandler replaces the handler, for instance when a connection leaves or enters a pool.
func (c *Conn) SetHandler(h Handler) { c.handler = h }

// SetOwner sets who is told last when the connection is gone.
func (c *Conn) SetOwner(o Owner) { c.owner = o }

// Owner returns who is told last; nil for nobody.
func (c *Conn) Owner() Owner { return c.owner }

// Handler returns the current handler.
func (c *Conn) Handler() Handler { return c.handler }

// In holds what was read and not yet consumed.
func (c *Conn) In() *iobuf.Buffer { return &c.in }

// Out holds what is to be written. Append, then Flush or FlushLater.
func (c *Conn) Out() *iobuf.Buffer { return &c.out }

// Info describes the ends. LocalAddr of a dialled connection is looked up at the first call.
func (c *Conn) Info() *Info {
	if !c.info.LocalAddr.IsValid() && c.info.Path == "" && c.fd.Sys() >= 0 && c.state != connecting {
		c.info.LocalAddr = localAddr(c.fd.Sys())
	}
	return &c.info
}

// Open reports whether data can be written: connected, handshake done, not closed.
func (c *Conn) Open() bool { return c.state == open }

// Closed reports whether Close was called or the connection failed.
func (c *Conn) Closed() bool { return c.state >= lingering }

// PeerEnded reports whether the peer has half-closed.
func (c *Conn) PeerEnded() bool { return c.eof }

// Bytes returns how many bytes were read from and written to the socket, TLS overhead
// included.
func (c *Conn) Bytes() (in, out uint64) {
	out = c.bytesOut
	if c.tls != nil {
		out += c.tls.Written()
	}
	return c.bytesIn, out
}

// Pending is the number of bytes that are appended to Out and not yet given to the system.
func (c *Conn) Pending() int {
	n := c.out.Len()
	if c.pipe != nil {
		n += c.pipe.n
	}
	if c.tls != nil {
		n += c.tls.PendingOut()
	}
	return n
}

// AboveHighWatermark reports whether more is pending than the buffer limit. When it has
// returned true, OnWritable follows as soon as half the limit is reached.
func (c *Conn) AboveHighWatermark() bool {
	if !c.above && c.Pending() > c.limit {
		c.above = true
	}
	return c.above
}

// NotifyWritable has OnWritable follow once half the limit or less is pending and the socket has
// taken some, though more than the limit never was: for those that keep output of their own.
func (c *Conn) NotifyWritable() { c.above = true }

// BufferLimit is the high watermark in bytes.
func (c *Conn) BufferLimit() int { return c.limit }

// SetBufferLimit changes the high watermark; 0 means DefaultBufferLimit.
func (c *Conn) SetBufferLimit(n int) {
	if n <= 0 {
		n = DefaultBufferLimit
	}
	c.limit = n
}

func newConn(l *eventloop.Loop, limit int, h Handler) *Conn {
	c := &Conn{loop: l, handler: h, readSize: minRead, patience: DelayedCloseTimeout}
	c.SetBufferLimit(limit)
	c.in.Init(l.Buffers())
	c.out.Init(l.Buffers())
	c.deferred.Init(c)
	c.info.conn = c
	c.info.Created = l.Now()
	return c
}

// interest is what the connection wants to hear of in its current state.
func (c *Conn) interest() eventloop.Events {
	switch {
	case c.state == connecting && !c.connected:
		return eventloop.EventOut
	case c.state == handshaking:
		return c.handshakeInterest()
	}
	var ev eventloop.Events
	if !c.paused && !c.full && !c.eof && !c.rawEOF {
		ev |= eventloop.EventIn
	}
	if c.waitOut {
		ev |= eventloop.EventOut
	}
	return ev
}

func (c *Conn) updateInterest() { c.loop.SetInterest(&c.fd, c.interest()) }

// OnEvent implements eventloop.Handler.
func (c *Conn) OnEvent(ev eventloop.Events) {
	if ev&eventloop.EventStop != 0 {
		c.fail(&Error{Kind: Stopped, Op: "run"})
		return
	}
	switch c.state {
	case connecting:
		c.onConnectEvent()
		return
	case handshaking:
		c.onHandshakeEvent(ev)
		return
	case closed:
		return
	}
	if ev&eventloop.EventOut != 0 && c.waitOut {
		c.write()
	}
	if ev&(eventloop.EventIn|eventloop.EventErr|eventloop.EventHup) != 0 {
		c.onReadable(ev)
	}
}

// RunDeferred implements eventloop.Runner: what must not happen inside the call that
// caused it.
func (c *Conn) RunDeferred() {
	if c.notify {
		c.notify = false
		c.finish()
		return
	}
	if c.connected {
		c.connected = false
		c.afterConnect()
	}
	if c.flush {
		c.flush = false
		c.Flush()
	}
	if c.writable {
		c.writable = false
		if c.state == open && !c.above {
			c.handler.OnWritable(c)
		}
	}
	if c.redeliver {
		c.redeliver = false
		c.resume()
	}
}
