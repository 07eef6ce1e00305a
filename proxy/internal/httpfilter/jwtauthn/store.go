package jwtauthn

import (
	"log/slog"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/asyncclient"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/jwt"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// Store has the sources that live listeners use. A new version of a listener finds the keys of the
// old one, so that no change of configuration depends on a server of keys being there. It belongs
// to the control loop.
type Store struct {
	deps    StoreDeps
	sources map[SourceKey]*stored
}

// StoreDeps is what a Store needs of the process.
type StoreDeps struct {
	Fetch  Fetch
	Loops  []*eventloop.Loop
	Stats  *stats.Store
	Logger *slog.Logger
}

// SourceKey tells sources apart: those of different connection managers count for themselves.
type SourceKey struct {
	Manager string // stat_prefix of the connection manager
	Filter  string // stat_prefix of the filter
	Remote  Remote
}

type stored struct {
	source  *Source
	users   int
	fetched bool // the first fetch is over, or there is none
}

// NewStore returns a store without sources.
func NewStore(d StoreDeps) *Store { return &Store{deps: d, sources: map[SourceKey]*stored{}} }

func (s *Store) get(k SourceKey) *stored {
	x := s.sources[k]
	if x == nil {
		owned := s.deps.Stats.Owned()
		scope := owned.Scope("http").Tagged("envoy.http_conn_manager_prefix", k.Manager)
		x = &stored{
			source: &Source{
				remote: k.Remote, owned: owned, fetch: s.deps.Fetch, log: s.deps.Logger, shards: s.deps.Stats.Shard,
				stats: block(scope, k.Filter), workers: make([]sourceWorker, len(s.deps.Loops)),
			},
			fetched: !k.Remote.Async || k.Remote.Fast,
		}
		s.sources[k] = x
	}
	return x
}

// Use takes part in a source, until the function that it returns is called. fetched is called on a
// worker's loop when Fetched has changed.
func (s *Store) Use(k SourceKey, fetched func(SourceKey)) (release func()) {
	x := s.get(k)
	x.users++
	first := s.deps.Loops[0]
	if x.users == 1 && k.Remote.Async {
		first.Post(func() { x.source.begin(first, func() { fetched(k) }) })
	}
	return func() {
		if x.users--; x.users > 0 {
			return
		}
		s.forget(k)
		if k.Remote.Async {
			first.Post(func() { x.source.end(first) })
		}
	}
}

// SetFetched notes that the first fetch is over, however it ended.
func (s *Store) SetFetched(k SourceKey) {
	if x := s.sources[k]; x != nil {
		x.fetched = true
	}
}

// Fetched reports whether a listener need not wait for the source.
func (s *Store) Fetched(k SourceKey) bool { return s.get(k).fetched }

// Sweep forgets sources that a filter was made for which was not used then.
func (s *Store) Sweep() {
	for k, x := range s.sources {
		if x.users == 0 {
			s.forget(k)
		}
	}
}

func (s *Store) forget(k SourceKey) {
	s.sources[k].source.owned.Close()
	delete(s.sources, k)
}

// FetchThrough fetches through the proxy's own clusters.
func FetchThrough(clients *asyncclient.Clients) Fetch {
	return func(l *eventloop.Loop, r *Remote, done func(int, []byte, error)) {
		h := &header.Map{}
		h.AddString(header.Method, "GET")
		h.AddString(header.Path, r.From.Path)
		h.AddString(header.Authority, r.From.Authority)
		h.AddString(header.UserAgent, "Go-browser") // Envoy's; servers that want one should see no other
		clients.On(l).Send(asyncclient.Request{
			Cluster: r.From.Cluster, Headers: h, Timeout: max(r.From.Timeout, time.Millisecond), MaxBody: jwt.MaxKeySetSize,
			Retry: asyncclient.Retry(r.Retry),
		}, func(a *asyncclient.Response, err error) {
			if err != nil {
				done(0, nil, err)
				return
			}
			done(a.Status, a.Body, nil)
		})
	}
}
