package server

//lint:file-ignore SA1019 start_child_span is still sent.

import (
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/router"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// parseRouter reads a router.v3.Router; nil stands for the defaults, as in files for Envoy 1.19. It returns a *router.Config. (It is
// not in package router because protos end before the data path.)
func parseRouter(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	if a == nil {
		return &router.Config{}, nil
	}
	var m routerv3.Router
	r := d.ReadFilter(router.Name, a, &m)
	if err := r.Err(); err != nil {
		return nil, err
	}
	c := &router.Config{
		SuppressEnvoyHeaders: m.GetSuppressEnvoyHeaders(),
		NoDynamicStats:       m.GetDynamicStats() != nil && !m.GetDynamicStats().GetValue(),
		NoGRPCCodeStats:      m.GetSuppressGrpcRequestFailureCodeStats(),
		RespectExpected:      m.GetRespectExpectedRqTimeout(),
		ChildSpans:           m.GetStartChildSpan(),
		UpstreamLogs:         r.AccessLogs("upstream_log", m.GetUpstreamLog()),
		LogOnStart:           m.GetUpstreamLogOptions().GetFlushUpstreamLogOnUpstreamStream(),
		LogInterval:          r.Duration("upstream_log_options.upstream_log_flush_interval", m.GetUpstreamLogOptions().GetUpstreamLogFlushInterval(), 0),
	}
	for _, name := range m.GetStrictCheckHeaders() { // the proto's rules allow no other names
		c.Strict = append(c.Strict, router.NewStrictHeader(name))
	}
	return c, r.Err()
}

// newRouter makes the factory of a chain's routers.
func (s *Server) newRouter(cfg *router.Config, at place) (httpfilter.Factory, error) {
	logs, err := s.accessLogs(cfg.UpstreamLogs, at.has)
	if err != nil {
		return nil, err
	}
	return router.New(cfg, router.Deps{
		Clusters: s.clusters, LocalAddress: s.node.address, Stats: s.stats, Scope: at.scope,
		Logs: router.Logs{Loggers: logs, OnStart: cfg.LogOnStart, Interval: cfg.LogInterval},
	}), nil
}
