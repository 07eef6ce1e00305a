package xdscache

import (
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/translate"
)

// What proxies that ask on demand (model.Proxy.OnDemand) share of a scope is kept by name: virtual hosts by the host that a request named,
// clusters as virtual hosts lead to them. So a change costs what the things in use cost, whatever the size of the mesh.

// maxHosts bounds the virtual hosts that a state keeps by name: clients choose the names. Beyond it they are made anew as they are asked for.
const maxHosts = 1 << 14

// onDemand is the part of a state that is made as proxies ask.
type onDemand struct {
	routes   map[string]*translate.Hosts // by name of the route configuration; nil value: there is none
	hosts    map[string]*Resource        // virtual hosts by name; nil value: there is none
	clusters map[string]*Resource        // by name; nil value: there is none
	named    map[string]*Names           // what the scope's Sidecar names, by translate.OutboundKey
}

func newOnDemand() onDemand {
	return onDemand{map[string]*translate.Hosts{}, map[string]*Resource{}, map[string]*Resource{}, map[string]*Names{}}
}

// followOnDemand takes over from the state before what a change does not touch.
func (n *state) followOnDemand(last *state, a translate.Affected) {
	if !a.Routes {
		n.used.routes, n.used.hosts = last.used.routes, last.used.hosts
	}
	if !a.Routes && !a.Listeners {
		n.used.named = last.used.named
	}
	switch {
	case a.AllClusters:
	case len(a.ClusterHosts) == 0:
		n.used.clusters = last.used.clusters
	default:
		for name, r := range last.used.clusters {
			if !a.Cluster(name) {
				n.used.clusters[name] = r
			}
		}
	}
}

// host returns a virtual host by its name ("80/catalog.shop"), nil when there is none.
func (st *state) host(v *View, p *Proxy, name string) *Resource {
	if r, ok := st.used.hosts[name]; ok {
		return r
	}
	if len(st.used.hosts) >= maxHosts {
		clear(st.used.hosts)
	}
	var r *Resource
	slash := max(0, strings.LastIndexByte(name, '/')) // the name of the route configuration may have slashes, a host has none
	routes, host := name[:slash], strings.TrimPrefix(name[slash:], "/")
	h, ok := st.used.routes[routes]
	if !ok {
		if len(st.used.routes) >= maxHosts {
			clear(st.used.routes)
		}
		h = translate.HostsOf(v.snap, p.Proxy, routes)
		st.used.routes[strings.Clone(routes)] = h
	}
	if h != nil {
		if t, ok := h.Host(host); ok {
			r = v.cache.encode(translate.HostType, t)
		}
	}
	st.used.hosts[name] = r
	return r
}

// cluster returns an outbound cluster by its name, nil when there is none.
func (st *state) cluster(v *View, p *Proxy, name string) *Resource {
	if r, ok := st.used.clusters[name]; ok {
		return r
	}
	st.used.clusters[name] = nil
	for _, t := range translate.ClustersOf(v.snap, p.Proxy, translate.ClusterHost(name)) {
		st.used.clusters[t.Name] = v.cache.encode(translate.ClusterType, t)
	}
	return st.used.clusters[name]
}

// hosts returns virtual hosts by name; named: with those of the services that the scope's Sidecar names.
func (s *scope) hosts(v *View, p *Proxy, names *Names, named bool) *Set {
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
	return NewSet(out)
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

// usedClusters returns the clusters that sets of listeners and virtual hosts lead to.
func (s *scope) usedClusters(v *View, p *Proxy, sets ...*Set) *Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.at(v, p)
	var out []*Resource
	for _, from := range sets {
		for _, name := range from.clusterNames() {
			if r := st.cluster(v, p, name); r != nil {
				out = append(out, r)
			}
		}
	}
	return NewSet(out)
}

// clusterNames returns the names of the outbound clusters that a set's resources lead to.
func (s *Set) clusterNames() []string {
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
	return s.leads.All()
}

func (r *Resource) clusterNames() []string {
	r.leadsOnce.Do(func() {
		if a, err := r.Any(); err == nil && a != nil { // our own bytes
			r.leads = translate.ClustersIn(a)
		}
	})
	return r.leads
}
