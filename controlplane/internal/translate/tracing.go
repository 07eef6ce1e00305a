package translate

//lint:file-ignore SA1019 Istio still sends these fields of clusters, and every Envoy knows them.

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/resource_detectors/v3"
	samplersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

const (
	zipkinTracer  = "envoy.tracers.zipkin"
	otlpTracer    = "envoy.tracers.opentelemetry"
	datadogTracer = "envoy.tracers.datadog"
	zipkinSpans   = "/api/v2/spans"
	// unnamedService is what Istio calls the service of a proxy that says nothing of it.
	unnamedService = "istio-proxy"
)

// spans says what spans a proxy's connection managers of a direction make, and where those go.
type spans struct {
	none        bool // no tracing at all
	to          collector
	provider    *model.Provider // nil: spans go nowhere
	asks        collector       // what the provider's sampler asks
	sampling    float64         // percent
	tags        []model.TraceTag
	pathLimit   uint32
	byRequestID bool
	istioTags   bool
	noContext   bool
}

// spansOf gathers what the mesh and the Telemetries for a proxy say of a direction. 1 % is sampled unless told otherwise (B4). Where nothing takes
// spans, trace headers are made and propagated all the same.
func spansOf(s *model.Snapshot, p *model.Proxy, d direction) spans {
	m := s.Mesh
	out := spans{none: !m.Tracing, sampling: m.TraceSampling, pathLimit: m.TracePathLength, istioTags: !m.NoIstioTags, byRequestID: true}
	name := m.DefaultTraceProvider
	for _, t := range s.Telemetry(p.Namespace, p.Labels) {
		for i := range t.Traces {
			r := &t.Traces[i]
			if !concerns(r.Mode, d) {
				continue
			}
			if r.Provider != "" {
				name = r.Provider
			}
			if r.Sampling != nil {
				out.sampling = *r.Sampling
			}
			if r.Tags != nil {
				out.tags = r.Tags
			}
			over(&out.none, r.Disabled)
			over(&out.byRequestID, r.ByRequestID)
			over(&out.istioTags, r.IstioTags)
			over(&out.noContext, r.NoContext)
		}
	}
	if len(out.tags) == 0 {
		out.tags = m.TraceTags
	}
	if name == "" {
		out.provider, out.to = m.Tracer, tracerOf(s, p)
		return out
	}
	if pr := m.Provider(name); pr != nil && pr.Traces() {
		to, ok := collectorOf(s, p, pr)
		if ok && pr.OTLP != nil && pr.OTLP.Sampler != nil {
			out.asks, ok = serviceOf(s, p, pr.OTLP.Sampler.To)
		}
		if ok {
			out.provider, out.to = pr, to
		}
	}
	return out
}

func over(dst, said *bool) {
	if said != nil {
		*dst = *said
	}
}

// concerns reports whether a rule of a Telemetry is for a direction. Gateways are clients.
func concerns(m model.TelemetryMode, d direction) bool {
	return m == model.BothModes || (m == model.ServerMode) == (d == inbound)
}

// key names what spans depend on beside the revisions of the mesh and of Telemetries.
func (sp *spans) key(k *keyHash, p *model.Proxy) {
	k.str(sp.to.cluster, sp.to.host)
	if sp.to.cluster == "" {
		return
	}
	k.str(p.Cluster, sp.asks.cluster, sp.asks.host)
	for _, t := range istioTags(p) {
		k.str(t.Literal)
	}
	if sp.provider != nil && sp.provider.OTLP != nil && sp.provider.OTLP.Conventions {
		for _, a := range serviceAttributes(p) {
			k.str(a[0], a[1])
		}
	}
}

// tracing is the tracing of a connection manager, nil for none, and how its request ids are made; nil for as always.
func tracing(s *model.Snapshot, p *model.Proxy, d direction) (*hcmv3.HttpConnectionManager_Tracing, *hcmv3.RequestIDExtension) {
	sp := spansOf(s, p, d)
	if sp.none {
		return nil, nil
	}
	out := &hcmv3.HttpConnectionManager_Tracing{
		ClientSampling: &typev3.Percent{Value: 100}, RandomSampling: percent(sp.sampling), OverallSampling: &typev3.Percent{Value: 100},
		NoContextPropagation: sp.noContext,
	}
	var ids *hcmv3.RequestIDExtension
	if !sp.byRequestID {
		ids = &hcmv3.RequestIDExtension{TypedConfig: toAny(&uuidv3.UuidRequestIdConfig{UseRequestIdForTraceSampling: boolean(false)})}
	}
	if sp.to.cluster == "" {
		return out, ids
	}
	limit := sp.pathLimit
	switch pr := sp.provider; {
	case pr.Zipkin != nil:
		out.Provider = zipkinProvider(pr.Zipkin, sp.to)
		limit = over0(pr.Zipkin.PathLimit, limit)
	case pr.OTLP != nil:
		out.Provider = otlpProvider(pr.OTLP, sp.to, sp.asks, p)
		if pr.OTLP.Sampler != nil {
			out.RandomSampling = percent(100) // all come to the sampler, which decides
		}
		limit = over0(pr.OTLP.PathLimit, limit)
	case pr.SkyWalking != nil:
		out.Provider, out.SpawnUpstreamSpan = skyWalkingProvider(pr.SkyWalking, sp.to), boolean(true)
	case pr.Datadog != nil:
		out.Provider = datadogProvider(sp.to, p)
		limit = over0(pr.Datadog.PathLimit, limit)
	}
	if limit != 0 {
		out.MaxPathTagLength = u32(limit)
	}
	tags := slices.Clone(sp.tags)
	if sp.istioTags {
		tags = append(tags, istioTags(p)...)
	}
	slices.SortFunc(tags, func(a, b model.TraceTag) int { return strings.Compare(a.Name, b.Name) })
	for i := range tags {
		out.CustomTags = append(out.CustomTags, customTag(&tags[i]))
	}
	return out, ids
}

// over0 is the first of two numbers that is not 0.
func over0(a, b uint32) uint32 {
	if a != 0 {
		return a
	}
	return b
}

// istioTags say of whose proxy a span is.
// https://istio.io/latest/docs/reference/config/telemetry/#Tracing
func istioTags(p *model.Proxy) []model.TraceTag {
	text := func(value, otherwise string) string {
		if value == "" {
			return otherwise
		}
		return value
	}
	meshID, _ := p.Metadata["MESH_ID"].(string)
	return []model.TraceTag{
		{Name: "istio.canonical_revision", Literal: text(p.Labels["service.istio.io/canonical-revision"], "latest")},
		{Name: "istio.canonical_service", Literal: text(p.Labels["service.istio.io/canonical-name"], "unknown")},
		{Name: "istio.cluster_id", Literal: text(p.ClusterID, "unknown")},
		{Name: "istio.mesh_id", Literal: text(meshID, "unknown")},
		{Name: "istio.namespace", Literal: text(p.Namespace, "default")},
	}
}

func customTag(t *model.TraceTag) *tracingv3.CustomTag {
	out := &tracingv3.CustomTag{Tag: t.Name}
	switch {
	case t.Environment != "":
		out.Type = &tracingv3.CustomTag_Environment_{Environment: &tracingv3.CustomTag_Environment{Name: t.Environment, DefaultValue: t.Default}}
	case t.Header != "":
		out.Type = &tracingv3.CustomTag_RequestHeader{RequestHeader: &tracingv3.CustomTag_Header{Name: t.Header, DefaultValue: t.Default}}
	case t.Format != "":
		out.Type = &tracingv3.CustomTag_Value{Value: t.Format}
	default:
		out.Type = &tracingv3.CustomTag_Literal_{Literal: &tracingv3.CustomTag_Literal{Value: t.Literal}}
	}
	return out
}

// zipkinProvider writes the older fields, which every Envoy knows, unless the newer ones say more.
func zipkinProvider(z *model.ZipkinTracer, to collector) *tracev3.Tracing_Http {
	path := z.Path
	if path == "" {
		path = zipkinSpans
	}
	cfg := &tracev3.ZipkinConfig{
		CollectorEndpointVersion: tracev3.ZipkinConfig_HTTP_JSON, TraceId_128Bit: !z.ShortIDs, SharedSpanContext: boolean(false),
	}
	if len(z.Headers) > 0 || z.Timeout > 0 {
		timeout := seconds(z.Timeout)
		if z.Timeout == 0 {
			timeout = durationpb.New(5e9) // Envoy wants one; Istio's
		}
		cfg.CollectorService = httpService(to, path, timeout, z.Headers)
	} else {
		cfg.CollectorCluster, cfg.CollectorHostname, cfg.CollectorEndpoint = to.cluster, to.host, path
	}
	if z.W3C {
		cfg.TraceContextOption = tracev3.ZipkinConfig_USE_B3_WITH_W3C_PROPAGATION
	}
	return &tracev3.Tracing_Http{Name: zipkinTracer, ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: toAny(cfg)}}
}

// otlpProvider reports spans as those of a service: by the proxy's node cluster, or as OpenTelemetry's conventions have it.
func otlpProvider(o *model.OTLPTracer, to, asks collector, p *model.Proxy) *tracev3.Tracing_Http {
	cfg := &tracev3.OpenTelemetryConfig{ServiceName: p.Cluster}
	if o.Conventions {
		fixed := &resourcev3.StaticConfigResourceDetectorConfig{Attributes: map[string]string{}}
		for _, a := range serviceAttributes(p) {
			fixed.Attributes[a[0]] = a[1]
		}
		cfg.ServiceName = fixed.Attributes[serviceName]
		delete(fixed.Attributes, serviceName)
		// Before the environment, which has the last word at the proxy.
		cfg.ResourceDetectors = append(cfg.ResourceDetectors, &corev3.TypedExtensionConfig{
			Name: "envoy.tracers.opentelemetry.resource_detectors.static_config", TypedConfig: toAny(fixed),
		})
	}
	var timeout *durationpb.Duration
	if o.Timeout > 0 {
		timeout = seconds(o.Timeout)
	}
	if o.HTTP {
		if timeout == nil {
			timeout = durationpb.New(5e9)
		}
		cfg.HttpService = httpService(to, "/"+strings.TrimPrefix(o.Path, "/"), timeout, o.Headers)
	} else {
		cfg.GrpcService = to.grpc()
		cfg.GrpcService.Timeout = timeout
		for _, h := range o.Headers {
			cfg.GrpcService.InitialMetadata = append(cfg.GrpcService.InitialMetadata, &corev3.HeaderValue{Key: h[0], Value: h[1]})
		}
	}
	detect := func(name string, config proto.Message) {
		cfg.ResourceDetectors = append(cfg.ResourceDetectors, &corev3.TypedExtensionConfig{Name: "envoy.tracers.opentelemetry.resource_detectors." + name, TypedConfig: toAny(config)})
	}
	if o.Environment {
		detect("environment", &resourcev3.EnvironmentResourceDetectorConfig{})
	}
	if o.Dynatrace {
		detect("dynatrace", &resourcev3.DynatraceResourceDetectorConfig{})
	}
	if o.Sampler != nil {
		cfg.Sampler = dynatraceSampler(o.Sampler, asks)
	}
	return &tracev3.Tracing_Http{Name: otlpTracer, ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: toAny(cfg)}}
}

// datadogProvider reports spans as those of the proxy's node cluster. Envoy takes none without a name.
func datadogProvider(to collector, p *model.Proxy) *tracev3.Tracing_Http {
	cfg := &tracev3.DatadogConfig{CollectorCluster: to.cluster, CollectorHostname: to.host, ServiceName: cmp.Or(p.Cluster, unnamedService)}
	return &tracev3.Tracing_Http{Name: datadogTracer, ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: toAny(cfg)}}
}

func dynatraceSampler(d *model.DynatraceSampler, asks collector) *corev3.TypedExtensionConfig {
	timeout := durationpb.New(5e9) // Envoy wants one; Istio's
	if d.Timeout > 0 {
		timeout = seconds(d.Timeout)
	}
	return &corev3.TypedExtensionConfig{Name: "envoy.tracers.opentelemetry.samplers.dynatrace", TypedConfig: toAny(&samplersv3.DynatraceSamplerConfig{
		Tenant: d.Tenant, ClusterId: d.Cluster, RootSpansPerMinute: d.PerMinute,
		HttpService: httpService(asks, "/"+strings.TrimPrefix(d.Path, "/"), timeout, d.Headers),
	})}
}

// collector is where logs or spans of a proxy go: a cluster of its own, and the host to call it by. The zero collector is none.
type collector struct{ cluster, host string }

// collectorOf finds the cluster of a provider's service. A proxy that has none, since nobody defines the service or since it does not see it, is not told of
// the provider: Envoy refuses a listener whose tracer or log has no cluster.
func collectorOf(s *model.Snapshot, p *model.Proxy, pr *model.Provider) (collector, bool) {
	to, ok := pr.Service()
	if !ok {
		return collector{}, false
	}
	return serviceOf(s, p, to)
}

func serviceOf(s *model.Snapshot, p *model.Proxy, to model.ProviderService) (collector, bool) {
	svc := s.ServiceOf(p, to)
	if svc == nil {
		return collector{}, false
	}
	return collector{ClusterName(to.Port, "", svc.Host), to.Host}, true
}

func (c collector) grpc() *corev3.GrpcService {
	return &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: c.cluster, Authority: c.host}}}
}

func httpService(to collector, path string, timeout *durationpb.Duration, headers [][2]string) *corev3.HttpService {
	out := &corev3.HttpService{HttpUri: &corev3.HttpUri{
		Uri: "http://" + to.host + path, HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: to.cluster}, Timeout: timeout,
	}}
	for _, h := range headers {
		out.RequestHeadersToAdd = append(out.RequestHeadersToAdd, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: h[0], Value: h[1]}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return out
}

// hostCluster goes to one host that no registry knows, by its address or as DNS has it.
func hostCluster(mesh *model.Mesh, name, host string, port uint32) *clusterv3.Cluster {
	kind := clusterv3.Cluster_STRICT_DNS
	if _, err := netip.ParseAddr(host); err == nil {
		kind = clusterv3.Cluster_STATIC
	}
	c := &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: kind}, ConnectTimeout: seconds(mesh.ConnectTimeout),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
				Endpoint: &endpointv3.Endpoint{Address: socketAddress(host, port)},
			}}},
		}}},
	}
	if kind == clusterv3.Cluster_STRICT_DNS {
		c.DnsRefreshRate, c.RespectDnsTtl = seconds(mesh.DNSRefresh), true
	}
	return c
}
