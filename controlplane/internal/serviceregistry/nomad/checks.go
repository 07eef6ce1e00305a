package nomad

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// checkQueries is how many queries for checks may be under way: each is passed on to the client that runs the allocation.
	checkQueries = 8
	// noChecks is how long an allocation that has no checks is not asked again.
	noChecks = time.Minute
	// checkTime bounds one of them: a client may be gone.
	checkTime = 2 * time.Second
	// while is how long the results of an allocation are kept that no service names.
	while = 10 * time.Minute
)

// checks reads and remembers the results of allocations' checks.
type checks struct {
	read     func(ctx context.Context, namespace, alloc string) ([]checkResult, error)
	interval time.Duration
	now      func() time.Time
	room     chan struct{}

	mu     sync.Mutex
	allocs map[string]*allocation
	swept  time.Time // when allocations were last forgotten
}

// allocation is what is known of one.
type allocation struct {
	next   time.Time       // when to read it again
	failed map[string]bool // by service: whether a check of it fails
	used   time.Time
	err    string
}

func newChecks(read func(context.Context, string, string) ([]checkResult, error), interval time.Duration, now func() time.Time) *checks {
	return &checks{read: read, interval: interval, now: now, room: make(chan struct{}, checkQueries), allocs: map[string]*allocation{}}
}

// unhealthy returns the allocations in which a check of the service fails, and in words which could not be read; these are as they were.
func (c *checks) unhealthy(ctx context.Context, namespace, service string, list []registration) (map[string]bool, []string) {
	out := map[string]bool{}
	var problems []string
	var wg sync.WaitGroup
	seen := map[string]bool{}
	for _, r := range list {
		if seen[r.AllocID] || r.AllocID == "" {
			continue
		}
		seen[r.AllocID] = true
		if c.due(r.AllocID) {
			wg.Go(func() { c.refresh(ctx, namespace, r.AllocID) })
		}
	}
	wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range list {
		a := c.allocs[r.AllocID]
		if a == nil || !seen[r.AllocID] {
			continue
		}
		seen[r.AllocID] = false
		a.used = c.now()
		if a.failed[service] {
			out[r.AllocID] = true
		}
		if a.err != "" {
			problems = append(problems, fmt.Sprintf("checks of allocation %s cannot be read: %s", r.AllocID, a.err))
		}
	}
	c.forget()
	return out, problems
}

// due says whether an allocation is to be read, and takes its turn if so.
func (c *checks) due(alloc string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.allocs[alloc]
	if a == nil {
		a = &allocation{failed: map[string]bool{}, used: c.now()}
		c.allocs[alloc] = a
	}
	if c.now().Before(a.next) {
		return false
	}
	a.next = c.now().Add(c.interval)
	return true
}

func (c *checks) refresh(ctx context.Context, namespace, alloc string) {
	select {
	case c.room <- struct{}{}:
	case <-ctx.Done():
		return
	}
	bounded, cancel := context.WithTimeout(ctx, checkTime)
	results, err := c.read(bounded, namespace, alloc)
	cancel()
	<-c.room
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.allocs[alloc]; a != nil {
		a.take(results, err, c.now())
	}
}

// take notes results. A check that has not run yet leaves its service as it was, and an allocation that is new waits for it.
func (a *allocation) take(results []checkResult, err error, now time.Time) {
	a.err = ""
	if err != nil {
		a.err = err.Error()
		return
	}
	if len(results) == 0 {
		a.next = now.Add(noChecks)
	}
	failed := map[string]bool{}
	for _, r := range results {
		was, known := a.failed[r.Service]
		bad := r.Status == "failure" || r.Status != "success" && (was || !known)
		failed[r.Service] = failed[r.Service] || bad
	}
	a.failed = failed
}

// forget drops allocations that no service has named for a while. It is called with the lock held.
func (c *checks) forget() {
	now := c.now()
	if now.Sub(c.swept) < while {
		return
	}
	c.swept = now
	for id, a := range c.allocs {
		if now.Sub(a.used) > while {
			delete(c.allocs, id)
		}
	}
}
