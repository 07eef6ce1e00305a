package xdscache

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/translate"
)

// keepStates is how many versions a scope remembers. Streams that still carry an older view through ask for one or two back.
const keepStates = 4

// maxScopes bounds the scopes that are remembered; those of proxies that left go when it is reached.
const maxScopes = 4096

// scope is what proxies that see the same mesh share (model.Snapshot.PatchedScope): outbound clusters, endpoints and routes. Each version is
// derived from the one before, at the cost of what the change touched.
type scope struct {
	mu     sync.Mutex
	states []*state // newest last
}

// state is a scope at one version. Its maps are filled as they are asked for; sets are nil until then.
type state struct {
	version uint64
	// passing: it is of an older version than the scope's last and not remembered.
	passing bool
	cds     *Set
	eds     *history[*Resource] // nil value: there is none of the name
	// edsExact says that since edsFrom, the version before, only edsTouched may differ.
	edsExact   bool
	edsFrom    uint64
	edsTouched []string
	rds        map[string]*Resource // nil value: the name does not exist
	nds        *Set                 // translate.Names
	table      *Set                 // translate.NameTable

	// pods are translate.CalledPods, and lds the outbound listeners by translate.OutboundKey; nil until they are asked for.
	pods map[string]bool
	lds  map[string]*Set
	// before is lds of the state before where a change may concern it: what did not change keeps its pointers.
	before map[string]*Set
	// What several proxies have that differ little: the scope's clusters or listeners with a proxy's own ones, and endpoints by what is
	// subscribed to.
	joined   map[join]*Set
	selected map[*Names]*Set
	// selectedBefore is selected of the state at edsFrom, as it was when this state followed it; nil when nothing is touched, since selected has it then.
	selectedBefore map[*Names]*Set
	used           onDemand
}

// join is a set of the scope's and the version of a proxy's own one that it is joined with.
type join struct {
	shared *Set
	own    string
}

// join returns the union. It is made once for proxies whose own resources are equal.
func (st *state) join(shared, own *Set) *Set {
	if own.Len() == 0 {
		return shared
	}
	key := join{shared, own.Version()}
	set := st.joined[key]
	if set == nil {
		set = own.Union(shared) // of a name in both the own one counts, as in translate.Listeners
		if st.joined == nil || len(st.joined) >= maxShared {
			st.joined = map[join]*Set{}
		}
		st.joined[key] = set
	}
	return set
}

// maxShared bounds the memory for what proxies share. minShared is from how many names on it is worth it.
const (
	maxShared = 256
	minShared = 64
)

// scope returns the proxy's scope. A proxy is asked about for each type of each view; its scope is found once for a view.
func (v *View) scope(p *Proxy) *scope {
	if at := p.scope.Load(); at != nil && at.version == v.snap.Version {
		return at.scope
	}
	found := v.findScope(p)
	p.scope.Store(&scopeAt{v.snap.Version, found})
	return found
}

// scopeAt is a proxy's scope in the snapshot of a version.
type scopeAt struct {
	version uint64
	scope   *scope
}

func (v *View) findScope(p *Proxy) *scope {
	key := v.snap.PatchedScope(p.Proxy)
	c := v.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.scopes[key]
	if s == nil {
		if len(c.scopes) >= maxScopes {
			clear(c.scopes) // live ones are derived anew on their next change, from resources that are still there
		}
		s = &scope{}
		c.scopes[key] = s
	}
	return s
}

// at returns the scope's state at the view's version, with what is unchanged taken over from an older one. s.mu is held.
func (s *scope) at(v *View, p *Proxy) *state {
	for _, st := range s.states {
		if st.version == v.snap.Version {
			return st
		}
	}
	next := &state{version: v.snap.Version, rds: map[string]*Resource{}, eds: newHistory[*Resource](v.snap.Version), used: newOnDemand(v.snap.Version)}
	if n := len(s.states); n > 0 {
		last := s.states[n-1]
		if last.version > next.version {
			next.passing = true
			return next // an old view asked again: derived for this once
		}
		if change := v.since(last.version); change != nil {
			next.follow(last, s.states[max(0, n+1-keepStates)].version, v, p, change)
		}
	}
	s.states = append(s.states, next)
	if len(s.states) > keepStates {
		s.states = slices.Delete(s.states, 0, 1)
	}
	return next
}

// follow takes over from the state before what a change does not touch, and derives the hosts that it does touch. oldest is the oldest version
// that the scope goes on to have.
func (n *state) follow(last *state, oldest uint64, v *View, p *Proxy, change *model.Change) {
	change = translate.ForScope(change, v.snap, p.Proxy)
	a := translate.Affects(change, v.snap, p.Proxy)
	if last.cds != nil && !a.AllClusters {
		n.cds = last.cds
		if len(a.ClusterHosts) > 0 {
			var fresh []translate.Resource
			for _, host := range a.ClusterHosts {
				fresh = append(fresh, translate.ClustersOf(v.snap, p.Proxy, host)...)
			}
			kept := last.cds.Without(func(name string) bool {
				host := translate.ClusterHost(name)
				return strings.HasPrefix(name, "outbound") && slices.Contains(a.ClusterHosts, host)
			})
			n.cds = keepPointers(last.cds, v.cache.encodeAll(translate.ClusterType, fresh).Union(kept))
		}
	}
	if !a.AllClusters && !a.AllEndpoints {
		n.followNames(last, v, p, a)
	}
	// A stream that still carries the state before through may add to its selected what edsTouched does not know of: hence the copies.
	n.selectedBefore = maps.Clone(last.selected)
	if !a.AllEndpoints {
		n.eds = last.eds
		n.edsFrom = last.version
		if n.edsTouched, n.edsExact = n.eds.advance(n.version, oldest, a.EndpointHosts); n.edsExact && len(n.edsTouched) == 0 {
			n.selected, n.selectedBefore = n.selectedBefore, nil
		}
	}
	n.followOnDemand(last, oldest, v, p, change, a)
	if a.Listeners {
		n.before = last.lds
	} else {
		n.pods, n.lds, n.before = last.pods, maps.Clone(last.lds), last.before
	}
	if !a.Routes {
		for name, r := range last.rds {
			n.rds[name] = r
		}
	}
}

// remembers says that what is derived now of a history is in it, so that the state after this one knows what of it is touched.
func (st *state) remembers(h *history[*Resource]) bool { return !st.passing && h.newest == st.version }

// clusters returns the scope's clusters with a proxy's own ones.
func (s *scope) clusters(v *View, p *Proxy, own *Set) *Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.at(v, p)
	if st.cds == nil {
		st.cds = v.cache.encodeAll(translate.ClusterType, translate.OutboundClusters(v.snap, p.Proxy))
	}
	return st.join(st.cds, own)
}

// listeners returns the scope's outbound listeners, or the proxy's where it has others, with its inbound ones.
func (s *scope) listeners(v *View, p *Proxy, inbound *Set) *Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.at(v, p)
	return st.join(st.outbound(v, p), inbound)
}

// outbound returns the scope's outbound listeners, or the proxy's where it has others.
func (s *scope) outbound(v *View, p *Proxy) *Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at(v, p).outbound(v, p)
}

// outboundKey is what proxies with equal outbound listeners have in common; false: others have no such.
func (st *state) outboundKey(v *View, p *Proxy) (key string, shared bool) {
	if st.pods == nil {
		st.pods = translate.CalledPods(v.snap, p.Namespace)
	}
	return translate.OutboundKey(v.snap, p.Proxy, st.pods)
}

func (st *state) outbound(v *View, p *Proxy) *Set {
	key, shared := st.outboundKey(v, p)
	if !shared {
		return v.outbound(p)
	}
	set := st.lds[key]
	if set == nil {
		set = v.cache.encodeAll(translate.ListenerType, translate.OutboundListeners(v.snap, p.Proxy))
		if st.lds == nil || len(st.lds) >= maxShared {
			st.lds = map[string]*Set{}
		}
		st.lds[key] = keepPointers(st.before[key], set)
		set = st.lds[key]
	}
	return set
}

// endpoints returns the assignments that are subscribed to; those that were not asked for before are derived and kept. newest as in hosts.
func (s *scope) endpoints(v *View, p *Proxy, sub Subscription) (set *Set, newest bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.at(v, p)
	names := sub.Names
	if sub.All {
		names = names.Union(NewNames(translate.EndpointNames(v.snap, p.Proxy)))
	}
	newest = st.remembers(st.eds)
	if set := st.selected[names]; set != nil {
		return set, newest
	}
	set = st.assignments(v, p, names)
	if names.Len() >= minShared {
		if st.selected == nil || len(st.selected) >= maxShared {
			st.selected = map[*Names]*Set{}
		}
		st.selected[names] = set
	}
	return set, newest
}

// assignments returns the endpoints of clusters by name, from those of the state before where that is known: a change touches few of thousands.
func (st *state) assignments(v *View, p *Proxy, names *Names) *Set {
	before := st.selectedBefore[names]
	if before == nil {
		return st.derived(v, p, names)
	}
	if !st.edsExact {
		return keepPointers(before, st.derived(v, p, names))
	}
	touched := NewNames(slices.DeleteFunc(slices.Clone(st.edsTouched), func(name string) bool { return !names.Has(name) }))
	fresh := st.derived(v, p, touched)
	if d := compare(before.Select(touched), fresh); len(d.Changed)+len(d.Removed) == 0 {
		return before
	}
	return fresh.Union(before.Without(touched.Has))
}

func (st *state) derived(v *View, p *Proxy, names *Names) *Set {
	out := make([]*Resource, 0, names.Len())
	for _, name := range names.All() {
		if r := st.assignment(v, p, name); r != nil {
			out = append(out, r)
		}
	}
	return NewSet(out)
}

// concernsEndpoints says whether some of the endpoints of these names may differ from what they were at a version.
func (s *scope) concernsEndpoints(v *View, p *Proxy, since uint64, names *Names) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.at(v, p)
	return !st.edsExact || st.edsFrom != since || slices.ContainsFunc(st.edsTouched, names.Has)
}

// assignment returns the endpoints of a cluster, nil when it may not have any.
func (st *state) assignment(v *View, p *Proxy, name string) *Resource {
	return resource(st.eds, st.version, name, func() (*Resource, []string) {
		var r *Resource
		for _, t := range translate.Endpoints(v.snap, p.Proxy, []string{name}) {
			r = v.cache.encode(translate.EndpointType, t)
		}
		return r, []string{translate.ClusterHost(name)}
	})
}

func (s *scope) routes(v *View, p *Proxy, sub Subscription) *Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.at(v, p)
	names := sub.Names.All()
	if sub.All {
		names = sub.Names.Union(NewNames(translate.RouteNames(v.snap, p.Proxy))).All()
	}
	var missing []string
	for _, name := range names {
		if _, ok := st.rds[name]; !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		made := v.cache.encodeAll(translate.RouteType, translate.Routes(v.snap, p.Proxy, missing))
		for _, name := range missing {
			st.rds[name] = made.Get(name)
		}
	}
	out := make([]*Resource, 0, len(names))
	for _, name := range names {
		if r := st.rds[name]; r != nil {
			out = append(out, r)
		}
	}
	return NewSet(out)
}
