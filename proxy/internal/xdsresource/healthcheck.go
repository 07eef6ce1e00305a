package xdsresource

import "time"

// HealthCheck is a validated core.v3.HealthCheck with defaults applied; one of HTTP, TCP and
// GRPC is set.
type HealthCheck struct {
	Name                                   string // of its statistics; empty: they have none
	Timeout, Interval                      time.Duration
	InitialJitter, IntervalJitter          time.Duration // at most as much later
	IntervalJitterPercent                  uint32
	UnhealthyThreshold, HealthyThreshold   uint32
	ReuseConnection                        bool          // default true
	NoTrafficInterval                      time.Duration // default 60s
	NoTrafficHealthyInterval               time.Duration // default NoTrafficInterval
	UnhealthyInterval, HealthyEdgeInterval time.Duration // default Interval
	UnhealthyEdgeInterval                  time.Duration // default UnhealthyInterval
	EventLogs                              []string      // files
	AlwaysLogFailures, AlwaysLogSuccess    bool
	ALPN                                   []string          // tls_options; empty: the cluster's
	TransportMatch                         map[string]string // transport_socket_match_criteria; nil: the host's own

	HTTP *HTTPHealthCheck
	TCP  *TCPHealthCheck
	GRPC *GRPCHealthCheck
}

// Type is the kind of check as Envoy's event log names it.
func (h *HealthCheck) Type() string {
	switch {
	case h.GRPC != nil:
		return "GRPC"
	case h.TCP != nil:
		return "TCP"
	}
	return "HTTP"
}

// Host is the host that a check asks for, of an endpoint that names none.
func (h *HealthCheck) Host() string {
	switch {
	case h.GRPC != nil:
		return h.GRPC.Authority
	case h.HTTP != nil:
		return h.HTTP.Host
	}
	return ""
}

// HTTPHealthCheck is core.v3.HealthCheck.HttpHealthCheck.
type HTTPHealthCheck struct {
	Host           string // empty: the cluster's name
	Path           string
	Method         string // default GET
	HTTP2          bool
	Send           []byte
	Receive        [][]byte // in this order within the body
	ResponseBuffer uint64   // of the body, what is looked at; default 1024, 0: all
	AddHeaders     []CheckHeader
	RemoveHeaders  []string      // lower case
	Expected       []StatusRange // default 200
	Retriable      []StatusRange
	ServiceName    *StringMatch // of x-envoy-upstream-healthchecked-cluster; nil: any
}

// CheckHeader is a header of a check's request.
type CheckHeader struct {
	Name   string // lower case
	Value  string
	Append bool
}

// StatusRange is a half-open range of status codes.
type StatusRange struct{ Start, End int }

// TCPHealthCheck is core.v3.HealthCheck.TcpHealthCheck.
type TCPHealthCheck struct {
	Send    []byte
	Receive [][]byte
}

// GRPCHealthCheck is core.v3.HealthCheck.GrpcHealthCheck.
type GRPCHealthCheck struct {
	ServiceName string
	Authority   string // empty: the cluster's name
	Metadata    []CheckHeader
}
