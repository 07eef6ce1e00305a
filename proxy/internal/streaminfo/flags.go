package streaminfo

import "math/bits"

// Flags is a set of response flags
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#response-flags).
type Flags uint32

// Response flags.
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

// String lists the short names in the order of the constants.
func (f Flags) String() string { return string((&Info{Flags: f}).AppendFlags(nil)) }

// flagOrder is in which order the first flags of a stream were set: five bits for each, plus one.
type flagOrder uint64

// note adds flags that are new.
func (o flagOrder) note(f Flags) flagOrder {
	at := (bits.Len64(uint64(o)) + 4) / 5 * 5
	for ; f != 0 && at < 60; at += 5 {
		i := bits.TrailingZeros32(uint32(f))
		f &^= 1 << i
		o |= flagOrder(i+1) << at
	}
	return o
}

// AppendFlags appends the short names of the response flags in the order in which they were
// set, as Envoy does, comma-separated; "-" for none.
func (i *Info) AppendFlags(dst []byte) []byte { return i.appendFlags(dst, 0) }

// AppendFlagsLong appends their long names.
func (i *Info) AppendFlagsLong(dst []byte) []byte { return i.appendFlags(dst, 1) }

func (i *Info) appendFlags(dst []byte, form int) []byte {
	f := i.Flags
	if f == 0 {
		return append(dst, '-')
	}
	for o := i.order; f != 0; o >>= 5 {
		n := int(o&31) - 1
		if n < 0 { // more than there is room for
			n = bits.TrailingZeros32(uint32(f))
		}
		if f&(1<<n) == 0 { // taken back
			continue
		}
		if f != i.Flags {
			dst = append(dst, ',')
		}
		f &^= 1 << n
		dst = append(dst, flagNames[n][form]...)
	}
	return dst
}

// Flag returns the flag of a short name; the boolean is false when there is none.
func Flag(short string) (Flags, bool) {
	for i, n := range flagNames {
		if n[0] == short {
			return 1 << i, true
		}
	}
	return 0, false
}
