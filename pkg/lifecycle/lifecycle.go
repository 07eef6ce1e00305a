// Package lifecycle runs the goroutines that an owner starts, and waits for them: whoever starts a goroutine is not done before it is.
//
// A Group is for the body of a Run(ctx): start the parts, return when all have ended. The first part that fails ends the others. It
// restarts nothing (pkg/supervise does that, for processes) and catches no panic. Standard library only; any package may import it.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Group owns goroutines. Make one with NewGroup; it must not be copied.
type Group struct {
	ctx    context.Context // of the goroutines, which is what the group is
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu  sync.Mutex
	err error
}

// NewGroup returns a group whose goroutines end with ctx, at the latest. Wait must be called.
func NewGroup(ctx context.Context) *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g
}

// Context ends when the group's parent does, when a part fails, or when Stop is called.
func (g *Group) Context() context.Context { return g.ctx }

// Go runs part on a goroutine. An error, unless it only says that the context ended, ends the group; name goes in front of it.
func (g *Group) Go(name string, part func(ctx context.Context) error) {
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		err := part(g.ctx)
		if err == nil || errors.Is(err, context.Canceled) && g.ctx.Err() != nil {
			return
		}
		g.mu.Lock()
		if g.err == nil {
			g.err = fmt.Errorf("%s: %w", name, err)
		}
		g.mu.Unlock()
		g.cancel()
	}()
}

// Stop tells all goroutines to end; it does not wait.
func (g *Group) Stop() { g.cancel() }

// Wait blocks until every goroutine has ended and returns the first failure, nil when there was none.
func (g *Group) Wait() error {
	g.wg.Wait()
	g.cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}
