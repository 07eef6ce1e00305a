package conn

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// from binds to addresses, one of each family at most.
func from(addrs ...string) *xdsresource.Bind {
	b := &xdsresource.Bind{}
	for _, a := range addrs {
		ap := netip.MustParseAddrPort(a)
		b.Sources = append(b.Sources, xdsresource.Source{Address: xdsresource.Address{IP: ap.Addr(), Port: ap.Port()}})
	}
	return b
}

// TestBindByFamily: of two sources the one of the destination's family is taken.
func TestBindByFamily(t *testing.T) {
	h := start(t)
	for _, tc := range []struct{ network, want string }{{"tcp4", "127.0.0.9"}, {"tcp6", "::1"}} {
		ln := h.serve(t, tc.network, nil, record)
		for _, b := range []*xdsresource.Bind{from("127.0.0.9:0", "[::1]:0"), from("[::1]:0", "127.0.0.9:0")} {
			r := record()
			h.do(func() { Dial(h.Loop, address(ln), DialOptions{Bind: b}, r) })
			c := <-r.connected
			h.do(func() {
				if got := c.Info().LocalAddr.Addr(); got != netip.MustParseAddr(tc.want) {
					t.Errorf("%s: connects from %v, want %s", tc.network, got, tc.want)
				}
				c.Close(CloseNow)
			})
			<-r.closed
		}
	}
}

// TestFreebind: an address that nobody has can be bound; it is then the network that fails.
func TestFreebind(t *testing.T) {
	h := start(t)
	ln := h.serve(t, "tcp4", nil, record)
	for _, free := range []bool{false, true} {
		b := from("192.0.2.1:0")
		b.Freebind = free
		r := record()
		h.do(func() { Dial(h.Loop, address(ln), DialOptions{Bind: b, Timeout: 50 * time.Millisecond}, r) })
		err := <-r.closed
		if got := strings.Contains(err.Error(), "bind to source address"); got == free {
			t.Errorf("freebind %v: %v", free, err)
		}
	}
}

func TestConnectSocketOptions(t *testing.T) {
	h := start(t)
	ln := h.serve(t, "tcp4", nil, record)
	option := func(level, name int, v uint32, when xdsresource.SocketState) xdsresource.SocketOption {
		return xdsresource.SocketOption{Level: level, Name: name, Value: binary.NativeEndian.AppendUint32(nil, v), State: when}
	}
	// Options do not need an address to connect from.
	b := &xdsresource.Bind{Sources: []xdsresource.Source{{Options: []xdsresource.SocketOption{
		option(syscall.IPPROTO_IP, syscall.IP_TTL, 17, xdsresource.BeforeBind),
		option(syscall.SOL_SOCKET, syscall.SO_PRIORITY, 5, xdsresource.AfterBind),
	}}}}
	r := record()
	h.do(func() { Dial(h.Loop, address(ln), DialOptions{Bind: b}, r) })
	c := <-r.connected
	h.do(func() {
		ttl, _ := syscall.GetsockoptInt(c.fd.Sys(), syscall.IPPROTO_IP, syscall.IP_TTL)
		prio, _ := syscall.GetsockoptInt(c.fd.Sys(), syscall.SOL_SOCKET, syscall.SO_PRIORITY)
		if ttl != 17 || prio != 5 {
			t.Errorf("TTL %d and priority %d, want 17 and 5", ttl, prio)
		}
		c.Close(CloseNow)
	})
	<-r.closed
	b.Sources[0].Options = append(b.Sources[0].Options, option(12345, 1, 1, xdsresource.BeforeBind))
	r = record()
	h.do(func() { Dial(h.Loop, address(ln), DialOptions{Bind: b}, r) })
	if err := <-r.closed; !strings.Contains(err.Error(), "level 12345, name 1") {
		t.Errorf("an option that does not exist: %v", err)
	}
}
