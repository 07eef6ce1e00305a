package xdscache

import (
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/lateen-mesh/lateen/controlplane/internal/translate"
)

// Cache holds every encoded resource that somebody still has, so that it is built once. It does not keep resources alive: what no proxy
// and no scope holds is collected. Its methods may be called from any goroutine.
type Cache struct {
	log *slog.Logger

	mu     sync.Mutex
	shared map[resourceKey]weak.Pointer[Resource]
	scopes map[string]*scope

	built, reused, failed atomic.Uint64
}

// resourceKey is what resources with equal bytes have in common (translate.Resource.Key).
type resourceKey struct{ typeURL, name, key string }

// New returns an empty cache.
func New(log *slog.Logger) *Cache {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Cache{log: log, shared: map[resourceKey]weak.Pointer[Resource]{}, scopes: map[string]*scope{}}
}

// Stats says how often resources were built and how often one that was there was used instead; failed are those that could not be encoded.
type Stats struct {
	Built, Reused, Failed uint64
	Resources, Scopes     int
}

// Stats returns the counts since the start.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Built: c.built.Load(), Reused: c.reused.Load(), Failed: c.failed.Load(), Resources: len(c.shared), Scopes: len(c.scopes)}
}

// encodeAll turns translated resources into a set. One that cannot be encoded (text that is not UTF-8) is left out and logged, by name;
// the others go on.
func (c *Cache) encodeAll(typeURL string, in []translate.Resource) *Set {
	out := make([]*Resource, 0, len(in))
	for _, t := range in {
		if r := c.encode(typeURL, t); r != nil {
			out = append(out, r)
		}
	}
	return NewSet(out)
}

func (c *Cache) encode(typeURL string, t translate.Resource) *Resource {
	if t.Key == "" {
		return c.build(t)
	}
	key := resourceKey{typeURL, t.Name, t.Key}
	c.mu.Lock()
	if r := c.shared[key].Value(); r != nil {
		c.mu.Unlock()
		c.reused.Add(1)
		return r
	}
	c.mu.Unlock()
	// Built outside the lock: two streams may build the same at once, and the first one in wins.
	r := c.build(t)
	if r == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.shared[key].Value(); other != nil {
		return other
	}
	c.shared[key] = weak.Make(r)
	runtime.AddCleanup(r, c.forget, key)
	return r
}

func (c *Cache) build(t translate.Resource) *Resource {
	c.built.Add(1)
	r, err := Encode(t.Name, t.Build())
	if err != nil {
		c.failed.Add(1)
		c.log.Error("resource left out", "name", t.Name, "err", err)
		return nil
	}
	return r
}

// forget drops an entry whose resource is gone, unless another has taken its place.
func (c *Cache) forget(key resourceKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shared[key].Value() == nil {
		delete(c.shared, key)
	}
}
