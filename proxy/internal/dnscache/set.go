package dnscache

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Resolver turns a host name into addresses. An error that has a method Rcode() int is an answer with that RCODE (RFC 1035, section
// 4.1.1); no addresses and no error are an answer without data.
type Resolver interface {
	// Resolve returns the addresses of host for a family and how long they are good
	// (0: unknown).
	Resolve(ctx context.Context, host string, family xdsresource.DNSFamily) ([]netip.Addr, time.Duration, error)
}

// Loop is a worker's event loop.
type Loop interface {
	// Post runs f on the loop; false when the loop has stopped.
	Post(f func()) bool
}

// Deps are what caches need; all fields are required.
type Deps struct {
	Loops  []Loop // by worker
	Stats  *stats.Store
	Logger *slog.Logger
	// Resolver makes the resolver of a cache; nil stands for the proxy's own way.
	Resolver func(*xdsresource.DNSResolver) Resolver
}

// Set is the caches of a process, by name. Its methods may be called from any goroutine.
type Set struct {
	deps   Deps
	wg     sync.WaitGroup // queries
	mu     sync.Mutex
	caches map[string]*Cache
	closed bool
}

// NewSet returns a set without caches. It starts nothing.
func NewSet(d Deps) *Set { return &Set{deps: d, caches: map[string]*Cache{}} }

// Use returns the cache of a configuration's name, which is made if there is none, until done is called. It is an error if there is one
// with other settings: whose names would be resolved in whose way?
func (s *Set) Use(cfg *xdsresource.DNSCache) (c *Cache, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, fmt.Errorf("DNS cache %q: the process is ending", cfg.Name)
	}
	c = s.caches[cfg.Name]
	if c == nil {
		c = newCache(s, cfg)
		s.caches[cfg.Name] = c
		c.preresolve()
	} else if !reflect.DeepEqual(c.cfg, cfg) {
		return nil, nil, fmt.Errorf("config specified DNS cache %q with different settings: all that use a cache by its name must have the same", cfg.Name)
	}
	c.users++
	return c, sync.OnceFunc(func() { s.leave(c) }), nil
}

// leave ends a use of a cache. The last one takes it away.
func (s *Set) leave(c *Cache) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.users--; c.users > 0 {
		return
	}
	if s.caches[c.cfg.Name] == c {
		delete(s.caches, c.cfg.Name)
	}
	c.close()
}

// Close ends all caches, and waits for their queries. The loops must have ended before.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	for name, c := range s.caches {
		delete(s.caches, name)
		c.close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}
