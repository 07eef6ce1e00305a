package eventloop

import (
	"errors"
	"fmt"
	"syscall"
)

// Events is a set of readiness events.
type Events uint32

// Readiness events. EventErr and EventHup need not be asked for; the system reports them
// always. EventStop comes once, when the loop ends: the handler closes its descriptor.
const (
	EventIn   Events = syscall.EPOLLIN
	EventOut  Events = syscall.EPOLLOUT
	EventErr  Events = syscall.EPOLLERR
	EventHup  Events = syscall.EPOLLHUP
	EventStop Events = 1 << 20
)

const (
	epollET    = 1 << 31
	epollRDHUP = 0x2000
)

// wakeSlot marks the loop's own eventfd in epoll data.
const wakeSlot = -1

// Handler is called on the loop when a descriptor is ready. Level-triggered: an event that
// is not acted upon comes again.
type Handler interface {
	OnEvent(Events)
}

// FD is the registration of a descriptor, embedded in what owns the descriptor.
type FD struct {
	fd      int
	slot    uint32
	have    Events // what epoll knows
	want    Events // what the owner wants
	active  bool
	handler Handler

	// Of a tracked descriptor (RegisterTracked).
	tracked bool
	ready   Events // what the system has reported and the owner has not exhausted
	ended   bool   // the peer's end, or an error, is among what is left to read
	queued  bool   // in Loop.again
}

// Sys returns the descriptor, -1 when not registered.
func (f *FD) Sys() int {
	if !f.active {
		return -1
	}
	return f.fd
}

// slot is what epoll data points to. The generation tells a stale event, for a
// descriptor that was closed earlier in the same batch, from one for its successor.
type slot struct {
	fd  *FD
	gen uint32
}

var errStopped = errors.New("the worker has stopped")

// Register adds a non-blocking descriptor. The caller keeps owning it.
func (l *Loop) Register(f *FD, fd int, want Events, h Handler) error {
	return l.register(f, fd, want, want, h, false)
}

// RegisterTracked is Register for sockets with much traffic. To the handler it is the same, to
// the system it is edge-triggered: epoll looks at the socket once for an event and not a second
// time to see that it has been dealt with, and changes of interest need no system call, because
// the loop remembers what is ready. The price is that the owner must say when a descriptor is
// not: Exhausted and ShortRead.
func (l *Loop) RegisterTracked(f *FD, fd int, want Events, h Handler) error {
	return l.register(f, fd, want|EventIn, want, h, true)
}

func (l *Loop) register(f *FD, fd int, have, want Events, h Handler, tracked bool) error {
	if f.active {
		panic("BUG: eventloop: registered twice")
	}
	if l.ended {
		return errStopped
	}
	var i uint32
	if n := len(l.freeSlot); n > 0 {
		i = l.freeSlot[n-1]
		l.freeSlot = l.freeSlot[:n-1]
	} else {
		i = uint32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	s := &l.slots[i]
	ev := syscall.EpollEvent{Events: epollMask(have, tracked), Fd: int32(i), Pad: int32(s.gen)}
	if e := epollCtl(l.epfd, syscall.EPOLL_CTL_ADD, fd, &ev); e != 0 {
		l.freeSlot = append(l.freeSlot, i)
		return fmt.Errorf("worker %d: epoll_ctl add: %w", l.id, e)
	}
	s.fd = f
	*f = FD{fd: fd, slot: i, have: have, want: want, active: true, handler: h, tracked: tracked}
	return nil
}

func epollMask(have Events, tracked bool) uint32 {
	if tracked {
		return uint32(have) | epollET | epollRDHUP
	}
	return uint32(have)
}

// Exhausted says that the system has answered EAGAIN: the descriptor of RegisterTracked is not
// ready for ev (EventIn or EventOut) until the system reports it anew. For a write that was
// taken in part it is called as well.
func (l *Loop) Exhausted(f *FD, ev Events) {
	f.ready &^= ev
	if ev&EventIn != 0 {
		f.ended = false
	}
}

// ShortRead says that a read brought less than was asked for, so that nothing is left to
// read but, where the system has reported it, the peer's end.
func (l *Loop) ShortRead(f *FD) {
	if !f.ended {
		f.ready &^= EventIn
	}
}

// SetInterest changes what the owner wants to hear of. Less interest is applied lazily, when
// an unwanted event comes: pausing and resuming between two events costs no system call.
func (l *Loop) SetInterest(f *FD, want Events) {
	if !f.active {
		return
	}
	f.want = want
	if f.tracked {
		l.track(f)
		return
	}
	if want&^f.have != 0 {
		l.modify(f, want)
	}
}

// track sees to it that the handler hears of what is ready and wanted. What epoll was asked for
// once it goes on reporting: an edge that nobody wants yet costs less than two changes.
func (l *Loop) track(f *FD) {
	if f.want&^f.have != 0 {
		l.modify(f, f.have|f.want)
	}
	if f.ready&f.want != 0 && !f.queued {
		f.queued = true
		l.again = append(l.again, ready{f.slot, l.slots[f.slot].gen})
	}
}

// SetInterestNow is SetInterest that drops interest at once: for a descriptor known to be
// ready for what is no longer wanted, such as one whose peer has sent its end.
func (l *Loop) SetInterestNow(f *FD, want Events) {
	if !f.active {
		return
	}
	f.want = want
	if f.tracked {
		l.track(f)
		return
	}
	if want != f.have {
		l.modify(f, want)
	}
}

func (l *Loop) modify(f *FD, want Events) {
	ev := syscall.EpollEvent{Events: epollMask(want, f.tracked), Fd: int32(f.slot), Pad: int32(l.slots[f.slot].gen)}
	if e := epollCtl(l.epfd, syscall.EPOLL_CTL_MOD, f.fd, &ev); e != 0 {
		l.log.Error("epoll_ctl mod failed", "worker", l.id, "error", e)
		return
	}
	f.have = want
}

// Unregister removes a descriptor that stays open.
func (l *Loop) Unregister(f *FD) {
	if !f.active {
		return
	}
	_ = epollCtl(l.epfd, syscall.EPOLL_CTL_DEL, f.fd, nil)
	l.release(f)
}

// Forget removes a descriptor that the caller closes right after; closing takes it out of
// epoll without a call of its own.
func (l *Loop) Forget(f *FD) {
	if f.active {
		l.release(f)
	}
}

func (l *Loop) release(f *FD) {
	s := &l.slots[f.slot]
	s.fd = nil
	s.gen++
	l.freeSlot = append(l.freeSlot, f.slot)
	f.active = false
	f.handler = nil
}

// dispatch calls the handlers of the first n events.
func (l *Loop) dispatch(n int) {
	for i := range l.events[:n] {
		ev := &l.events[i]
		if ev.Fd == wakeSlot {
			continue // runPosted follows anyway
		}
		s := &l.slots[ev.Fd]
		f := s.fd
		if f == nil || s.gen != uint32(ev.Pad) {
			continue
		}
		got := Events(ev.Events)
		if f.tracked {
			l.report(f, s.gen, got)
			continue
		}
		if got&(f.have&^f.want) != 0 {
			// Lazily dropped interest has come true: drop it for real.
			l.modify(f, f.want)
			got &= f.want | EventErr | EventHup
			if got == 0 {
				continue
			}
		}
		f.handler.OnEvent(got)
	}
}

// ready names a tracked descriptor that is to be told of what it has not dealt with.
type ready struct{ slot, gen uint32 }

// report notes what the system says of a tracked descriptor and calls its handler.
func (l *Loop) report(f *FD, gen uint32, got Events) {
	if got&(epollRDHUP|EventErr|EventHup) != 0 {
		f.ended = true
		got |= EventIn
	}
	f.ready |= got & (EventIn | EventOut)
	l.tell(f, gen, f.ready&f.want|got&(EventErr|EventHup))
}

// tell calls a tracked descriptor's handler; what it leaves comes again.
func (l *Loop) tell(f *FD, gen uint32, ev Events) {
	if ev == 0 {
		return
	}
	slot := f.slot
	f.handler.OnEvent(ev)
	if s := &l.slots[slot]; s.fd == f && s.gen == gen && f.ready&f.want != 0 {
		l.track(f)
	}
}

// repeat tells tracked descriptors of what they have left, or want again. Who is queued
// meanwhile has its turn after the next look at the others.
func (l *Loop) repeat() {
	n := len(l.again)
	for i := range n {
		r := l.again[i]
		s := &l.slots[r.slot]
		if s.fd == nil || s.gen != r.gen {
			continue
		}
		s.fd.queued = false
		l.tell(s.fd, r.gen, s.fd.ready&s.fd.want)
	}
	l.again = l.again[:copy(l.again, l.again[n:])]
}
