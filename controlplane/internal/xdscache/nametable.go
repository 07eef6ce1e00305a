package xdscache

import (
	"slices"

	"github.com/lateen-mesh/lateen/controlplane/internal/translate"
)

// followNames takes over the names of the state before, but for those of hosts that a change touches.
func (n *state) followNames(last *state, v *View, p *Proxy, a translate.Affected) {
	if last.nds == nil && last.table == nil {
		return
	}
	if len(a.ClusterHosts)+len(a.EndpointHosts) == 0 {
		n.nds, n.table = last.nds, last.table
		return
	}
	if last.nds == nil {
		return
	}
	touched := slices.Concat(a.ClusterHosts, a.EndpointHosts)
	for i := 0; i < len(touched); i++ {
		// What stands for a host has its addresses, and had those of one that is gone; others may stand for it in turn.
		aliases, _ := v.snap.Aliases.Get(touched[i])
		for _, alias := range aliases {
			if !slices.Contains(touched, alias.Host) {
				touched = append(touched, alias.Host)
			}
		}
	}
	hosts := NewNames(touched)
	var fresh []translate.Resource
	for _, host := range hosts.All() {
		fresh = append(fresh, translate.NamesOf(v.snap, p.Proxy, host)...)
	}
	n.nds = keepPointers(last.nds, v.cache.encodeAll(translate.NameType, fresh).Union(last.nds.Without(hosts.Has)))
	if n.nds == last.nds {
		n.table = last.table // the whole follows from its parts
	}
}

// names returns what there is for agents that take it host by host.
func (s *scope) names(v *View, p *Proxy) *Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at(v, p).names(v, p)
}

func (st *state) names(v *View, p *Proxy) *Set {
	if st.nds == nil {
		st.nds = v.cache.encodeAll(translate.NameType, translate.Names(v.snap, p.Proxy))
	}
	return st.nds
}

// nameTable returns the same for agents that take it whole. That the parts are kept beside it says when it is to be made anew.
func (s *scope) nameTable(v *View, p *Proxy) *Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.at(v, p)
	st.names(v, p)
	if st.table == nil {
		st.table = v.cache.encodeAll(translate.NameType, []translate.Resource{translate.NameTable(v.snap, p.Proxy)})
	}
	return st.table
}
