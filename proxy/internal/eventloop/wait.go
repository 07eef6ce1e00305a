package eventloop

import (
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// wait blocks until a descriptor is ready, a timer is due, something is posted or the
// runtime wants the thread. It returns how many events are in l.events.
func (l *Loop) wait() (int, error) {
	timeout := -1 // ms
	if l.deferred.head != nil || len(l.again) > 0 {
		timeout = 0
	} else if next, ok := l.wheel.next(); ok {
		timeout = 0
		if now := l.tick(); next > now {
			timeout = int(min(next-now, 1<<30))
		}
	}
	if timeout != 0 {
		// Ask for a wake-up first and look at the queue after: a Post that came before is
		// seen here, one that comes later writes to the eventfd.
		l.sleeping.Store(true)
		if !l.queue.empty() {
			timeout = 0
		}
	}
	n, err := l.waitFor(timeout)
	l.sleeping.Store(false)
	return n, err
}

// keepsP reports whether a worker may wait in a way that the scheduler does not see: there must be a P
// that no worker keeps, or everything else in the process (admin, DNS, xDS, certificates) would run
// only when a preemption signal happens to come.
func keepsP(id, procs int) bool { return id+1 < procs }

func (l *Loop) waitFor(timeout int) (int, error) {
	// The preemption signal cuts a raw wait short every 10 ms, so it is the clock that says how
	// long nothing has come.
	if timeout != 0 && (l.shares || l.now-l.active >= int64(rawIdle)) {
		return l.awareWait(timeout)
	}
	const limit = int(rawIdle / time.Millisecond)
	if timeout < 0 || timeout > limit {
		timeout = limit
	}
	r, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_WAIT, uintptr(l.epfd),
		uintptr(unsafe.Pointer(&l.events[0])), maxEvents, uintptr(timeout), 0, 0)
	if e == syscall.EINTR {
		// Somebody waits for this P to reach a safe point.
		l.yielded = l.now
		runtime.Gosched()
		return 0, nil
	}
	if e != 0 {
		return 0, e
	}
	return int(r), nil
}

// yieldEvery is less than the 10 ms after which the runtime's monitor sends a goroutine that has run without a pause the
// preemption signal.
const yieldEvery = 9 * time.Millisecond

// yield lets the scheduler see the worker in time. Without it the monitor would come, a signal would interrupt the
// worker, and it would yield all the same.
func (l *Loop) yield() {
	if l.now-l.yielded >= int64(yieldEvery) {
		l.yielded = l.now
		runtime.Gosched()
	}
}

// trimAfter is how long nothing must have come before the free buffers are given up.
const trimAfter = 5 * time.Second

// awareWait lets the scheduler take the P for the time of the wait.
func (l *Loop) awareWait(timeout int) (int, error) {
	if l.buffers.Free() > 0 {
		if l.now-l.active >= int64(trimAfter) {
			l.buffers.Trim()
		} else if limit := int(trimAfter / time.Millisecond); timeout < 0 || timeout > limit {
			timeout = limit // look again then
		}
	}
	r, _, e := syscall.Syscall6(syscall.SYS_EPOLL_WAIT, uintptr(l.epfd),
		uintptr(unsafe.Pointer(&l.events[0])), maxEvents, uintptr(timeout), 0, 0)
	if e == syscall.EINTR {
		return 0, nil
	}
	if e != 0 {
		return 0, e
	}
	return int(r), nil
}

func epollCtl(epfd, op, fd int, ev *syscall.EpollEvent) syscall.Errno {
	_, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(epfd), uintptr(op),
		uintptr(fd), uintptr(unsafe.Pointer(ev)), 0, 0)
	return e
}
