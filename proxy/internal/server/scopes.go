package server

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// scopes follows the scopes of connection managers that get them from SRDS, and asks for the route configurations that they name: at once,
// or when the first request needs it. The control loop owns it; slot is for any goroutine, WantRoutes and what it returns for event loops.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/rds#scoped-rds
type scopes struct {
	s       *Server
	sources map[xdsresource.ConfigSource]*scopeSource
	waiting int // requests

	mu    sync.Mutex
	slots map[*xdsresource.ScopedRoutes]*atomic.Pointer[route.Scopes]
}

// scopeSource is what has come from one source. It is asked for all of its scopes for as long as the server runs.
type scopeSource struct {
	byName   map[string]heldScope
	users    map[*xdsresource.ScopedRoutes]*scopeUser
	answered bool   // it has spoken, or is waited for no more
	record   Record // of the last response: its version, when it came, and what was refused of it
}

// heldScope is a scope with the bytes that came.
type heldScope struct {
	*xdsresource.RouteScope
	raw *anypb.Any
}

// scopeUser is a connection manager of a live or warming listener.
type scopeUser struct {
	cfg                   *xdsresource.ScopedRoutes
	need                  func(name string) routeNeed
	held                  map[string]bool // route configurations that are subscribed to
	wanted                map[string]bool // those among them that a request has asked for
	absent                map[string]bool // those among them that are known not to be there, until they come
	waiting               map[string]map[*waiter]bool
	stats                 *routeStats
	active, all, onDemand stats.Gauge
}

func newScopes(s *Server) *scopes {
	return &scopes{s: s, sources: map[xdsresource.ConfigSource]*scopeSource{}, slots: map[*xdsresource.ScopedRoutes]*atomic.Pointer[route.Scopes]{}}
}

// slot is where a connection manager finds its scopes.
func (sc *scopes) slot(cfg *xdsresource.ScopedRoutes) *atomic.Pointer[route.Scopes] {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	p := sc.slots[cfg]
	if p == nil {
		p = &atomic.Pointer[route.Scopes]{}
		sc.slots[cfg] = p
	}
	return p
}

// tables gives the table of a route configuration that a scope names.
func (s *Server) tables(cfg *xdsresource.ScopedRoutes) func(name string) func() *route.Table {
	return func(name string) func() *route.Table { return s.routes.slot(resource{cfg.Source, name}).Load }
}

// join begins to keep a connection manager's scopes.
func (sc *scopes) join(cfg *xdsresource.ScopedRoutes, statPrefix string) error {
	src := sc.sources[*cfg.SRDS]
	if src == nil {
		src = &scopeSource{byName: map[string]heldScope{}, users: map[*xdsresource.ScopedRoutes]*scopeUser{}}
		sc.sources[*cfg.SRDS] = src
		sc.s.fetches.begin(scopesKey(*cfg.SRDS), cfg.SRDSFetchTimeout, func(late bool) {
			src.answered = true
			for _, u := range src.users {
				u.stats.late(late)
			}
			sc.s.listeners.arrived()
		})
		if err := sc.s.sources.subscribeAll(*cfg.SRDS, xdsresource.TypeScopedRoutes); err != nil {
			return err
		}
	}
	st := sc.s.stats.Owned()
	scope := st.Scope("http").Tagged("envoy.http_conn_manager_prefix", statPrefix).Scope("scoped_rds").Tagged("envoy.scoped_rds_config", cfg.Name)
	u := &scopeUser{
		cfg: cfg, need: func(name string) routeNeed {
			return routeNeed{resource{cfg.Source, name}, cfg.FetchTimeout, statPrefix}
		},
		held: map[string]bool{}, wanted: map[string]bool{}, absent: map[string]bool{}, waiting: map[string]map[*waiter]bool{},
		stats:  newScopedStats(st, scope, *cfg.SRDS),
		active: scope.Gauge("active_scopes"), all: scope.Gauge("all_scopes"), onDemand: scope.Gauge("on_demand_scopes"),
	}
	u.stats.begin()
	src.users[cfg] = u
	sc.settle(src, u)
	return nil
}

// leave ends it.
func (sc *scopes) leave(cfg *xdsresource.ScopedRoutes) {
	src := sc.sources[*cfg.SRDS]
	if src == nil || src.users[cfg] == nil {
		return
	}
	u := src.users[cfg]
	delete(src.users, cfg)
	for name := range u.held {
		sc.answer(u, name, false)
		sc.s.listeners.releaseRoutes(u.need(name))
	}
	for _, s := range src.byName {
		sc.forget(u, s.RouteConfigName)
	}
	u.stats.end()
	sc.drop(cfg)
}

// drop forgets a connection manager's slot. Connections that are draining hold the pointer.
func (sc *scopes) drop(cfg *xdsresource.ScopedRoutes) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	delete(sc.slots, cfg)
}

func scopesKey(src xdsresource.ConfigSource) fetchKey {
	return fetchKey{xdsresource.TypeScopedRoutes, resource{source: src}}
}

// missing names what a connection manager still waits for before it serves.
func (sc *scopes) missing(cfg *xdsresource.ScopedRoutes) []string {
	u := sc.user(cfg)
	if u == nil || !sc.sources[*cfg.SRDS].answered {
		return []string{"scopes " + cfg.Name}
	}
	var out []string
	for name := range u.held {
		if r := u.need(name).resource; !u.wanted[name] && !sc.s.hasRoutes(r) && sc.s.fetches.waits(fetchKey{xdsresource.TypeRoute, r}) {
			out = append(out, "route configuration "+name)
		}
	}
	return out
}

// hasRoutes reports whether a route configuration has come.
func (s *Server) hasRoutes(r resource) bool {
	rec := s.routeRecords[r]
	return rec != nil && rec.Raw != nil
}

// settle publishes the scopes of a connection manager, and asks for the routes that they name.
func (sc *scopes) settle(src *scopeSource, u *scopeUser) {
	full := *u.cfg
	full.Scopes = nil
	needed, active, late := map[string]bool{}, 0, 0
	for _, name := range slices.Sorted(maps.Keys(src.byName)) {
		s := src.byName[name]
		if len(s.Key) != len(u.cfg.Key) {
			continue // refused for this one when it came
		}
		full.Scopes = append(full.Scopes, *s.RouteScope)
		if s.OnDemand {
			late++
		}
		if !s.OnDemand || u.wanted[s.RouteConfigName] {
			active++
		}
		if s.Routes == nil && (!s.OnDemand || u.wanted[s.RouteConfigName]) {
			needed[s.RouteConfigName] = true
		}
	}
	compiled, err := route.NewScopes(&full, sc.s.tables(u.cfg))
	if err != nil {
		sc.s.logger("config").Error("the scopes do not fit together; the last ones stay", "scoped_routes", u.cfg.Name, "error", err)
		return
	}
	compiled.Config = u.cfg
	for name := range needed {
		if !u.held[name] {
			u.held[name] = true
			sc.s.listeners.acquireRoutes(u.need(name))
		}
	}
	sc.slot(u.cfg).Store(compiled)
	for g, n := range map[stats.Gauge]int{u.active: active, u.all: len(full.Scopes), u.onDemand: late} {
		sc.s.stats.Main().GaugeSet(g, int64(n))
	}
	for name := range u.held {
		if !needed[name] {
			sc.answer(u, name, false)
			delete(u.held, name)
			delete(u.wanted, name)
			delete(u.absent, name)
			sc.s.listeners.releaseRoutes(u.need(name))
			sc.forget(u, name)
		}
	}
}

// forget drops a table that nobody needs. Connections that drain have theirs.
func (sc *scopes) forget(u *scopeUser, name string) {
	if r := u.need(name).resource; name != "" && sc.s.listeners.routeUse[r] == 0 {
		sc.s.routes.forget(r)
	}
}

// apply takes an SRDS response. What is refused is returned by its name.
func (sc *scopes) apply(from xdsresource.ConfigSource, b xdsclient.Batch) map[string]error {
	src := sc.sources[from]
	if src == nil {
		return nil
	}
	began := time.Now()
	errs := map[string]error{}
	// All of the response together, so that scopes can exchange their keys.
	before := maps.Clone(src.byName)
	for _, name := range b.Removed {
		delete(src.byName, name)
	}
	for _, u := range b.Changed {
		src.byName[u.Name] = heldScope{u.Value.(*xdsresource.RouteScope), u.Raw}
	}
	for _, u := range b.Changed {
		err := src.check(src.byName[u.Name].RouteScope, before, sc.s.clusters.Known)
		if err == nil {
			continue
		}
		errs[u.Name] = err
		// Its last version stays, unless another one has its key now.
		delete(src.byName, u.Name)
		if old, ok := before[u.Name]; ok && src.check(old.RouteScope, nil, sc.s.clusters.Known) == nil {
			src.byName[u.Name] = old
		}
	}
	src.note(b, errs)
	sc.s.fetches.end(scopesKey(from))
	src.answered = true
	for _, u := range src.users {
		sc.settle(src, u)
		u.stats.applied(b.Version, len(errs)+len(b.Failed) > 0, time.Since(began))
	}
	sc.s.listeners.arrived()
	return errs
}

// check judges a scope beside the others, and by the clusters that are known. Who had a key before keeps it: the newcomer is refused.
func (src *scopeSource) check(s *xdsresource.RouteScope, before map[string]heldScope, known func(name string) bool) error {
	for cfg := range src.users {
		if len(s.Key) != len(cfg.Key) {
			return fmt.Errorf("key.fragments: has %d fragments, scope_key_builder of %q makes %d", len(s.Key), cfg.Name, len(cfg.Key))
		}
	}
	had := func(x *xdsresource.RouteScope) bool {
		old, ok := before[x.Name]
		return ok && slices.Equal(old.Key, x.Key)
	}
	for name, other := range src.byName {
		if name != s.Name && slices.Equal(other.Key, s.Key) && (!had(s) || had(other.RouteScope)) {
			return fmt.Errorf("key: is that of scope %q", name)
		}
	}
	if s.Routes != nil {
		if _, err := route.Compile(s.Routes); err != nil {
			return err
		}
		return s.Routes.CheckClusters(known, true)
	}
	return nil
}

// WantRoutes implements ondemand.Routes.
func (sc *scopes) WantRoutes(of *xdsresource.ScopedRoutes, name string, l *eventloop.Loop, done func(found bool)) (cancel func()) {
	w := &waiter{l, done}
	sc.s.control.post(func() { sc.add(of, name, w) })
	return func() {
		w.done = nil
		sc.s.control.post(func() {
			if u := sc.user(of); u != nil && u.waiting[name][w] {
				delete(u.waiting[name], w)
				sc.waiting--
			}
		})
	}
}

func (sc *scopes) user(of *xdsresource.ScopedRoutes) *scopeUser {
	if of.SRDS == nil || sc.sources[*of.SRDS] == nil {
		return nil
	}
	return sc.sources[*of.SRDS].users[of]
}

// add asks for a route configuration. Its name is a scope's, so clients cannot make them up; it stays subscribed while the scope is there.
func (sc *scopes) add(of *xdsresource.ScopedRoutes, name string, w *waiter) {
	u := sc.user(of)
	switch {
	case u == nil, u.absent[name], sc.waiting >= maxHeld:
		w.answer(false)
		return
	case sc.s.hasRoutes(u.need(name).resource):
		w.answer(true)
		return
	}
	if u.waiting[name] == nil {
		u.waiting[name] = map[*waiter]bool{}
	}
	u.waiting[name][w] = true
	sc.waiting++
	if !u.wanted[name] {
		u.wanted[name] = true
		sc.settle(sc.sources[*of.SRDS], u)
	}
}

func (sc *scopes) answer(u *scopeUser, name string, found bool) {
	sc.waiting -= len(u.waiting[name])
	for w := range u.waiting[name] {
		w.answer(found)
	}
	delete(u.waiting, name)
}

// routes tells those who wait for a route configuration what has become of it.
func (sc *scopes) routes(r resource, found bool) {
	for _, src := range sc.sources {
		for cfg, u := range src.users {
			if cfg.Source == r.source && u.held[r.name] {
				u.absent[r.name] = !found
				sc.answer(u, r.name, found)
			}
		}
	}
}
