package streaminfo

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/bytemeter"
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/peermetadata"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Protocol is the downstream protocol.
type Protocol uint8

// Protocols; None is a TCP stream, or a request whose version was never read.
const (
	None Protocol = iota
	HTTP10
	HTTP11
	HTTP2
)

// String is the form that %PROTOCOL% prints; "" for None.
func (p Protocol) String() string {
	switch p {
	case HTTP10:
		return "HTTP/1.0"
	case HTTP11:
		return "HTTP/1.1"
	case HTTP2:
		return "HTTP/2"
	}
	return ""
}

// CloseType is how a connection has ended (Envoy's StreamInfo::DetectedCloseType).
type CloseType uint8

// Ends of a connection; Normal is also that of one that is open.
const (
	Normal CloseType = iota
	ClosedByLocalReset
	ClosedByRemoteReset
)

// String is what %DOWNSTREAM_DETECTED_CLOSE_TYPE% prints.
func (t CloseType) String() string {
	switch t {
	case ClosedByLocalReset:
		return "LocalReset"
	case ClosedByRemoteReset:
		return "RemoteReset"
	}
	return "Normal"
}

// CloseTypeOf is what the error that a connection has ended with says; nil is Normal.
func CloseTypeOf(err error) CloseType {
	var e *conn.Error
	if errors.As(err, &e) && e.Kind == conn.PeerReset {
		return ClosedByRemoteReset
	}
	return Normal
}

// Info is the record. Points in time are eventloop.Loop.Now values in nanoseconds; 0 means
// that the stream has not come that far. Byte slices live as long as the stream.
type Info struct {
	StartWall time.Time // when the request's first byte was seen
	Start     int64     // the same, monotonic

	RequestEnd         int64 // last byte of the request received
	UpstreamConnect    int64 // the attempt's connection was begun; 0 when a pooled one was used
	UpstreamConnected  int64 // the attempt's connection was ready
	UpstreamTxFirst    int64 // first byte sent upstream, of the last attempt
	UpstreamTxLast     int64
	UpstreamRxFirst    int64 // first byte of the response received from upstream
	UpstreamRxLast     int64
	ResponseStart      int64 // first byte of the response sent downstream
	ResponseEnd        int64 // last byte of the response sent downstream
	End                int64 // the stream is over
	BytesReceived      uint64
	BytesSent          uint64
	RequestHeaderSize  uint32 // names and values as received
	ResponseHeaderSize uint32 // names and values as sent
	UpstreamRxBytes    uint64 // body bytes from upstream, of all attempts
	UpstreamTxBytes    uint64
	// DownstreamMeter and UpstreamMeter count bytes on the wire; that of upstream those of all attempts.
	DownstreamMeter, UpstreamMeter bytemeter.Meter

	Protocol     Protocol
	ResponseCode int   // 0: no response was begun
	Attempts     int   // upstream attempts begun; 0: none
	Flags        Flags // set by Set
	order        flagOrder

	// Details is response_code_details ("via_upstream", "route_not_found"...).
	Details string
	// TerminationDetails is connection_termination_details.
	TerminationDetails string
	// UpstreamFailure is upstream_transport_failure_reason.
	UpstreamFailure string
	// DownstreamFailure is downstream_transport_failure_reason.
	DownstreamFailure string

	// Downstream describes the connection; never nil on a live stream.
	Downstream *conn.Info
	// Remote is the client's address as judged (x-forwarded-for); invalid: that of the
	// connection. A port of 0 is unknown.
	Remote netip.AddrPort
	// ConnectionID numbers downstream connections of a process.
	ConnectionID uint64

	RouteName       string
	VirtualHost     string
	VirtualCluster  string // "": none matched, or the request was led to no cluster
	RouteMetadata   xdsresource.Metadata
	UpstreamCluster string               // the chosen cluster's name, "" before routing
	Cluster         *xdsresource.Cluster // its configuration; nil when there is no such cluster
	Host            *cluster.Host        // of the last attempt
	UpstreamLocal   netip.AddrPort       // our end of the last attempt's connection
	UpstreamRemote  netip.AddrPort       // the other; of a host with several addresses the one that was reached
	UpstreamURI     string               // SPIFFE identity in the upstream's certificate
	UpstreamTLS     bool
	// UpstreamTLSState is the session of the last attempt's connection; nil: raw.
	UpstreamTLSState     *tls.ConnectionState
	UpstreamCertificate  *x509.Certificate // ours, of that connection; nil: none
	UpstreamProtocol     Protocol
	UpstreamConnectionID uint64 // 0: there was none
	// DownstreamClose and UpstreamClose are how the connections have ended, as far as they have; the reasons are set where we ended them
	// for one that Envoy names.
	DownstreamClose, UpstreamClose             CloseType
	DownstreamCloseReason, UpstreamCloseReason string
	// RouteLookUps is how often a route was looked for; RouteTime is how long that took in all, 0 where nobody measures it
	// (record_route_resolution_stats).
	RouteLookUps int
	RouteTime    time.Duration
	// Attempted are the hosts of all attempts in order.
	Attempted []*cluster.Host

	RequestID []byte // x-request-id

	// Peers as the metadata filters found them: the client's side and the upstream's.
	DownstreamPeer, UpstreamPeer *peermetadata.Peer

	// Trace context; zero TraceID: none.
	Trace Trace

	// Redirects are those that the proxy has followed itself; nil: none.
	Redirects *Redirects

	// HealthCheck: the request was answered as a health check.
	HealthCheck bool

	// Metadata is the dynamic metadata by filter name; empty until somebody sets some. It is good until Reset.
	Metadata map[string]map[string]any
	metadata metadataMaps
	// State is the filter state of the stream; that of the connection is in Downstream.
	State filterstate.Set

	// Override is the host that a filter wants the request to go to.
	Override HostOverride
}

// HostOverride names a host of the request's cluster, as the cluster's host names are written; the zero value: none. With
// Strict no other host may stand in for it, and a request for one that is not there is answered with MissingStatus.
type HostOverride struct {
	Address       string
	Strict        bool
	MissingStatus int
}

// Trace is the trace context of a stream's own span.
type Trace struct {
	High, Low    uint64 // trace id, 128 bit
	Span, Parent uint64 // Parent 0: root
	Sampled      bool
	Remote       bool   // a caller's context came with the request
	Silent       bool   // nothing of it is written into requests
	Call         uint64 // the span of the call upstream; 0: it has none of its own
	Format       uint8  // how the context travels; tracing.Format
	// Segment is all there is of the above in SkyWalking's form, beside the flags and Call; nil in the others.
	Segment *tracing.Segment
	// Datadog is what travels beside in that format; nil in others.
	Datadog *tracing.Datadog
	State   string // tracestate of a sampler's; "": the request's
	Note    uint32 // what a sampler keeps of its decision
}

// Context is the trace as it is written and reported, but for the span of the call and what a sampler keeps.
func (t *Trace) Context() tracing.Context {
	c := tracing.Context{
		TraceHigh: t.High, TraceLow: t.Low, Span: t.Span, Parent: t.Parent, Sampling: tracing.NotSampled, Format: tracing.Format(t.Format),
		Segment: t.Segment, Datadog: t.Datadog,
	}
	if t.Sampled {
		c.Sampling = tracing.Sampled
	}
	return c
}

// Valid reports whether there is a trace.
func (t *Trace) Valid() bool { return t.High|t.Low != 0 }

// Reset makes the record new.
// It keeps the memory of lists and of metadata.
func (i *Info) Reset() {
	i.metadata.empty()
	*i = Info{Attempted: i.Attempted[:0], metadata: i.metadata}
}

// Tried notes the host of a new attempt.
func (i *Info) Tried(h *cluster.Host) {
	i.Host = h
	i.Attempted = append(i.Attempted, h)
}

// Set sets flags.
func (i *Info) Set(f Flags) {
	i.order = i.order.note(f &^ i.Flags)
	i.Flags |= f
}

// Duration is the time from the start to the end, or to now while the stream lives.
func (i *Info) Duration(now int64) time.Duration {
	if i.End != 0 {
		now = i.End
	}
	return time.Duration(now - i.Start)
}

// RemoteAddr is the client's address.
func (i *Info) RemoteAddr() netip.AddrPort {
	if i.Remote.IsValid() || i.Downstream == nil {
		return i.Remote
	}
	return i.Downstream.RemoteAddr
}

// SetMetadata sets one key of a filter's dynamic metadata.
func (i *Info) SetMetadata(filter, key string, value any) {
	if i.Metadata == nil {
		i.Metadata = i.metadata.all()
	}
	m := i.metadata.find(filter)
	if m == nil {
		if m = i.Metadata[filter]; m == nil {
			m = i.metadata.of(filter)
			i.Metadata[filter] = m
		}
	}
	m[key] = value
}

// FilterState returns the object of a name, the stream's or else the connection's; nil for none.
func (i *Info) FilterState(name string) filterstate.Object {
	if o := i.State.Get(name); o != nil || i.Downstream == nil {
		return o
	}
	return i.Downstream.State.Get(name)
}
