package jwtauthn

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// Source holds the keys of one server. All workers read what any of them has fetched; each fetches at
// most once at a time, however many requests wait.
type Source struct {
	remote Remote
	fetch  Fetch
	log    *slog.Logger
	owned  *stats.Store
	stats  stats.Block // of owned
	shards func(worker int) *stats.Shard

	held    atomic.Pointer[held]
	workers []sourceWorker // each touched by its worker alone

	// Of the worker that fetches ahead of requests (async_fetch):
	refetch eventloop.Timer
	ended   bool
	first   func() // told of the end of the first fetch; nil: it was told
}

// Fetch asks a server for its keys, on a loop. done is called on it later, once, unless the loop ends.
type Fetch func(l *eventloop.Loop, r *Remote, done func(status int, body []byte, err error))

type sourceWorker struct {
	fetching bool
	failing  bool // the last fetch failed, and that was logged
	waiting  []*waiter
}

// waiter is told when a fetch is over. tell is nil when nobody waits any more.
type waiter struct{ tell func() }

// current is what is held now, nil for nothing.
func (s *Source) current() *held { return s.held.Load() }

// await fetches, and tells w when that is over; nil: nobody waits for it.
func (s *Source) await(l *eventloop.Loop, w *waiter) {
	at := &s.workers[l.ID()]
	if w != nil {
		at.waiting = append(at.waiting, w)
	}
	if at.fetching {
		return
	}
	at.fetching = true
	s.fetch(l, &s.remote, func(status int, body []byte, err error) { s.fetched(l, answer{status, body, err}) })
}

// fetched takes the answer of a server.
func (s *Source) fetched(l *eventloop.Loop, a answer) {
	old := s.held.Load()
	now, wait, err := s.remote.take(old, a, l.WallNow())
	at := &s.workers[l.ID()]
	counter := fetchSuccess
	if err == nil {
		s.held.Store(now)
	} else {
		s.held.CompareAndSwap(old, now) // unless another worker has fetched newer ones meanwhile
		counter = fetchFailed
		level := slog.LevelWarn
		if at.failing {
			level = slog.LevelDebug // whoever sends tokens should not fill the log
		}
		s.log.Log(context.Background(), level, "cannot fetch keys", "from", s.remote.From.URL, "cluster", s.remote.From.Cluster, "error", err)
	}
	at.failing = err != nil
	s.shards(l.ID()).Inc(s.stats.Counter(counter))
	if s.remote.Async && l.ID() == 0 && !s.ended {
		l.Arm(&s.refetch, wait)
		if s.first != nil {
			s.first()
			s.first = nil
		}
	}
	at.fetching = false
	list := at.waiting
	at.waiting = nil // those who are told may wait again
	for _, w := range list {
		if w.tell != nil {
			w.tell()
		}
	}
}

// begin starts to fetch ahead of requests. It runs on the first worker's loop.
func (s *Source) begin(l *eventloop.Loop, first func()) {
	s.first = first
	s.refetch.Init(func() { s.await(l, nil) })
	s.await(l, nil)
}

// end stops it again.
func (s *Source) end(l *eventloop.Loop) {
	s.ended = true
	l.Disarm(&s.refetch)
}
