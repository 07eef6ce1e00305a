package model

import (
	"net/netip"
	"time"
)

// MeshGateway is the gateway name that means "every sidecar".
const MeshGateway = "mesh"

// VirtualService is a set of routing rules for hosts. Names in it are resolved: hosts are
// FQDNs, gateways are "namespace/name" or MeshGateway.
type VirtualService struct {
	Namespace string
	Name      string
	Hosts     []string
	// ShortHosts are hosts without a dot as they were written. Inside the mesh they mean the
	// service of the rule's namespace; clients of a gateway may call it by such a name
	// ("localhost"), so there both count.
	ShortHosts []string
	Gateways   []string
	ExportTo   ExportTo
	HTTP       []HTTPRoute
	TLS        []TLSRoute
	TCP        []TCPRoute
	Created    time.Time
	Origin     Origin
	Rev        uint64
}

// Key is the key of a virtual service in Snapshot.VirtualServices.
func (v *VirtualService) Key() string { return v.Namespace + "/" + v.Name }

// HasGateway reports whether v is bound to the gateway ("ns/name" or MeshGateway).
func (v *VirtualService) HasGateway(gateway string) bool {
	for _, g := range v.Gateways {
		if g == gateway {
			return true
		}
	}
	return false
}

// Destinations are all places where the rules lead, those of mirrors included.
func (v *VirtualService) Destinations() []Destination {
	var out []Destination
	for i := range v.HTTP {
		for _, d := range v.HTTP[i].Destinations {
			out = append(out, d.Destination)
		}
		for _, m := range v.HTTP[i].Mirrors {
			out = append(out, m.Destination)
		}
	}
	for i := range v.TLS {
		for _, d := range v.TLS[i].Destinations {
			out = append(out, d.Destination)
		}
	}
	for i := range v.TCP {
		for _, d := range v.TCP[i].Destinations {
			out = append(out, d.Destination)
		}
	}
	return out
}

// MatchKind says how a StringMatch compares.
type MatchKind uint8

// String match kinds. MatchNone is an empty matcher: for a header it means presence.
const (
	MatchNone MatchKind = iota
	MatchExact
	MatchPrefix
	MatchRegex // RE2, full match
	// MatchPathPrefix is a prefix of whole elements of a path: /a matches /a and /a/b, not /ab. It has no slash at its end.
	MatchPathPrefix
)

// StringMatch compares a string.
type StringMatch struct {
	Kind  MatchKind
	Value string
}

// NamedMatch is a StringMatch of a header or query parameter.
type NamedMatch struct {
	Name  string
	Match StringMatch
}

// HTTPMatch is one match block; all its conditions must hold. The zero value matches all.
type HTTPMatch struct {
	Name            string
	URI             StringMatch
	Scheme          StringMatch
	Method          StringMatch
	Authority       StringMatch
	Headers         []NamedMatch // sorted by name
	WithoutHeaders  []NamedMatch
	Query           []NamedMatch
	Port            uint32 // 0: any
	SourceLabels    map[string]string
	SourceNamespace string
	Gateways        []string // resolved; nil: those of the virtual service
	IgnoreURICase   bool
	StatPrefix      string
	Origin          Origin
}

// HTTPRoute is one rule. Exactly one of Destinations, Redirect and Direct is set.
type HTTPRoute struct {
	Name         string
	Matches      []HTTPMatch // nil: everything
	Destinations []HTTPDestination
	Redirect     *Redirect
	Direct       *DirectResponse
	Rewrite      *Rewrite
	Timeout      time.Duration // 0: none
	Retries      *Retries      // nil: the mesh's default policy
	Fault        *Fault
	Mirrors      []Mirror
	CORS         *CORS
	Headers      Headers
	Origin       Origin
}

// Destination is where traffic goes.
type Destination struct {
	Host   string // FQDN
	Subset string
	Port   uint32 // 0: the only port, else the one the request came in on
}

// HTTPDestination is a Destination with its share of requests.
type HTTPDestination struct {
	Destination
	Weight  uint32
	Headers Headers
}

// HeaderValue is one header to set or add.
type HeaderValue struct{ Name, Value string }

// HeaderChanges are what happens to the headers of one direction, sorted by name.
type HeaderChanges struct {
	Set    []HeaderValue
	Add    []HeaderValue
	Remove []string
}

// Headers are changes of request and response headers.
type Headers struct{ Request, Response HeaderChanges }

// Redirect answers with a redirection.
type Redirect struct {
	URI         string
	PrefixURI   string // replaces the matched prefix
	Authority   string
	Scheme      string
	Port        uint32 // 0: by protocol or request
	PortFromReq bool   // derivePort: FROM_REQUEST_PORT
	PortDefault bool   // derivePort: FROM_PROTOCOL_DEFAULT
	Code        uint32 // 0: 301
}

// DirectResponse answers without an upstream.
type DirectResponse struct {
	Status uint32
	// The body; at most one is set.
	Text  string
	Bytes []byte
}

// Rewrite changes path and authority before forwarding.
type Rewrite struct {
	URI         string
	Authority   string
	Regex       string // uriRegexRewrite.match
	Replacement string
}

// Retries is a retry policy.
type Retries struct {
	Attempts      int32 // 0: no retries
	PerTryTimeout time.Duration
	RetryOn       string
	// IgnorePreviousHosts prefers hosts that were not tried; PreviousHostsGiven tells it from
	// the default, which is true but where a client's requests stick to a host.
	IgnorePreviousHosts, PreviousHostsGiven bool
	RemoteLocalities                        bool          // other priorities first
	BackOff                                 time.Duration // 0: Envoy's default of 25 ms
	DefaultRetryOn                          bool          // RetryOn was not given
	RetriableStatusCodes                    []uint32      // digits found in RetryOn, as in Istio
}

// Percent is a percentage; the zero value is 0 %.
type Percent float64

// Fault injects delays and aborts.
type Fault struct {
	Delay        time.Duration // 0: none
	DelayPercent Percent
	Abort        uint32 // HTTP status; 0: none
	AbortGRPC    string // gRPC status name; empty: none
	AbortPercent Percent
}

// Mirror sends a copy of requests elsewhere.
type Mirror struct {
	Destination
	// Percent is of the requests; Explicit tells a given percentage from a whole number,
	// because Istio writes the two differently.
	Percent  Percent
	Explicit bool
}

// CORS is a cross-origin policy.
type CORS struct {
	AllowOrigins      []StringMatch
	AllowMethods      []string
	AllowHeaders      []string
	ExposeHeaders     []string
	MaxAge            time.Duration
	MaxAgeSet         bool
	AllowCredentials  *bool
	IgnoreNotMatching bool // unmatchedPreflights IGNORE: such requests are not forwarded
}

// L4Match matches connections.
type L4Match struct {
	SNIHosts        []string       // TLS only
	Subnets         []netip.Prefix // of the destination; nil: any
	Port            uint32
	SourceLabels    map[string]string
	SourceNamespace string
	Gateways        []string
	Origin          Origin
}

// L4Destination is a Destination with its share of connections.
type L4Destination struct {
	Destination
	Weight uint32
}

// TCPRoute is one rule for opaque connections.
type TCPRoute struct {
	Matches      []L4Match
	Destinations []L4Destination
	Origin       Origin
}

// TLSRoute is one rule for TLS connections that are passed through.
type TLSRoute struct {
	Matches      []L4Match
	Destinations []L4Destination
	Origin       Origin
}
