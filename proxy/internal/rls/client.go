package rls

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	configv3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/proxy/internal/asyncclient"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Service is a validated ratelimit.v3.RateLimitServiceConfig with the time that a call may take.
type Service struct {
	target  xdsresource.GRPCTarget
	timeout time.Duration // 0: none
}

// Defaults and bounds of calls.
const (
	defaultTimeout = 20 * time.Millisecond
	maxAnswer      = 1 << 20 // bytes, where the configuration does not say
)

// Read converts a service's configuration. timeout is the filter's, which begins at the call.
func Read(r *xdsresource.FilterReader, path string, m *configv3.RateLimitServiceConfig, timeout *durationpb.Duration) Service {
	if v := m.GetTransportApiVersion(); v != corev3.ApiVersion_V3 {
		r.Bad(path+".transport_api_version", "%v is not supported; it must be V3", v)
	}
	s := Service{target: r.GRPCTarget(path+".grpc_service", m.GetGrpcService()), timeout: r.Duration("timeout", timeout, defaultTimeout)}
	if m.GetGrpcService().GetTimeout() != nil {
		// Envoy reads it from here without using it: the filter's counts.
		r.Bad(path+".grpc_service.timeout", "has no effect; use the filter's timeout")
	}
	if s.target.MaxMessage == 0 {
		s.target.MaxMessage = maxAnswer
	}
	return s
}

// Request is a question.
type Request struct {
	Domain      string
	Descriptors []route.Descriptor
	Hits        uint32 // for all descriptors that do not say; 0: one
}

// Ask sends a question. done is called with the answer on the client's loop, unless the call is
// cancelled first; as asyncclient does, never from within Ask. nil done: nobody waits for the answer.
func (s *Service) Ask(c *asyncclient.Client, r *Request, done func(*Answer)) (cancel func()) {
	message, err := proto.Marshal(r.message())
	if err != nil {
		panic("BUG: rls: " + err.Error()) // what is not UTF-8 has been replaced, and nothing else can fail
	}
	return c.Unary(asyncclient.GRPCRequest{
		Cluster: s.target.Cluster, Authority: s.target.Authority, Metadata: s.target.Metadata, MaxMessage: s.target.MaxMessage,
		SkipEnvoyHeaders: s.target.SkipEnvoyHeaders,
		Method:           "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", Message: message, Timeout: s.timeout,
	}, func(m []byte, status asyncclient.Status) {
		if done == nil {
			return
		}
		if !status.OK() {
			done(&Answer{})
			return
		}
		resp := &ratelimitv3.RateLimitResponse{}
		if err := proto.Unmarshal(m, resp); err != nil {
			done(&Answer{})
			return
		}
		done(read(resp))
	})
}
