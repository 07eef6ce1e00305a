package eventloop

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// rawIdle is how long the loop waits without the scheduler's knowledge before it goes over
// to the scheduler-aware wait.
const rawIdle = 50 * time.Millisecond

// maxEvents is how many ready descriptors one wait returns. More wait for the next
// iteration, so that timers and flushes are not starved.
const maxEvents = 256

// Loop is one worker. All methods but Post, ID, Idle and Stopped are for the loop's own
// goroutine (in handlers, timers, posted functions), or for the time before Run.
type Loop struct {
	id  int
	log *slog.Logger

	// Owned by the loop's goroutine.
	epfd     int
	events   []syscall.EpollEvent
	slots    []slot
	freeSlot []uint32
	again    []ready // tracked descriptors with something left to do
	wheel    wheel
	deferred deferList
	buffers  iobuf.Pool
	rng      *rand.PCG
	clock    func() time.Time
	base     time.Time // start, with a monotonic reading
	now      int64     // ns since base, plus 1 so that 0 means "never"
	wall     time.Time
	active   int64 // when something last happened
	seq      uint64
	attached map[any]any
	atEnd    []func()
	yielded  int64 // when the scheduler last saw it
	shares   bool  // its P with the rest of the process
	stopping bool
	ended    bool // EventStop is being sent: nothing may be registered any more

	// Shared with any goroutine.
	evfd     int
	queue    postQueue
	sleeping atomic.Bool
	stopped  atomic.Bool
}

// New makes a worker that is not running yet. id is its index among the workers, from 0.
// It fails when the system refuses an epoll instance or an eventfd (descriptor limit).
func New(id int, log *slog.Logger) (*Loop, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &Loop{id: id, log: log, clock: time.Now, base: time.Now(), events: make([]syscall.EpollEvent, maxEvents)}
	l.rng = rand.NewPCG(rand.Uint64(), rand.Uint64())
	l.wheel.init()
	l.updateClock()
	var err error
	if l.epfd, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("worker %d: epoll_create1: %w; raise the limit on open files", id, err)
	}
	r, _, e := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if e != 0 {
		_ = syscall.Close(l.epfd)
		return nil, fmt.Errorf("worker %d: eventfd2: %w; raise the limit on open files", id, e)
	}
	l.evfd = int(r)
	// Edge-triggered: each write wakes the loop, and the counter need not be read.
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN | epollET, Fd: wakeSlot}
	if err := syscall.EpollCtl(l.epfd, syscall.EPOLL_CTL_ADD, l.evfd, &ev); err != nil {
		l.closeFDs()
		return nil, fmt.Errorf("worker %d: epoll_ctl: %w", id, err)
	}
	return l, nil
}

// ID is the worker's index, from 0.
func (l *Loop) ID() int { return l.id }

// Log is the worker's logger.
func (l *Loop) Log() *slog.Logger { return l.log }

// Buffers is the worker's memory pool.
func (l *Loop) Buffers() *iobuf.Pool { return &l.buffers }

// SetClock has the loop take its time from now instead of time.Now, before Run: for tests that
// have to wait for nothing. The loop looks at the clock in each iteration, which a Post brings about.
func (l *Loop) SetClock(now func() time.Time) {
	l.clock, l.base = now, now()
	l.updateClock()
}

// Now is the monotonic time in nanoseconds since the loop was made, as of the start of
// this iteration's event handling. It is never 0.
func (l *Loop) Now() int64 { return l.now }

// WallNow is the wall clock, as old as Now.
func (l *Loop) WallNow() time.Time { return l.wall }

// UpdateNow reads the clock anew. For code that ran long and needs the exact time.
func (l *Loop) UpdateNow() int64 {
	l.updateClock()
	return l.now
}

// Rand returns 64 random bits; not for secrets.
func (l *Loop) Rand() uint64 { return l.rng.Uint64() }

// NextID returns a number that no other call on any worker returns: for connections that are told
// apart in logs.
func (l *Loop) NextID() uint64 {
	l.seq++
	return l.seq<<10 | uint64(l.id)
}

// Attach keeps a value for this worker under a key, as context.WithValue does: for state
// that a package wants once for each worker. Not for the hot path.
func (l *Loop) Attach(key, value any) {
	if l.attached == nil {
		l.attached = make(map[any]any)
	}
	l.attached[key] = value
}

// Attached returns what was attached under key, or nil.
func (l *Loop) Attached(key any) any { return l.attached[key] }

// AtEnd registers a function that runs on the loop when it ends, after all handlers have been
// told.
func (l *Loop) AtEnd(fn func()) { l.atEnd = append(l.atEnd, fn) }

// Stopped reports whether Run has returned or is about to.
func (l *Loop) Stopped() bool { return l.stopped.Load() }

// Idle reports whether the loop waits for something to do. It may be called from any goroutine.
func (l *Loop) Idle() bool { return l.sleeping.Load() }

func (l *Loop) updateClock() {
	l.wall = l.clock()
	l.now = int64(l.wall.Sub(l.base)) + 1
}

// Run serves until ctx ends; it blocks. At the end every registered
// descriptor's handler gets EventStop, once, and what is posted later is dropped. A Loop
// runs once. Run returns nil when ctx ended, and an error when the system refused to wait.
func (l *Loop) Run(ctx context.Context) error {
	defer l.logPanic()
	stop := context.AfterFunc(ctx, func() { l.Post(func() { l.stopping = true }) })
	defer stop()
	defer l.closeFDs()
	l.shares = !keepsP(l.id, runtime.GOMAXPROCS(0))
	for !l.stopping {
		l.runDeferred()
		l.wheel.advance(l.tick())
		n, err := l.wait()
		if err != nil {
			l.shutdown()
			return fmt.Errorf("worker %d: epoll_wait: %w", l.id, err)
		}
		l.serve(n)
		l.yield()
	}
	l.shutdown()
	return nil
}

// serve calls the handlers of n events, and runs what was posted.
func (l *Loop) serve(n int) {
	l.updateClock()
	if n > 0 || len(l.again) > 0 {
		l.active = l.now
	}
	l.repeat()
	l.dispatch(n)
	l.runPosted()
}

// Poll does what there is to do and returns without waiting for more: for tests that have a clock of
// their own and want no goroutine beside them. Not while Run runs, which may follow, to end the loop.
func (l *Loop) Poll() error {
	for busy := true; busy; {
		l.updateClock()
		l.runDeferred()
		l.wheel.advance(l.tick())
		n, err := l.waitFor(0)
		if err != nil {
			return err
		}
		busy = n > 0 || len(l.again) > 0 || l.deferred.head != nil || !l.queue.empty()
		l.serve(n)
	}
	return nil
}

// shutdown tells every handler, then runs what they deferred or posted.
func (l *Loop) shutdown() {
	l.runPosted()
	l.runDeferred()
	l.ended = true
	for i := range l.slots {
		if f := l.slots[i].fd; f != nil {
			f.handler.OnEvent(EventStop)
		}
	}
	l.runDeferred()
	l.stopped.Store(true)
	l.runPosted()
	l.runDeferred()
	for _, fn := range l.atEnd {
		fn()
	}
	l.buffers.Trim()
}

func (l *Loop) closeFDs() {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	_ = syscall.Close(l.epfd)
	if l.evfd >= 0 {
		_ = syscall.Close(l.evfd)
	}
	l.epfd, l.evfd = -1, -1
	l.stopped.Store(true)
}

// Close frees a loop that never ran.
func (l *Loop) Close() {
	if l.epfd >= 0 {
		l.closeFDs()
	}
}

func (l *Loop) logPanic() {
	if r := recover(); r != nil {
		l.log.Error("BUG: a worker's handler panicked", "worker", l.id, "panic", r)
		panic(r)
	}
}

// tick is the current time in timer ticks of 1 ms.
func (l *Loop) tick() uint64 { return uint64(l.now) / uint64(time.Millisecond) }
