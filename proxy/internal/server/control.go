package server

import (
	"context"
	"sync"
	"sync/atomic"
)

// control runs functions one after the other on the goroutine of its run. The queue is
// unbounded: what is posted are configuration events, and the poster may be the loop itself.
type control struct {
	mu     sync.Mutex
	work   []func()
	closed bool
	wake   chan struct{} // of capacity 1
	idle   atomic.Bool
}

func newControl() *control { return &control{wake: make(chan struct{}, 1)} }

// post runs f later. It reports false when the loop has ended and f will not run.
func (c *control) post(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.work = append(c.work, f)
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return true
}

// call runs f on the loop and waits for it. It must not be called from the loop.
func (c *control) call(f func()) bool {
	done := make(chan struct{})
	if !c.post(func() { defer close(done); f() }) {
		return false
	}
	<-done
	return true
}

// Idle and Post are for the watchdog.
func (c *control) Idle() bool         { return c.idle.Load() }
func (c *control) Post(f func()) bool { return c.post(f) }

// run works until ctx ends; what is queued by then still runs, so that no caller waits forever.
func (c *control) run(ctx context.Context) {
	for {
		c.idle.Store(true)
		select {
		case <-ctx.Done():
			c.idle.Store(false)
			c.mu.Lock()
			c.closed = true
			work := c.work
			c.work = nil
			c.mu.Unlock()
			for _, f := range work {
				f()
			}
			return
		case <-c.wake:
		}
		c.idle.Store(false)
		c.mu.Lock()
		work := c.work
		c.work = nil
		c.mu.Unlock()
		for _, f := range work {
			f()
		}
	}
}
