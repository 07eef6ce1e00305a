package conn

import (
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
)

// AcceptOptions describe an accepted socket.
type AcceptOptions struct {
	LocalAddr, RemoteAddr netip.AddrPort
	Path                  string // Unix socket
	BufferLimit           int    // bytes; 0: DefaultBufferLimit
}

// Accept takes over an accepted, non-blocking descriptor. The connection is open at once, raw.
// On error the descriptor is closed.
func Accept(l *eventloop.Loop, fd int, o AcceptOptions, h Handler) (*Conn, error) {
	c := newConn(l, o.BufferLimit, h)
	c.state = open
	c.info.LocalAddr, c.info.RemoteAddr, c.info.DirectRemoteAddr = o.LocalAddr, o.RemoteAddr, o.RemoteAddr
	c.info.Path = o.Path
	c.info.Connected = c.info.Created
	if err := l.RegisterTracked(&c.fd, fd, eventloop.EventIn, c); err != nil {
		sysClose(fd)
		return nil, &Error{Kind: Local, Op: "accept", Err: err}
	}
	return c, nil
}

// StartTLS makes an accepted connection a TLS one. What is already in In, a ClientHello that
// was inspected, belongs to the handshake. The handler's OnConnected comes after it, or
// OnClose. timeout 0 means DefaultHandshakeTimeout.
func (c *Conn) StartTLS(s *transportsocket.Server, timeout time.Duration) {
	if c.state != open || c.tls != nil {
		panic("BUG: conn: StartTLS on a connection that is not open and raw")
	}
	if timeout <= 0 {
		timeout = DefaultHandshakeTimeout
	}
	c.startTLS(s.NewSession(c.loop, c.fd.Sys()), timeout)
}
