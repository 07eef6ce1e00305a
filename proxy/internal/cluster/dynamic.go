package cluster

import (
	"cmp"
	"errors"
	"slices"

	"github.com/lateen-mesh/lateen/proxy/internal/dnscache"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// names is the DNS cache of a dynamic forward proxy cluster; the zero value is that of any other cluster.
type names struct {
	cache *dnscache.Cache
	done  func()
	stop  func() // nil: the cluster does not follow the cache yet
}

// useNames takes the cache of a configuration, if it has one.
func (m *Manager) useNames(cfg *xdsresource.Cluster) (names, error) {
	if cfg.Type != xdsresource.ClusterDynamic {
		return names{}, nil
	}
	if m.cfg.Names == nil {
		return names{}, errors.New("there are no DNS caches here")
	}
	c, done, err := m.cfg.Names.Use(cfg.Names)
	return names{cache: c, done: done}, err
}

// end gives the cache back.
func (n *names) end() {
	if n.stop != nil {
		n.stop()
	}
	if n.done != nil {
		n.done()
	}
}

// startNames has a cluster follow its cache, of which it takes what is there.
func (m *Manager) startNames(c *Cluster) {
	cache := c.names.cache
	c.names.stop = cache.Watch(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.clusters[c.name] == c && c.names.cache == cache {
			m.takeNames(c)
		}
	})
	c.endpoints = nil
	m.takeNames(c)
}

// takeNames makes hosts of the names that have addresses. As with LOGICAL_DNS a name is one host, whatever addresses it has.
func (m *Manager) takeNames(c *Cluster) {
	hosts := c.names.cache.Hosts()
	l := xdsresource.LocalityEndpoints{Endpoints: make([]xdsresource.Endpoint, len(hosts))}
	for i, h := range hosts {
		l.Endpoints[i] = xdsresource.Endpoint{Hostname: h.Name, Address: h.Addresses[0], Weight: 1}
		if len(h.Addresses) > 1 {
			l.Endpoints[i].More = h.Addresses[1:]
		}
	}
	e := &xdsresource.Endpoints{ClusterName: c.name, OverprovisioningFactor: 140, Localities: []xdsresource.LocalityEndpoints{l}}
	if c.endpoints == nil || !slices.EqualFunc(c.endpoints.Localities, e.Localities, sameEndpoints) {
		c.endpoints = e
		m.rebuild(c)
	}
}

// pickDynamic finds the host of the name that the request is for: nil when the cache has no address for it, or it is not well.
func (l *Local) pickDynamic(c *lb.Context) *LocalHost {
	names := l.Names()
	if names == nil || len(c.Authority) == 0 {
		return nil
	}
	name := names.Touch(c.Authority, cmp.Or(c.Port, l.cfg.DefaultPort()))
	if name == nil {
		return nil
	}
	if l.byName == nil {
		l.byName = make(map[string]*LocalHost, len(l.hosts))
		for h, lh := range l.hosts {
			l.byName[h.Hostname] = lh
		}
	}
	if h := l.byName[string(name)]; h != nil && h.Host.Healthy() {
		return h
	}
	return nil
}

// Names is the worker's view of the cache that the cluster has its hosts from; nil: it has them from elsewhere.
func (l *Local) Names() *dnscache.Local {
	if cache := l.version.names; cache != nil {
		return cache.Local(l.lm.worker)
	}
	return nil
}
