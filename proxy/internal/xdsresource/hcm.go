package xdsresource

import (
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
)

// CodecType is HttpConnectionManager.CodecType.
type CodecType uint8

// Codec types.
const (
	CodecAuto CodecType = iota
	CodecHTTP1
	CodecHTTP2
)

// ServerHeader is HttpConnectionManager.ServerHeaderTransformation.
type ServerHeader uint8

// Server header transformations.
const (
	ServerOverwrite ServerHeader = iota
	ServerAppendIfAbsent
	ServerPassThrough
)

// ForwardClientCert is HttpConnectionManager.ForwardClientCertDetails.
type ForwardClientCert uint8

// Ways to treat x-forwarded-client-cert.
const (
	XFCCSanitize ForwardClientCert = iota
	XFCCForwardOnly
	XFCCAppendForward
	XFCCSanitizeSet
	XFCCAlwaysForwardOnly
)

// EscapedSlashes is HttpConnectionManager.PathWithEscapedSlashesAction.
type EscapedSlashes uint8

// Actions for %2F and %5C in a path.
const (
	EscapedSlashesKeep EscapedSlashes = iota
	EscapedSlashesReject
	EscapedSlashesUnescapeRedirect
	EscapedSlashesUnescapeForward
)

// UnderscoresAction is HttpProtocolOptions.HeadersWithUnderscoresAction.
type UnderscoresAction uint8

// Actions for header names with underscores.
const (
	UnderscoresAllow UnderscoresAction = iota
	UnderscoresReject
	UnderscoresDrop
)

// HTTPConnectionManager is a validated HttpConnectionManager. Durations of 0 mean
// "disabled" after defaults were applied, unless a field says otherwise.
type HTTPConnectionManager struct {
	StatPrefix string
	Codec      CodecType

	// Routes is the inline route_config; nil when RouteConfigName is fetched by RDS.
	RouteSource     ConfigSource // where RouteConfigName comes from
	Routes          *RouteConfig
	RouteConfigName string
	// RouteFetchTimeout is how long a listener waits for RouteConfigName. 0: without end.
	RouteFetchTimeout time.Duration
	Scopes            *ScopedRoutes // instead of both; nil: there are none

	// Filters in order; the last is the router.
	Filters []HTTPFilter

	ServerName string // default "envoy"
	// RouteResolutionStats: how long the look-ups of routes take is measured.
	RouteResolutionStats bool
	ServerHeader         ServerHeader
	UseRemoteAddress     bool
	XFFTrustedHops       uint32
	SkipXFFAppend        bool
	AppendXFPort         bool // append_x_forwarded_port
	// InternalAddresses are those whose requests are internal, InternalUnix adds Unix sockets.
	InternalAddresses                                  []netip.Prefix
	InternalUnix                                       bool
	Via                                                string
	GenerateRequestID                                  bool // default true
	PreserveExternalRequestID                          bool
	AlwaysSetRequestIDInResponse                       bool
	ForwardClientCert                                  ForwardClientCert
	XFCCSubject, XFCCCert, XFCCChain, XFCCDNS, XFCCURI bool // set_current_client_cert_details
	Proxy100Continue                                   bool

	NormalizePath         bool
	MergeSlashes          bool
	EscapedSlashes        EscapedSlashes
	StripMatchingHostPort bool
	StripAnyHostPort      bool
	StripTrailingHostDot  bool
	Underscores           UnderscoresAction

	IdleTimeout           time.Duration // connection idle; default 1h
	MaxConnectionDuration time.Duration
	MaxStreamDuration     time.Duration
	StreamIdleTimeout     time.Duration // default 5m
	// StreamFlushTimeout is how long a client of HTTP/2 may take for the end of a response; default StreamIdleTimeout.
	StreamFlushTimeout time.Duration
	// LogOnStart, LogInterval and LogOnTunnel: there are entries of the access logs besides that at the end (access_log_options). An
	// interval of 0: none.
	LogOnStart, LogOnTunnel bool
	LogInterval             time.Duration
	// Scheme is what :scheme becomes (scheme_header_transformation); "": as it is.
	Scheme                   string
	RequestTimeout           time.Duration
	RequestHeadersTimeout    time.Duration
	MaxRequestHeadersKB      uint32 // default 60
	MaxHeadersCount          uint32 // default 100
	MaxRequestsPerConnection uint32 // 0: unlimited

	AcceptHTTP10         bool
	DefaultHostForHTTP10 string
	AllowChunkedLength   bool
	HTTP1                HTTP1Options
	HTTP2                HTTP2Options
	DrainTimeout         time.Duration // HTTP/2: between the first GOAWAY and the last; default 5s

	// DurationJitter and DrainJitter are by how much of MaxConnectionDuration and DrainTimeout these are put off at most: 1 is all of it again.
	DurationJitter, DrainJitter float64
	// EndWithRequest: a connection of HTTP/1 whose MaxConnectionDuration is over ends with the answer to its next request.
	EndWithRequest bool

	// Detection says who the client is, without UseRemoteAddress: the first way that finds it. Empty: x-forwarded-for says it.
	Detection []IPDetection
	// EarlyMutations change a request's headers before anything is read of them.
	EarlyMutations []HeaderMutation
	AddUserAgent   bool // user-agent, where there is none, and x-envoy-downstream-service-*
	// AppendLocalOverload: what the overload manager has answered has x-envoy-local-overloaded.
	AppendLocalOverload bool
	// HTTPSPorts and HTTPPorts say what x-forwarded-proto is by the port that the PROXY protocol has told.
	HTTPSPorts, HTTPPorts []uint16
	ProxyStatus           *ProxyStatus // nil: there is no such header

	// DelayedCloseTimeout is how long a connection that we close waits for its client to read what
	// is left, and then for its end. 0: for the first without end, for the second not at all.
	DelayedCloseTimeout time.Duration // default 1s

	AccessLogs     []AccessLog
	Tracing        *Tracing        // nil: no tracing
	UpgradeTypes   map[string]bool // lower-case upgrade name to enabled
	LocalReplies   []LocalReplyMapper
	LocalReplyBody *BodyFormat // local_reply_config.body_format; nil: the body as it is
}

// HTTP1Options is core.v3.Http1ProtocolOptions as far as it is supported.
type HTTP1Options struct {
	// IgnoreUpgrade are protocols that a request may name in Upgrade as if it had not.
	IgnoreUpgrade   []StringMatch
	EnableTrailers  bool
	ProperCaseWords bool // header_key_format.proper_case_words
	// PreserveCase is header_key_format.stateful_formatter of kind preserve_case: the names of headers that are read keep their case; nil: they do not.
	PreserveCase *header.CasePolicy
}

// LocalReplyMapper is local_reply_config.mappers.
type LocalReplyMapper struct {
	Filter       *AccessLogFilter
	StatusCode   uint32 // 0: unchanged
	Body         *string
	Format       *BodyFormat // nil: that of all replies
	HeadersToAdd []HeaderOp
}

// BodyFormat is the format of an answer of our own: Text, or JSON where that is set. The body without
// it is %LOCAL_REPLY_BODY%.
type BodyFormat struct {
	Text        string
	JSON        map[string]any
	OmitEmpty   bool
	ContentType string // never empty
}

// Tracing is HttpConnectionManager.Tracing.
type Tracing struct {
	// Provider is *Zipkin, *OTLPTracing, *SkyWalking or *Datadog; nil: the context is propagated as B3, no span is
	// reported.
	Provider          any
	Verbose           bool
	MaxPathTag        uint32 // default 256
	CustomTags        []CustomTag
	SpawnUpstreamSpan bool
	NoPropagation     bool
	// Operation and UpstreamOperation are formats of the names of spans: of requests and of their calls; "": Envoy's names.
	Operation, UpstreamOperation string

	// Always: request ids say nothing of sampling, and every request is traced whose caller did not decide otherwise.
	Always bool

	ClientSampling  float64 // percent
	RandomSampling  float64
	OverallSampling float64
	// These override the three: tracing.client_enabled, tracing.random_sampling and
	// tracing.global_enabled of the runtime.
	ClientKey, RandomKey, OverallKey *runtimekey.Key
}

// HTTPFilter is a named HTTP filter with the configuration that its own package parsed.
type HTTPFilter struct {
	Name string
	// Type is the message name of the configuration, which says which filter it is.
	Type string
	// Config is the value returned by the filter's parser; the filter package knows its type.
	Config any
	// Disabled: it runs only where a route configures it.
	Disabled bool
	// Discovery is where Type and Config come from instead; nil: they stand here.
	Discovery *FilterDiscovery
}
