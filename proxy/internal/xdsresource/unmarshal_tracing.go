package xdsresource

import (
	"cmp"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/resource_detectors/v3"
	samplersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

func (p *parser) tracing(path string, m *hcmv3.HttpConnectionManager_Tracing) *Tracing {
	t := &Tracing{
		ClientSampling: p.percent(m.GetClientSampling(), 100), RandomSampling: p.percent(m.GetRandomSampling(), 100),
		OverallSampling: p.percent(m.GetOverallSampling(), 100), Verbose: m.GetVerbose(), MaxPathTag: uint32Or(m.GetMaxPathTagLength(), 256),
		ClientKey: p.dec.keys.Key(clientTracingKey), RandomKey: p.dec.keys.Key(randomTracingKey),
		OverallKey:        p.dec.keys.Key(overallTracingKey),
		CustomTags:        p.customTags(join(path, "custom_tags"), m.GetCustomTags()),
		SpawnUpstreamSpan: boolOr(m.GetSpawnUpstreamSpan(), false), NoPropagation: m.GetNoContextPropagation(),
		Operation: m.GetOperation(), UpstreamOperation: m.GetUpstreamOperation(),
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
	case a.MessageIs(&tracev3.SkyWalkingConfig{}):
		var s tracev3.SkyWalkingConfig
		if p.message(here, a, &s) {
			t.Provider = p.skyWalking(here, &s)
		}
	case a.MessageIs(&tracev3.DatadogConfig{}):
		var d tracev3.DatadogConfig
		if p.message(here, a, &d) {
			t.Provider = datadogTracing(&d)
		}
	default:
		p.bad(join(path, "provider"), "tracer %q of type %s is not supported: use envoy.tracers.zipkin, envoy.tracers.opentelemetry, envoy.tracers.skywalking or envoy.tracers.datadog", m.GetProvider().GetName(), TypeName(a))
	}
	return t
}

// routeTracing reads what a route says of spans. The keys of the runtime that hold for connection managers override its shares as well.
func (p *parser) routeTracing(path string, m *routev3.Tracing) *RouteTracing {
	if m == nil {
		return nil
	}
	share := func(name, key string, f *typev3.FractionalPercent) *FractionalPercent {
		out := p.fraction(join(path, name), f)
		if out == nil {
			out = &FractionalPercent{Numerator: 100, Denominator: 100}
		}
		out.Key = p.dec.keys.Key(key)
		return out
	}
	return &RouteTracing{
		Client: share("client_sampling", clientTracingKey, m.GetClientSampling()), Random: share("random_sampling", randomTracingKey, m.GetRandomSampling()),
		Overall: share("overall_sampling", overallTracingKey, m.GetOverallSampling()), CustomTags: p.customTags(join(path, "custom_tags"), m.GetCustomTags()),
		Operation: m.GetOperation(), UpstreamOperation: m.GetUpstreamOperation(),
	}
}

// Keys of the runtime that override shares of tracing.
const (
	clientTracingKey  = "tracing.client_enabled"
	randomTracingKey  = "tracing.random_sampling"
	overallTracingKey = "tracing.global_enabled"
)

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
		z.Cluster, z.URL, z.Headers, z.Timeout = h.Cluster, h.URL, h.Headers, h.Timeout
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
	o := &OTLPTracing{ServiceName: m.GetServiceName(), Resource: p.detectResource(join(path, "resource_detectors"), m.GetResourceDetectors())}
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
	if s := m.GetSampler(); s != nil {
		o.Sampler = p.sampler(join(path, "sampler"), s)
	}
	return o
}

// perMinute is how many traces begin in a minute where nothing else is said. It is Envoy's.
const perMinute = 1000

func (p *parser) sampler(path string, in *corev3.TypedExtensionConfig) *DynatraceSampler {
	a, here := in.GetTypedConfig(), join(path, "typed_config")
	switch {
	case a == nil:
		p.bad(here, "is required")
	case a.MessageIs(&samplersv3.DynatraceSamplerConfig{}):
		var m samplersv3.DynatraceSamplerConfig
		if p.message(here, a, &m) {
			return &DynatraceSampler{
				Tenant: m.GetTenant(), Cluster: m.GetClusterId(), PerMinute: cmp.Or(m.GetRootSpansPerMinute(), perMinute),
				HTTP: p.httpService(join(here, "http_service"), m.GetHttpService()),
			}
		}
	default:
		p.bad(path, "sampler %q of type %s is not supported: use envoy.tracers.opentelemetry.samplers.dynatrace, or none", in.GetName(), TypeName(a))
	}
	return nil
}

// detectResource asks detectors for names and values of the process's resource.
func (p *parser) detectResource(path string, in []*corev3.TypedExtensionConfig) (out [][2]string) {
	for i, d := range in {
		here := at(path, i)
		switch a := d.GetTypedConfig(); {
		case a == nil:
			p.bad(join(here, "typed_config"), "is required")
		case a.MessageIs(&resourcev3.StaticConfigResourceDetectorConfig{}):
			var m resourcev3.StaticConfigResourceDetectorConfig
			if p.message(join(here, "typed_config"), a, &m) {
				for _, name := range slices.Sorted(maps.Keys(m.GetAttributes())) {
					out = append(out, [2]string{name, m.GetAttributes()[name]})
				}
			}
		case a.MessageIs(&resourcev3.EnvironmentResourceDetectorConfig{}):
			if p.message(join(here, "typed_config"), a, &resourcev3.EnvironmentResourceDetectorConfig{}) {
				out = append(out, p.environmentResource(here)...)
			}
		case a.MessageIs(&resourcev3.DynatraceResourceDetectorConfig{}):
			if p.message(join(here, "typed_config"), a, &resourcev3.DynatraceResourceDetectorConfig{}) {
				out = append(out, dynatraceResource(enrichmentFiles)...)
			}
		default:
			p.bad(here, "resource detector %q of type %s is not supported: use envoy.tracers.opentelemetry.resource_detectors.environment, .static_config or .dynatrace", d.GetName(), TypeName(a))
		}
	}
	return out
}

// resourceVariable holds attributes as "name=value,name=value", values percent-encoded.
// https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable
const resourceVariable = "OTEL_RESOURCE_ATTRIBUTES"

func (p *parser) environmentResource(path string) (out [][2]string) {
	text := os.Getenv(resourceVariable)
	if text == "" {
		return nil
	}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(pair, "=")
		decoded, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !ok || name == "" || err != nil {
			p.bad(path, "the variable %s is not name=value,name=value", resourceVariable)
			return nil
		}
		out = append(out, [2]string{name, decoded})
	}
	return out
}
