//go:build linux

// Package capture_test holds the rules that agent/capture makes against connections, in a network namespace of its own.
package capture_test

import (
	"fmt"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/agent/capture"
	"github.com/lateen-mesh/lateen/test/internal/testnet"
)

func TestMain(m *testing.M) {
	testnet.Enter()
	os.Exit(m.Run())
}

// The user's connections arrive at the proxy's port, and say where they were going; those to this machine and, once the rules are gone, all others do not.
func TestOutbound(t *testing.T) {
	if why := testnet.Missing(); why != "" {
		t.Skip(why)
	}
	proxy, err := net.ListenTCP("tcp4", &net.TCPAddr{Port: capture.OutboundPort})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	direct, err := net.ListenTCP("tcp4", &net.TCPAddr{Port: 3306})
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	reaches := func(address string, l *net.TCPListener, original string) {
		t.Helper()
		c, err := net.Dial("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		in, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if in.RemoteAddr().String() != c.LocalAddr().String() {
			t.Errorf("%s: another connection arrived", address)
		}
		if original != "" && originalDestination(t, in) != original {
			t.Errorf("%s: was going to %s", address, originalDestination(t, in))
		}
	}
	_, err = capture.Install(capture.Rules{Name: "lateen-test", UID: uint32(os.Getuid())})
	if err != nil {
		t.Fatal(err)
	}
	reaches("10.200.1.9:3306", proxy, "10.200.1.9:3306")
	reaches("127.0.0.1:3306", direct, "")
	remove, err := capture.Install(capture.Rules{Name: "lateen-test", UID: uint32(os.Getuid()) + 1}) // in the place of the others
	if err != nil {
		t.Fatal(err)
	}
	reaches("10.200.1.9:3306", direct, "")
	for range 2 {
		if err := remove(); err != nil {
			t.Error(err)
		}
	}
}

func originalDestination(t *testing.T, c *net.TCPConn) string {
	t.Helper()
	f, err := c.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const soOriginalDst = 80
	a, err := unix.GetsockoptIPv6Mreq(int(f.Fd()), unix.IPPROTO_IP, soOriginalDst) // sockaddr_in is as large
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%v:%d", net.IP(a.Multiaddr[4:8]), int(a.Multiaddr[2])<<8|int(a.Multiaddr[3]))
}
