package header

import "math/bits"

// ID is the number of a known name. Zero is every name that is not known.
type ID uint8

// Known names. The pseudo-headers come first.
const (
	Other ID = iota
	Method
	Path
	Authority // also "host"
	Scheme
	Status
	Protocol

	Accept
	AcceptEncoding
	AcceptLanguage
	AcceptRanges
	AccessControlAllowCredentials
	AccessControlAllowHeaders
	AccessControlAllowMethods
	AccessControlAllowOrigin
	AccessControlAllowPrivateNetwork
	AccessControlExposeHeaders
	AccessControlMaxAge
	AccessControlRequestHeaders
	AccessControlRequestMethod
	AccessControlRequestPrivateNetwork
	Age
	Authorization
	CacheControl
	Connection
	ContentEncoding
	ContentLength
	ContentType
	Cookie
	Date
	ETag
	Expect
	GRPCMessage
	GRPCStatus
	GRPCTimeout
	IfMatch
	IfModifiedSince
	IfNoneMatch
	KeepAlive
	LastModified
	Location
	Origin
	ProxyAuthenticate
	ProxyAuthorization
	ProxyConnection
	Range
	Referer
	RetryAfter
	Server
	SetCookie
	TE
	Traceparent
	Tracestate
	Trailer
	TransferEncoding
	Upgrade
	UserAgent
	Vary
	Via
	B3
	XB3Flags
	XB3ParentSpanID
	XB3Sampled
	XB3SpanID
	XB3TraceID
	XClientTraceID
	XEnvoyAttemptCount
	XEnvoyDecoratorOperation
	XEnvoyDegraded
	XEnvoyDownstreamServiceCluster
	XEnvoyDownstreamServiceNode
	XEnvoyExpectedRqTimeoutMs
	XEnvoyExternalAddress
	XEnvoyFaultAbortRequest
	XEnvoyFaultAbortRequestPercentage
	XEnvoyFaultDelayRequest
	XEnvoyFaultDelayRequestPercentage
	XEnvoyForceTrace
	XEnvoyHedgeOnPerTryTimeout
	XEnvoyImmediateHealthCheckFail
	XEnvoyInternal
	XEnvoyIPTags
	XEnvoyIsTimeoutRetry
	XEnvoyMaxRetries
	XEnvoyOriginalDstHost
	XEnvoyOriginalMethod
	XEnvoyOriginalPath
	XEnvoyOverloaded
	XEnvoyPeerMetadata
	XEnvoyPeerMetadataID
	XEnvoyRatelimited
	XEnvoyRetriableHeaderNames
	XEnvoyRetriableStatusCodes
	XEnvoyRetryGRPCOn
	XEnvoyRetryOn
	XEnvoyUpstreamAltStatName
	XEnvoyUpstreamCanary
	XEnvoyUpstreamRqPerTryTimeoutMs
	XEnvoyUpstreamRqTimeoutAltResponse
	XEnvoyUpstreamRqTimeoutMs
	XEnvoyUpstreamServiceTime
	XEnvoyUpstreamStreamDurationMs
	XForwardedClientCert
	XForwardedFor
	XForwardedHost
	XForwardedPort
	XForwardedProto
	XIstioAttributes
	XOTSpanContext
	XPoweredBy
	XRequestID

	// Count is one more than the last known name.
	Count
)

// LastPseudo is the last of the pseudo-headers: IDs up to it (and not Other) are not
// written as header lines, except Authority, which HTTP/1 writes as "host".
const LastPseudo = Protocol

var names = [Count]string{
	Method: ":method", Path: ":path", Authority: ":authority", Scheme: ":scheme", Status: ":status", Protocol: ":protocol",
	Accept: "accept", AcceptEncoding: "accept-encoding", AcceptLanguage: "accept-language", AcceptRanges: "accept-ranges",
	AccessControlAllowCredentials: "access-control-allow-credentials", AccessControlAllowHeaders: "access-control-allow-headers",
	AccessControlAllowMethods: "access-control-allow-methods", AccessControlAllowOrigin: "access-control-allow-origin",
	AccessControlAllowPrivateNetwork: "access-control-allow-private-network", AccessControlExposeHeaders: "access-control-expose-headers",
	AccessControlMaxAge: "access-control-max-age", AccessControlRequestHeaders: "access-control-request-headers",
	AccessControlRequestMethod: "access-control-request-method", AccessControlRequestPrivateNetwork: "access-control-request-private-network",
	Age: "age", Authorization: "authorization", CacheControl: "cache-control", Connection: "connection",
	ContentEncoding: "content-encoding", ContentLength: "content-length", ContentType: "content-type", Cookie: "cookie",
	Date: "date", ETag: "etag", Expect: "expect", GRPCMessage: "grpc-message", GRPCStatus: "grpc-status", GRPCTimeout: "grpc-timeout",
	IfMatch: "if-match", IfModifiedSince: "if-modified-since", IfNoneMatch: "if-none-match", KeepAlive: "keep-alive",
	LastModified: "last-modified", Location: "location", Origin: "origin", ProxyAuthenticate: "proxy-authenticate",
	ProxyAuthorization: "proxy-authorization", ProxyConnection: "proxy-connection", Range: "range", Referer: "referer",
	RetryAfter: "retry-after", Server: "server", SetCookie: "set-cookie", TE: "te", Traceparent: "traceparent", Tracestate: "tracestate",
	Trailer: "trailer", TransferEncoding: "transfer-encoding", Upgrade: "upgrade", UserAgent: "user-agent", Vary: "vary", Via: "via",
	B3: "b3", XB3Flags: "x-b3-flags", XB3ParentSpanID: "x-b3-parentspanid", XB3Sampled: "x-b3-sampled", XB3SpanID: "x-b3-spanid",
	XB3TraceID: "x-b3-traceid", XClientTraceID: "x-client-trace-id",
	XEnvoyAttemptCount: "x-envoy-attempt-count", XEnvoyDecoratorOperation: "x-envoy-decorator-operation", XEnvoyDegraded: "x-envoy-degraded",
	XEnvoyDownstreamServiceCluster: "x-envoy-downstream-service-cluster", XEnvoyDownstreamServiceNode: "x-envoy-downstream-service-node",
	XEnvoyExpectedRqTimeoutMs: "x-envoy-expected-rq-timeout-ms", XEnvoyExternalAddress: "x-envoy-external-address",
	XEnvoyFaultAbortRequest: "x-envoy-fault-abort-request", XEnvoyFaultAbortRequestPercentage: "x-envoy-fault-abort-request-percentage",
	XEnvoyFaultDelayRequest: "x-envoy-fault-delay-request", XEnvoyFaultDelayRequestPercentage: "x-envoy-fault-delay-request-percentage",
	XEnvoyForceTrace: "x-envoy-force-trace", XEnvoyHedgeOnPerTryTimeout: "x-envoy-hedge-on-per-try-timeout",
	XEnvoyImmediateHealthCheckFail: "x-envoy-immediate-health-check-fail", XEnvoyInternal: "x-envoy-internal", XEnvoyIPTags: "x-envoy-ip-tags",
	XEnvoyIsTimeoutRetry: "x-envoy-is-timeout-retry", XEnvoyMaxRetries: "x-envoy-max-retries", XEnvoyOriginalDstHost: "x-envoy-original-dst-host",
	XEnvoyOriginalMethod: "x-envoy-original-method", XEnvoyOriginalPath: "x-envoy-original-path", XEnvoyOverloaded: "x-envoy-overloaded",
	XEnvoyPeerMetadata: "x-envoy-peer-metadata", XEnvoyPeerMetadataID: "x-envoy-peer-metadata-id", XEnvoyRatelimited: "x-envoy-ratelimited",
	XEnvoyRetriableHeaderNames: "x-envoy-retriable-header-names", XEnvoyRetriableStatusCodes: "x-envoy-retriable-status-codes",
	XEnvoyRetryGRPCOn: "x-envoy-retry-grpc-on", XEnvoyRetryOn: "x-envoy-retry-on", XEnvoyUpstreamAltStatName: "x-envoy-upstream-alt-stat-name",
	XEnvoyUpstreamCanary: "x-envoy-upstream-canary", XEnvoyUpstreamRqPerTryTimeoutMs: "x-envoy-upstream-rq-per-try-timeout-ms",
	XEnvoyUpstreamRqTimeoutAltResponse: "x-envoy-upstream-rq-timeout-alt-response", XEnvoyUpstreamRqTimeoutMs: "x-envoy-upstream-rq-timeout-ms",
	XEnvoyUpstreamServiceTime: "x-envoy-upstream-service-time", XEnvoyUpstreamStreamDurationMs: "x-envoy-upstream-stream-duration-ms",
	XForwardedClientCert: "x-forwarded-client-cert", XForwardedFor: "x-forwarded-for", XForwardedHost: "x-forwarded-host",
	XForwardedPort: "x-forwarded-port", XForwardedProto: "x-forwarded-proto", XIstioAttributes: "x-istio-attributes",
	XOTSpanContext: "x-ot-span-context", XPoweredBy: "x-powered-by", XRequestID: "x-request-id",
}

// nameBytes are the names as read-only slices, so that At needs no conversion.
var nameBytes = makeNameBytes()

func makeNameBytes() (out [Count][]byte) {
	for i, n := range names {
		out[i] = []byte(n)
	}
	return out
}

// String is the name; "" for Other.
func (id ID) String() string {
	if id >= Count {
		return ""
	}
	return names[id]
}

// Pseudo reports whether the name begins with a colon.
func (id ID) Pseudo() bool { return id != Other && id <= LastPseudo }

// table is a hash of the known names without collisions; the multiplier was found by
// search at start, so that adding a name needs no tool.
type table struct {
	mul uint64
	ids [1 << tableBits]ID
}

const tableBits = 10

var known = makeTable()

func makeTable() *table {
	mul := uint64(0x9E3779B97F4A7C15)
	t := new(table)
	for range 1 << 20 {
		*t = table{mul: mul}
		if t.fill() {
			return t
		}
		mul = mul*0x5851F42D4C957F2D + 2
	}
	panic("BUG: header: no hash without collisions for the known names")
}

func (t *table) fill() bool {
	put := func(n string, id ID) bool {
		h := t.hash(n)
		if t.ids[h] != Other {
			return false
		}
		t.ids[h] = id
		return true
	}
	for id := Other + 1; id < Count; id++ {
		if !put(names[id], id) {
			return false
		}
	}
	return put("host", Authority)
}

// hash mixes the length with eight bytes at the end and eight in the middle, where known
// names differ most; short names are taken whole.
func (t *table) hash(n string) uint32 {
	l := len(n)
	var h uint64
	if l >= 8 {
		h = load64(n, l-8) ^ bits.RotateLeft64(load64(n, l/2-4), 27)
	} else {
		for i := range l {
			h = h<<8 | uint64(n[i])
		}
	}
	return uint32((h ^ uint64(l)<<57) * t.mul >> (64 - tableBits))
}

func load64(s string, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// Lookup returns the number of a lower-case name, Other when it is not known.
func Lookup(name string) ID {
	if name == "" {
		return Other
	}
	id := known.ids[known.hash(name)]
	if id != Other && names[id] == name {
		return id
	}
	if id == Authority && name == "host" {
		return Authority
	}
	return Other
}

// Key is a name prepared at configuration time, so that a lookup by it costs no hashing.
type Key struct {
	ID   ID
	Name string // lower case
}

// KeyOf prepares a name; upper-case letters are lowered.
func KeyOf(name string) Key {
	b := []byte(name)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	id := Lookup(string(b))
	if id != Other {
		return Key{ID: id, Name: names[id]}
	}
	return Key{Name: string(b)}
}
