package xdscache

import (
	"sync"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/translate"
)

// maxChanges is how many changes a view remembers. A scope or proxy that is further behind is derived anew.
const maxChanges = 64

// View is one snapshot as resources. It is immutable; its methods may be called from any goroutine.
type View struct {
	cache *Cache
	snap  *model.Snapshot
	// changes lead to snap, oldest first and each from where the one before ends.
	changes []*model.Change
}

// View returns the first view, of a snapshot.
func (c *Cache) View(snap *model.Snapshot) *View { return &View{cache: c, snap: snap} }

// Next returns the view of the snapshot that a change leads to.
func (v *View) Next(snap *model.Snapshot, change *model.Change) *View {
	n := &View{cache: v.cache, snap: snap}
	if change.From == v.snap.Version {
		n.changes = append(n.changes, v.changes[max(0, len(v.changes)-maxChanges+1):]...)
		n.changes = append(n.changes, change)
	}
	return n
}

// Version is the snapshot's.
func (v *View) Version() uint64 { return v.snap.Version }

// Snapshot returns what the view shows.
func (v *View) Snapshot() *model.Snapshot { return v.snap }

// since returns all that changed after a version, nil when that is not known any more.
func (v *View) since(version uint64) *model.Change {
	if version == v.snap.Version {
		return &model.Change{From: version, To: version}
	}
	for i, c := range v.changes {
		if c.From == version {
			all := *c
			for _, next := range v.changes[i+1:] {
				all.Merge(next)
			}
			return &all
		}
	}
	return nil
}

// Proxy is a connected proxy and what was derived for it alone, to be reused when a change does not concern it. Each stream has its own.
type Proxy struct {
	*model.Proxy

	scope atomic.Pointer[scopeAt]

	mu       sync.Mutex
	outbound owned // listeners that the scope does not share
	inbound  owned // listeners
	own      owned // clusters
	// Of a proxy that asks on demand: its virtual hosts, the clusters that they and its listeners lead to, and what it asks for.
	hosts owned
	used  owned
	// usedFrom are the sets that used follows from.
	usedFrom [4]*Set
	asks     *Names
	// eds are the endpoints of what edsOf names.
	eds   owned
	edsOf Subscription
	// begin is what it is sent without asking, named that its Sidecar's services are among that.
	begin *Names
	named bool
}

// Begin says which virtual hosts a proxy that asks on demand is to have from the start, by name, beside those that its Sidecar names. It is
// sent them as long as it asks for the wildcard of virtual hosts.
func (p *Proxy) Begin(names *Names) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begin, p.named = names, true
	p.hosts.valid, p.used.valid = false, false
}

// Ask says which virtual hosts the proxy asks for now, by name ("80/catalog.shop"), whether it wants those of Begin, and which it
// gave back. It returns false when nothing differs from what it asked for before.
func (p *Proxy) Ask(names *Names, wildcard bool, back *Names) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	begin := p.begin.Minus(back)
	if !wildcard {
		begin = nil
	}
	if p.asks == names && p.begin == begin && p.named == wildcard {
		return false
	}
	p.asks, p.begin, p.named = names, begin, wildcard
	p.hosts.valid, p.used.valid = false, false
	return true
}

// wanted returns what it is to have beside what its Sidecar names, and whether it is to have that.
func (p *Proxy) wanted() (names *Names, named bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asks.Union(p.begin), p.named
}

// Asked returns what was said last by Ask.
func (p *Proxy) Asked() *Names {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asks
}

// owned is a set that one proxy has at a version.
type owned struct {
	valid   bool
	version uint64
	scope   *scope // of the proxy then
	set     *Set
}

// NewProxy returns a proxy of which nothing has been derived yet.
func NewProxy(p *model.Proxy) *Proxy { return &Proxy{Proxy: p} }

// Resources returns what the proxy is to have of a type, of what it subscribes to. A type that is not known has nothing.
func (v *View) Resources(p *Proxy, typeURL string, sub Subscription) *Set {
	if p.GRPC {
		return v.ofGRPC(p, typeURL, sub.Names.All())
	}
	var set *Set
	switch typeURL {
	case translate.ClusterType:
		if p.OnDemand {
			set = v.usedClusters(p)
		} else {
			set = v.scope(p).clusters(v, p, v.clustersOf(p))
		}
	case translate.ListenerType:
		set = v.scope(p).listeners(v, p, v.inbound(p))
	case translate.RouteType:
		return v.scope(p).routes(v, p, sub)
	case translate.HostType:
		if !p.OnDemand {
			return nil
		}
		if sub.Names != p.Asked() { // it has come with them just now
			names, named := p.wanted()
			set, _ := v.scope(p).hosts(v, p, names.Union(sub.Names), named && sub.All)
			return set
		}
		return v.hostsOf(p)
	case translate.EndpointType:
		return v.endpointsOf(p, sub)
	case translate.SecretType:
		// Never all of them: there is no list of what a proxy may read but what it knows to ask for.
		return v.cache.encodeAll(translate.SecretType, translate.Secrets(v.snap, p.Proxy, sub.Names.All()))
	case translate.ExtensionType:
		// By name alone, as secrets.
		return v.cache.encodeAll(translate.ExtensionType, translate.Extensions(v.snap, p.Proxy, sub.Names.All()))
	case translate.NameType:
		if !p.NameByName {
			return v.scope(p).nameTable(v, p)
		}
		set = v.scope(p).names(v, p)
	case translate.AgentType:
		return v.cache.encodeAll(translate.AgentType, translate.AgentConfig(v.snap, p.Proxy))
	case translate.RuntimeType:
		set = v.runtime(p)
	case translate.BootstrapType:
		return v.cache.encodeAll(translate.BootstrapType, translate.BootstrapPatches(v.snap, p.Proxy))
	default:
		return nil
	}
	if sub.All {
		return set
	}
	return set.Select(sub.Names)
}

// runtime returns the layers of the runtime.
func (v *View) runtime(p *Proxy) *Set {
	var names []string
	for _, l := range v.scope(p).listeners(v, p, v.inbound(p)).All() {
		names = append(names, l.Name)
	}
	return v.cache.encodeAll(translate.RuntimeType, translate.ListenerLimits(v.snap, p.Proxy, names))
}

// ofGRPC returns what gRPC's own client asks for, all by name.
func (v *View) ofGRPC(p *Proxy, typeURL string, names []string) *Set {
	of := map[string]func(*model.Snapshot, *model.Proxy, []string) []translate.Resource{
		translate.ListenerType: translate.GRPCListeners, translate.RouteType: translate.GRPCRoutes,
		translate.ClusterType: translate.GRPCClusters, translate.EndpointType: translate.Endpoints,
	}[typeURL]
	if of == nil {
		return nil
	}
	return v.cache.encodeAll(typeURL, of(v.snap, p.Proxy, names))
}

// always is of a set that is remembered whenever it is derived.
func always(derive func() *Set) func() (*Set, bool) {
	return func() (*Set, bool) { return derive(), true }
}

// outbound returns outbound listeners that no other proxy has.
func (v *View) outbound(p *Proxy) *Set {
	return v.own(p, &p.outbound, func(a translate.Affected) bool { return a.Listeners }, always(func() *Set {
		return v.cache.encodeAll(translate.ListenerType, translate.OutboundListeners(v.snap, p.Proxy))
	}))
}

func (v *View) inbound(p *Proxy) *Set {
	return v.own(p, &p.inbound, func(a translate.Affected) bool { return a.Inbound }, always(func() *Set {
		return v.cache.encodeAll(translate.ListenerType, translate.InboundListeners(v.snap, p.Proxy))
	}))
}

// clustersOf returns the clusters of a proxy's own workload.
func (v *View) clustersOf(p *Proxy) *Set {
	return v.own(p, &p.own, func(a translate.Affected) bool { return a.Inbound }, always(func() *Set {
		return v.cache.encodeAll(translate.ClusterType, translate.InboundClusters(v.snap, p.Proxy))
	}))
}

// hostsOf returns the virtual hosts that a proxy asks for, and those that it is sent without asking.
func (v *View) hostsOf(p *Proxy) *Set {
	names, named := p.wanted()
	return v.own(p, &p.hosts, func(a translate.Affected) bool {
		return named && a.Listeners || a.Routes && v.scope(p).concernsHosts(v, p, p.hosts.version, names)
	}, func() (*Set, bool) {
		return v.scope(p).hosts(v, p, names, named)
	})
}

// endpointsOf returns the endpoints that a proxy subscribes to. Those of many names are the scope's to remember.
func (v *View) endpointsOf(p *Proxy, sub Subscription) *Set {
	if sub.All || sub.Names.Len() >= minShared {
		set, _ := v.scope(p).endpoints(v, p, sub)
		return set
	}
	return v.own(p, &p.eds, func(a translate.Affected) bool {
		return p.edsOf != sub || a.AllEndpoints || len(a.EndpointHosts) > 0 && v.scope(p).concernsEndpoints(v, p, p.eds.version, sub.Names)
	}, func() (*Set, bool) {
		set, newest := v.scope(p).endpoints(v, p, sub)
		if newest {
			p.edsOf = sub
		}
		return set, newest
	})
}

// usedClusters returns the clusters of a proxy's own workload and those that its listeners (inbound ones, to key servers) and the virtual hosts that it
// asks for lead to.
func (v *View) usedClusters(p *Proxy) *Set {
	from := [...]*Set{v.scope(p).outbound(v, p), v.hostsOf(p), v.inbound(p), v.clustersOf(p)}
	return v.own(p, &p.used, func(a translate.Affected) bool {
		return p.usedFrom != from || a.AllClusters || len(a.ClusterHosts) > 0 && v.scope(p).concernsClusters(v, p, p.used.version, from[:3]...)
	}, func() (*Set, bool) {
		set, newest := v.scope(p).usedClusters(v, p, from[:3]...)
		if newest {
			p.usedFrom = from
		}
		return set.Union(from[3]), newest
	})
}

// own derives a set that belongs to one proxy, unless nothing since its last version concerns it. Resources whose bytes did not change keep
// their pointers. What is derived is remembered where derive says so.
func (v *View) own(p *Proxy, o *owned, concerned func(translate.Affected) bool, derive func() (*Set, bool)) *Set {
	p.mu.Lock()
	defer p.mu.Unlock()
	// What scopes remember of a change is of what their own proxies had: one that has come from another scope has something else.
	scope := v.scope(p)
	o.valid = o.valid && (o.scope == scope || o.version > v.snap.Version)
	if o.valid && o.version == v.snap.Version && !concerned(translate.Affected{}) {
		return o.set
	}
	newer := o.valid && o.version > v.snap.Version
	if o.valid && !newer {
		if change := v.since(o.version); change != nil && !concerned(translate.Affects(change, v.snap, p.Proxy)) {
			o.version = v.snap.Version
			return o.set
		}
	}
	set, remember := derive()
	if newer {
		return set // an old view asked again: what is remembered is newer and stays
	}
	*o = owned{valid: remember, version: v.snap.Version, scope: scope, set: keepPointers(o.set, set)}
	return o.set
}

// keepPointers returns next with the resources of old where their versions are equal, and old itself when nothing differs.
func keepPointers(old, next *Set) *Set {
	d := Compare(old, next)
	if old != nil && len(d.Changed) == 0 && len(d.Removed) == 0 {
		return old
	}
	for i, r := range next.res {
		if o := old.Get(r.Name); o != nil && o.Version == r.Version {
			next.res[i] = o
		}
	}
	return next
}
