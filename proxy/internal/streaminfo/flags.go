package streaminfo

import "math/bits"

// Flags is a set of response flags
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#response-flags).
type Flags uint32

// Response flags, in the order in which Envoy prints them.
const (
	FailedLocalHealthCheck Flags = 1 << iota
	NoHealthyUpstream
	UpstreamRequestTimeout
	LocalReset
	UpstreamRemoteReset
	UpstreamConnectionFailure
	UpstreamConnectionTermination
	UpstreamOverflow
	NoRouteFound
	DelayInjected
	FaultInjected
	RateLimited
	UnauthorizedExternalService
	RateLimitServiceError
	DownstreamConnectionTermination
	UpstreamRetryLimitExceeded
	StreamIdleTimeout
	InvalidEnvoyRequestHeaders
	DownstreamProtocolError
	UpstreamMaxStreamDurationReached
	ResponseFromCacheFilter
	NoFilterConfigFound
	DurationTimeout
	UpstreamProtocolError
	NoClusterFound
	OverloadManager
	DNSResolutionFailed
	DropOverload
	DownstreamRemoteReset
	UnconditionalDropOverload
)

var flagNames = [...][2]string{
	{"LH", "FailedLocalHealthCheck"}, {"UH", "NoHealthyUpstream"}, {"UT", "UpstreamRequestTimeout"},
	{"LR", "LocalReset"}, {"UR", "UpstreamRemoteReset"}, {"UF", "UpstreamConnectionFailure"},
	{"UC", "UpstreamConnectionTermination"}, {"UO", "UpstreamOverflow"}, {"NR", "NoRouteFound"},
	{"DI", "DelayInjected"}, {"FI", "FaultInjected"}, {"RL", "RateLimited"},
	{"UAEX", "UnauthorizedExternalService"}, {"RLSE", "RateLimitServiceError"},
	{"DC", "DownstreamConnectionTermination"}, {"URX", "UpstreamRetryLimitExceeded"},
	{"SI", "StreamIdleTimeout"}, {"IH", "InvalidEnvoyRequestHeaders"}, {"DPE", "DownstreamProtocolError"},
	{"UMSDR", "UpstreamMaxStreamDurationReached"}, {"RFCF", "ResponseFromCacheFilter"},
	{"NFCF", "NoFilterConfigFound"}, {"DT", "DurationTimeout"}, {"UPE", "UpstreamProtocolError"},
	{"NC", "NoClusterFound"}, {"OM", "OverloadManagerTerminated"}, {"DF", "DnsResolutionFailed"},
	{"DO", "DropOverload"}, {"DR", "DownstreamRemoteReset"}, {"UDO", "UnconditionalDropOverload"},
}

// Append appends the short names, comma-separated, "-" for none.
func (f Flags) Append(dst []byte) []byte { return f.append(dst, 0) }

// AppendLong appends the long names, comma-separated, "-" for none.
func (f Flags) AppendLong(dst []byte) []byte { return f.append(dst, 1) }

func (f Flags) append(dst []byte, form int) []byte {
	if f == 0 {
		return append(dst, '-')
	}
	for first := true; f != 0; first = false {
		i := bits.TrailingZeros32(uint32(f))
		f &^= 1 << i
		if !first {
			dst = append(dst, ',')
		}
		dst = append(dst, flagNames[i][form]...)
	}
	return dst
}

// String is the short form.
func (f Flags) String() string { return string(f.Append(nil)) }

// Flag returns the flag of a short name; the boolean is false when there is none.
func Flag(short string) (Flags, bool) {
	for i, n := range flagNames {
		if n[0] == short {
			return 1 << i, true
		}
	}
	return 0, false
}
