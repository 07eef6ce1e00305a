package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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

	mu    sync.Mutex
	slots map[*xdsresource.ScopedRoutes]*atomic.Pointer[route.Scopes]
}

// scopeSource is what has come from one source. It is asked for all of its scopes for as long as the server runs.
type scopeSource struct {
	byName   map[string]*xdsresource.RouteScope
	answered bool
	users    map[*xdsresource.ScopedRoutes]*scopeUser
}

// scopeUser is a connection manager of a live or warming listener.
type scopeUser struct {
	cfg     *xdsresource.ScopedRoutes
	need    func(name string) routeNeed
	held    map[string]bool // route configurations that are subscribed to
	wanted  map[string]bool // those among them that a request has asked for
	waiting map[string]map[*waiter]bool
	stats   *routeStats
	all     stats.Gauge
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
		if err := sc.s.reachable(*cfg.SRDS, "scoped_rds.scoped_rds_config_source"); err != nil {
			return err
		}
		src = &scopeSource{byName: map[string]*xdsresource.RouteScope{}, users: map[*xdsresource.ScopedRoutes]*scopeUser{}}
		sc.sources[*cfg.SRDS] = src
		if err := sc.s.sources.subscribeAll(*cfg.SRDS, xdsresource.TypeScopedRoutes); err != nil {
			return err
		}
	}
	st := sc.s.stats.Owned()
	scope := st.Scope("http").Tagged("envoy.http_conn_manager_prefix", statPrefix).Scope("scoped_rds").Scope(cfg.Name)
	u := &scopeUser{
		cfg: cfg, need: func(name string) routeNeed { return routeNeed{resource{cfg.Source, name}, statPrefix} },
		held: map[string]bool{}, wanted: map[string]bool{}, waiting: map[string]map[*waiter]bool{},
		stats: newScopedStats(st, scope, *cfg.SRDS), all: scope.Gauge("all_scopes"),
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
		u.answer(name, false)
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

// answered reports whether a source has said which scopes there are.
func (sc *scopes) answered(cfg *xdsresource.ScopedRoutes) bool {
	src := sc.sources[*cfg.SRDS]
	return src != nil && src.answered
}

// settle publishes the scopes of a connection manager, and asks for the routes that they name.
func (sc *scopes) settle(src *scopeSource, u *scopeUser) {
	full := *u.cfg
	full.Scopes = nil
	needed := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(src.byName)) {
		s := src.byName[name]
		if len(s.Key) != len(u.cfg.Key) {
			continue // refused for this one when it came
		}
		full.Scopes = append(full.Scopes, *s)
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
	sc.s.stats.Main().GaugeSet(u.all, int64(len(full.Scopes)))
	for name := range u.held {
		if !needed[name] {
			u.answer(name, false)
			delete(u.held, name)
			delete(u.wanted, name)
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
	for _, name := range b.Removed {
		delete(src.byName, name)
	}
	for _, u := range b.Changed {
		s := u.Value.(*xdsresource.RouteScope)
		if err := src.check(s); err != nil {
			errs[u.Name] = err
			continue
		}
		src.byName[u.Name] = s
	}
	src.answered = true
	for _, u := range src.users {
		sc.settle(src, u)
		u.stats.applied(b.Version, len(errs)+len(b.Failed) > 0, time.Since(began))
	}
	sc.s.listeners.arrived()
	return errs
}

// check judges a scope beside the others.
func (src *scopeSource) check(s *xdsresource.RouteScope) error {
	for cfg := range src.users {
		if len(s.Key) != len(cfg.Key) {
			return fmt.Errorf("key.fragments: has %d fragments, scope_key_builder of %q makes %d", len(s.Key), cfg.Name, len(cfg.Key))
		}
	}
	key := strings.Join(s.Key, "\x00")
	for name, other := range src.byName {
		if name != s.Name && strings.Join(other.Key, "\x00") == key {
			return fmt.Errorf("key: is that of scope %q", name)
		}
	}
	if s.Routes != nil {
		if _, err := route.Compile(s.Routes); err != nil {
			return err
		}
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
			if u := sc.user(of); u != nil {
				delete(u.waiting[name], w)
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
	if u == nil {
		w.answer(false)
		return
	}
	if rec := sc.s.routeRecords[u.need(name).resource]; rec != nil && rec.Raw != nil {
		w.answer(true)
		return
	}
	if u.waiting[name] == nil {
		u.waiting[name] = map[*waiter]bool{}
	}
	u.waiting[name][w] = true
	if !u.wanted[name] {
		u.wanted[name] = true
		sc.settle(sc.sources[*of.SRDS], u)
	}
}

func (u *scopeUser) answer(name string, found bool) {
	for w := range u.waiting[name] {
		w.answer(found)
	}
	delete(u.waiting, name)
}

// routes tells those who wait for a route configuration what has become of it.
func (sc *scopes) routes(r resource, found bool) {
	for _, src := range sc.sources {
		for cfg, u := range src.users {
			if cfg.Source == r.source {
				u.answer(r.name, found)
			}
		}
	}
}
