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

const epollET = 1 << 31

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
	ev := syscall.EpollEvent{Events: uint32(want), Fd: int32(i), Pad: int32(s.gen)}
	if e := epollCtl(l.epfd, syscall.EPOLL_CTL_ADD, fd, &ev); e != 0 {
		l.freeSlot = append(l.freeSlot, i)
		return fmt.Errorf("worker %d: epoll_ctl add: %w", l.id, e)
	}
	s.fd = f
	*f = FD{fd: fd, slot: i, have: want, want: want, active: true, handler: h}
	return nil
}

// SetInterest changes what the owner wants to hear of. Less interest is applied lazily, when
// an unwanted event comes: pausing and resuming between two events costs no system call.
func (l *Loop) SetInterest(f *FD, want Events) {
	if !f.active {
		return
	}
	f.want = want
	if want&^f.have != 0 {
		l.modify(f, want)
	}
}

// SetInterestNow is SetInterest that drops interest at once: for a descriptor known to be
// ready for what is no longer wanted, such as one whose peer has sent its end.
func (l *Loop) SetInterestNow(f *FD, want Events) {
	if !f.active {
		return
	}
	f.want = want
	if want != f.have {
		l.modify(f, want)
	}
}

func (l *Loop) modify(f *FD, want Events) {
	ev := syscall.EpollEvent{Events: uint32(want), Fd: int32(f.slot), Pad: int32(l.slots[f.slot].gen)}
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
