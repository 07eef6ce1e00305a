package decision

import (
	"net"
	"strings"
	"sync"
)

// overheard keeps what the connections of a listener read, since net/http tells nobody in which case names of headers came.
type overheard struct{ net.Listener }

// Accept implements net.Listener.
func (l overheard) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &overheardConn{Conn: c}, nil
}

// overheardKey is the key of an overheardConn in its connection's context.
type overheardKey struct{}

// overheardConn is one of these connections.
type overheardConn struct {
	net.Conn
	mu  sync.Mutex
	got strings.Builder
}

// Read implements net.Conn.
func (c *overheardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.got.Len() < 1<<16 {
		c.got.Write(p[:n])
	}
	return n, err
}

// head is the head of the request that is served; what came before it is forgotten.
func (c *overheardConn) head() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	head, _, _ := strings.Cut(c.got.String(), "\r\n\r\n")
	c.got.Reset()
	return head
}
