package cluster

import (
	"math/rand/v2"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Endpoints returns a cluster as clients see it that do not run on a worker (the exporters of logs and spans): its Endpoints are where the
// healthy hosts are now, or all when none is, and Transport is how those are connected to. Where transport_socket_matches has hosts connected to in several ways, they are those of
// one way, a way that more hosts have being more likely. nil: there is no such cluster yet.
func (m *Manager) Endpoints(name string) *xdsresource.Cluster {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := m.clusters[name]
	if c == nil || !c.isWarm {
		return nil
	}
	var healthy []*Host
	for _, h := range c.ordered {
		if h.Healthy() {
			healthy = append(healthy, h)
		}
	}
	if len(healthy) == 0 {
		healthy = c.ordered
	}
	out := *c.cfg
	loc := xdsresource.LocalityEndpoints{}
	if len(healthy) > 0 {
		out.Transport = healthy[rand.IntN(len(healthy))].transport
	}
	for _, h := range healthy {
		if h.transport == out.Transport {
			loc.Endpoints = append(loc.Endpoints, xdsresource.Endpoint{Address: h.Address})
		}
	}
	out.Endpoints = &xdsresource.Endpoints{ClusterName: out.Name, Localities: []xdsresource.LocalityEndpoints{loc}}
	return &out
}
