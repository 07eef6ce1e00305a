package conn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// DialOptions are the options of Dial. The zero value dials raw, with no timeout of its own.
type DialOptions struct {
	// Addresses are those of the peer, the preferred one first, where it has several: see
	// race.go. nil: the one that is given to Dial.
	Addresses []xdsresource.Address
	// Bind is where to connect from, and options of the socket; nil: the system's choice.
	Bind *xdsresource.Bind
	// Timeout bounds connect and handshake together; 0: the system's, and
	// DefaultHandshakeTimeout for the handshake.
	Timeout time.Duration
	// Keepalive turns TCP keep-alive on; nil: off.
	Keepalive *xdsresource.TCPKeepalive
	// BufferLimit is the high watermark in bytes; 0: DefaultBufferLimit.
	BufferLimit int
	// TLS makes a TLS connection; nil: raw.
	TLS *transportsocket.Client
	// Wish is what TLS is to do besides what is configured.
	Wish transportsocket.Wish
	// Header makes what goes out before anything else, TLS included, of the connection's ends; nil:
	// nothing does.
	Header func(local, remote netip.AddrPort) []byte
}

type dialState struct {
	opts DialOptions
	op   string
	race *race // nil: there is one address
}

// Upstream are the options that a cluster's configuration gives.
func Upstream(c *xdsresource.Cluster) DialOptions {
	return DialOptions{Timeout: c.ConnectTimeout, Keepalive: c.TCPKeepalive, BufferLimit: int(c.BufferLimit), Bind: c.Bind}
}

// Dial begins to connect and returns at once. The handler's OnConnected or OnClose follows, on
// the loop, never from within Dial. What is appended to Out before is written when the
// connection is open. addr must be an IP or a pipe: names are resolved elsewhere.
func Dial(l *eventloop.Loop, addr xdsresource.Address, o DialOptions, h Handler) *Conn {
	c := newConn(l, o.BufferLimit, h)
	c.state = connecting
	c.info.ID = l.NextID()
	c.dial = &dialState{opts: o, op: "connect to " + addressText(addr)}
	if len(o.Addresses) > 1 {
		c.startRace()
		return c
	}
	if err := c.startConnect(addr, o); err != nil {
		c.fail(connectError(c.dial.op, err))
	}
	return c
}

func addressText(a xdsresource.Address) string {
	switch {
	case a.Pipe != "":
		return a.Pipe
	case a.IP.IsValid():
		return netip.AddrPortFrom(a.IP, a.Port).String()
	}
	return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port)))
}

var errUnresolved = errors.New("the name has not been resolved to an address")

func (c *Conn) startConnect(addr xdsresource.Address, o DialOptions) error {
	fd, err := c.connectSocket(addr, o)
	if fd < 0 {
		return err
	}
	want := eventloop.EventIn
	if err != nil {
		want = eventloop.EventOut
	}
	if rerr := c.loop.RegisterTracked(&c.fd, fd, want, c); rerr != nil {
		sysClose(fd)
		return rerr
	}
	c.connectsTo(addr)
	if err == nil {
		// Loopback and Unix sockets connect at once. OnConnected still comes later.
		c.connected = true
		c.loop.Defer(&c.deferred)
		return nil
	}
	c.armConnect()
	return nil
}

// connectsTo notes where the connection goes.
func (c *Conn) connectsTo(addr xdsresource.Address) {
	if addr.Pipe != "" {
		c.info.Path = addr.Pipe
		return
	}
	c.info.RemoteAddr = netip.AddrPortFrom(addr.IP.Unmap(), addr.Port)
	c.info.DirectRemoteAddr = c.info.RemoteAddr
}

func (c *Conn) armConnect() {
	if d := c.dial.opts.Timeout; d > 0 {
		c.timer.Init(c.onConnectTimeout)
		c.loop.Arm(&c.timer, d)
	}
}

// connectSocket makes a socket and begins to connect it: a nil error says that it is connected
// already. The descriptor is -1 when nothing came of it.
func (c *Conn) connectSocket(addr xdsresource.Address, o DialOptions) (int, error) {
	var sa syscall.Sockaddr
	family := syscall.AF_UNIX
	switch {
	case addr.Pipe != "":
		sa = &syscall.SockaddrUnix{Name: addr.Pipe}
	case addr.IP.IsValid():
		sa, family = Sockaddr(netip.AddrPortFrom(addr.IP.Unmap(), addr.Port))
	default:
		return -1, errUnresolved
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if err := setOptions(fd, family, o); err != nil {
		sysClose(fd)
		return -1, err
	}
	switch err = syscall.Connect(fd, sa); err {
	case nil, syscall.EINPROGRESS, syscall.EINTR:
		return fd, err
	}
	sysClose(fd)
	return -1, err
}

func setOptions(fd, family int, o DialOptions) error {
	if family == syscall.AF_UNIX {
		return nil
	}
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("TCP_NODELAY: %w", err)
	}
	if o.Keepalive != nil {
		if err := SetKeepalive(fd, o.Keepalive); err != nil {
			return err
		}
	}
	if o.Bind == nil {
		return nil
	}
	return bind(fd, family, o.Bind)
}

// SetKeepalive turns TCP keep-alive on. Fields that are 0 keep the system's values.
func SetKeepalive(fd int, k *xdsresource.TCPKeepalive) error {
	set := func(level, opt, v int) error { return syscall.SetsockoptInt(fd, level, opt, v) }
	secs := func(d time.Duration) int { return max(int(d/time.Second), 1) }
	err := set(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
	if k.Probes > 0 {
		err = errors.Join(err, set(syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, int(k.Probes)))
	}
	if k.Time > 0 {
		err = errors.Join(err, set(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, secs(k.Time)))
	}
	if k.Interval > 0 {
		err = errors.Join(err, set(syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, secs(k.Interval)))
	}
	if err != nil {
		return fmt.Errorf("keep-alive: %w", err)
	}
	return nil
}

func zoneID(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	return 0
}

func (c *Conn) onConnectTimeout() {
	c.fail(&Error{Kind: ConnectTimeout, Op: c.dial.op})
}

// onConnectEvent: the socket became writable, or failed.
func (c *Conn) onConnectEvent() {
	if c.connected {
		return // the deferred part comes first; what is readable is reported again
	}
	if e := socketError(c.fd.Sys()); e != 0 {
		c.fail(connectError(c.dial.op, e))
		return
	}
	c.afterConnect()
}

// afterConnect goes on to the handshake, or opens.
func (c *Conn) afterConnect() {
	if c.state != connecting {
		return
	}
	d := c.dial
	c.dial = nil
	c.info.Connected = c.loop.Now()
	var first []byte
	if d.opts.Header != nil {
		c.info.LocalAddr = localAddr(c.fd.Sys())
		first = d.opts.Header(c.info.LocalAddr, c.info.RemoteAddr)
	}
	if d.opts.TLS == nil {
		c.prepend(first)
		c.loop.Disarm(&c.timer)
		c.open()
		return
	}
	left := DefaultHandshakeTimeout
	if d.opts.Timeout > 0 {
		left = max(d.opts.Timeout-time.Duration(c.info.Connected-c.info.Created), time.Millisecond)
	}
	c.startTLS(d.opts.TLS.NewSession(c.loop, c.fd.Sys(), d.opts.Wish, first), left)
}

// prepend puts bytes before what was appended to Out while the connection was not there.
func (c *Conn) prepend(first []byte) {
	if len(first) == 0 {
		return
	}
	rest := append([]byte(nil), c.out.Bytes()...)
	c.out.Reset()
	c.out.Append(first)
	c.out.Append(rest)
}

// open lets data flow: OnConnected, then what was written before.
func (c *Conn) open() {
	c.state = open
	c.loop.SetInterestNow(&c.fd, c.interest())
	if h, ok := c.handler.(ConnectHandler); ok {
		h.OnConnected(c)
	}
	if c.state == open && (c.out.Len() > 0 || c.endWrite) && !c.waitOut {
		c.write()
	}
}
