package jwtauthn

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/jwt/jwttest"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// TestStore: a new version of a listener finds the keys of the old one, a source ends with its last
// user, and one that nobody came to use is forgotten.
func TestStore(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	loop, err := eventloop.New(0, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	st := stats.NewStore(stats.Options{Workers: 1})
	st.Attach(0, loop.Post)

	keys := []byte(jwttest.New(t).Set("ed"))
	asked := make(chan func(int, []byte, error), 10)
	s := NewStore(StoreDeps{
		Loops: []*eventloop.Loop{loop}, Stats: st, Logger: log,
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
