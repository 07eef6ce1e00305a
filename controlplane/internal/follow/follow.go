// Package follow asks again and again for what others know: documents of issuers, bundles of trust domains, addresses of names.
//
// A Follower is told which names are wanted, asks for each when it is due, some at a time, and tells all answers when one has changed. An answer stays good while it
// cannot be asked for again: that who gave it is away does not make it wrong.
//
// What is asked, and how, its users say. It keeps nothing on disk and knows nothing of meshes. Packages of the control plane that ask by themselves (oidc, spiffebundle, dnsname) import it.
package follow

import (
	"context"
	"maps"
	"sync"
	"time"
)

// Answer is what is known of one name.
type Answer[T any] struct {
	// Value is the last that there was; zero while there was none.
	Value T
	// Problem says why there was none the last time; "" when there was.
	Problem string
}

// Options of a Follower. Ask and Equal are required.
type Options[T any] struct {
	// Ask asks once. good is how long the answer is used before it is asked for again, 0 for Refresh. It must end soon after ctx.
	Ask func(ctx context.Context, name string) (value T, good time.Duration, err error)
	// Equal reports whether an answer says what the one before did.
	Equal func(a, b T) bool
	// Refresh is how long an answer is used that does not say it itself. Default 20 minutes.
	Refresh time.Duration
	// RetryAfter is the first wait after a failure; it doubles up to MaxRetry. Defaults 1 s and a minute.
	RetryAfter, MaxRetry time.Duration
	// AtOnce is how many are asked at a time. Default 8.
	AtOnce int
	// Heard is called with each answer, and with the one before where there was one, from Run's goroutine. May be nil.
	Heard func(name string, before, now Answer[T])
}

// Follower follows names. Make it with New and run it with Run.
type Follower[T any] struct {
	opts Options[T]

	mu     sync.Mutex
	wanted map[string]bool // guarded by mu
	wake   chan struct{}   // holds one when wanted has changed
}

// New returns a follower of nobody. It starts nothing.
func New[T any](opts Options[T]) *Follower[T] {
	or := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	or(&opts.Refresh, 20*time.Minute)
	or(&opts.RetryAfter, time.Second)
	or(&opts.MaxRetry, time.Minute)
	opts.MaxRetry = max(opts.MaxRetry, opts.RetryAfter)
	if opts.AtOnce <= 0 {
		opts.AtOnce = 8
	}
	return &Follower[T]{opts: opts, wanted: map[string]bool{}, wake: make(chan struct{}, 1)}
}

// Follow says which names are to be known from now on. It does not wait.
func (f *Follower[T]) Follow(names []string) {
	wanted := make(map[string]bool, len(names))
	for _, n := range names {
		wanted[n] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if maps.Equal(wanted, f.wanted) {
		return
	}
	f.wanted = wanted
	select {
	case f.wake <- struct{}{}:
	default: // Run has not yet looked
	}
}

func (f *Follower[T]) following() map[string]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wanted
}

// followed is the state of one name.
type followed[T any] struct {
	answer  Answer[T]
	heard   bool
	asking  bool
	due     time.Time
	backoff time.Duration // of the last failure; 0: there was none
}

// heard is what came of asking.
type heard[T any] struct {
	name  string
	value T
	good  time.Duration
	err   error
}

// Run asks until ctx ends. sink is told all answers when one has changed; it gets a map of its own. A name of which nothing has been heard is not in it.
func (f *Follower[T]) Run(ctx context.Context, sink func(map[string]Answer[T])) error {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	known, answers, busy := map[string]*followed[T]{}, make(chan heard[T]), 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		next := now.Add(f.opts.Refresh)
		for name, one := range known {
			switch {
			case one.asking:
			case now.Before(one.due):
				if one.due.Before(next) {
					next = one.due
				}
			case busy < f.opts.AtOnce: // else one that is over will come back here
				one.asking = true
				busy++
				asking.Go(func() {
					value, good, err := f.opts.Ask(ctx, name)
					select {
					case answers <- heard[T]{name, value, good, err}:
					case <-ctx.Done():
					}
				})
			}
		}
		timer.Reset(time.Until(next))
		changed := false
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-f.wake:
			changed = take(known, f.following())
		case h := <-answers:
			busy--
			if one := known[h.name]; one != nil { // else nobody wants to know any more
				changed = f.hear(one, h)
			}
		}
		if changed {
			out := map[string]Answer[T]{}
			for name, one := range known {
				if one.heard {
					out[name] = one.answer
				}
			}
			sink(out)
		}
	}
}

// take makes known what is wanted, and reports whether an answer is gone.
func take[T any](known map[string]*followed[T], wanted map[string]bool) (changed bool) {
	for name, one := range known {
		if !wanted[name] {
			changed = changed || one.heard
			delete(known, name)
		}
	}
	for name := range wanted {
		if known[name] == nil {
			known[name] = &followed[T]{}
		}
	}
	return changed
}

// hear takes what came of asking, and reports whether it is new.
func (f *Follower[T]) hear(one *followed[T], h heard[T]) (changed bool) {
	before, first := one.answer, !one.heard
	one.asking, one.heard = false, true
	if h.err != nil {
		one.backoff = min(max(2*one.backoff, f.opts.RetryAfter), f.opts.MaxRetry)
		one.due = time.Now().Add(one.backoff)
		one.answer.Problem = h.err.Error() // and the value stays
	} else {
		if h.good <= 0 {
			h.good = f.opts.Refresh
		}
		one.backoff, one.due, one.answer = 0, time.Now().Add(h.good), Answer[T]{Value: h.value}
	}
	if f.opts.Heard != nil {
		f.opts.Heard(h.name, before, one.answer)
	}
	return first || one.answer.Problem != before.Problem || !f.opts.Equal(one.answer.Value, before.Value)
}
