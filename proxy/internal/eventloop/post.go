package eventloop

import (
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// postQueue holds what other goroutines want to be run on the loop.
type postQueue struct {
	mu   sync.Mutex
	fns  []func()
	size atomic.Int32 // len(fns), readable without the lock
}

func (q *postQueue) empty() bool { return q.size.Load() == 0 }

// Post runs fn on the loop, after the current iteration's events. It may be called from any
// goroutine, the loop's own included, and never blocks. Functions posted by one goroutine
// run in order. It writes to the eventfd only when the loop sleeps or is about to. After
// the loop has stopped it does nothing and returns false.
func (l *Loop) Post(fn func()) bool {
	q := &l.queue
	q.mu.Lock()
	if l.stopped.Load() {
		q.mu.Unlock()
		return false
	}
	q.fns = append(q.fns, fn)
	q.size.Store(int32(len(q.fns)))
	if l.sleeping.Load() && l.sleeping.Swap(false) {
		one := uint64(1)
		// Under the lock, so that the descriptor is not closed meanwhile.
		_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, uintptr(l.evfd), uintptr(unsafe.Pointer(&one)), 8)
	}
	q.mu.Unlock()
	return true
}

// runPosted runs what was posted until now. What these functions post runs in the next
// iteration, so that a function that posts itself does not starve the sockets.
func (l *Loop) runPosted() {
	q := &l.queue
	if q.empty() {
		return
	}
	q.mu.Lock()
	fns := q.fns
	q.fns = nil
	q.size.Store(0)
	q.mu.Unlock()
	for _, fn := range fns {
		fn()
	}
	l.active = l.now
}

// Deferred is work for the end of the current iteration, before the loop waits: flushing a
// connection once however often it was written to, redelivering after a resume. It is
// embedded in its owner; deferring it twice before it runs has the effect of once.
type Deferred struct {
	next   *Deferred
	runner Runner
	queued bool
}

// Runner is what Deferred calls.
type Runner interface {
	RunDeferred()
}

// Init sets what is called.
func (d *Deferred) Init(r Runner) { d.runner = r }

type deferList struct {
	head, tail *Deferred
}

// Defer queues d, in order.
func (l *Loop) Defer(d *Deferred) {
	if d.queued {
		return
	}
	d.queued = true
	d.next = nil
	if l.deferred.tail == nil {
		l.deferred.head = d
	} else {
		l.deferred.tail.next = d
	}
	l.deferred.tail = d
}

// runDeferred runs what is queued. What is deferred meanwhile runs too, but only for a
// bounded number of rounds: connections that defer each other for ever must not starve the
// sockets.
func (l *Loop) runDeferred() {
	for range 4 {
		d := l.deferred.head
		if d == nil {
			return
		}
		l.deferred = deferList{}
		for d != nil {
			next := d.next
			d.next, d.queued = nil, false
			d.runner.RunDeferred()
			d = next
		}
	}
}
