package xdsresource

import (
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
)

// Address is where a socket binds or connects. Exactly one form is set: an IP with a
// port, a Unix path, or a host name with a port (only where DNS applies).
type Address struct {
	IP   netip.Addr // valid for IP sockets
	Host string     // DNS name, for STRICT_DNS and LOGICAL_DNS endpoints
	Pipe string     // Unix socket path; a leading '@' means the abstract namespace
	Port uint16

	// For binding alone: the file mode of a Unix socket (0: as the umask leaves it), and
	// whether an IPv6 socket takes IPv4 connections too.
	IPv4Too  bool
	PipeMode uint32
}

// Direction is Envoy's core.v3.TrafficDirection.
type Direction uint8

// Traffic directions; the zero value is unspecified.
const (
	DirectionUnspecified Direction = iota
	DirectionInbound
	DirectionOutbound
)

// Metadata is core.v3.Metadata reduced to what the proxy reads and prints: filter name to
// the JSON-like value of its Struct.
type Metadata map[string]map[string]any

// Listener is a validated listener.v3.Listener.
type Listener struct {
	Name      string
	Address   Address
	Addresses []Address // additional_addresses

	// BindToPort is false for virtual listeners that only receive connections handed over
	// by a listener with UseOriginalDst. Default true.
	BindToPort bool
	Socket     ListenerSocket
	// ConnectionLimit is how many connections it serves at once (envoy.resource_limits.listener.NAME.connection_limit of the
	// runtime); without a value there is no limit.
	ConnectionLimit *runtimekey.Key
	// IgnoreConnLimit takes its connections out of the process's limit, BypassOverload the
	// listener out of what the overload manager does to accepting.
	IgnoreConnLimit, BypassOverload bool
	UseOriginalDst                  bool
	Direction                       Direction
	StatPrefix                      string // empty: derived from the address

	// DrainModifyOnly: connections are asked to end when the listener changes or goes, not by
	// /healthcheck/fail (drain_type MODIFY_ONLY).
	DrainModifyOnly bool

	// BufferLimit is per_connection_buffer_limit_bytes; 0 means the default of 1 MiB.
	BufferLimit uint32

	TLSInspector bool // envoy.filters.listener.tls_inspector
	JA3, JA4     bool // it makes these fingerprints of clients
	// MaxHello is how many bytes a ClientHello may have, 0: 16 KiB. CloseWithoutHello: a connection that does not begin with one is closed.
	MaxHello          uint32
	CloseWithoutHello bool
	HTTPInspector     bool // envoy.filters.listener.http_inspector
	// TLSInspectorOff and HTTPInspectorOff are destination ports for which the inspectors are
	// disabled (filter_disabled).
	TLSInspectorOff, HTTPInspectorOff PortRanges
	OriginalDst                       bool           // envoy.filters.listener.original_dst
	ProxyProtocol                     *ProxyProtocol // envoy.filters.listener.proxy_protocol; nil: no
	ListenerFiltersTimeout            time.Duration  // 0 disables; default 15s
	ContinueOnListenerFiltersTimeout  bool

	FilterChains []*FilterChain
	Default      *FilterChain // default_filter_chain

	AccessLogs []AccessLog
	Metadata   Metadata
}

// ProxyProtocol is a validated proxy_protocol.v3.ProxyProtocol.
type ProxyProtocol struct {
	AllowWithout bool    // connections without a header are served as they are
	Disallowed   [3]bool // versions that count as no header
	StatPrefix   string
	// Rules say where extensions of the header go: to the connection's dynamic metadata, or with
	// ToFilterState to its filter state.
	Rules         []TLVRule
	ToFilterState bool
	// Pass are the extensions that are kept for headers to hosts.
	Pass TLVFilter
}

// TLVRule is the key that the value of an extension goes to. Namespace is that of metadata.
type TLVRule struct {
	Type           byte
	Namespace, Key string
	Base64         bool // the value is encoded; else what is no valid UTF-8 is replaced
}

// FilterChainMatch is listener.v3.FilterChainMatch. Empty lists match everything.
type FilterChainMatch struct {
	DestinationPort      uint16 // 0: any
	PrefixRanges         []netip.Prefix
	ServerNames          []string // lower case; "*.example.com" is a suffix match
	TransportProtocol    string   // "", "raw_buffer", "tls"
	ApplicationProtocols []string // ALPN
	DirectSourcePrefixes []netip.Prefix
	SourcePrefixes       []netip.Prefix
	SourcePorts          []uint16
	SourceType           SourceType
}

// SourceType is FilterChainMatch.ConnectionSourceType.
type SourceType uint8

// Source types.
const (
	SourceAny SourceType = iota
	SourceSameIPOrLoopback
	SourceExternal
)

// FilterChain is a validated listener.v3.FilterChain. The last network filter is terminal
// (an HTTP connection manager or a TCP proxy); the others are not.
type FilterChain struct {
	// Fingerprint tells two chains apart by what was configured: filters may keep in their
	// configuration what cannot be compared. Zero: unknown.
	Fingerprint            [32]byte
	Name                   string
	Match                  FilterChainMatch
	TLS                    *DownstreamTLS // nil: raw_buffer
	TransportSocketTimeout time.Duration  // transport_socket_connect_timeout; 0: none
	Filters                []NetworkFilter
	Metadata               Metadata
}

// NetworkFilter is a named network filter with its validated configuration: one of
// *HTTPConnectionManager, *TCPProxy, *TCPMetadataExchange, *TCPStats, or the config type of
// a network filter package.
type NetworkFilter struct {
	Name   string
	Type   string // message name of the configuration
	Config any
	// Discovery says that the configuration comes by itself; Type and Config are not set then.
	Discovery *FilterDiscovery
}

// TCPMetadataExchange is Istio's istio.metadata_exchange network filter.
type TCPMetadataExchange struct {
	Protocol string // ALPN name, "istio-peer-exchange"
}

// AccessLog is one access logger.
type AccessLog struct {
	Name   string
	Filter *AccessLogFilter // nil: everything
	// Path is the file; "/dev/stdout" and "/dev/stderr" are the process's own.
	Path string
	// Text is the format string when JSON is nil. Empty means Envoy's default format.
	Text string
	// JSON is json_format: values are format strings (string), nested maps or lists.
	JSON            map[string]any
	OmitEmptyValues bool
	TypedJSON       bool
	// Service, when it is set, is where entries are sent instead of a file: *GRPCAccessLog or
	// *OTLPAccessLog.
	Service any
}

// AccessLogFilter is accesslog.v3.AccessLogFilter; exactly one field is set.
type AccessLogFilter struct {
	StatusCode     *ComparisonFilter
	Duration       *ComparisonFilter // milliseconds
	NotHealthCheck bool
	Traceable      bool
	RuntimePercent *FractionalPercent
	And, Or        []*AccessLogFilter
	Header         *HeaderMatcher
	ResponseFlags  []string // empty list with ResponseFlag true: any flag
	ResponseFlag   bool
	CEL            string
	GRPCStatus     *GRPCStatusFilter
	LogType        *LogTypeFilter
	Metadata       *MetadataFilter
}

// GRPCStatusFilter passes streams by their gRPC status.
type GRPCStatusFilter struct {
	Statuses []int
	Exclude  bool
}

// LogTypeFilter passes entries by data.accesslog.v3.AccessLogType.
type LogTypeFilter struct {
	Types   []uint8
	Exclude bool
}

// MetadataFilter passes streams by their dynamic metadata.
type MetadataFilter struct {
	Matcher        MetadataMatcher
	MatchIfMissing bool
}

// ComparisonFilter compares a number by ">=" (GE), "=" (EQ) or "<=" (LE).
type ComparisonFilter struct {
	Op    string
	Value uint32
	Key   *runtimekey.Key // overrides Value
}

// FractionalPercent is type.v3.FractionalPercent, and core.v3.RuntimeFractionalPercent: what decides
// asks Hit or Share, which know what the runtime says.
type FractionalPercent struct {
	Numerator   uint32
	Denominator uint32          // 100, 10000 or 1000000
	Key         *runtimekey.Key // nil: nothing overrides them
}
