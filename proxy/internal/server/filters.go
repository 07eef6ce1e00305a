package server

import (
	"fmt"

	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/istiostats"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/metadataexchange"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// httpFilter is one line of the list of HTTP filters: how its configuration is judged, and
// how its factory is made for a filter chain.
type httpFilter struct {
	xdsresource.HTTPFilterType
	make func(s *Server, cfg any, l *xdsresource.Listener) (httpfilter.Factory, error)
}

// httpFilters lists every HTTP filter by the message name of its configuration.
var httpFilters = map[string]httpFilter{
	"io.istio.http.peer_metadata.Config": {
		xdsresource.HTTPFilterType{Name: "istio.metadata_exchange", Parse: metadataexchange.ParseConfig},
		func(s *Server, cfg any, l *xdsresource.Listener) (httpfilter.Factory, error) {
			return metadataexchange.New(cfg, metadataexchange.Deps{
				Workers: s.cfg.Workers, ID: s.node.id, Metadata: s.node.encoded, Direction: l.Direction,
				Clusters: s.clusters, Logger: s.logger("filter"),
			})
		},
	},
	"stats.PluginConfig": {
		xdsresource.HTTPFilterType{Name: "istio.stats", Parse: istiostats.ParseConfig},
		func(s *Server, cfg any, l *xdsresource.Listener) (httpfilter.Factory, error) {
			return istiostats.New(cfg, s.statsDeps(l))
		},
	},
}

func (s *Server) statsDeps(l *xdsresource.Listener) istiostats.Deps {
	return istiostats.Deps{
		Stats: s.stats, Workers: s.cfg.Workers, Own: *s.node.own, Direction: l.Direction, Logger: s.logger("filter"),
	}
}

// Extensions tells the decoder of all filters.
func Extensions() xdsresource.Extensions {
	ext := xdsresource.Extensions{
		HTTP:    map[string]xdsresource.HTTPFilterType{},
		Network: map[string]xdsresource.NetworkFilterType{},
	}
	for name, f := range httpFilters {
		ext.HTTP[name] = f.HTTPFilterType
	}
	return ext
}

// chains returns what makes the handler of a filter chain of a listener.
func (s *Server) chains(l *xdsresource.Listener) func(*xdsresource.FilterChain) (listener.NetworkHandler, error) {
	return func(fc *xdsresource.FilterChain) (listener.NetworkHandler, error) {
		return nil, fmt.Errorf("no filter")
	}
}
