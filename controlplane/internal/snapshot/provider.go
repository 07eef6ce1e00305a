package snapshot

//lint:file-ignore SA1019 People's configurations still have the older fields.

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// provider converts an extensionProvider; nil for one that has no effect, which analysis names.
func provider(in *meshconfig.MeshConfig_ExtensionProvider, field string, env Environment, p *problems) *model.Provider {
	out := &model.Provider{Name: in.GetName()}
	to := func(service string, port uint32) model.ProviderService {
		ns, host, both := strings.Cut(service, "/")
		if !both {
			ns, host = "", service
		}
		return model.ProviderService{Namespace: ns, Host: host, Port: port}
	}
	switch k := in.GetProvider().(type) {
	case *meshconfig.MeshConfig_ExtensionProvider_EnvoyFileAccessLog:
		out.File = fileLog(k.EnvoyFileAccessLog)
	case *meshconfig.MeshConfig_ExtensionProvider_EnvoyHttpAls:
		l := k.EnvoyHttpAls
		out.GRPCLog = &model.GRPCLog{
			To: to(l.GetService(), l.GetPort()), HTTP: true, Name: l.GetLogName(), Objects: slices.Clone(l.GetFilterStateObjectsToLog()),
			RequestHeaders:  slices.Clone(l.GetAdditionalRequestHeadersToLog()),
			ResponseHeaders: slices.Clone(l.GetAdditionalResponseHeadersToLog()), ResponseTrailers: slices.Clone(l.GetAdditionalResponseTrailersToLog()),
		}
	case *meshconfig.MeshConfig_ExtensionProvider_EnvoyTcpAls:
		l := k.EnvoyTcpAls
		out.GRPCLog = &model.GRPCLog{To: to(l.GetService(), l.GetPort()), Name: l.GetLogName(), Objects: slices.Clone(l.GetFilterStateObjectsToLog())}
	case *meshconfig.MeshConfig_ExtensionProvider_EnvoyOtelAls:
		l := k.EnvoyOtelAls
		out.OTLPLog = &model.OTLPLog{To: to(l.GetService(), l.GetPort()), Name: l.GetLogName(), Text: l.GetLogFormat().GetText()}
		for name, v := range l.GetLogFormat().GetLabels().GetFields() {
			if _, text := v.AsInterface().(string); !text {
				p.add(field+".envoyOtelAls.logFormat.labels."+name, "is no text; attributes are formats, so it is left out")
				continue
			}
			if out.OTLPLog.Labels == nil {
				out.OTLPLog.Labels = map[string]string{}
			}
			out.OTLPLog.Labels[name] = v.GetStringValue()
		}
	case *meshconfig.MeshConfig_ExtensionProvider_Zipkin:
		z := k.Zipkin
		out.Zipkin = &model.ZipkinTracer{
			To: to(z.GetService(), z.GetPort()), Path: z.GetPath(), ShortIDs: z.GetEnable_64BitTraceId(), PathLimit: z.GetMaxTagLength(), Timeout: duration(z.GetTimeout()),
			W3C:     z.GetTraceContextOption() == meshconfig.MeshConfig_ExtensionProvider_ZipkinTracingProvider_USE_B3_WITH_W3C_PROPAGATION,
			Headers: providerHeaders(z.GetHeaders(), field+".zipkin.headers", env, p),
		}
	case *meshconfig.MeshConfig_ExtensionProvider_Opentelemetry:
		o := k.Opentelemetry
		out.OTLP = &model.OTLPTracer{
			To: to(o.GetService(), o.GetPort()), PathLimit: o.GetMaxTagLength(), Environment: o.GetResourceDetectors().GetEnvironment() != nil,
			HTTP: o.GetHttp() != nil, Path: o.GetHttp().GetPath(), Dynatrace: o.GetResourceDetectors().GetDynatrace() != nil,
			Conventions: o.GetServiceAttributeEnrichment() == meshconfig.MeshConfig_ExtensionProvider_OTEL_SEMANTIC_CONVENTIONS,
		}
		if out.OTLP.HTTP {
			out.OTLP.Timeout, out.OTLP.Headers = duration(o.GetHttp().GetTimeout()), providerHeaders(o.GetHttp().GetHeaders(), field+".opentelemetry.http.headers", env, p)
		} else {
			out.OTLP.Timeout = duration(o.GetGrpc().GetTimeout())
			out.OTLP.Headers = providerHeaders(o.GetGrpc().GetInitialMetadata(), field+".opentelemetry.grpc.initialMetadata", env, p)
		}
		if d := o.GetDynatraceSampler(); d != nil {
			out.OTLP.Sampler = &model.DynatraceSampler{
				Tenant: d.GetTenant(), Cluster: d.GetClusterId(), PerMinute: d.GetRootSpansPerMinute(),
				To: out.OTLP.To, Path: dynatraceSampling, Timeout: out.OTLP.Timeout, Headers: out.OTLP.Headers,
			}
			if api := d.GetHttpService(); api != nil {
				s := out.OTLP.Sampler
				s.To, s.Path, s.Timeout = to(api.GetService(), api.GetPort()), api.GetHttp().GetPath(), duration(api.GetHttp().GetTimeout())
				s.Headers = providerHeaders(api.GetHttp().GetHeaders(), field+".opentelemetry.dynatraceSampler.httpService.http.headers", env, p)
			}
		}
	case *meshconfig.MeshConfig_ExtensionProvider_Skywalking:
		w := k.Skywalking
		out.SkyWalking = &model.SkyWalkingTracer{To: to(w.GetService(), w.GetPort()), Token: w.GetAccessToken()}
	case *meshconfig.MeshConfig_ExtensionProvider_Lightstep:
		l := k.Lightstep
		out.OTLP = lightstep(l.GetAccessToken())
		out.OTLP.To, out.OTLP.PathLimit = to(l.GetService(), l.GetPort()), l.GetMaxTagLength()
	case *meshconfig.MeshConfig_ExtensionProvider_Datadog:
		d := k.Datadog
		out.Datadog = &model.DatadogTracer{To: to(d.GetService(), d.GetPort()), PathLimit: d.GetMaxTagLength()}
	case *meshconfig.MeshConfig_ExtensionProvider_EnvoyExtAuthzHttp:
		h := k.EnvoyExtAuthzHttp
		out.Authorizer = &model.Authorizer{
			To: to(h.GetService(), h.GetPort()), Timeout: duration(h.GetTimeout()), FailOpen: h.GetFailOpen(), Reroute: h.GetClearRouteCache(),
			OnError: statusOnError(h.GetStatusOnError(), field+".envoyExtAuthzHttp.statusOnError", p), Body: authorizerBody(h.GetIncludeRequestBodyInCheck(), field+".envoyExtAuthzHttp", p), PathPrefix: h.GetPathPrefix(),
			Headers:    slices.Concat(h.GetIncludeRequestHeadersInCheck(), h.GetIncludeHeadersInCheck()),
			ToUpstream: slices.Clone(h.GetHeadersToUpstreamOnAllow()), ToClientOnDeny: slices.Clone(h.GetHeadersToDownstreamOnDeny()),
			ToClientOnAllow: slices.Clone(h.GetHeadersToDownstreamOnAllow()),
		}
		for _, name := range slices.Sorted(maps.Keys(h.GetIncludeAdditionalHeadersInCheck())) {
			out.Authorizer.ExtraHeaders = append(out.Authorizer.ExtraHeaders, [2]string{name, h.GetIncludeAdditionalHeadersInCheck()[name]})
		}
	case *meshconfig.MeshConfig_ExtensionProvider_EnvoyExtAuthzGrpc:
		g := k.EnvoyExtAuthzGrpc
		out.Authorizer = &model.Authorizer{
			To: to(g.GetService(), g.GetPort()), GRPC: true, Timeout: duration(g.GetTimeout()), FailOpen: g.GetFailOpen(), Reroute: g.GetClearRouteCache(),
			OnError: statusOnError(g.GetStatusOnError(), field+".envoyExtAuthzGrpc.statusOnError", p), Body: authorizerBody(g.GetIncludeRequestBodyInCheck(), field+".envoyExtAuthzGrpc", p),
		}
	case *meshconfig.MeshConfig_ExtensionProvider_Sds:
		out.Secrets = &model.SecretServer{Name: k.Sds.GetName(), To: to(k.Sds.GetService(), k.Sds.GetPort())}
	default:
		return nil
	}
	return out
}

// dynatraceSampling is where Dynatrace tells what to sample, unless the sampler has a path of its own. It is Istio's.
const dynatraceSampling = "api/v2/samplingConfiguration"

// statusOnError is a status that Envoy can answer with; 0 for its own.
func statusOnError(text, field string, p *problems) uint32 {
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if _, known := typev3.StatusCode_name[int32(n)]; err != nil || n == 0 || !known {
		p.add(field, "%q is not an HTTP status; 403 is answered", text)
		return 0
	}
	return uint32(n)
}

func authorizerBody(in *meshconfig.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationRequestBody, field string, p *problems) *model.AuthorizerBody {
	switch {
	case in == nil:
		return nil
	case in.GetMaxRequestBytes() == 0:
		p.add(field+".includeRequestBodyInCheck.maxRequestBytes", "missing; the body is not shown")
		return nil
	}
	return &model.AuthorizerBody{MaxBytes: in.GetMaxRequestBytes(), Partial: in.GetAllowPartialMessage(), Bytes: in.GetPackAsBytes()}
}

func fileLog(in *meshconfig.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider) *model.FileLog {
	out := &model.FileLog{Path: in.GetPath(), Text: in.GetLogFormat().GetText(), OmitEmpty: in.GetOmitEmptyValues()}
	if out.Path == "" {
		out.Path = "/dev/stdout"
	}
	if l := in.GetLogFormat().GetLabels(); l != nil {
		out.JSON = l.AsMap()
	}
	return out
}

// providerHeaders are the headers of requests to a collector, with values that are written down or that the control plane's environment has: those are in no message. Proxies take
// percent signs in them for formats, and know none there; a listener with a value that is none of a header they would refuse whole.
func providerHeaders(in []*meshconfig.MeshConfig_ExtensionProvider_HttpHeader, field string, env Environment, p *problems) [][2]string {
	var out [][2]string
	for i, h := range in {
		at, value := indexed(field, i)+".value", h.GetValue()
		if name := h.GetEnvName(); name != "" {
			at = indexed(field, i) + ".envName"
			set := false
			if env != nil {
				value, set = env(name)
			}
			if !set {
				p.add(at, "there is no variable %q in the control plane's environment; the header is left out", name)
				continue
			}
		}
		switch {
		case strings.Contains(value, "%"):
			p.add(at, "has a percent sign, which proxies take for a format; the header is left out")
		case strings.ContainsAny(value, "\x00\r\n"):
			p.add(at, "has the end of a line in it, which no header can have; the header is left out")
		default:
			out = append(out, [2]string{h.GetName(), value})
		}
	}
	return out
}

// meshTags are the tags of defaultConfig.tracing, by name.
func meshTags(in map[string]*meshconfig.Tracing_CustomTag) []model.TraceTag {
	var out []model.TraceTag
	for _, name := range slices.Sorted(maps.Keys(in)) {
		t := model.TraceTag{Name: name}
		switch k := in[name].GetType().(type) {
		case *meshconfig.Tracing_CustomTag_Literal:
			t.Literal = k.Literal.GetValue()
		case *meshconfig.Tracing_CustomTag_Environment:
			t.Environment, t.Default = k.Environment.GetName(), k.Environment.GetDefaultValue()
		case *meshconfig.Tracing_CustomTag_Header:
			t.Header, t.Default = k.Header.GetName(), k.Header.GetDefaultValue()
		}
		out = append(out, t)
	}
	return out
}

// meshProviders converts the mesh's providers and says which of them count by default. Of several for tracing the first does.
func meshProviders(in *meshconfig.MeshConfig, m *model.Mesh, env Environment, p *problems) {
	for i, ep := range in.GetExtensionProviders() {
		if pr := provider(ep, indexed("extensionProviders", i), env, p); pr != nil {
			m.Providers = append(m.Providers, pr)
		}
	}
	m.DefaultLogProviders = slices.Clone(in.GetDefaultProviders().GetAccessLogging())
	for i, name := range m.DefaultLogProviders {
		if name != "envoy" {
			knownProvider(in, name, indexed("defaultProviders.accessLogging", i), (*model.Provider).Logs, m, p)
		}
	}
	m.NoStandardMetrics = !standardMetrics(in, p)
	for i, name := range in.GetDefaultProviders().GetTracing() {
		at := indexed("defaultProviders.tracing", i)
		if i > 0 {
			p.add(at, "has no effect: the first provider alone counts")
			continue
		}
		if knownProvider(in, name, at, (*model.Provider).Traces, m, p) {
			m.DefaultTraceProvider = name
		}
	}
}

// prometheus is the provider of metrics that exists without being defined.
const prometheus = "prometheus"

// standardMetrics reports whether the standard metrics have a provider: Prometheus asks the proxies for them. It has them where no provider that there is is named, too.
func standardMetrics(in *meshconfig.MeshConfig, p *problems) bool {
	taken, others := false, false
	for i, name := range in.GetDefaultProviders().GetMetrics() {
		j := slices.IndexFunc(in.GetExtensionProviders(), func(ep *meshconfig.MeshConfig_ExtensionProvider) bool { return strings.EqualFold(ep.GetName(), name) })
		switch {
		case j < 0 && name == prometheus, j >= 0 && in.GetExtensionProviders()[j].GetPrometheus() != nil:
			taken = true
		case j >= 0: // takes none, which may be what is wanted
			others = true
		default:
			p.add(indexed("defaultProviders.metrics", i), "there is no provider %q in extensionProviders; it has no effect", name)
		}
	}
	return taken || !others
}

func knownProvider(in *meshconfig.MeshConfig, name, field string, fit func(*model.Provider) bool, m *model.Mesh, p *problems) bool {
	pr := m.Provider(name)
	if pr != nil && fit(pr) {
		return true
	}
	why := fmt.Sprintf("there is no provider %q in extensionProviders", name)
	if slices.ContainsFunc(in.GetExtensionProviders(), func(ep *meshconfig.MeshConfig_ExtensionProvider) bool { return strings.EqualFold(ep.GetName(), name) }) {
		why = fmt.Sprintf("provider %q is not for that", name)
	}
	p.add(field, "%s; it has no effect", why)
	return false
}
