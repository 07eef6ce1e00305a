package server

import (
	"fmt"

	"github.com/lateen-mesh/lateen/proxy/internal/accesslog"
	"github.com/lateen-mesh/lateen/proxy/internal/hcm"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/istiostats"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/router"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/tcpproxy"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// chains returns what makes the handler of a filter chain of a listener: that of the terminal
// filter, with what stands before it handed in.
func (s *Server) chains(l *xdsresource.Listener) func(*xdsresource.FilterChain) (listener.NetworkHandler, func(), error) {
	return func(fc *xdsresource.FilterChain) (listener.NetworkHandler, func(), error) {
		has := s.newHoldings()
		h, err := s.chain(l, fc, has)
		if err != nil {
			has.release()
			return nil, nil, err
		}
		return h, has.release, nil
	}
}

func (s *Server) chain(l *xdsresource.Listener, fc *xdsresource.FilterChain, has *holdings) (listener.NetworkHandler, error) {
	end, err := s.terminal(l, fc, has)
	if err != nil {
		return nil, err
	}
	chain := &networkfilter.Chain{Terminal: end}
	for _, f := range fc.Filters[:len(fc.Filters)-1] {
		if f.Discovery != nil {
			slot, err := s.extensions.networkFilter(f, l, has)
			if err != nil {
				return nil, fmt.Errorf("network filter %q: %w", f.Name, err)
			}
			chain.Filters = append(chain.Filters, slot)
			continue
		}
		if make := networkFilters[f.Type].filter; make != nil {
			filter, err := make(s, f.Config, has)
			if err != nil {
				return nil, fmt.Errorf("network filter %q: %w", f.Name, err)
			}
			chain.Filters = append(chain.Filters, filter)
		}
	}
	if len(chain.Filters) == 0 {
		return end, nil
	}
	return chain, nil
}

// terminal makes the handler of the last filter of a chain.
func (s *Server) terminal(l *xdsresource.Listener, fc *xdsresource.FilterChain, has *holdings) (listener.NetworkHandler, error) {
	last := fc.Filters[len(fc.Filters)-1]
	switch cfg := last.Config.(type) {
	case *xdsresource.HTTPConnectionManager:
		return s.httpHandler(l, cfg, has)
	case *xdsresource.TCPProxy:
		return s.tcpHandler(l, fc, cfg, has)
	}
	if make := networkFilters[last.Type].terminal; make != nil {
		return make(s, last.Config), nil
	}
	return nil, fmt.Errorf("filter %q cannot end a chain", last.Name)
}

// httpHandler makes a connection manager.
func (s *Server) httpHandler(l *xdsresource.Listener, cfg *xdsresource.HTTPConnectionManager, has *holdings) (listener.NetworkHandler, error) {
	deps := hcm.Deps{
		Workers: s.cfg.Workers, Direction: l.Direction, Stats: has.stats, LocalAddress: s.node.address, Logger: s.logger("http"),
		ListenerStats: listener.StatScope(has.stats, l),
	}
	deps.Cluster = s.clusterOf
	switch {
	case cfg.Scopes != nil:
		if src := cfg.Scopes.SRDS; src != nil {
			if err := s.reachable(*src, "scoped_rds.scoped_rds_config_source"); err != nil {
				return nil, err
			}
			deps.Scopes = s.scopes.slot(cfg.Scopes).Load
			break
		}
		scopes, err := route.NewScopes(cfg.Scopes, s.tables(cfg.Scopes))
		if err != nil {
			return nil, fmt.Errorf("scoped_routes: %w", err)
		}
		deps.Scopes = func() *route.Scopes { return scopes }
	case cfg.Routes == nil:
		deps.Routes = s.routes.slot(resource{cfg.RouteSource, cfg.RouteConfigName}).Load
	}
	at := place{l, cfg, has, has.stats.Scope("http").Tagged("envoy.http_conn_manager_prefix", cfg.StatPrefix)}
	for _, f := range cfg.Filters {
		if c, ok := f.Config.(*router.Config); ok {
			deps.ChildSpans = c.ChildSpans
		}
		factory, err := s.httpFactory(f, at)
		if err != nil {
			return nil, fmt.Errorf("HTTP filter %q: %w", f.Name, err)
		}
		deps.Filters = append(deps.Filters, httpfilter.Named{Name: f.Name, Disabled: f.Disabled, Factory: factory})
	}
	var err error
	if deps.AccessLogs, err = s.accessLogs(cfg.AccessLogs, has); err != nil {
		return nil, err
	}
	deps.Overload = s.load
	if deps.Spans, err = s.spanReporter(cfg.Tracing, has); err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	deps.Sampler = samplerOf(deps.Spans)
	deps.NodeID, deps.NodeZone, deps.NodeCluster = s.boot.Node.GetId(), s.boot.Node.GetLocality().GetZone(), s.boot.Node.GetCluster()
	return hcm.New(cfg, deps)
}

// clusterOf returns a cluster as a worker has it, nil for none; to be called on its loop.
func (s *Server) clusterOf(worker int, name string) *xdsresource.Cluster {
	if c := s.clusters.Local(worker).Get(name); c != nil {
		return c.Config()
	}
	return nil
}

// tcpHandler makes a TCP proxy. Of the filters before it Istio's statistics meter its
// connections, and Istio's metadata exchange tells it who is at the other end.
func (s *Server) tcpHandler(l *xdsresource.Listener, fc *xdsresource.FilterChain, cfg *xdsresource.TCPProxy, has *holdings) (listener.NetworkHandler, error) {
	deps := tcpproxy.Deps{Clusters: s.clusters, Stats: has.stats}
	if cfg.OnDemand != nil {
		if err := s.reachable(cfg.OnDemand.Source, "on_demand.odcds_config"); err != nil {
			return nil, err
		}
		deps.OnDemand = s.onDemand
	}
	deps.Exchange.Preamble = s.node.preamble
	for _, f := range fc.Filters[:len(fc.Filters)-1] {
		if x, ok := f.Config.(*xdsresource.TCPMetadataExchange); ok {
			deps.Exchange.Downstream = x.Protocol
		}
		if _, ok := f.Config.(*istiostats.Config); !ok {
			continue
		}
		r, err := s.reporter(f.Config, l)
		if err != nil {
			return nil, fmt.Errorf("filter %q: %w", f.Name, err)
		}
		deps.NewMeter = func(worker int, info *streaminfo.Info) tcpproxy.Meter {
			m := r.NewTCP(worker, info)
			return &m
		}
	}
	var err error
	if deps.AccessLogs, err = s.accessLogs(cfg.AccessLogs, has); err != nil {
		return nil, err
	}
	return tcpproxy.New(cfg, deps)
}

// httpFactory finds the line of a filter's type and makes its factory.
func (s *Server) httpFactory(f xdsresource.HTTPFilter, at place) (httpfilter.Factory, error) {
	if f.Discovery != nil {
		return s.extensions.httpFilter(f, at)
	}
	line, ok := httpFilters[f.Type]
	if !ok {
		return nil, fmt.Errorf("type %q is not in the list of filters", f.Type)
	}
	return line.make(s, f.Config, at)
}

// accessLogs opens the loggers of a listener, connection manager or TCP proxy.
func (s *Server) accessLogs(in []xdsresource.AccessLog, has *holdings) ([]*accesslog.Logger, error) {
	var out []*accesslog.Logger
	for i := range in {
		l, err := s.accessLog(&in[i], has)
		if err != nil {
			return nil, fmt.Errorf("access log %q: %w", in[i].Name, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// listenerLogs opens those of a listener itself.
func (s *Server) listenerLogs(in []xdsresource.AccessLog) ([]*accesslog.Logger, func(), error) {
	has := s.newHoldings()
	logs, err := s.accessLogs(in, has)
	if err != nil {
		has.release()
		return nil, nil, err
	}
	return logs, has.release, nil
}
