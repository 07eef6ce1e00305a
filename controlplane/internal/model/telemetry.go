package model

import (
	"net"
	"strings"
	"time"
)

// Telemetry configures access logs and tracing. Metrics settings are not read yet.
type Telemetry struct {
	Namespace string
	Name      string
	Selector  map[string]string
	Logs      []AccessLogging
	Traces    []Tracing
	Created   time.Time
	Origin    Origin
	Rev       uint64
}

// TelemetryMode is the direction that a rule of a Telemetry is for.
type TelemetryMode uint8

// Directions of telemetry.
const (
	BothModes  TelemetryMode = iota
	ClientMode               // outbound, and gateways
	ServerMode               // inbound
)

// AccessLogging turns access logs on or off.
type AccessLogging struct {
	Mode      TelemetryMode
	Providers []string // empty: inherited or the mesh's default providers
	Disabled  *bool
	Filter    string // a CEL expression, true of what is logged; "": everything, or what is inherited where no providers are named
}

// Tracing says what spans are made, and where they go. What is nil, or empty, is inherited.
type Tracing struct {
	Mode        TelemetryMode
	Provider    string
	Sampling    *float64   // percent
	Disabled    *bool      // disableSpanReporting
	Tags        []TraceTag // customTags, by name
	ByRequestID *bool      // useRequestIdForTraceSampling
	IstioTags   *bool      // enableIstioTags
	NoContext   *bool      // disableContextPropagation
}

// TraceTag is a tag of spans. Exactly one of its sources is set.
type TraceTag struct {
	Name        string
	Literal     string
	Environment string // a variable of the proxy's
	Header      string // of the request
	Format      string // with Envoy's operators
	// Default is the value where the source has none; "" leaves the tag out.
	Default string
}

// Provider is an extensionProvider of the mesh. Exactly one of its kinds is set.
// https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ExtensionProvider
type Provider struct {
	Name    string
	File    *FileLog
	GRPCLog *GRPCLog
	OTLPLog *OTLPLog
	Zipkin  *ZipkinTracer
	OTLP    *OTLPTracer
	// SkyWalking takes its segments.
	SkyWalking *SkyWalkingTracer
	Datadog    *DatadogTracer
	// Authorizer is asked by AuthorizationPolicies of action CUSTOM.
	Authorizer *Authorizer
	// Secrets serves certificates to proxies whose gateways and destination rules name it (ProviderCredentialPrefix).
	Secrets *SecretServer
}

// Logs reports whether a provider takes access logs.
func (p *Provider) Logs() bool { return p.File != nil || p.GRPCLog != nil || p.OTLPLog != nil }

// Traces reports whether a provider takes spans.
func (p *Provider) Traces() bool {
	return p.Zipkin != nil || p.OTLP != nil || p.SkyWalking != nil || p.Datadog != nil
}

// Service is where a provider's data goes; false: not to a service.
func (p *Provider) Service() (ProviderService, bool) {
	switch {
	case p.GRPCLog != nil:
		return p.GRPCLog.To, true
	case p.OTLPLog != nil:
		return p.OTLPLog.To, true
	case p.Zipkin != nil:
		return p.Zipkin.To, true
	case p.OTLP != nil:
		return p.OTLP.To, true
	case p.SkyWalking != nil:
		return p.SkyWalking.To, true
	case p.Datadog != nil:
		return p.Datadog.To, true
	case p.Authorizer != nil:
		return p.Authorizer.To, true
	case p.Secrets != nil:
		return p.Secrets.To, true
	}
	return ProviderService{}, false
}

// ProviderService is a service by which a provider is reached.
type ProviderService struct {
	Namespace string // of the object that defines the host; "" when there is but one
	Host      string
	Port      uint32
}

// SecretServer is a server of Envoy's secret discovery service.
type SecretServer struct {
	// Name is what follows ProviderCredentialPrefix.
	Name string
	To   ProviderService
}

// FileLog is an access log in a file.
type FileLog struct {
	Path string
	Text string
	JSON map[string]any
	// OmitEmpty leaves out what has no value, instead of printing "-" or null.
	OmitEmpty bool
}

// GRPCLog is an access log service of Envoy's, for requests (HTTP) or for connections.
type GRPCLog struct {
	To                                ProviderService
	HTTP                              bool
	Name                              string   // of the log
	Objects                           []string // filterStateObjectsToLog
	RequestHeaders                    []string
	ResponseHeaders, ResponseTrailers []string
}

// OTLPLog is an access log by OpenTelemetry's protocol, over gRPC.
type OTLPLog struct {
	To     ProviderService
	Name   string
	Text   string            // a format, "" for the default one
	Labels map[string]string // attributes, by format
}

// ZipkinTracer is a collector that takes Zipkin's spans.
type ZipkinTracer struct {
	To        ProviderService
	Path      string // "" for /api/v2/spans
	ShortIDs  bool   // trace ids of 64 bits
	W3C       bool   // traceparent beside B3
	PathLimit uint32 // maxTagLength, 0: the mesh's
	Timeout   time.Duration
	Headers   [][2]string
}

// OTLPTracer is a collector that takes OpenTelemetry's spans, over gRPC or HTTP.
type OTLPTracer struct {
	To          ProviderService
	PathLimit   uint32
	HTTP        bool
	Path        string        // of HTTP
	Timeout     time.Duration // 0: not said
	Headers     [][2]string   // of HTTP, or the initial metadata of gRPC
	Environment bool          // resource attributes of OTEL_RESOURCE_ATTRIBUTES
	// Conventions has spans name their service as OpenTelemetry's conventions for Kubernetes do, and not by the node's cluster (OTEL_SEMANTIC_CONVENTIONS).
	Conventions bool
	Dynatrace   bool // resource attributes of the files of Dynatrace's agent
	// Sampler has proxies ask Dynatrace what to record; nil: the shares say it.
	Sampler *DynatraceSampler
}

// DynatraceSampler is an environment of Dynatrace, and where it tells how many traces are to begin.
type DynatraceSampler struct {
	Tenant    string
	Cluster   int32
	PerMinute uint32 // 0: the proxy's
	To        ProviderService
	Path      string
	Timeout   time.Duration // 0: not said
	Headers   [][2]string
}

// SkyWalkingTracer is a backend of SkyWalking's.
type SkyWalkingTracer struct {
	To    ProviderService
	Token string // "" for none
}

// DatadogTracer is an agent of Datadog's.
type DatadogTracer struct {
	To        ProviderService
	PathLimit uint32
}

// Provider returns the provider of a name, whose letters may be of either case; nil when there is none.
func (m *Mesh) Provider(name string) *Provider {
	for _, p := range m.Providers {
		if strings.EqualFold(p.Name, name) {
			return p
		}
	}
	return nil
}

// CollectorHosts are the hosts that logs and traces may go to, and those of authorizers and servers of secrets, as services may be called: those of the providers, and what defaultConfig's address may mean.
func (m *Mesh) CollectorHosts() []string {
	var out []string
	for _, p := range m.Providers {
		if to, ok := p.Service(); ok {
			out = append(out, to.Host)
		}
		if p.OTLP != nil && p.OTLP.Sampler != nil {
			out = append(out, p.OTLP.Sampler.To.Host)
		}
	}
	if host, _, err := net.SplitHostPort(m.TracerAddress); err == nil {
		out = append(out, m.HostsOf(host)...)
	}
	return out
}

// HostsOf are the names that an address may mean as a service's host: itself, and as "name.namespace" or "name.namespace.svc" a service of the mesh's domain.
func (m *Mesh) HostsOf(name string) []string {
	if base := strings.TrimSuffix(name, ".svc"); strings.Count(base, ".") == 1 {
		return []string{name, base + ".svc." + m.Domain}
	}
	return []string{name}
}

// ServiceOf returns the service that a provider's reference means, as a proxy sees it: nil when there is none, when several namespaces have the host
// and none is named, or when the proxy has no cluster for that port.
func (s *Snapshot) ServiceOf(p *Proxy, to ProviderService) *Service {
	defined := s.Services.Prefix(to.Host + "/")
	if to.Namespace != "" {
		if _, ok := s.Services.Get(to.Host + "/" + to.Namespace); !ok {
			return nil
		}
	} else if len(defined) != 1 {
		return nil
	}
	svc := s.ServiceFor(p, to.Host)
	if svc == nil {
		return nil
	}
	if to := s.Concrete(svc, p.Namespace); to != nil {
		svc = to
	}
	for _, port := range svc.Ports {
		if port.Number == to.Port {
			return svc
		}
	}
	return nil
}
