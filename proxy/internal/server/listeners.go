package server

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/jwtauthn"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// listenerSet follows listeners from their arrival to their end. The control loop owns it.
type listenerSet struct {
	s       *Server
	version string // of the last LDS response
	active  map[string]*liveListener
	// warming listeners wait for routes and secrets; beside one may stand an active one of
	// the same name, which serves meanwhile.
	warming map[string]*liveListener
	// refused holds the last refusal by name.
	refused map[string]*Refusal
	// routeUse counts the listeners that need a route configuration of RDS.
	routeUse map[resource]int
	// routeStats are the statistics of those configurations.
	routeStats map[resource]*routeStats
	// draining counts the listeners whose last connections have time left, and chains the filter chains of
	// listeners that were changed in place.
	draining, chains int
	// answered is true after the first LDS response.
	answered bool

	// byAddress is what workers look up for listeners with use_original_dst.
	byAddress atomic.Pointer[map[netip.AddrPort]*listener.Listener]
}

// liveListener is one version of a listener with what it needs.
type liveListener struct {
	cfg     *xdsresource.Listener
	rec     Record
	l       *listener.Listener // nil for a version that will replace the active one in place
	routes  []routeNeed
	scopes  []scopeNeed
	secrets []secretNeed
	filters []extensionNeed // whose configurations come by discovery
	// gaveUp holds the secrets that were waited for long enough.
	gaveUp  map[secretKey]bool
	keys    []jwtauthn.SourceKey
	cancels []func()
}

// scopeNeed are the scopes of a connection manager that come from SRDS.
type scopeNeed struct {
	*xdsresource.ScopedRoutes
	statPrefix string
}

// routeNeed is a route configuration that a listener needs.
type routeNeed struct {
	resource
	timeout    time.Duration // see fetches
	statPrefix string        // of the connection manager that names it
}

func newListenerSet(s *Server) *listenerSet {
	return &listenerSet{
		s: s, active: map[string]*liveListener{}, warming: map[string]*liveListener{},
		refused: map[string]*Refusal{}, routeUse: map[resource]int{}, routeStats: map[resource]*routeStats{},
	}
}

// update takes a new version of a listener. The error is what a NACK says; a listener that
// must wait for something is no error.
func (ls *listenerSet) update(r xdsresource.Resource, version string, static bool) error {
	cfg := r.Value.(*xdsresource.Listener)
	rec := Record{Name: r.Name, Static: static, State: Warming, Version: version, Raw: r.Raw, Updated: ls.s.now()}
	if old := ls.newest(r.Name); old != nil && proto.Equal(old.rec.Raw, r.Raw) {
		old.rec.Version = version // the same again, as after a reconnect in state of the world
		delete(ls.refused, r.Name)
		return nil
	}
	if unknown := cfg.UnknownClusters(ls.s.clusters.Known); len(unknown) > 0 {
		err := &xdsresource.Error{Type: "listener", Name: r.Name, Problems: unknown}
		ls.refuse(r, version, err)
		return err
	}
	next := &liveListener{cfg: cfg, rec: rec, gaveUp: map[secretKey]bool{}}
	next.needs()
	ls.s.keys.Sweep()
	// Built before it is warm, so that what cannot work is refused at once. A version that
	// fits the active listener's sockets is built when it replaces it.
	if !ls.inPlace(ls.active[r.Name], cfg) {
		var err error
		if next.l, err = ls.s.newListener(cfg); err != nil {
			ls.forgetRoutes(next)
			for _, x := range next.scopes {
				ls.s.scopes.drop(x.ScopedRoutes)
			}
			ls.refuse(r, version, err)
			return err
		}
	}
	ls.acquire(next) // before the one that it replaces gives back what both need
	if w := ls.warming[r.Name]; w != nil {
		ls.discard(w)
	}
	ls.warming[r.Name] = next
	if !ls.ready(next) {
		ls.s.log.Debug("listener waits", "listener", r.Name, "for", strings.Join(ls.missing(next), ", "))
		return nil
	}
	if err := ls.activate(next); err != nil {
		ls.refuse(r, version, err)
		return err
	}
	return nil
}

// newest is the warming version of a listener, else the active one.
func (ls *listenerSet) newest(name string) *liveListener {
	if w := ls.warming[name]; w != nil {
		return w
	}
	return ls.active[name]
}

// inPlace reports whether cfg can take over the sockets of a live listener.
func (ls *listenerSet) inPlace(old *liveListener, cfg *xdsresource.Listener) bool {
	return old != nil && reflect.DeepEqual(old.cfg.Address, cfg.Address) && reflect.DeepEqual(old.cfg.Addresses, cfg.Addresses) &&
		old.cfg.BindToPort == cfg.BindToPort && reflect.DeepEqual(old.cfg.Socket, cfg.Socket) && old.cfg.Direction == cfg.Direction
}

func (ls *listenerSet) refuse(r xdsresource.Resource, version string, err error) {
	ls.s.stats.Main().Inc(ls.s.updates.listenerFailed)
	ls.refused[r.Name] = &Refusal{Version: version, Time: ls.s.now(), Details: err.Error(), Raw: r.Raw}
}

// needs collects what a listener must have before it serves.
func (v *liveListener) needs() {
	chains := slices.Clone(v.cfg.FilterChains)
	if v.cfg.Default != nil {
		chains = append(chains, v.cfg.Default)
	}
	for _, fc := range chains {
		if fc.TLS != nil {
			for _, n := range serverSecrets(fc.TLS) {
				if !slices.ContainsFunc(v.secrets, func(o secretNeed) bool { return o.secretKey == n.secretKey }) {
					v.secrets = append(v.secrets, n)
				}
			}
		}
		for _, f := range fc.Filters {
			if f.Discovery != nil {
				v.filters = append(v.filters, extensionNeed{resource{f.Discovery.Source, f.Name}, f.Discovery, "network_filter"})
			}
			m, ok := f.Config.(*xdsresource.HTTPConnectionManager)
			if !ok {
				continue
			}
			v.keys = append(v.keys, keySources(m)...)
			for _, x := range m.Filters {
				if x.Discovery != nil {
					v.filters = append(v.filters, extensionNeed{resource{x.Discovery.Source, x.Name}, x.Discovery, "http_filter"})
				}
			}
			if m.Scopes != nil && m.Scopes.SRDS != nil {
				v.scopes = append(v.scopes, scopeNeed{m.Scopes, m.StatPrefix})
			}
			for _, r := range namedRoutes(m) {
				if !slices.ContainsFunc(v.routes, func(n routeNeed) bool { return n.resource == r }) {
					timeout := m.RouteFetchTimeout
					if m.Scopes != nil {
						timeout = m.Scopes.FetchTimeout
					}
					v.routes = append(v.routes, routeNeed{r, timeout, m.StatPrefix})
				}
			}
		}
	}
}

// namedRoutes lists the route configurations that a connection manager has not got inline.
func namedRoutes(m *xdsresource.HTTPConnectionManager) []resource {
	var out []resource
	switch {
	case m.Scopes != nil:
		for _, s := range m.Scopes.Scopes {
			if s.Routes == nil {
				out = append(out, resource{m.Scopes.Source, s.RouteConfigName})
			}
		}
	case m.Routes == nil:
		out = append(out, resource{m.RouteSource, m.RouteConfigName})
	}
	return out
}

// acquire subscribes to what a version needs.
func (ls *listenerSet) acquire(v *liveListener) {
	for _, r := range v.routes {
		ls.acquireRoutes(r)
	}
	for _, x := range v.scopes {
		if err := ls.s.scopes.join(x.ScopedRoutes, x.statPrefix); err != nil {
			ls.s.logger("config").Error("scopes cannot be asked for", "listener", v.rec.Name, "error", err)
		}
	}
	for _, n := range v.filters {
		ls.s.extensions.acquire(n)
	}
	for _, n := range v.secrets {
		v.cancels = append(v.cancels, ls.s.secrets.watch(n.secretKey, func() { ls.s.control.post(ls.arrived) }))
		if n.wait > 0 && !ls.s.secrets.answered(n.secretKey) {
			v.cancels = append(v.cancels, ls.s.afterUnless(n.wait, func() {
				v.gaveUp[n.secretKey] = true
				ls.arrived()
			}))
		}
	}
	for _, k := range v.keys {
		v.cancels = append(v.cancels, ls.s.keys.Use(k, ls.fetched))
	}
}

// acquireRoutes subscribes to a route configuration, for one more user of it.
func (ls *listenerSet) acquireRoutes(r routeNeed) {
	if ls.routeUse[r.resource]++; ls.routeUse[r.resource] > 1 {
		return
	}
	st := newRouteStats(ls.s.stats.Owned(), r)
	ls.routeStats[r.resource] = st
	st.begin()
	ls.s.fetches.begin(fetchKey{xdsresource.TypeRoute, r.resource}, r.timeout, func(late bool) {
		st.late(late)
		ls.arrived()
	})
	ls.s.sources.subscribe(r.source, xdsresource.TypeRoute, r.name)
}

// releaseRoutes gives it back.
func (ls *listenerSet) releaseRoutes(r routeNeed) {
	if ls.routeUse[r.resource]--; ls.routeUse[r.resource] > 0 {
		return
	}
	ls.routeStats[r.resource].end()
	delete(ls.routeUse, r.resource)
	delete(ls.routeStats, r.resource)
	delete(ls.s.routeRecords, r.resource)
	ls.s.vhds.release(r.resource)
	ls.s.fetches.end(fetchKey{xdsresource.TypeRoute, r.resource})
	ls.s.sources.unsubscribe(r.source, xdsresource.TypeRoute, r.name)
}

// release gives it back.
func (ls *listenerSet) release(v *liveListener) {
	for _, r := range v.routes {
		ls.releaseRoutes(r)
	}
	for _, x := range v.scopes {
		ls.s.scopes.leave(x.ScopedRoutes)
	}
	for _, n := range v.filters {
		ls.s.extensions.release(n)
	}
	ls.forgetRoutes(v)
	for _, cancel := range v.cancels {
		cancel()
	}
	v.cancels = nil
}

// forgetRoutes drops the tables that no version needs. Connections that drain have theirs.
func (ls *listenerSet) forgetRoutes(v *liveListener) {
	for _, r := range v.routes {
		if ls.routeUse[r.resource] == 0 {
			ls.s.routes.forget(r.resource)
		}
	}
}

// discard drops a version that never served.
func (ls *listenerSet) discard(v *liveListener) {
	delete(ls.warming, v.rec.Name)
	ls.release(v)
	if v.l != nil {
		v.l.Close(0, nil)
	}
}

// missing names what a version still waits for.
func (ls *listenerSet) missing(v *liveListener) []string {
	var out []string
	for _, r := range v.routes {
		if !ls.s.hasRoutes(r.resource) && ls.s.fetches.waits(fetchKey{xdsresource.TypeRoute, r.resource}) {
			out = append(out, "route configuration "+r.name)
		} else if !ls.s.vhds.ready(r.resource) {
			out = append(out, "virtual hosts of route configuration "+r.name)
		}
	}
	for _, x := range v.scopes {
		out = append(out, ls.s.scopes.missing(x.ScopedRoutes)...)
	}
	for _, n := range v.secrets {
		if !ls.s.secrets.answered(n.secretKey) && !v.gaveUp[n.secretKey] {
			out = append(out, "secret "+n.name)
		}
	}
	for _, n := range v.filters {
		if ls.s.extensions.waits(n) {
			out = append(out, "configuration of filter "+n.name)
		}
	}
	for _, k := range v.keys {
		if !ls.s.keys.Fetched(k) {
			out = append(out, "keys of "+k.Remote.From.URL)
		}
	}
	return out
}

func (ls *listenerSet) ready(v *liveListener) bool { return len(ls.missing(v)) == 0 }

// keySources are the servers that filters of a connection manager get keys from.
func keySources(m *xdsresource.HTTPConnectionManager) (out []jwtauthn.SourceKey) {
	for _, f := range m.Filters {
		out = append(out, keysOf(m, f.Config)...)
	}
	return out
}

// keysOf are those of one filter.
func keysOf(m *xdsresource.HTTPConnectionManager, config any) (out []jwtauthn.SourceKey) {
	if cfg, ok := config.(*jwtauthn.Config); ok {
		for _, r := range cfg.Remotes() {
			out = append(out, jwtauthn.SourceKey{Manager: m.StatPrefix, Filter: cfg.StatPrefix(), Remote: r})
		}
	}
	return out
}

// fetched notes that keys have been asked for, successfully or not. A worker calls it.
func (ls *listenerSet) fetched(k jwtauthn.SourceKey) {
	ls.s.control.post(func() {
		ls.s.keys.SetFetched(k)
		ls.arrived()
	})
}

// arrived activates what has become ready.
func (ls *listenerSet) arrived() {
	for name, v := range ls.warming {
		if !ls.ready(v) {
			continue
		}
		if err := ls.activate(v); err != nil {
			// Too late for a NACK: the response that brought it was accepted.
			ls.s.log.Error("cannot start a listener", "listener", name, "error", err)
			ls.refused[name] = &Refusal{Version: v.rec.Version, Time: ls.s.now(), Details: err.Error(), Raw: v.rec.Raw}
		}
	}
	ls.s.checkReady()
}

// activate makes a warm version the active one.
func (ls *listenerSet) activate(v *liveListener) error {
	name := v.rec.Name
	old := ls.active[name]
	if v.l == nil && !ls.inPlace(old, v.cfg) { // the one it was to replace has changed or gone
		var err error
		if v.l, err = ls.s.newListener(v.cfg); err != nil {
			ls.discard(v)
			return err
		}
	}
	if v.l == nil {
		draining := 0
		var err error
		if draining, err = old.l.Update(v.cfg, ls.s.cfg.DrainTime, func() { ls.chains -= draining }); err != nil {
			ls.discard(v)
			return err
		}
		ls.chains += draining
		v.l = old.l
		ls.s.stats.Main().Inc(ls.s.updates.listenerInPlace)
	} else {
		if err := v.l.Start(); err != nil {
			ls.discard(v)
			return err
		}
		if old != nil {
			ls.drain(old)
		}
		ls.s.stats.Main().Inc(ls.s.updates.listenerCreated)
		ls.s.log.Info("listener is up", "listener", name, "address", addressesText(v.l.Addrs()))
	}
	if ls.s.failing.Load() && !v.cfg.DrainModifyOnly {
		v.l.Discourage(true)
	}
	if ls.s.acceptingStopped() {
		v.l.Pause(true)
	}
	delete(ls.warming, name)
	delete(ls.refused, name)
	v.rec.State = Active
	ls.active[name] = v
	if old != nil {
		ls.release(old)
		ls.s.stats.Main().Inc(ls.s.updates.listenerModified)
	} else {
		ls.s.stats.Main().Inc(ls.s.updates.listenerAdded)
	}
	ls.publish()
	return nil
}

func (ls *listenerSet) remove(name string) {
	if w := ls.warming[name]; w != nil && !w.rec.Static {
		ls.discard(w)
	}
	delete(ls.refused, name)
	v := ls.active[name]
	if v == nil || v.rec.Static {
		return
	}
	delete(ls.active, name)
	ls.publish()
	ls.drain(v)
	ls.release(v)
	ls.s.stats.Main().Inc(ls.s.updates.listenerRemoved)
	ls.s.log.Info("listener is gone", "listener", name)
}

// drain closes a listener that nothing replaces in place.
func (ls *listenerSet) drain(v *liveListener) {
	ls.draining++
	v.l.Close(ls.s.cfg.DrainTime, func() { ls.draining-- })
}

// apply takes an LDS response. Removals come first: they may free an address.
func (ls *listenerSet) apply(b xdsclient.Batch) map[string]error {
	errs := map[string]error{}
	ls.version, ls.answered = b.Version, true
	for _, name := range b.Removed {
		ls.remove(name)
	}
	if len(b.Removed) > 0 {
		ls.s.barrier() // sockets are closed on their loops
	}
	for _, u := range b.Changed {
		if v := ls.active[u.Name]; v != nil && v.rec.Static {
			errs[u.Name] = fmt.Errorf("listener %q is a static listener of the bootstrap", u.Name)
			continue
		}
		if err := ls.update(u.Resource, u.Version, false); err != nil {
			errs[u.Name] = err
		}
	}
	for _, f := range b.Failed {
		ls.refused[f.Name] = &Refusal{Version: f.Version, Time: ls.s.now(), Details: f.Err.Error(), Raw: f.Raw.Raw}
	}
	ls.s.checkReady()
	return errs
}

// publish renews the lookup of original destinations.
func (ls *listenerSet) publish() {
	m := map[netip.AddrPort]*listener.Listener{}
	for _, v := range ls.active {
		if v.cfg.UseOriginalDst {
			continue
		}
		for _, a := range append([]xdsresource.Address{v.cfg.Address}, v.cfg.Addresses...) {
			if a.IP.IsValid() {
				m[netip.AddrPortFrom(a.IP, a.Port)] = v.l
			}
		}
	}
	ls.byAddress.Store(&m)
}

// original finds the listener of an original destination: its address, else the wildcard
// address with its port. Workers call it.
func (ls *listenerSet) original(dst netip.AddrPort) *listener.Listener {
	m := ls.byAddress.Load()
	if m == nil {
		return nil
	}
	if l := (*m)[dst]; l != nil {
		return l
	}
	wildcard := netip.IPv4Unspecified()
	if dst.Addr().Is6() {
		wildcard = netip.IPv6Unspecified()
	}
	return (*m)[netip.AddrPortFrom(wildcard, dst.Port())]
}

// view lists all versions in order of name, the active before the warming one.
func (ls *listenerSet) view() []Record {
	var out []Record
	seen := map[string]bool{}
	for _, set := range []map[string]*liveListener{ls.active, ls.warming} {
		for name, v := range set {
			rec := v.rec
			rec.Error = ls.refused[name]
			seen[name] = true
			out = append(out, rec)
		}
	}
	for name, r := range ls.refused {
		if !seen[name] {
			out = append(out, Record{Name: name, State: Warming, Error: r})
		}
	}
	slices.SortStableFunc(out, func(a, b Record) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return int(a.State) - int(b.State)
	})
	return out
}

// ListenerAddress is a name with what it is bound to.
type ListenerAddress struct {
	Name      string
	Addresses []xdsresource.Address
}

// ListenerAddresses lists the active listeners in order of name.
func (s *Server) ListenerAddresses() []ListenerAddress {
	var out []ListenerAddress
	s.control.call(func() {
		for name, v := range s.listeners.active {
			addrs := v.l.Addrs()
			if len(addrs) == 0 { // not bound: what it stands for
				addrs = []xdsresource.Address{v.cfg.Address}
			}
			out = append(out, ListenerAddress{name, addrs})
		}
	})
	slices.SortFunc(out, func(a, b ListenerAddress) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func addressesText(in []xdsresource.Address) string {
	var out []string
	for _, a := range in {
		switch {
		case a.Pipe != "":
			out = append(out, a.Pipe)
		default:
			out = append(out, netip.AddrPortFrom(a.IP, a.Port).String())
		}
	}
	return strings.Join(out, ", ")
}
