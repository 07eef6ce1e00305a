package conn

import (
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// attemptDelay is how long an attempt goes on alone: Envoy's, and what RFC 8305, section 5,
// allows.
const attemptDelay = 300 * time.Millisecond

// race connects to a peer with several addresses (Happy Eyeballs, RFC 8305): it begins with the
// first, goes on to the next when an attempt fails or takes longer than attemptDelay, and keeps
// the first that connects. The others are closed. It ends with the connection: TLS is done with
// the address that won.
type race struct {
	c        *Conn
	left     []xdsresource.Address
	attempts []*attempt
	running  int
	next     eventloop.Timer
	won      *attempt // connected at once, told later
	last     error    // of the attempt that failed last
	deferred eventloop.Deferred
}

type attempt struct {
	r    *race
	addr xdsresource.Address
	fd   eventloop.FD
	sys  int // the descriptor while it connects, else -1
}

// startRace begins, from within Dial.
func (c *Conn) startRace() {
	r := &race{c: c, left: c.dial.opts.Addresses}
	c.dial.race = r
	r.next.Init(r.start)
	r.deferred.Init(r)
	c.armConnect()
	r.start()
}

// RunDeferred implements eventloop.Runner: what was found out within Dial is told after it.
func (r *race) RunDeferred() {
	switch {
	case r.c.state != connecting:
	case r.won != nil:
		r.win(r.won)
	case r.running == 0 && len(r.left) == 0:
		r.c.fail(connectError(r.c.dial.op, r.last))
	}
}

// start begins attempts until there is one under way.
func (r *race) start() {
	for len(r.left) > 0 && r.won == nil {
		a := &attempt{r: r, addr: r.left[0], sys: -1}
		r.left = r.left[1:]
		fd, err := r.c.connectSocket(a.addr, r.c.dial.opts)
		if fd < 0 {
			r.last = err
			continue
		}
		if rerr := r.c.loop.Register(&a.fd, fd, eventloop.EventOut, a); rerr != nil {
			sysClose(fd)
			r.last = rerr
			continue
		}
		a.sys = fd
		r.c.info.Attempts++
		r.attempts = append(r.attempts, a)
		r.running++
		if err == nil {
			r.won = a
			break
		}
		if len(r.left) > 0 {
			r.c.loop.Arm(&r.next, attemptDelay)
		}
		return
	}
	r.c.loop.Defer(&r.deferred)
}

// OnEvent implements eventloop.Handler: the attempt has connected, or failed.
func (a *attempt) OnEvent(ev eventloop.Events) {
	r := a.r
	if ev&eventloop.EventStop != 0 {
		r.c.OnEvent(ev)
		return
	}
	if r.won != nil || a.sys < 0 {
		return
	}
	if e := socketError(a.sys); e != 0 {
		r.last = e
		a.close()
		r.c.loop.Disarm(&r.next)
		r.start()
		return
	}
	r.win(a)
}

func (a *attempt) close() {
	if a.sys < 0 {
		return
	}
	a.r.c.loop.Forget(&a.fd)
	sysClose(a.sys)
	a.sys = -1
	a.r.running--
}

// win hands the attempt's socket over to the connection.
func (r *race) win(a *attempt) {
	c, fd := r.c, a.sys
	c.loop.Unregister(&a.fd)
	a.sys = -1
	r.end()
	c.dial.race = nil
	if err := c.loop.RegisterTracked(&c.fd, fd, eventloop.EventIn, c); err != nil {
		sysClose(fd)
		c.fail(connectError(c.dial.op, err))
		return
	}
	c.connectsTo(a.addr)
	c.afterConnect()
}

// end closes the attempts that are left.
func (r *race) end() {
	r.left = nil
	r.c.loop.Disarm(&r.next)
	for _, a := range r.attempts {
		a.close()
	}
	r.attempts = nil
}
