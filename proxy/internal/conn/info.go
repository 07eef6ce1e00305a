package conn

import (
	"crypto/tls"
	"net/netip"
)

// Info is what is known about a connection's ends. It is filled before the handler's first
// call and belongs to the connection.
type Info struct {
	// ID numbers accepted connections of a listener's process; 0 for dialled ones.
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

	SNI  string // from the ClientHello: what the client asked for, or what we asked for
	ALPN string // what was agreed in the handshake
	// OfferedALPN is what a tls_inspector saw offered.
	OfferedALPN []string
	// TransportProtocol is what the listener filters found: "tls" or "raw_buffer", "" before.
	TransportProtocol string

	TLS          *tls.ConnectionState // nil: raw
	PeerURI      string               // first URI SAN of the peer's certificate: its SPIFFE identity
	LocalURI     string               // first URI SAN of ours, on an accepted connection
	PeerCertHash string               // hex SHA-256 of the peer's certificate

	// Times are Loop.Now values; 0: not reached.
	Created       int64 // accepted, or Dial called
	Connected     int64 // TCP connected
	HandshakeDone int64 // TLS handshake complete
}
