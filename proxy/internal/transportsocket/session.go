package transportsocket

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
	"unsafe"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// ErrAgain is returned by Session.Read when it needs more encrypted input.
var ErrAgain error = again{}

// ErrEnded is returned by Session.Read when the peer has sent close_notify.
var ErrEnded = errors.New("the peer has ended the TLS session")

// again looks like an expired deadline, the kind of error that crypto/tls does not keep.
type again struct{}

func (again) Error() string   { return "more input is needed" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// maxRecord is the most plaintext that fits into one record (RFC 8446, 5.1).
const maxRecord = 1 << 14

// Session is the TLS state of one connection. All methods are for the loop.
type Session struct {
	// In holds encrypted bytes that were read and not decrypted yet. The connection reads
	// into it.
	In iobuf.Buffer

	out     iobuf.Buffer // encrypted bytes that the socket has not taken
	tc      *tls.Conn
	loop    *eventloop.Loop
	hs      *handshake // nil after the handshake
	framer  framer     // the goroutine's during the handshake, then the loop's
	fd      int
	written uint64
	werr    syscall.Errno
	gather  bool // records of the current write are collected, not sent one by one
	ended   bool // close_notify was sent

	chosen *choice           // our certificate, on a server
	own    *x509.Certificate // the same, on a client
	staple Staple
}

func newSession(l *eventloop.Loop, fd int) *Session {
	s := &Session{loop: l, fd: fd}
	s.In.Init(l.Buffers())
	s.out.Init(l.Buffers())
	return s
}

// Read decrypts into p. ErrAgain: the input in In is used up. ErrEnded: close_notify. Any
// other error ends the connection.
func (s *Session) Read(p []byte) (int, error) {
	n, err := s.tc.Read(p)
	switch {
	case err == nil:
	case err == ErrAgain:
	case errors.Is(err, io.EOF):
		err = ErrEnded
	}
	return n, err
}

// Write encrypts all of p and sends what the socket takes; the rest is PendingOut.
func (s *Session) Write(p []byte) error {
	s.gather = len(p) > maxRecord
	_, err := s.tc.Write(p)
	s.gather = false
	return err
}

// WriteError is the socket's error behind a failed Write, or 0.
func (s *Session) WriteError() syscall.Errno { return s.werr }

// PendingOut is how many encrypted bytes wait for the socket.
func (s *Session) PendingOut() int { return s.out.Len() }

// Written is how many bytes the socket has taken since the handshake.
func (s *Session) Written() uint64 { return s.written }

// FlushOut gives pending bytes to the socket.
func (s *Session) FlushOut() syscall.Errno {
	if s.out.Len() == 0 {
		return 0
	}
	n, e := send(s.fd, s.out.Bytes())
	if e == 0 {
		s.written += uint64(n)
		s.out.Drain(n)
	}
	return e
}

// CloseWrite appends close_notify to the output.
func (s *Session) CloseWrite() error {
	s.ended = true
	return s.tc.CloseWrite()
}

// Ended reports whether CloseWrite was called.
func (s *Session) Ended() bool { return s.ended }

// State describes the finished handshake.
func (s *Session) State() *tls.ConnectionState {
	st := s.tc.ConnectionState()
	return &st
}

// LocalCertificate is the certificate that a server shows, or that a client shows if it is asked; nil for none.
func (s *Session) LocalCertificate() *x509.Certificate {
	if s.chosen == nil {
		return s.own
	}
	return s.chosen.cert.Leaf
}

// Staple is what the client of a server has asked for.
func (s *Session) Staple() Staple { return s.staple }

// Abort makes a running handshake fail and detaches it from the descriptor, which may then be
// closed. After the handshake it does nothing.
func (s *Session) Abort() {
	if s.hs != nil {
		s.hs.abort()
	}
	s.fd = -1
}

// Free gives the buffers back.
func (s *Session) Free() {
	s.In.Reset()
	s.out.Reset()
}

// PeerIdentity returns the first URI SAN and the hex SHA-256 of the peer's certificate, empty
// without one.
func PeerIdentity(st *tls.ConnectionState) (uri, hash string) {
	if st == nil || len(st.PeerCertificates) == 0 {
		return "", ""
	}
	leaf := st.PeerCertificates[0]
	if len(leaf.URIs) > 0 {
		uri = leaf.URIs[0].String()
	}
	sum := sha256.Sum256(leaf.Raw)
	return uri, hex.EncodeToString(sum[:])
}

// sock is the net.Conn that crypto/tls sees.
type sock Session

func (c *sock) Read(p []byte) (int, error) {
	if c.hs != nil {
		return c.hs.read(p, &c.framer)
	}
	b := c.In.Bytes()
	if len(b) == 0 {
		return 0, ErrAgain
	}
	n := c.framer.take(p, b)
	c.In.Drain(n)
	return n, nil
}

// framer gives encrypted bytes out one record at a time (RFC 8446, 5.1). So crypto/tls never
// holds more than the record that it works on, and what is left to decrypt shows in In.
type framer struct {
	header [5]byte
	have   int // bytes of the header given out
	left   int // bytes of the record's body not given out
}

// take copies from b to p, at most to the end of the current record, and returns how much.
// Neither may be empty.
func (f *framer) take(p, b []byte) int {
	n := 0
	if f.left == 0 {
		n = copy(f.header[f.have:], b[:min(len(b), len(p))])
		copy(p, f.header[f.have:f.have+n])
		if f.have += n; f.have < len(f.header) {
			return n
		}
		f.have = 0
		f.left = int(f.header[3])<<8 | int(f.header[4])
	}
	m := copy(p[n:], b[n:min(len(b), n+f.left)])
	f.left -= m
	return n + m
}

func (c *sock) Write(p []byte) (int, error) {
	if c.hs != nil {
		return c.hs.write(p)
	}
	if c.gather || c.out.Len() > 0 {
		c.out.Append(p)
		return len(p), nil
	}
	n, e := send(c.fd, p)
	if e != 0 && e != syscall.EAGAIN && e != syscall.EINTR {
		c.werr = e
		return 0, e
	}
	c.written += uint64(n)
	c.out.Append(p[n:])
	return len(p), nil
}

func (c *sock) Close() error                     { return nil }
func (c *sock) LocalAddr() net.Addr              { return noAddr{} }
func (c *sock) RemoteAddr() net.Addr             { return noAddr{} }
func (c *sock) SetDeadline(time.Time) error      { return nil }
func (c *sock) SetReadDeadline(time.Time) error  { return nil }
func (c *sock) SetWriteDeadline(time.Time) error { return nil }

type noAddr struct{}

func (noAddr) Network() string { return "tcp" }
func (noAddr) String() string  { return "" }

func send(fd int, p []byte) (int, syscall.Errno) {
	r, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_NOSIGNAL, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), 0
}
