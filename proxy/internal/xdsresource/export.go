package xdsresource

import "time"

// GRPCService is core.v3.GrpcService with envoy_grpc.
type GRPCService struct {
	Cluster string
	Call    GRPCCall
}

// HTTPService is core.v3.HttpService.
type HTTPService struct {
	Cluster string
	URL     string
	Timeout time.Duration
	Headers map[string]string // request_headers_to_add
}

// GRPCAccessLog is the gRPC access log service, for HTTP requests or for connections.
type GRPCAccessLog struct {
	HTTP          bool
	LogName       string
	Service       GRPCService
	FlushInterval time.Duration
	BufferSize    uint32 // bytes
	// Headers that are logged beside those that every entry has.
	RequestHeaders, ResponseHeaders, ResponseTrailers []string
	CustomTags                                        []CustomTag
	FilterState                                       []string // names of objects that are logged
}

// OTLPAccessLog logs by OpenTelemetry's protocol, over GRPC or HTTP.
type OTLPAccessLog struct {
	LogName       string
	StatPrefix    string
	GRPC          *GRPCService
	HTTP          *HTTPService
	FlushInterval time.Duration
	BufferSize    uint32 // bytes
	// Body and Attributes hold format strings: a string, a []any, or a map[string]any.
	Body       any
	Attributes map[string]any
	// Resource holds plain strings.
	Resource      map[string]any
	NoBuiltinTags bool // disable_builtin_labels
	// Detected are names and values that resource detectors have found, over the builtin ones and below Resource.
	Detected    [][2]string
	FilterState []string // names of objects that are logged as attributes
	CustomTags  []CustomTag
}

// CustomTag is type.tracing.v3.CustomTag. Exactly one of the sources is set.
type CustomTag struct {
	Name        string
	Literal     string
	Environment string
	Header      string // of the request
	// Metadata names filter and path of a kind ("REQUEST", "ROUTE", "CLUSTER", "HOST").
	MetadataKind, MetadataKey string
	MetadataPath              []string
	// Value is a format string.
	Value string
	// Default is the value where the source has none; "" leaves the tag out.
	Default string
}

// Zipkin is trace.v3.ZipkinConfig.
type Zipkin struct {
	Cluster    string
	URL        string
	Headers    map[string]string
	Proto      bool // HTTP_PROTO
	LongIDs    bool // trace_id_128bit
	SharedSpan bool
	SplitSpans bool          // split_spans_for_request
	W3C        bool          // trace_context_option
	Timeout    time.Duration // of a report; 0: the exporter's own
}

// SkyWalking is trace.v3.SkyWalkingConfig.
type SkyWalking struct {
	Service                   GRPCService
	ServiceName, InstanceName string // "": the node's
	Token                     string // "" for none
	CacheSize                 uint32 // segments that are kept while the service is away
}

// Datadog is trace.v3.DatadogConfig.
type Datadog struct {
	Cluster string
	Host    string // what the agent is called by
	Service string // of all spans
	// Env and Version are where the service runs and which it is; "": not said.
	Env, Version string
}

// OTLPTracing is trace.v3.OpenTelemetryConfig. One of GRPC and HTTP is set.
type OTLPTracing struct {
	GRPC        *GRPCService
	HTTP        *HTTPService
	ServiceName string
	// Resource are further attributes of the resource, which come before those of the proxy's own.
	Resource [][2]string
	// Sampler decides which spans are recorded; nil: the connection manager's shares and the callers do.
	Sampler *DynatraceSampler
}

// DynatraceSampler is extensions.tracers.opentelemetry.samplers.v3.DynatraceSamplerConfig.
type DynatraceSampler struct {
	Tenant  string
	Cluster int32
	// PerMinute is how many traces are to begin in a minute while HTTP has not said it.
	PerMinute uint32
	HTTP      HTTPService
}
