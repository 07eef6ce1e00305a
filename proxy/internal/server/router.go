package server

import (
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	"google.golang.org/protobuf/types/known/anypb"

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
	}
	for _, name := range m.GetStrictCheckHeaders() { // the proto's rules allow no other names
		c.Strict = append(c.Strict, router.NewStrictHeader(name))
	}
	return c, r.Err()
}
