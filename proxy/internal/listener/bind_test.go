package listener

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// option reads an option of a listener's first socket.
func option(t *testing.T, l *Listener, level, name int) int {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	v, err := syscall.GetsockoptInt(l.sockets[0][0].sys, level, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSocketOptions(t *testing.T) {
	const soMark, soRcvbuf = 36, 8
	five, w := uint32(5), newWorld(t, 1)
	l, _ := w.listener(&xdsresource.Listener{
		FilterChains: []*xdsresource.FilterChain{{Name: "a"}},
		Socket: xdsresource.ListenerSocket{
			Freebind: true, FastOpen: &five, Backlog: 7, MaxAccepts: 1,
			Keepalive: &xdsresource.TCPKeepalive{Probes: 3},
			Options: []xdsresource.SocketOption{
				{Level: syscall.SOL_SOCKET, Name: soRcvbuf, Value: binary.NativeEndian.AppendUint32(nil, 8192)},
				{Level: syscall.SOL_SOCKET, Name: syscall.SO_PRIORITY, Value: binary.NativeEndian.AppendUint32(nil, 3), State: xdsresource.AfterListen},
			},
		},
	})
	defer l.Close(0, nil)
	f := func(what string, level, name, want int) {
		t.Helper()
		if got := option(t, l, level, name); got != want {
			t.Errorf("%s = %d, want %d", what, got, want)
		}
	}
	f("IP_FREEBIND", syscall.IPPROTO_IP, ipFreebind, 1)
	f("TCP_FASTOPEN", syscall.IPPROTO_TCP, tcpFastOpen, 5)
	f("SO_KEEPALIVE", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
	f("TCP_KEEPCNT", syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 3)
	f("SO_RCVBUF", syscall.SOL_SOCKET, soRcvbuf, 16384) // the kernel doubles it
	f("SO_PRIORITY", syscall.SOL_SOCKET, syscall.SO_PRIORITY, 3)

	bad, err := New(&xdsresource.Listener{
		Name: "bad", BindToPort: true, Address: loopback(0), FilterChains: []*xdsresource.FilterChain{{Name: "a"}},
		Socket: xdsresource.ListenerSocket{Options: []xdsresource.SocketOption{{Level: 1, Name: 9999, Value: []byte{1, 0, 0, 0}}}},
	}, w.o)
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close(0, nil)
	if err := bad.Start(); err == nil || !strings.Contains(err.Error(), "level 1, name 9999") {
		t.Errorf("an option that the system refuses: %v", err)
	}
}

// TestAddresses holds that every form of address accepts, on all workers.
func TestAddresses(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name   string
		addr   xdsresource.Address
		dial   func(a xdsresource.Address) (string, string)
		shared bool
	}{
		{"IPv6", xdsresource.Address{IP: netip.IPv6Loopback()}, tcp("::1"), false},
		{"IPv6 that takes IPv4", xdsresource.Address{IP: netip.IPv6Unspecified(), IPv4Too: true}, tcp("127.0.0.1"), false},
		{"one socket for all workers", loopback(0), tcp("127.0.0.1"), true},
		{"path", xdsresource.Address{Pipe: filepath.Join(dir, "a.sock"), PipeMode: 0o660}, pipe, false},
		{"abstract", xdsresource.Address{Pipe: "@lateen-test-" + filepath.Base(dir)}, pipe, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 2)
			l, err := New(&xdsresource.Listener{
				Name: "a", BindToPort: true, Address: tt.addr, FilterChains: []*xdsresource.FilterChain{{Name: "a"}},
				Socket: xdsresource.ListenerSocket{Shared: tt.shared},
			}, w.o)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Start(); err != nil {
				t.Fatal(err)
			}
			defer l.Close(0, nil)
			for range 8 {
				network, addr := tt.dial(l.Addrs()[0])
				nc, err := net.Dial(network, addr)
				if err != nil {
					t.Fatal(err)
				}
				if got := greet(t, nc); got != "a" {
					t.Errorf("greeting %q", got)
				}
				nc.Close()
			}
			if tt.addr.PipeMode != 0 {
				if st, err := os.Stat(tt.addr.Pipe); err != nil || st.Mode().Perm() != 0o660 {
					t.Errorf("mode: %v %v", st, err)
				}
			}
		})
	}
}

func tcp(host string) func(xdsresource.Address) (string, string) {
	return func(a xdsresource.Address) (string, string) {
		return "tcp", netip.AddrPortFrom(netip.MustParseAddr(host), a.Port).String()
	}
}

func pipe(a xdsresource.Address) (string, string) { return "unix", a.Pipe }

// TestExactBalance holds that connections are spread evenly even when one socket accepts them all.
func TestExactBalance(t *testing.T) {
	w := newWorld(t, 2)
	l, addr := w.listener(&xdsresource.Listener{
		FilterChains: []*xdsresource.FilterChain{{Name: "a"}},
		Socket:       xdsresource.ListenerSocket{Shared: true, ExactBalance: true},
	})
	defer l.Close(0, nil)
	for range 20 {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		greet(t, nc)
	}
	per := map[uint64]int{}
	w.mu.Lock()
	for _, i := range w.infos {
		per[i.ID%2]++
	}
	w.mu.Unlock()
	if per[0] != 10 || per[1] != 10 {
		t.Errorf("connections by worker: %v", per)
	}
	for _, wk := range l.workers {
		if n := wk.active.Load(); n != 10 {
			t.Errorf("worker %d counts %d", wk.loop.ID(), n)
		}
	}
}
