package server

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/buffer"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/compressor"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/cors"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/decompressor"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/dynamicforward"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/extauthz"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/fault"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/grpcstats"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/grpcweb"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/headermutation"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/healthcheck"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/istioalpn"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/istiostats"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/jwtauthn"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/localratelimit"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/metadataexchange"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/ondemand"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/ratelimit"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/rbac"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/setfilterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/statefulsession"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/tap"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter/connectionlimit"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter/directresponse"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter/echo"
	networkauthz "github.com/lateen-mesh/lateen/proxy/internal/networkfilter/extauthz"
	networklimit "github.com/lateen-mesh/lateen/proxy/internal/networkfilter/localratelimit"
	networkrls "github.com/lateen-mesh/lateen/proxy/internal/networkfilter/ratelimit"
	networkrbac "github.com/lateen-mesh/lateen/proxy/internal/networkfilter/rbac"
	networkstate "github.com/lateen-mesh/lateen/proxy/internal/networkfilter/setfilterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter/snicluster"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter/snidynamic"
	"github.com/lateen-mesh/lateen/proxy/internal/router"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// httpFilter is one line of the list of HTTP filters: how its configuration is judged, and
// how its factory is made for a filter chain of a listener.
type httpFilter struct {
	xdsresource.HTTPFilterType
	make func(s *Server, cfg any, at place) (httpfilter.Factory, error)
}

// place is where a filter stands.
type place struct {
	listener *xdsresource.Listener
	manager  *xdsresource.HTTPConnectionManager
	has      *holdings
	// scope is that of the connection manager's statistics, "http.<stat_prefix>.".
	scope stats.Scope
}

// httpFilters lists every HTTP filter by the message name of its configuration. A new filter
// is a new line here.
var httpFilters = map[string]httpFilter{
	"envoy.extensions.filters.http.router.v3.Router": {
		xdsresource.HTTPFilterType{Name: router.Name, Terminal: true, OptionalConfig: true, Parse: parseRouter},
		func(s *Server, cfg any, at place) (httpfilter.Factory, error) {
			return s.newRouter(cfg.(*router.Config), at)
		},
	},
	"io.istio.http.peer_metadata.Config": {
		xdsresource.HTTPFilterType{Name: "istio.metadata_exchange", Parse: metadataexchange.ParseConfig},
		func(s *Server, cfg any, at place) (httpfilter.Factory, error) {
			return metadataexchange.New(cfg, metadataexchange.Deps{
				Workers: s.cfg.Workers, ID: s.node.id, Metadata: s.node.encoded, Direction: at.listener.Direction,
				Clusters: s.clusters, Logger: s.logger("filter"),
			})
		},
	},
	"envoy.extensions.filters.http.ext_authz.v3.ExtAuthz": {
		xdsresource.HTTPFilterType{
			Name: extauthz.Name, Parse: extauthz.ParseConfig, ParseRoute: extauthz.ParseRouteConfig,
			RouteTypes: []string{"envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"},
		},
		func(s *Server, cfg any, at place) (httpfilter.Factory, error) {
			return extauthz.New(cfg, extauthz.Deps{
				Clients: s.callouts, Scope: at.scope, Node: s.boot.Node.GetMetadata(),
				MaxHeaders: int(at.manager.MaxHeadersCount), MaxHeaderBytes: int(at.manager.MaxRequestHeadersKB) << 10,
			}), nil
		},
	},
	"envoy.extensions.filters.http.fault.v3.HTTPFault": {
		xdsresource.HTTPFilterType{Name: fault.Name, Parse: fault.ParseConfig, ParseRoute: fault.ParseConfig},
		func(_ *Server, cfg any, at place) (httpfilter.Factory, error) {
			return fault.New(cfg, at.scope), nil
		},
	},
	"envoy.extensions.filters.http.cors.v3.Cors": {
		xdsresource.HTTPFilterType{
			Name: cors.Name, Parse: cors.ParseConfig, ParseRoute: cors.ParseRouteConfig,
			RouteTypes: []string{"envoy.extensions.filters.http.cors.v3.CorsPolicy"},
		},
		func(_ *Server, _ any, at place) (httpfilter.Factory, error) { return cors.New(at.scope), nil },
	},
	"envoy.extensions.filters.http.buffer.v3.Buffer": {
		xdsresource.HTTPFilterType{
			Name: buffer.Name, Parse: buffer.ParseConfig, ParseRoute: buffer.ParseRouteConfig,
			RouteTypes: []string{"envoy.extensions.filters.http.buffer.v3.BufferPerRoute"},
		},
		func(_ *Server, cfg any, _ place) (httpfilter.Factory, error) { return buffer.New(cfg), nil },
	},
	"envoy.extensions.filters.http.compressor.v3.Compressor": {
		xdsresource.HTTPFilterType{
			Name: compressor.Name, Parse: compressor.ParseConfig, ParseRoute: compressor.ParseRouteConfig,
			RouteTypes: []string{"envoy.extensions.filters.http.compressor.v3.CompressorPerRoute"},
		},
		func(s *Server, cfg any, at place) (httpfilter.Factory, error) {
			return compressor.New(cfg, at.scope, s.cfg.Workers), nil
		},
	},
	"envoy.extensions.filters.http.decompressor.v3.Decompressor": {
		xdsresource.HTTPFilterType{Name: decompressor.Name, Parse: decompressor.ParseConfig},
		func(s *Server, cfg any, at place) (httpfilter.Factory, error) {
			return decompressor.New(cfg, at.scope, s.cfg.Workers), nil
		},
	},
	"envoy.extensions.filters.http.grpc_stats.v3.FilterConfig": {
		xdsresource.HTTPFilterType{Name: grpcstats.Name, Parse: grpcstats.ParseConfig},
		func(s *Server, cfg any, _ place) (httpfilter.Factory, error) {
			return grpcstats.New(cfg, s.clusters), nil
		},
	},
	"envoy.extensions.filters.http.grpc_web.v3.GrpcWeb": {
		xdsresource.HTTPFilterType{Name: grpcweb.Name, Parse: grpcweb.ParseConfig},
		func(s *Server, _ any, _ place) (httpfilter.Factory, error) { return grpcweb.New(s.clusters), nil },
	},
	"envoy.extensions.filters.http.health_check.v3.HealthCheck": {
		xdsresource.HTTPFilterType{Name: healthcheck.Name, Parse: healthcheck.ParseConfig},
		func(s *Server, cfg any, at place) (httpfilter.Factory, error) {
			return healthcheck.New(cfg, healthcheck.Deps{Clusters: s.clusters, Failing: s.failing.Load, Node: s.boot.Node.GetCluster(), Stats: at.scope}), nil
		},
	},
	"envoy.extensions.filters.http.header_mutation.v3.HeaderMutation": {
		xdsresource.HTTPFilterType{
			Name: headermutation.Name, Parse: headermutation.ParseConfig, ParseRoute: headermutation.ParseRouteConfig,
			RouteTypes: []string{"envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute"},
		},
		func(_ *Server, cfg any, _ place) (httpfilter.Factory, error) { return headermutation.New(cfg), nil },
	},
	"envoy.extensions.filters.http.set_filter_state.v3.Config": {
		xdsresource.HTTPFilterType{Name: setfilterstate.Name, Parse: setfilterstate.ParseConfig, ParseRoute: setfilterstate.ParseConfig},
		func(_ *Server, cfg any, _ place) (httpfilter.Factory, error) { return setfilterstate.New(cfg), nil },
	},
	"envoy.extensions.filters.http.stateful_session.v3.StatefulSession": {
		xdsresource.HTTPFilterType{
			Name: statefulsession.Name, Parse: statefulsession.ParseConfig, ParseRoute: statefulsession.ParseRouteConfig,
			RouteTypes: []string{"envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute"},
		},
		func(_ *Server, cfg any, at place) (httpfilter.Factory, error) {
			return statefulsession.New(cfg, at.scope), nil
		},
	},
	"envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit": {
		xdsresource.HTTPFilterType{Name: localratelimit.Name, Parse: localratelimit.ParseConfig, ParseRoute: localratelimit.ParseRouteConfig},
		func(s *Server, cfg any, at place) (httpfilter.Factory, error) {
			return localratelimit.New(cfg, localratelimit.Deps{Stats: at.has.stats, Node: s.boot.Node.GetCluster(), Workers: s.cfg.Workers}), nil
		},
	},
	"envoy.extensions.filters.http.ratelimit.v3.RateLimit": {
		xdsresource.HTTPFilterType{
			Name: ratelimit.Name, Parse: ratelimit.ParseConfig, ParseRoute: ratelimit.ParseRouteConfig,
			RouteTypes: []string{"envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute"},
		},
		func(s *Server, cfg any, _ place) (httpfilter.Factory, error) {
			return ratelimit.New(cfg, ratelimit.Deps{Clients: s.callouts, Node: s.boot.Node.GetCluster()}), nil
		},
	},
	"envoy.extensions.filters.http.tap.v3.Tap": {
		xdsresource.HTTPFilterType{Name: tap.Name, Parse: tap.ParseConfig},
		func(s *Server, cfg any, at place) (httpfilter.Factory, error) {
			out := cfg.(*tap.Config).Output
			w, err := s.exporters.get(out, at.has, func() (runner, error) { return tap.NewWriter(out, s.cfg.Workers, s.stats, s.logger("tap")), nil })
			if err != nil {
				return nil, err
			}
			return tap.New(cfg, w.(*tap.Writer), at.scope), nil
		},
	},
	"envoy.extensions.filters.http.on_demand.v3.OnDemand": {
		xdsresource.HTTPFilterType{
			Name: ondemand.Name, Parse: ondemand.ParseConfig, ParseRoute: ondemand.ParseRouteConfig,
			RouteTypes: []string{"envoy.extensions.filters.http.on_demand.v3.PerRouteConfig"},
		},
		func(s *Server, cfg any, _ place) (httpfilter.Factory, error) {
			if c := cfg.(*ondemand.Config); c.Enabled {
				if err := s.reachable(c.Source, "odcds.source"); err != nil {
					return nil, err
				}
			}
			return ondemand.New(cfg, s.onDemand, s.vhds, s.scopes), nil
		},
	},
	"envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig": {
		xdsresource.HTTPFilterType{
			Name: dynamicforward.Name, Parse: dynamicforward.ParseConfig, ParseRoute: dynamicforward.ParseRouteConfig,
			RouteTypes: []string{"envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig"},
		},
		func(s *Server, cfg any, at place) (httpfilter.Factory, error) {
			cache, err := s.useNames(cfg.(*dynamicforward.Config).Cache, at.has)
			if err != nil {
				return nil, err
			}
			return dynamicforward.New(cfg, dynamicforward.Deps{Cache: cache, Cluster: s.clusterOf}), nil
		},
	},
	"envoy.extensions.filters.http.rbac.v3.RBAC": {
		xdsresource.HTTPFilterType{
			Name: rbac.Name, Parse: rbac.ParseConfig, ParseRoute: rbac.ParseRouteConfig,
			RouteTypes: []string{"envoy.extensions.filters.http.rbac.v3.RBACPerRoute"},
		},
		func(s *Server, cfg any, at place) (httpfilter.Factory, error) {
			return rbac.New(cfg, at.scope, s.cfg.Workers), nil
		},
	},
	"envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication": {
		xdsresource.HTTPFilterType{
			Name: jwtauthn.Name, Parse: jwtauthn.ParseConfig, ParseRoute: jwtauthn.ParseRouteConfig,
			RouteTypes: []string{"envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"},
		},
		func(s *Server, cfg any, at place) (httpfilter.Factory, error) {
			return jwtauthn.New(cfg, jwtauthn.Deps{Scope: at.scope, Manager: at.manager.StatPrefix, Store: s.keys, Workers: s.cfg.Workers}), nil
		},
	},
	"istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig": {
		xdsresource.HTTPFilterType{Name: istioalpn.Name, Parse: istioalpn.ParseConfig},
		func(s *Server, cfg any, _ place) (httpfilter.Factory, error) {
			return istioalpn.New(cfg, s.clusters), nil
		},
	},
	"stats.PluginConfig": {
		xdsresource.HTTPFilterType{Name: "istio.stats", Parse: istiostats.ParseConfig},
		func(s *Server, cfg any, at place) (httpfilter.Factory, error) {
			return s.reporter(cfg, at.listener)
		},
	},
}

// networkFilter is one line of the list of network filters: how its configuration is judged, and
// what it makes of it, a filter or the end of a chain. Both are nil for those that the TCP proxy
// reads itself.
type networkFilter struct {
	xdsresource.NetworkFilterType
	filter   func(s *Server, cfg any, has *holdings) (networkfilter.Filter, error)
	terminal func(s *Server, cfg any) listener.NetworkHandler
}

// networkFilters lists the network filters that are neither the HTTP connection manager nor
// TCP proxy, which xdsresource reads itself.
var networkFilters = map[string]networkFilter{
	"envoy.tcp.metadataexchange.config.MetadataExchange": {NetworkFilterType: xdsresource.NetworkFilterType{Parse: parseTCPMetadataExchange, Fixed: true}},
	"stats.PluginConfig": {NetworkFilterType: xdsresource.NetworkFilterType{Parse: istiostats.ParseConfig, Fixed: true}},
	"envoy.extensions.filters.network.rbac.v3.RBAC": {
		NetworkFilterType: xdsresource.NetworkFilterType{Parse: networkrbac.ParseConfig},
		filter: func(_ *Server, cfg any, has *holdings) (networkfilter.Filter, error) {
			return networkrbac.New(cfg, has.stats), nil
		},
	},
	"envoy.extensions.filters.network.ext_authz.v3.ExtAuthz": {
		NetworkFilterType: xdsresource.NetworkFilterType{Parse: networkauthz.ParseConfig},
		filter: func(s *Server, cfg any, has *holdings) (networkfilter.Filter, error) {
			return networkauthz.New(cfg, networkauthz.Deps{Clients: s.callouts, Stats: has.stats, Node: s.boot.Node.GetMetadata()}), nil
		},
	},
	"envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit": {
		NetworkFilterType: xdsresource.NetworkFilterType{Parse: networklimit.ParseConfig},
		filter: func(_ *Server, cfg any, has *holdings) (networkfilter.Filter, error) {
			return networklimit.New(cfg, has.stats), nil
		},
	},
	"envoy.extensions.filters.network.ratelimit.v3.RateLimit": {
		NetworkFilterType: xdsresource.NetworkFilterType{Parse: networkrls.ParseConfig},
		filter: func(s *Server, cfg any, has *holdings) (networkfilter.Filter, error) {
			return networkrls.New(cfg, s.callouts, has.stats), nil
		},
	},
	"envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit": {
		NetworkFilterType: xdsresource.NetworkFilterType{Parse: connectionlimit.ParseConfig},
		filter: func(_ *Server, cfg any, has *holdings) (networkfilter.Filter, error) {
			return connectionlimit.New(cfg, has.stats), nil
		},
	},
	"envoy.extensions.filters.network.sni_cluster.v3.SniCluster": {
		NetworkFilterType: xdsresource.NetworkFilterType{Parse: snicluster.ParseConfig},
		filter:            func(*Server, any, *holdings) (networkfilter.Filter, error) { return snicluster.New(), nil },
	},
	"envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig": {
		NetworkFilterType: xdsresource.NetworkFilterType{Parse: snidynamic.ParseConfig},
		filter: func(s *Server, cfg any, has *holdings) (networkfilter.Filter, error) {
			cache, err := s.useNames(cfg.(*snidynamic.Config).Cache, has)
			if err != nil {
				return nil, err
			}
			return snidynamic.New(cfg, cache), nil
		},
	},
	"envoy.extensions.filters.network.set_filter_state.v3.Config": {
		NetworkFilterType: xdsresource.NetworkFilterType{Parse: networkstate.ParseConfig},
		filter:            func(_ *Server, cfg any, _ *holdings) (networkfilter.Filter, error) { return networkstate.New(cfg), nil },
	},
	"envoy.extensions.filters.network.direct_response.v3.Config": {
		NetworkFilterType: xdsresource.NetworkFilterType{Parse: directresponse.ParseConfig, Terminal: true},
		terminal:          func(_ *Server, cfg any) listener.NetworkHandler { return directresponse.New(cfg) },
	},
	"envoy.extensions.filters.network.echo.v3.Echo": {
		NetworkFilterType: xdsresource.NetworkFilterType{Parse: echo.ParseConfig, Terminal: true},
		terminal:          func(*Server, any) listener.NetworkHandler { return echo.New() },
	},
}

// Extensions tells the decoder of all filters.
func Extensions() xdsresource.Extensions {
	ext := xdsresource.Extensions{HTTP: map[string]xdsresource.HTTPFilterType{}, Network: map[string]xdsresource.NetworkFilterType{}}
	for name, f := range httpFilters {
		ext.HTTP[name] = f.HTTPFilterType
	}
	for name, f := range networkFilters {
		ext.Network[name] = f.NetworkFilterType
	}
	return ext
}

// reporter makes Istio's statistics of a filter chain.
func (s *Server) reporter(cfg any, l *xdsresource.Listener) (*istiostats.Reporter, error) {
	return istiostats.New(cfg, istiostats.Deps{
		Stats: s.stats, Workers: s.cfg.Workers, Own: *s.node.own, Direction: l.Direction, Logger: s.logger("filter"),
	})
}

// parseTCPMetadataExchange reads Istio's network filter of that name, which comes as a
// TypedStruct: its message is in no published Go module.
func parseTCPMetadataExchange(_ *xdsresource.Decoder, a *anypb.Any) (any, error) {
	_, v, ok, err := xdsresource.AsTypedStruct(a)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("must be a TypedStruct")
	}
	out := &xdsresource.TCPMetadataExchange{}
	for name, field := range v.GetFields() {
		switch strings.ReplaceAll(name, "_", "") {
		case "protocol":
			out.Protocol = field.GetStringValue()
		case "enablediscovery", "enableDiscovery":
			// Asks the control plane who a peer is when it does not say so itself; our peers do.
		default:
			return nil, fmt.Errorf("field %q is not supported", name)
		}
	}
	return out, nil
}
