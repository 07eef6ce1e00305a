package xdsresource

import (
	"strings"

	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

func (p *parser) tracing(path string, m *hcmv3.HttpConnectionManager_Tracing) *Tracing {
	t := &Tracing{
		ClientSampling: p.percent(m.GetClientSampling(), 100), RandomSampling: p.percent(m.GetRandomSampling(), 100),
		OverallSampling: p.percent(m.GetOverallSampling(), 100), Verbose: m.GetVerbose(), MaxPathTag: uint32Or(m.GetMaxPathTagLength(), 256),
		ClientKey: p.dec.keys.Key("tracing.client_enabled"), RandomKey: p.dec.keys.Key("tracing.random_sampling"),
		OverallKey:        p.dec.keys.Key("tracing.global_enabled"),
		CustomTags:        p.customTags(join(path, "custom_tags"), m.GetCustomTags()),
		SpawnUpstreamSpan: boolOr(m.GetSpawnUpstreamSpan(), false), NoPropagation: m.GetNoContextPropagation(),
	}
	if m.GetProvider() == nil {
		return t
	}
	here := join(path, "provider.typed_config")
	a := m.GetProvider().GetTypedConfig()
	switch {
	case a == nil:
		p.bad(here, "is required")
	case a.MessageIs(&tracev3.ZipkinConfig{}):
		var z tracev3.ZipkinConfig
		if p.message(here, a, &z) {
			t.Provider = p.zipkin(here, &z)
		}
	case a.MessageIs(&tracev3.OpenTelemetryConfig{}):
		var o tracev3.OpenTelemetryConfig
		if p.message(here, a, &o) {
			t.Provider = p.otlpTracing(here, &o)
		}
	default:
		p.bad(join(path, "provider"), "tracer %q of type %s is not supported: use envoy.tracers.zipkin or envoy.tracers.opentelemetry", m.GetProvider().GetName(), TypeName(a))
	}
	return t
}

func (p *parser) zipkin(path string, m *tracev3.ZipkinConfig) *Zipkin {
	z := &Zipkin{
		Cluster: m.GetCollectorCluster(), LongIDs: m.GetTraceId_128Bit(), SharedSpan: boolOr(m.GetSharedSpanContext(), true),
		SplitSpans: m.GetSplitSpansForRequest(), W3C: m.GetTraceContextOption() == tracev3.ZipkinConfig_USE_B3_WITH_W3C_PROPAGATION,
	}
	switch v := m.GetCollectorEndpointVersion(); v {
	case tracev3.ZipkinConfig_HTTP_JSON:
	case tracev3.ZipkinConfig_HTTP_PROTO:
		z.Proto = true
	default:
		p.bad(join(path, "collector_endpoint_version"), "%v is not supported, use HTTP_JSON or HTTP_PROTO", v)
	}
	if s := m.GetCollectorService(); s != nil {
		h := p.httpService(join(path, "collector_service"), s)
		z.Cluster, z.URL, z.Headers = h.Cluster, h.URL, h.Headers
		return z
	}
	host := m.GetCollectorHostname()
	if host == "" {
		host = z.Cluster
	}
	if z.Cluster == "" || m.GetCollectorEndpoint() == "" {
		p.bad(path, "collector_cluster and collector_endpoint are required")
	}
	// The host is only a name in the request; a cluster's name may hold what a host must not.
	z.URL = "http://collector/" + strings.TrimPrefix(m.GetCollectorEndpoint(), "/")
	z.Headers = map[string]string{"host": host}
	return z
}

func (p *parser) otlpTracing(path string, m *tracev3.OpenTelemetryConfig) *OTLPTracing {
	o := &OTLPTracing{ServiceName: m.GetServiceName()}
	switch {
	case m.GetHttpService() != nil:
		s := p.httpService(join(path, "http_service"), m.GetHttpService())
		o.HTTP = &s
	case m.GetGrpcService() != nil:
		s := p.grpcService(join(path, "grpc_service"), m.GetGrpcService())
		o.GRPC = &s
	default:
		p.bad(path, "one of grpc_service and http_service is required")
	}
	return o
}
