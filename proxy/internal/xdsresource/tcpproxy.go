package xdsresource

import (
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/proxyprotocol"
)

// TCPProxy is a validated tcp_proxy.v3.TcpProxy.
type TCPProxy struct {
	StatPrefix                      string
	Cluster                         string            // set, or WeightedClusters
	WeightedClusters                []WeightedCluster // never both
	TotalWeight                     uint32
	IdleTimeout                     time.Duration // default 1h; 0 disables
	MaxConnectAttempts              uint32        // default 1
	MaxDownstreamConnectionDuration time.Duration
	// DurationJitter is by how much of MaxDownstreamConnectionDuration that is put off at most, at random: 1 is all of it again. Default 0.
	DurationJitter float64
	// BackOffBase and BackOffMax space attempts to connect, at random and growing; 0: they follow at once.
	BackOffBase, BackOffMax time.Duration
	AccessLogs              []AccessLog
	// LogOnStart and LogOnConnected give access logs an entry when the connection is there, and when it is connected to a host.
	LogOnStart, LogOnConnected bool
	LogInterval                time.Duration  // an entry every so often; 0: none
	MetadataMatch              *MetadataMatch // envoy.lb subset
	Hash                       []HashPolicy   // what RING_HASH and MAGLEV choose by: SourceIP or State; one at most
	Tunnel                     *TCPTunnel     // nil: bytes go upstream as they are
	// CheckDrain ends connections of a listener that drains, at the next bytes either way.
	CheckDrain bool
	// ConnectOnData connects to a host only once the client has said something.
	ConnectOnData bool
	// EarlyData: the client is read before there is a host; EarlyDataMax bytes may wait.
	EarlyData    bool
	EarlyDataMax uint32
	// TLVs are further extensions of the PROXY protocol's header that goes upstream, where its transport lets their types pass.
	TLVs     []proxyprotocol.TLV
	TLVMerge TLVMerge
	OnDemand *OnDemandClusters // nil: a cluster that is not known is none
}

// TLVMerge says what becomes of TCPProxy.TLVs where the client's header has extensions itself.
type TLVMerge uint8

// How extensions are merged (tcp_proxy.v3.ProxyProtocolTlvMergePolicy).
const (
	TLVsIfAbsent  TLVMerge = iota // the client's alone are sent, be they none
	TLVsOverwrite                 // those of the configuration, then the client's of other types
	TLVsAppend                    // the client's, then those of the configuration
)

// Merge joins the configured extensions and the client's, which it leaves as they are: nil where the client had no header.
func (t *TCPProxy) Merge(client []proxyprotocol.TLV) []proxyprotocol.TLV {
	switch {
	case len(t.TLVs) == 0:
		return client
	case client == nil:
		return t.TLVs
	case t.TLVMerge == TLVsIfAbsent:
		return client
	}
	out := make([]proxyprotocol.TLV, 0, len(client)+len(t.TLVs))
	if t.TLVMerge == TLVsAppend {
		return append(append(out, client...), t.TLVs...)
	}
	out = append(out, t.TLVs...)
	for _, c := range client {
		if !t.hasTLV(c.Type) {
			out = append(out, c)
		}
	}
	return out
}

func (t *TCPProxy) hasTLV(kind byte) bool {
	for i := range t.TLVs {
		if t.TLVs[i].Type == kind {
			return true
		}
	}
	return false
}

// OnDemandClusters says whom to ask for a cluster that is not known, and how long to wait for it.
type OnDemandClusters struct {
	Source  ConfigSource // ADS, or a cluster that serves them over gRPC
	Timeout time.Duration
}

// TCPTunnel is TcpProxy.TunnelingConfig: the bytes go upstream in an HTTP request.
type TCPTunnel struct {
	Host     string // format string: the authority that the request is for
	Post     bool   // POST instead of CONNECT
	PostPath string // default "/"
	Headers  []HeaderOp
	// RequestIDHeader is the header that has an ID of the request, a random UUID; "": none is made. The connection's dynamic metadata
	// has it, too, under envoy.filters.network.tcp_proxy and RequestIDKey.
	RequestIDHeader, RequestIDKey string
}
