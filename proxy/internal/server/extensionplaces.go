package server

import (
	"fmt"

	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/discovered"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// This file has the places of filters that come by discovery: of HTTP, and of connections.

// httpPlace is one in a connection manager's chain.
type httpPlace struct {
	discovered.Slot
	s      *Server
	filter xdsresource.HTTPFilter
	at     place
}

func (x *extensions) httpFilter(f xdsresource.HTTPFilter, at place) (httpfilter.Factory, error) {
	p := &httpPlace{s: x.s, filter: f, at: at}
	return p, x.take(f.Name, p, at.has)
}

func (p *httpPlace) discovery() (*xdsresource.FilterDiscovery, string) {
	return p.filter.Discovery, p.at.listener.Name
}

func (p *httpPlace) build(cfg *xdsresource.FilterExtension, has *holdings) (func(func()), error) {
	at := p.at
	at.has = has
	for _, k := range keysOf(at.manager, cfg.Config) {
		has.add(p.s.keys.Use(k, p.s.listeners.fetched))
	}
	f, err := p.s.httpFactory(xdsresource.HTTPFilter{Name: p.filter.Name, Type: cfg.Type, Config: cfg.Config}, at)
	if err != nil {
		return nil, err
	}
	return func(unused func()) { p.Set(f, unused) }, nil
}

func (p *httpPlace) empty() { p.Clear() }

// networkPlace is one in a filter chain of a listener.
type networkPlace struct {
	networkfilter.Slot
	s        *Server
	filter   xdsresource.NetworkFilter
	listener string
}

func (x *extensions) networkFilter(f xdsresource.NetworkFilter, l *xdsresource.Listener, has *holdings) (networkfilter.Filter, error) {
	p := &networkPlace{s: x.s, filter: f, listener: l.Name}
	missing := listener.StatScope(has.stats, l).Counter("network_extension_config_missing")
	p.Missing = func(worker int) { x.s.stats.Shard(worker).Inc(missing) }
	return &p.Slot, x.take(f.Name, p, has)
}

func (p *networkPlace) discovery() (*xdsresource.FilterDiscovery, string) {
	return p.filter.Discovery, p.listener
}

func (p *networkPlace) build(cfg *xdsresource.FilterExtension, has *holdings) (func(func()), error) {
	line := networkFilters[cfg.Type]
	if line.filter == nil {
		return nil, fmt.Errorf("type %q is not in the list of network filters", cfg.Type)
	}
	f, err := line.filter(p.s, cfg.Config, has)
	if err != nil {
		return nil, err
	}
	return func(unused func()) { p.Set(f, unused) }, nil
}

func (p *networkPlace) empty() { p.Clear() }
