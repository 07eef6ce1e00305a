//go:build linux

// Package capture_test holds the rules that agent/capture makes against connections, in a network namespace of its own.
package capture_test

import (
	"fmt"
	"net"
	"net/netip"
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
	all := capture.Outbound{Ranges: capture.AllRanges()}
	user := func(next uint32) *uint32 { id := uint32(os.Getuid()) + next; return &id }
	_, err = capture.Install(capture.Rules{Name: "lateen-test", User: user(0), Outbound: all})
	if err != nil {
		t.Fatal(err)
	}
	reaches("10.200.1.9:3306", proxy, "10.200.1.9:3306")
	reaches("127.0.0.1:3306", direct, "")
	remove, err := capture.Install(capture.Rules{Name: "lateen-test", User: user(1), Outbound: all}) // in the place of the others
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

// What a connection is to, and who makes it, says whether it is captured; exclusions count before inclusions.
func TestOutboundRules(t *testing.T) {
	if why := testnet.Missing(); why != "" {
		t.Skip(why)
	}
	me, other := uint32(os.Getuid()), uint32(os.Getuid())+1
	all := capture.Outbound{Ranges: capture.AllRanges()}
	except := func(change func(*capture.Outbound)) capture.Outbound {
		o := all
		change(&o)
		return o
	}
	tenThree := []netip.Prefix{netip.MustParsePrefix("10.3.0.0/16")}
	for name, tc := range map[string]struct {
		rules   capture.Rules
		capture []string
		pass    []string
	}{
		"everything but the proxy's user": {capture.Rules{ExceptUsers: []uint32{other}, Outbound: all}, []string{"10.3.0.1:80"}, []string{"127.0.0.1:80"}},
		"of the proxy's user":             {capture.Rules{ExceptUsers: []uint32{other, me}, Outbound: all}, nil, []string{"10.3.0.1:80"}},
		"of the proxy's group":            {capture.Rules{ExceptGroups: []uint32{uint32(os.Getgid())}, Outbound: all}, nil, []string{"10.3.0.1:80"}},
		"of another group":                {capture.Rules{ExceptGroups: []uint32{uint32(os.Getgid()) + 1}, Outbound: all}, []string{"10.3.0.1:80"}, nil},
		"includeOutboundIPRanges":         {capture.Rules{User: &me, Outbound: capture.Outbound{Ranges: tenThree}}, []string{"10.3.7.1:80"}, []string{"10.4.0.1:80"}},
		"excludeOutboundIPRanges": {capture.Rules{User: &me, Outbound: except(func(o *capture.Outbound) { o.ExceptRanges = tenThree })},
			[]string{"10.4.0.1:80"}, []string{"10.3.7.1:80"}},
		"includeOutboundPorts": {capture.Rules{User: &me, Outbound: capture.Outbound{Ports: []uint16{80}}}, []string{"10.3.0.1:80"}, []string{"10.3.0.1:81", "127.0.0.1:80"}},
		"excludeOutboundPorts": {capture.Rules{User: &me, Outbound: except(func(o *capture.Outbound) { o.ExceptPorts = []uint16{81} })},
			[]string{"10.3.0.1:80"}, []string{"10.3.0.1:81"}},
		"a port in an excluded range": {capture.Rules{User: &me, Outbound: capture.Outbound{ExceptRanges: tenThree, Ports: []uint16{80}}}, []string{"10.3.0.1:80"}, []string{"10.3.0.1:81"}},
		"nothing":                     {capture.Rules{User: &me}, nil, []string{"10.3.0.1:80"}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.rules.Name = "lateen-test"
			remove, err := capture.Install(tc.rules)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := remove(); err != nil {
					t.Error(err)
				}
			})
			dial := func(to string) (net.Conn, error) { return net.Dial("tcp4", to) }
			for _, to := range tc.capture {
				arrives(t, dial, to, capture.OutboundPort)
			}
			for _, to := range tc.pass {
				arrives(t, dial, to, 0)
			}
		})
	}
}

// What comes from another machine to a captured port arrives at the proxy; what this machine says to itself does not.
func TestInboundRules(t *testing.T) {
	if why := testnet.Missing(); why != "" {
		t.Skip(why)
	}
	elsewhere, err := testnet.NewHost("inbound", netip.MustParseAddr("192.168.77.1"), netip.MustParseAddr("192.168.77.2"))
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	dial := func(to string) (c net.Conn, err error) {
		elsewhere.Do(func() { c, err = net.Dial("tcp4", to) })
		return c, err
	}
	for name, tc := range map[string]struct {
		inbound capture.Inbound
		port80  int
		port81  int
	}{
		"no port":                {capture.Inbound{}, 0, 0},
		"includeInboundPorts":    {capture.Inbound{Ports: []uint16{80}}, capture.InboundPort, 0},
		"includeInboundPorts, *": {capture.Inbound{All: true}, capture.InboundPort, capture.InboundPort},
		"excludeInboundPorts":    {capture.Inbound{All: true, ExceptPorts: []uint16{81}}, capture.InboundPort, 0},
	} {
		t.Run(name, func(t *testing.T) {
			remove, err := capture.Install(capture.Rules{Name: "lateen-test", Inbound: tc.inbound})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := remove(); err != nil {
					t.Error(err)
				}
			}()
			arrives(t, dial, "192.168.77.1:80", tc.port80)
			arrives(t, dial, "192.168.77.1:81", tc.port81)
			arrives(t, func(to string) (net.Conn, error) { return net.Dial("tcp4", to) }, "192.168.77.1:80", 0)
		})
	}
}

// arrives wants a connection to an address to come to a port of this machine, 0 for its own, and to say where it was going.
func arrives(t *testing.T, dial func(string) (net.Conn, error), to string, at int) {
	t.Helper()
	going := netip.MustParseAddrPort(to)
	listeners := map[int]*net.TCPListener{}
	accepted := make(chan *net.TCPConn, 1)
	for _, port := range []int{int(going.Port()), capture.OutboundPort, capture.InboundPort} {
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{Port: port})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		listeners[port] = l
		go func() {
			if c, err := l.AcceptTCP(); err == nil {
				accepted <- c
			}
		}()
	}
	c, err := dial(to)
	if err != nil {
		t.Errorf("%s: %v", to, err)
		return
	}
	defer c.Close()
	in := <-accepted
	defer in.Close()
	want := at
	if at == 0 {
		want = int(going.Port())
	}
	if got := in.LocalAddr().(*net.TCPAddr).Port; got != want {
		t.Errorf("%s: arrives at %d, want %d", to, got, want)
		return
	}
	if at != 0 && originalDestination(t, in) != to {
		t.Errorf("%s: was going to %s", to, originalDestination(t, in))
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
