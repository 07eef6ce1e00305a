package xdscache

import (
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/translate"
)

// What proxies that ask on demand (model.Proxy.OnDemand) share of a scope is kept by name: virtual hosts by the host that a request named,
// clusters as virtual hosts lead to them. So a change costs what the things in use cost, whatever the size of the mesh.

// maxRoutes bounds the route configurations that a state keeps by name: clients choose the names. Beyond it they are made anew as they are asked for.
const maxRoutes = 1 << 14

// onDemand is the part of a state that is made as proxies ask.
type onDemand struct {
	routes   map[string]*translate.Hosts // by name of the route configuration; nil value: there is none
	hosts    *history[*Resource]         // virtual hosts; nil value: there is none
	clusters *history[*Resource]         // nil value: there is none
	named    map[string]*Names           // what the scope's Sidecar names, by translate.OutboundKey

	// exact says that since the version from, the one before, nothing but these virtual hosts and clusters may differ.
	exact           bool
	from            uint64
	touchedHosts    []string
	touchedClusters []string
}

func newOnDemand(version uint64) onDemand {
	return onDemand{
		routes: map[string]*translate.Hosts{}, hosts: newHistory[*Resource](version), clusters: newHistory[*Resource](version), named: map[string]*Names{},
	}
}

// followOnDemand takes over from the state before what a change does not touch.
func (n *state) followOnDemand(last *state, oldest uint64, v *View, p *Proxy, change *model.Change, a translate.Affected) {
	exactHosts, exactClusters := false, false
	switch {
	case !a.Routes:
		n.used.routes, n.used.hosts = last.used.routes, last.used.hosts
		_, exactHosts = n.used.hosts.advance(n.version, oldest, nil)
	case v.snap.SidecarFor(p.Proxy) == nil:
		if reads, known := translate.HostReads(change, v.snap); known {
			n.used.hosts = last.used.hosts
			n.used.touchedHosts, exactHosts = n.used.hosts.advance(n.version, oldest, reads)
		}
	}
	if !a.Routes && !a.Listeners {
		n.used.named = last.used.named
	}
	if !a.AllClusters {
		n.used.clusters = last.used.clusters
		n.used.touchedClusters, exactClusters = n.used.clusters.advance(n.version, oldest, a.ClusterHosts)
	}
	n.used.exact, n.used.from = exactHosts && exactClusters, last.version
}

// host returns a virtual host by its name ("80/catalog.shop"), nil when there is none.
func (st *state) host(v *View, p *Proxy, name string) *Resource {
	return resource(st.used.hosts, st.version, name, func() (*Resource, []string) {
		slash := max(0, strings.LastIndexByte(name, '/')) // the name of the route configuration may have slashes, a host has none
		routes, host := name[:slash], strings.TrimPrefix(name[slash:], "/")
		h, ok := st.used.routes[routes]
		if !ok {
			if len(st.used.routes) >= maxRoutes {
				clear(st.used.routes)
			}
			h = translate.HostsOf(v.snap, p.Proxy, routes)
			st.used.routes[strings.Clone(routes)] = h
		}
		if h == nil {
			return nil, []string{translate.AnyService}
		}
		t, ok := h.Host(host)
		if !ok {
			return nil, nil // whatever the mesh
		}
		return v.cache.encode(translate.HostType, t), t.Reads
	})
}

// cluster returns an outbound cluster by its name, nil when there is none.
func (st *state) cluster(v *View, p *Proxy, name string) *Resource {
	return resource(st.used.clusters, st.version, name, func() (*Resource, []string) {
		host := translate.ClusterHost(name)
		var r *Resource
		for _, t := range translate.ClustersOf(v.snap, p.Proxy, host) {
			if t.Name == name {
				r = v.cache.encode(translate.ClusterType, t)
			}
		}
		return r, []string{host}
	})
}

// concernsHosts says whether some of the virtual hosts of these names may differ from what they were at a version.
func (s *scope) concernsHosts(v *View, p *Proxy, since uint64, names *Names) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.at(v, p)
	return !st.used.exact || st.used.from != since || slices.ContainsFunc(st.used.touchedHosts, names.Has)
}

// concernsClusters is the same for the clusters that sets of listeners and virtual hosts lead to.
func (s *scope) concernsClusters(v *View, p *Proxy, since uint64, sets ...*Set) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.at(v, p)
	return !st.used.exact || st.used.from != since || slices.ContainsFunc(st.used.touchedClusters, func(name string) bool {
		return slices.ContainsFunc(sets, func(set *Set) bool { return set.leadsTo().Has(name) })
	})
}

// hosts returns virtual hosts by name; named: with those of the services that the scope's Sidecar names. newest: the scope knows of no newer view,
// and will tell by concernsHosts what of the set differs in the next.
func (s *scope) hosts(v *View, p *Proxy, names *Names, named bool) (set *Set, newest bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.at(v, p)
	if named {
		names = names.Union(st.named(v, p))
	}
	out := make([]*Resource, 0, names.Len())
	for _, name := range names.All() {
		if r := st.host(v, p, name); r != nil {
			out = append(out, r)
		}
	}
	return NewSet(out), st.remembers(st.used.hosts)
}

// named returns what the Sidecar in force names, kept for proxies that share their outbound listeners.
func (st *state) named(v *View, p *Proxy) *Names {
	if v.snap.SidecarFor(p.Proxy) == nil {
		return nil
	}
	key, shared := st.outboundKey(v, p)
	names, ok := st.used.named[key]
	if !ok || !shared {
		names = NewNames(translate.NamedHosts(v.snap, p.Proxy))
	}
	if !ok && shared {
		if len(st.used.named) >= maxShared {
			clear(st.used.named)
		}
		st.used.named[key] = names
	}
	return names
}

// usedClusters returns the clusters that sets of listeners and virtual hosts lead to; newest as in hosts.
func (s *scope) usedClusters(v *View, p *Proxy, sets ...*Set) (set *Set, newest bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.at(v, p)
	var out []*Resource
	add := func(name string) {
		if r := st.cluster(v, p, name); r != nil {
			out = append(out, r)
		}
	}
	for _, from := range sets {
		for _, name := range from.leadsTo().All() {
			add(name)
		}
	}
	for _, name := range translate.SecretServerClusters(v.snap, p.Proxy) {
		add(name) // clusters name those by which they get certificates
	}
	return NewSet(out), st.remembers(st.used.clusters)
}

// leadsTo returns the names of the outbound clusters that a set's resources lead to.
func (s *Set) leadsTo() *Names {
	if s == nil {
		return nil
	}
	s.leadsOnce.Do(func() {
		var names []string
		for _, r := range s.res {
			names = append(names, r.clusterNames()...)
		}
		s.leads = NewNames(names)
	})
	return s.leads
}

func (r *Resource) clusterNames() []string {
	r.leadsOnce.Do(func() {
		if a, err := r.Any(); err == nil && a != nil { // our own bytes
			r.leads = translate.ClustersIn(a)
		}
	})
	return r.leads
}
