package server

import (
	"sync"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// routes keeps the route tables of RDS by source and name. Workers read a table through an atomic
// pointer that they hold for as long as they use it; the map itself is behind a lock
// that only configuration takes.
type routes struct {
	stats  *stats.Store
	mu     sync.Mutex
	byName map[resource]*atomic.Pointer[route.Table]
}

func newRoutes(s *stats.Store) *routes {
	return &routes{stats: s, byName: map[resource]*atomic.Pointer[route.Table]{}}
}

// slot returns the pointer of a route configuration, made empty when it is new.
func (r *routes) slot(name resource) *atomic.Pointer[route.Table] {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.byName[name]
	if p == nil {
		p = &atomic.Pointer[route.Table]{}
		r.byName[name] = p
	}
	return p
}

// set publishes a table. A stream that has the old one keeps it to its end.
func (r *routes) set(name resource, t *route.Table) {
	t.Count(r.stats.Owned)
	if old := r.slot(name).Swap(t); old != nil {
		old.Retire(t)
	}
}

// forget drops a route configuration; who has its pointer keeps the table.
func (r *routes) forget(name resource) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.byName[name]; p != nil {
		if t := p.Load(); t != nil {
			t.Retire(nil)
		}
	}
	delete(r.byName, name)
}
