package xdsresource

import (
	"regexp"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/pathtemplate"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
)

// RouteConfig is a validated route.v3.RouteConfiguration.
type RouteConfig struct {
	Name                            string
	VirtualHosts                    []*VirtualHost
	RequestHeaders, ResponseHeaders HeaderOps
	MostSpecificHeaderMutationsWins bool
	// HostHeader is the header that virtual hosts are chosen by (vhost_header); zero: the authority. IgnorePathParameters: paths are
	// matched without what follows a semicolon.
	HostHeader                header.Key
	IgnorePathParameters      bool
	IgnorePortInHostMatching  bool
	InternalOnlyHeaders       []string       // lower case; taken off requests that are not internal
	MaxDirectResponseBodySize uint32         // default 4096
	ValidateClusters          *bool          // that routes lead to clusters that are there; nil: true where it stands in a listener, false from RDS
	FilterConfigs             map[string]any // typed_per_filter_config, parsed by the filters
	Metadata                  Metadata
	Mirrors                   []MirrorPolicy // of routes that have none themselves or by their virtual host
	// VHDS is where further virtual hosts come from; nil: there are none.
	VHDS *ConfigSource
	// VHDSFetchTimeout is how long its listener waits for the first ones. 0: without end.
	VHDSFetchTimeout time.Duration
}

// FilterSwitch stands among per-filter configurations for a route.v3.FilterConfig that only turns
// its filter on or off.
type FilterSwitch bool

// Filter switches.
const (
	FilterOff FilterSwitch = false
	FilterOn  FilterSwitch = true
)

// VirtualHost is a validated route.v3.VirtualHost.
type VirtualHost struct {
	Name                            string
	Domains                         []string // exact, "*.suffix", "prefix.*", "*"; lower case
	Routes                          []*Route
	Matcher                         *Matcher // instead of Routes
	RequireTLS                      TLSRequirement
	RequestHeaders, ResponseHeaders HeaderOps
	Retry                           *RetryPolicy
	FilterConfigs                   map[string]any
	IncludeRequestAttemptCount      bool
	IncludeAttemptCountInResponse   bool
	IncludeIsTimeoutRetry           bool
	// request_body_buffer_limit and per_request_buffer_limit_bytes; nil: not set
	BodyLimit, OldBodyLimit *uint64
	Hedge                   bool // hedge_on_per_try_timeout
	Metadata                Metadata
	RateLimits              []RateLimit
	VirtualClusters         []VirtualCluster
	CORS                    *CORSPolicy // the older field; nil: none
}

// VirtualCluster is a validated route.v3.VirtualCluster: requests of a virtual host that are counted by themselves.
type VirtualCluster struct {
	Name    string
	Headers []HeaderMatcher // all of them; at least one
}

// TLSRequirement is VirtualHost.TlsRequirementType.
type TLSRequirement uint8

// TLS requirements.
const (
	TLSNotRequired TLSRequirement = iota
	TLSExternalOnly
	TLSAll
)

// Route is a validated route.v3.Route. Exactly one of Forward, Redirect and
// Direct is set.
type Route struct {
	Name                            string
	Match                           RouteMatch
	Forward                         *RouteAction
	Redirect                        *RedirectAction
	Direct                          *DirectResponse
	Decorator                       string // operation
	DecoratorPropagate              bool   // default true
	RequestHeaders, ResponseHeaders HeaderOps
	FilterConfigs                   map[string]any
	Metadata                        Metadata
	StatPrefix                      string
	BodyLimit, OldBodyLimit         *uint64 // as in VirtualHost
	Tracing                         *RouteTracing
}

// RouteTracing is a validated route.v3.Tracing, which goes before what the connection manager says.
type RouteTracing struct {
	Client, Random, Overall      *FractionalPercent // nil: all
	CustomTags                   []CustomTag
	Operation, UpstreamOperation string // formats; "": none
}

// PathKind says how RouteMatch.Path is compared.
type PathKind uint8

// Path match kinds.
const (
	PathPrefix PathKind = iota
	PathExact
	PathRegex // full match
	PathSeparatedPrefix
	PathConnect // CONNECT requests
	PathTemplate
)

// RouteMatch is a validated route.v3.RouteMatch.
type RouteMatch struct {
	Kind                       PathKind
	Path                       string
	Regex                      *regexp.Regexp // anchored, for PathRegex
	Template                   *pathtemplate.Pattern
	CaseInsensitive            bool
	Headers                    []HeaderMatcher
	Query                      []QueryMatcher
	Cookies                    []CookieMatcher
	GRPC                       bool
	Fraction                   *FractionalPercent // runtime_fraction's default
	TLSPresented, TLSValidated *bool
	FilterMetadata             []MetadataMatcher // dynamic_metadata
	FilterState                []FilterStateMatcher
}

// StringKind says how a StringMatch compares.
type StringKind uint8

// String match kinds.
const (
	StringExact StringKind = iota
	StringPrefix
	StringSuffix
	StringContains
	StringRegex // full match
)

// StringMatch is type.matcher.v3.StringMatcher.
type StringMatch struct {
	Kind       StringKind
	Value      string
	Regex      *regexp.Regexp // anchored
	IgnoreCase bool
}

// HeaderMatcher is route.v3.HeaderMatcher. Exactly one of Present, Range and String is set.
type HeaderMatcher struct {
	Name                string // lower case
	Present             *bool
	Range               *[2]int64 // [start, end)
	String              *StringMatch
	Invert              bool
	TreatMissingAsEmpty bool
}

// QueryMatcher is route.v3.QueryParameterMatcher.
type QueryMatcher struct {
	Name    string
	Present *bool
	String  *StringMatch
}

// CookieMatcher is route.v3.CookieMatcher.
type CookieMatcher struct {
	Name   string
	String StringMatch
	Invert bool
}

// WeightedCluster is one entry of weighted_clusters.
type WeightedCluster struct {
	Name                            string
	ClusterHeader                   string
	Weight                          uint32
	WeightKey                       *runtimekey.Key // overrides Weight
	RequestHeaders, ResponseHeaders HeaderOps
	FilterConfigs                   map[string]any
	MetadataMatch                   *MetadataMatch
	HostRewrite                     string
}

// WeightBy is the random_value_specifier of weighted_clusters: what stands for the random number. Requests that lack it are
// left to chance.
type WeightBy struct {
	Header header.Key // its value is the number; no name: none is read
	Hash   bool       // use_hash_policy
}

// RouteAction is a validated route.v3.RouteAction. Exactly one of Cluster, ClusterHeader and
// Weighted is set.
type RouteAction struct {
	Cluster       string
	ClusterHeader string
	Weighted      []WeightedCluster
	TotalWeight   uint32
	// WeightBy is what chooses among Weighted instead of chance.
	WeightBy WeightBy
	// ClusterNotFoundCode is 503 (default), 404 or 500.
	ClusterNotFoundCode int
	MetadataMatch       *MetadataMatch // filter_metadata "envoy.lb"

	PrefixRewrite        string
	RegexRewrite         *RegexRewrite
	TemplateRewrite      *pathtemplate.Rewrite
	PathFormat           string // path_rewrite: the path is what this prints, unless that is nothing; "": no format
	HostRewrite          HostRewrite
	AppendXForwardedHost bool

	Timeout           time.Duration  // default 15s; 0 disables
	IdleTimeout       *time.Duration // nil: the connection manager's
	MaxStreamDuration *time.Duration
	// OwnClock: max_stream_duration is there, and replaces Timeout.
	OwnClock                bool
	GRPCTimeoutHeaderMax    *time.Duration
	GRPCTimeoutHeaderOffset time.Duration

	Retry        *RetryPolicy // nil: the virtual host's
	Mirrors      []MirrorPolicy
	Hash         []HashPolicy
	PriorityHigh bool

	// Upgrades says of upgrade types whether they are allowed; the others are up to the connection
	// manager. Lower case, "connect" for CONNECT.
	Upgrades map[string]bool
	// Terminate has what CONNECT carries go to the host as bytes, without HTTP; nil: it goes as HTTP.
	Terminate *Terminate

	RateLimits      []RateLimit
	VHostRateLimits bool // include_vh_rate_limits

	InternalRedirect *InternalRedirect // nil: redirects are the client's matter
	// Hedge is hedge_on_per_try_timeout; nil: the virtual host's.
	Hedge *bool
	CORS  *CORSPolicy // the older field; nil: none
}

// Terminate is route.v3.RouteAction.UpgradeConfig.ConnectConfig.
type Terminate struct {
	Post        bool // bodies of POST go as bytes as well (allow_post)
	ProxyHeader int  // version of the PROXY protocol's header before the bytes; 0: none
}

// RegexRewrite replaces what Regex matches in the path.
type RegexRewrite struct {
	Regex        *regexp.Regexp
	Substitution string // Go syntax: ${1}
}

// HostRewrite says what :authority becomes; at most one field is set.
type HostRewrite struct {
	Literal   string
	Auto      bool   // the chosen endpoint's host name
	Header    string // value of this header
	PathRegex *RegexRewrite
	Format    string // what this prints, unless that is nothing
}

// MirrorPolicy is RouteAction.RequestMirrorPolicy.
type MirrorPolicy struct {
	Cluster                 string
	ClusterHeader           string
	Fraction                *FractionalPercent // nil: always
	TraceSampled            *bool
	DisableShadowHostSuffix bool
	Host                    string // host_rewrite_literal, instead of the request's host with "-shadow"; "": none
	RequestHeaders          []HeaderMutation
}

// HashPolicy is RouteAction.HashPolicy; exactly one source is set.
type HashPolicy struct {
	Header   header.Key
	Rewrite  *RegexRewrite // of the header's values; nil: as they are
	Cookie   *HashCookie
	SourceIP bool
	Query    string
	State    string // key of an object of the filter state
	Terminal bool
}

// HashCookie is HashPolicy.Cookie.
type HashCookie struct {
	Name string
	TTL  *time.Duration // non-nil: generate when absent
	Path string
	// Attributes are further ones of the cookie that is made; those without a value are a name alone.
	Attributes []HashCookieAttribute
}

// HashCookieAttribute is HashPolicy.CookieAttribute.
type HashCookieAttribute struct{ Name, Value string }

// RetryOn is a set of retry conditions.
type RetryOn uint32

// Retry conditions, Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on.
const (
	Retry5xx RetryOn = 1 << iota
	RetryGatewayError
	RetryReset
	RetryResetBeforeRequest
	RetryConnectFailure
	RetryEnvoyRatelimited
	Retry4xx
	RetryRefusedStream
	RetryStatusCodes
	RetryHeaders
	RetryHTTP3PostConnectFailure
	RetryGRPCCancelled
	RetryGRPCDeadlineExceeded
	RetryGRPCInternal
	RetryGRPCResourceExhausted
	RetryGRPCUnavailable
)

// RetryOnGRPC are the conditions on a status of gRPC.
const RetryOnGRPC = RetryGRPCCancelled | RetryGRPCDeadlineExceeded | RetryGRPCInternal | RetryGRPCResourceExhausted | RetryGRPCUnavailable

// RetryPolicy is a validated route.v3.RetryPolicy.
type RetryPolicy struct {
	On                       RetryOn
	NumRetries               uint32 // default 1
	PerTryTimeout            time.Duration
	PerTryIdleTimeout        time.Duration
	AvoidPreviousHosts       bool           // retry_host_predicate previous_hosts
	OmitCanary               bool           // omit_canary_hosts
	OmitMetadata             *MetadataMatch // omit_host_metadata
	PriorityUpdate           int            // retry_priority previous_priorities: update_frequency; 0: none
	HostSelectionMaxAttempts uint32         // default 1
	StatusCodes              []int
	Headers                  []HeaderMatcher // retriable_headers
	RequestHeaders           []HeaderMatcher // retriable_request_headers
	BackOffKey               *runtimekey.Key // overrides BackOffBase, in milliseconds, and ten times it BackOffMax
	BackOffBase              time.Duration   // default 25ms
	BackOffMax               time.Duration   // default 10 times the base
	// ResetHeaders tell in a response when to come again (rate_limited_retry_back_off); the first
	// one with a time of at most ResetMax counts.
	ResetHeaders []ResetHeader
	ResetMax     time.Duration // default 300s
}

// ResetHeader is RetryPolicy.ResetHeader.
type ResetHeader struct {
	Name string // lower case
	Unix bool   // a time in Unix seconds; else seconds from now
}

// RedirectAction is a validated route.v3.RedirectAction.
type RedirectAction struct {
	HTTPS            bool
	Scheme           string
	Host             string
	Port             uint32 // 0: unchanged
	Path             string // path_redirect
	PrefixRewrite    string
	HasPrefixRewrite bool
	RegexRewrite     *RegexRewrite
	PathFormat       string // as in RouteAction
	Code             int    // 301 default
	StripQuery       bool
}

// DirectResponse is a validated route.v3.DirectResponseAction.
type DirectResponse struct {
	Status int
	Body   []byte
	Format *BodyFormat // nil: Body as it is
}

// AppendAction is core.v3.HeaderValueOption.HeaderAppendAction.
type AppendAction uint8

// Append actions.
const (
	AppendIfExistsOrAdd AppendAction = iota
	AddIfAbsent
	OverwriteIfExistsOrAdd
	OverwriteIfExists
)

// HeaderOp sets one header; Value is a format string ("%REQ(x)%").
type HeaderOp struct {
	Name      string // lower case
	Value     string
	Action    AppendAction
	KeepEmpty bool
}

// HeaderOps is headers_to_add and headers_to_remove of one level.
type HeaderOps struct {
	Add    []HeaderOp
	Remove []string // lower case
}
