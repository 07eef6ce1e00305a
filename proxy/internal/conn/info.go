package conn

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/proxyprotocol"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
)

// Info is what is known about a connection's ends. It is filled before the handler's first
// call and belongs to the connection.
type Info struct {
	// ID numbers connections; accepted and dialled ones each have their own numbers.
	ID uint64
	// LocalAddr is our end, RemoteAddr the peer's. Invalid for Unix sockets.
	LocalAddr, RemoteAddr netip.AddrPort
	// DirectRemoteAddr is the peer on the wire where RemoteAddr was replaced (proxy
	// protocol); equal to RemoteAddr otherwise.
	DirectRemoteAddr netip.AddrPort
	// OriginalDst is where the connection was going before it was redirected to us; invalid
	// when it was not.
	OriginalDst netip.AddrPort
	// Path is the Unix socket's path, "" for IP.
	Path string

	// Attempts is how many addresses were tried, of a peer that has several.
	Attempts int

	SNI  string // from the ClientHello: what the client asked for, or what we asked for
	ALPN string // what was agreed in the handshake
	// OfferedALPN is what a tls_inspector saw offered.
	OfferedALPN []string
	// JA3 and JA4 are fingerprints of the client's TLS; "": a tls_inspector was not asked for them.
	JA3, JA4 string
	// TransportProtocol is what the listener filters found: "tls" or "raw_buffer", "" before.
	TransportProtocol string

	// Listener is the name of the listener that has accepted the connection.
	Listener string
	// ListenerMetadata is that listener's, by filter name; ListenerDirection its traffic_direction, a core.v3.TrafficDirection.
	ListenerMetadata  map[string]map[string]any
	ListenerDirection uint8
	// FilterChain is the name of the listener's chain that serves the connection.
	FilterChain string

	TLS          *tls.ConnectionState   // nil: raw
	PeerURI      string                 // first URI SAN of the peer's certificate: its SPIFFE identity
	LocalURI     string                 // first URI SAN of ours, on an accepted connection
	PeerCertHash string                 // hex SHA-256 of the peer's certificate
	Staple       transportsocket.Staple // what the client of an accepted connection has asked for
	peerNames    *[]string              // see PeerNames
	// LocalCertificate is ours: that which was shown, or could have been; nil: none.
	LocalCertificate *x509.Certificate

	// ProxyTLVs are the extensions of the PROXY protocol's header that the listener has kept for
	// the headers of connections to hosts; nil where there was no header.
	ProxyTLVs []proxyprotocol.TLV

	// State is the filter state of the connection.
	State filterstate.Set
	// Metadata is the dynamic metadata of the connection by filter name; nil for none.
	Metadata map[string]map[string]any

	// Termination says why a filter has ended the connection (connection_termination_details); "" where none has.
	Termination string

	// Times are Loop.Now values; 0: not reached.
	Created       int64 // accepted, or Dial called
	Connected     int64 // TCP connected
	HandshakeDone int64 // TLS handshake complete

	conn *Conn
}

// RoundTrip is the round trip time that the kernel has measured; false: the connection is closed, or not of TCP.
func (i *Info) RoundTrip() (time.Duration, bool) {
	if i.conn == nil || i.conn.fd.Sys() < 0 {
		return 0, false
	}
	us, ok := roundTrip(i.conn.fd.Sys())
	return time.Duration(us) * time.Microsecond, ok
}

// PeerNames are the names by which the peer's certificate may be known: its URI SANs, its DNS
// SANs, then its subject. They are put together when first asked for.
func (i *Info) PeerNames() []string {
	if i.peerNames == nil {
		var names []string
		if i.TLS != nil && len(i.TLS.PeerCertificates) > 0 {
			names = namesOf(i.TLS.PeerCertificates[0])
		}
		i.peerNames = &names
	}
	return *i.peerNames
}

// LocalNames is PeerNames for our own certificate, of an accepted connection.
func (i *Info) LocalNames() []string {
	if i.LocalCertificate == nil {
		return nil
	}
	return namesOf(i.LocalCertificate)
}

func namesOf(leaf *x509.Certificate) []string {
	var names []string
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	return append(append(names, leaf.DNSNames...), leaf.Subject.String())
}

// Destination is where the client meant to go: the original destination of a redirected
// connection, else our end.
func (i *Info) Destination() netip.AddrPort {
	if i.OriginalDst.IsValid() {
		return i.OriginalDst
	}
	return i.LocalAddr
}

// SetMetadata sets one key of a filter's dynamic metadata.
func (i *Info) SetMetadata(filter, key string, value any) {
	if i.Metadata == nil {
		i.Metadata = make(map[string]map[string]any)
	}
	m := i.Metadata[filter]
	if m == nil {
		m = make(map[string]any)
		i.Metadata[filter] = m
	}
	m[key] = value
}
