package translate

import (
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

const skyWalkingTracer = "envoy.tracers.skywalking"

// skyWalkingProvider reports segments as those of the service and instance that the proxy's node names (cluster and id), as in Istio. SkyWalking knows a call by its exit
// span, so calls have spans of their own (spawn_upstream_span). Istio does not send the token.
func skyWalkingProvider(w *model.SkyWalkingTracer, to collector) *tracev3.Tracing_Http {
	cfg := &tracev3.SkyWalkingConfig{GrpcService: to.grpc()}
	if w.Token != "" {
		cfg.ClientConfig = &tracev3.ClientConfig{BackendTokenSpecifier: &tracev3.ClientConfig_BackendToken{BackendToken: w.Token}}
	}
	return &tracev3.Tracing_Http{Name: skyWalkingTracer, ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: toAny(cfg)}}
}
