package listener

import (
	"encoding/binary"
	"math"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/overload"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// maxAccepts is how many connections one readiness event accepts by default, so that a burst
// of new ones does not hold up those that are there.
const maxAccepts = 16

// outOfFiles is how long a socket rests when the process has no descriptors left.
const outOfFiles = time.Second

// worker is a listener on one loop.
type worker struct {
	l    *Listener
	loop *eventloop.Loop
	list served // ring of connections
	seq  uint64
	// discourage: every connection is asked to end when it is given to its handler.
	discourage bool
	// closed: the listener is; what another worker still hands over is not served.
	closed bool
	// active counts the connections, for the other workers to read (exact balance); only kept
	// up where that is asked for.
	active atomic.Int64
	tls    *transportsocket.Stats
	own    stats.Block
}

// listen begins to accept; on the loop.
func (w *worker) listen(socks []*socket) {
	for _, s := range socks {
		if err := w.loop.Register(&s.fd, s.sys, eventloop.EventIn, s); err != nil {
			_ = syscall.Close(s.sys)
			w.l.log.Error("listener cannot accept", "listener", w.l.Config().Name, "error", err)
		}
	}
}

func (s *socket) close() {
	if s.fd.Sys() < 0 {
		return
	}
	s.w.loop.Disarm(&s.again)
	s.w.loop.Unregister(&s.fd) // the other workers' copies of a Unix socket keep it alive
	_ = syscall.Close(s.sys)
}

// OnEvent implements eventloop.Handler.
func (s *socket) OnEvent(ev eventloop.Events) {
	if ev&eventloop.EventStop != 0 {
		s.close()
		return
	}
	opts := &s.w.l.config.Load().res.Socket
	n := maxAccepts
	if opts.MaxAccepts > 0 {
		n = int(min(opts.MaxAccepts, 1<<20))
	}
	accepted := uint64(0)
	defer func() { s.w.record(acceptedPerEvent, accepted) }()
	for range n {
		var sa syscall.RawSockaddrAny
		n := uint32(syscall.SizeofSockaddrAny)
		r, _, e := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(s.sys), uintptr(unsafe.Pointer(&sa)),
			uintptr(unsafe.Pointer(&n)), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
		switch e {
		case 0:
			accepted++
			s.place(int(r), peer(&sa), opts.ExactBalance)
		case syscall.EAGAIN:
			return
		case syscall.ECONNABORTED, syscall.EINTR, syscall.EPROTO, syscall.ENETDOWN, syscall.EHOSTUNREACH, syscall.ENETUNREACH:
			// The connection died in the queue (accept(2): treat like EAGAIN).
		default:
			s.rest(e)
			return
		}
	}
}

// rest stops accepting for a while: the queue stays full, so the event would come at once.
func (s *socket) rest(e syscall.Errno) {
	s.w.l.log.Error("accept failed, trying again in a second; raise the limit on open files if that is what is missing",
		"listener", s.w.l.Config().Name, "error", e)
	s.w.loop.SetInterestNow(&s.fd, 0)
	s.again.Init(func() { s.w.loop.SetInterestNow(&s.fd, eventloop.EventIn) })
	s.w.loop.Arm(&s.again, outOfFiles)
}

func peer(sa *syscall.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case syscall.AF_INET:
		a := (*syscall.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), ntohs(a.Port))
	case syscall.AF_INET6:
		a := (*syscall.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), ntohs(a.Port))
	}
	return netip.AddrPort{}
}

// ntohs reads a port that is stored in network order.
func ntohs(p uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&p))[:])
}

// place gives a new connection to a worker: this one, or with exact balance the one that has the
// fewest.
func (s *socket) place(fd int, remote netip.AddrPort, balance bool) {
	w := s.w
	if balance {
		for _, other := range s.w.l.workers {
			if other.active.Load() < w.active.Load() {
				w = other
			}
		}
		// Counted here, not when it arrives: the next one must see it.
		w.active.Add(1)
	}
	local, path := s.local, s.path
	if w == s.w {
		w.accepted(fd, remote, local, path, balance)
		return
	}
	if !w.loop.Post(func() { w.accepted(fd, remote, local, path, balance) }) {
		_ = syscall.Close(fd)
	}
}

// admit decides whether a connection may be served, and counts it against the process's limit.
func (w *worker) admit(cfg *xdsresource.Listener) (counted, ok bool) {
	o := w.l.o.Overload
	switch {
	case o == nil:
		return false, true
	case !cfg.BypassOverload && (o.Sheds(overload.RejectConnections, w.loop.Rand()) || o.ShedsAt(overload.ShedAccept, w.loop.Rand(), w.shard())):
		w.inc(overloadReject)
		return false, false
	case cfg.IgnoreConnLimit:
		return false, true
	case !o.Connected():
		w.inc(globalCxOverflow)
		return false, false
	}
	return true, true
}

// enter counts a connection that is about to be served, false when the listener that accepted it has as many as it may: then
// nothing is counted. Who serves it after a hand-over by its original destination counts it, whatever its own limit is, as
// in Envoy.
func (w *worker) enter(accepting *Listener, limit *runtimekey.Key) bool {
	n := accepting.serving.Add(1)
	if most := limit.Uint(math.MaxInt64); uint64(n) > most {
		accepting.serving.Add(-1)
		return false
	}
	if w.l != accepting {
		accepting.serving.Add(-1)
		w.l.serving.Add(1)
	}
	return true
}

// accepted makes a connection of a descriptor and begins to serve it.
func (w *worker) accepted(fd int, remote, local netip.AddrPort, path string, balanced bool) {
	placed := w
	res := w.l.config.Load().res
	var dst netip.AddrPort
	if res.OriginalDst || res.UseOriginalDst {
		dst = originalDst(fd, remote, local)
	}
	if res.UseOriginalDst && dst.IsValid() && w.l.o.Original != nil {
		// The listener of the original destination serves it, and counts it.
		if other := w.l.o.Original(dst); other != nil {
			w = other.workers[w.loop.ID()]
		}
	}
	cfg := w.l.config.Load()
	counted, ok := false, false
	if !w.closed {
		counted, ok = w.admit(cfg.res)
	}
	if ok && !w.enter(placed.l, res.ConnectionLimit) {
		placed.inc(cxOverflow)
		if counted {
			w.l.o.Overload.Disconnected()
		}
		ok = false
	}
	if !ok {
		if balanced {
			placed.active.Add(-1)
		}
		_ = syscall.Close(fd)
		return
	}
	sv := &served{w: w, counted: counted}
	if balanced {
		sv.placed = placed
	}
	c, err := conn.Accept(w.loop, fd, conn.AcceptOptions{
		LocalAddr: local, RemoteAddr: remote, Path: path, BufferLimit: int(cfg.res.BufferLimit),
	}, sv)
	if err != nil {
		if balanced {
			placed.active.Add(-1)
		}
		if counted {
			w.l.o.Overload.Disconnected()
		}
		w.l.serving.Add(-1)
		w.l.log.Error("accepted connection dropped", "listener", cfg.res.Name, "error", err)
		return
	}
	sv.c = c
	sv.start = w.loop.Now()
	w.seq++
	c.Info().ID = uint64(w.loop.ID()) + w.seq*uint64(len(w.l.workers))
	c.SetOwner(sv)
	w.add(sv)
	w.opened()
	if dst.IsValid() && dst != c.Info().LocalAddr {
		c.Info().OriginalDst = dst
	}
	sv.begin(cfg)
}

const (
	soOriginalDst    = 80 // SO_ORIGINAL_DST, linux/netfilter_ipv4.h
	ip6tOriginalDst  = 80 // IP6T_SO_ORIGINAL_DST, linux/netfilter_ipv6/ip6_tables.h
	sizeofSockaddrV6 = syscall.SizeofSockaddrInet6
)

// originalDst asks the kernel where a redirected connection was going; invalid when it was
// not redirected.
func originalDst(fd int, remote, local netip.AddrPort) netip.AddrPort {
	var sa syscall.RawSockaddrAny
	n := uint32(sizeofSockaddrV6)
	level, opt := uintptr(syscall.IPPROTO_IP), uintptr(soOriginalDst)
	if remote.Addr().Is6() {
		level, opt = uintptr(syscall.IPPROTO_IPV6), uintptr(ip6tOriginalDst)
	}
	_, _, e := syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, uintptr(fd), level, opt,
		uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 {
		return netip.AddrPort{}
	}
	if dst := peer(&sa); dst != local {
		return dst
	}
	return netip.AddrPort{} // it came straight to us
}

func (w *worker) add(sv *served) {
	h := &w.list
	if h.next == nil {
		h.next, h.prev = h, h
	}
	sv.prev, sv.next = h.prev, h
	h.prev.next = sv
	h.prev = sv
}

func (w *worker) remove(sv *served) {
	sv.prev.next, sv.next.prev = sv.next, sv.prev
	sv.next, sv.prev = nil, nil
}

// ask asks the connections of some chains to end in order. which is asked with nil for
// connections whose chain is not known yet.
func (w *worker) ask(which func(*chain) bool) {
	w.each(func(sv *served) {
		if which(sv.ch) {
			sv.ask()
		}
	})
}

// ask asks a connection to end: at once, or when its handler comes, after the inspection and the
// handshake that go on.
func (s *served) ask() {
	h := s.c.Handler()
	if h == conn.Handler(s) {
		s.early = true
		return
	}
	if d, ok := h.(Drainer); ok && !s.asked {
		s.asked = true
		d.Drain()
	}
}

// drainSteps is in how many steps a gradual drain asks.
const drainSteps = 64

// drain asks the connections of some chains to end, and closes what is left after the time given: all at once,
// or each at a moment drawn evenly from the first three quarters of the time; the last quarter is for the
// requests of those that are asked late. ended is called when none is left, be it earlier; with nil there
// may be new ones, and it goes on to the end.
func (w *worker) drain(within time.Duration, atOnce bool, which func(*chain) bool, ended func()) {
	begin := w.loop.Now()
	end, last, lastAsked := begin+int64(within), begin, begin+int64(within)*3/4
	if atOnce && within > 0 {
		w.ask(which)
	}
	step := max(within/drainSteps, time.Millisecond)
	t := &eventloop.Timer{}
	turn := func() {
		now := w.loop.Now()
		if !atOnce && last < lastAsked {
			// Of those that are left, the share of the remaining time that has passed.
			passed, left := uint64(min(now, lastAsked)-last), uint64(lastAsked-last)
			w.ask(func(ch *chain) bool { return which(ch) && w.loop.Rand()%left < passed })
			last = now
		}
		if now < end && (ended == nil || w.any(which)) {
			w.loop.Arm(t, min(step, time.Duration(end-now)))
			return
		}
		w.each(func(sv *served) {
			if which(sv.ch) {
				sv.c.Close(conn.CloseNow)
			}
		})
		if ended != nil {
			ended()
		}
	}
	t.Init(turn)
	turn()
}

// later runs f at the end of this turn of the loop.
func (w *worker) later(f func()) {
	if !w.loop.Post(f) {
		f() // it has ended
	}
}

// any reports whether some chains have a connection.
func (w *worker) any(which func(*chain) bool) (found bool) {
	w.each(func(sv *served) { found = found || which(sv.ch) })
	return found
}

func (w *worker) each(f func(*served)) {
	if w.list.next == nil {
		return
	}
	for sv := w.list.next; sv != &w.list; {
		next := sv.next
		f(sv)
		sv = next
	}
}
