package cluster

import "github.com/lateen-mesh/lateen/proxy/internal/xdsresource"

// Endpoints returns where a cluster's hosts are now, for clients that do not run on a worker (the
// exporters of logs and spans): the healthy ones, or all when none is. nil: there is no such
// cluster yet.
func (m *Manager) Endpoints(name string) (*xdsresource.Cluster, []xdsresource.Address) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := m.clusters[name]
	if c == nil || !c.isWarm {
		return nil, nil
	}
	var healthy, all []xdsresource.Address
	for _, h := range c.ordered {
		all = append(all, h.Address)
		if h.Healthy() {
			healthy = append(healthy, h.Address)
		}
	}
	if len(healthy) == 0 {
		healthy = all
	}
	return c.cfg, healthy
}
