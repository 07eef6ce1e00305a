package xdsresource

import (
	"strings"

	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
)

// skyWalkingCache is Envoy's default of max_cache_size.
const skyWalkingCache = 1024

func (p *parser) skyWalking(path string, m *tracev3.SkyWalkingConfig) *SkyWalking {
	c := m.GetClientConfig()
	if strings.ContainsFunc(c.GetBackendToken(), func(r rune) bool { return r < ' ' || r > '~' }) {
		p.bad(join(path, "client_config.backend_token"), "has a character that no header can have; it is sent as one")
	}
	return &SkyWalking{
		Service: p.grpcService(join(path, "grpc_service"), m.GetGrpcService()), ServiceName: c.GetServiceName(), InstanceName: c.GetInstanceName(),
		Token: c.GetBackendToken(), CacheSize: uint32Or(c.GetMaxCacheSize(), skyWalkingCache),
	}
}
