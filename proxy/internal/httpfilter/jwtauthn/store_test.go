package jwtauthn

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/jwt/jwttest"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// TestStore: a new version of a listener finds the keys of the old one, a source ends with its last
// user, and one that nobody came to use is forgotten.
func TestStore(t *testing.T) {
	loops, st := startLoops(t, 1)
	loop, log := loops[0], slog.New(slog.DiscardHandler)
	keys := []byte(jwttest.New(t).Set("ed"))
	asked := make(chan func(int, []byte, error), 10)
	s := NewStore(StoreDeps{
		Loops: loops, Stats: st, Logger: log,
		Fetch: func(_ *eventloop.Loop, _ *Remote, done func(int, []byte, error)) { asked <- done },
	})
	onLoop := func(f func()) {
		over := make(chan struct{})
		loop.Post(func() { f(); close(over) })
		<-over
	}
	k := SourceKey{Manager: "m", Remote: Remote{Async: true, CacheFor: time.Hour, RetryAfter: time.Millisecond}}
	first := make(chan SourceKey, 10)
	use := func() func() { return s.Use(k, func(k SourceKey) { first <- k }) }

	release := use()
	if s.Fetched(k) {
		t.Error("nothing was fetched yet")
	}
	// The first fetch fails; that is an end as well.
	answer := <-asked
	onLoop(func() { answer(0, nil, errors.New("down")) })
	s.SetFetched(<-first)
	if !s.Fetched(k) || s.get(k).source.current() != nil {
		t.Error("the first fetch is over, without keys")
	}
	answer = <-asked // by itself, after a while
	onLoop(func() { answer(200, keys, nil) })
	held := s.get(k).source.current()
	if held == nil || held.keys.Len() != 1 {
		t.Fatalf("%+v", held)
	}

	// The next version of the listener.
	next := use()
	release()
	if !s.Fetched(k) || s.get(k).source.current() != held {
		t.Error("the new version has not the keys of the old one")
	}
	source := s.get(k).source
	next()
	onLoop(func() {
		if !source.ended || source.refetch.Armed() {
			t.Error("a source without users goes on")
		}
	})
	if len(s.sources) != 0 || len(first) != 0 {
		t.Errorf("%d sources, %d more news", len(s.sources), len(first))
	}

	other := k
	other.Filter = "f"
	s.get(other)
	if s.get(other).source == s.get(k).source {
		t.Error("two filters share a source")
	}
	s.Sweep()
	if len(s.sources) != 0 {
		t.Errorf("%d sources after a sweep", len(s.sources))
	}
	if len(asked) != 0 {
		t.Error("fetched for nobody")
	}
}

// startLoops runs workers until the test ends.
func startLoops(t *testing.T, n int) ([]*eventloop.Loop, *stats.Store) {
	t.Helper()
	st := stats.NewStore(stats.Options{Workers: n})
	ctx, cancel := context.WithCancel(context.Background())
	var loops []*eventloop.Loop
	var wg sync.WaitGroup
	for i := range n {
		l, err := eventloop.New(i, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		loops = append(loops, l)
		st.Attach(i, l.Post)
		wg.Go(func() {
			if err := l.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return loops, st
}

// TestWorkersShare: workers that ask at the same time, some in vain, all go on, and with keys that
// somebody has fetched.
func TestWorkersShare(t *testing.T) {
	loops, st := startLoops(t, 3)
	k := jwttest.New(t)
	answers := [][]byte{[]byte(k.Set("ed")), []byte(k.Set("p256"))}
	var asked atomic.Int64
	s := NewStore(StoreDeps{
		Loops: loops, Stats: st, Logger: slog.New(slog.DiscardHandler),
		Fetch: func(l *eventloop.Loop, _ *Remote, done func(int, []byte, error)) {
			n := asked.Add(1)
			l.Post(func() {
				if n%3 == 0 {
					done(0, nil, errors.New("down"))
					return
				}
				done(200, answers[n%2], nil)
			})
		},
	})
	source := s.get(SourceKey{Remote: Remote{CacheFor: time.Nanosecond, RetryAfter: time.Nanosecond}}).source
	var wg sync.WaitGroup
	for _, l := range loops {
		for range 100 {
			wg.Add(1)
			l.Post(func() {
				var again func(left int)
				again = func(left int) {
					if left == 0 {
						wg.Done()
						return
					}
					source.await(l, &waiter{tell: func() { again(left - 1) }})
				}
				again(5)
			})
		}
	}
	wg.Wait()
	if h := source.current(); h == nil || h.keys.Len() != 1 {
		t.Errorf("%+v", h)
	}
	if n := asked.Load(); n > 3*100*5/2 {
		t.Errorf("%d fetches for 1500 who waited", n)
	}
}
