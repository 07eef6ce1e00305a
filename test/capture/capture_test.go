//go:build linux

// Package capture_test holds the rules that agent/capture makes against connections, in a network namespace of its own.
package capture_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

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
	going, network := netip.MustParseAddrPort(to), "tcp4"
	if going.Addr().Is6() {
		network = "tcp6"
	}
	accepted := make(chan *net.TCPConn, 1)
	for _, port := range []int{int(going.Port()), capture.OutboundPort, capture.InboundPort} {
		l, err := net.ListenTCP(network, &net.TCPAddr{Port: port})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
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
	const soOriginalDst = 80 // of IPv6 too (IP6T_SO_ORIGINAL_DST)
	if c.LocalAddr().(*net.TCPAddr).IP.To4() == nil {
		a, err := unix.GetsockoptIPv6MTUInfo(int(f.Fd()), unix.IPPROTO_IPV6, soOriginalDst) // which begins with a sockaddr_in6
		if err != nil {
			t.Fatal(err)
		}
		port := binary.NativeEndian.AppendUint16(nil, a.Addr.Port) // in the order of the network
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr.Addr), binary.BigEndian.Uint16(port)).String()
	}
	a, err := unix.GetsockoptIPv6Mreq(int(f.Fd()), unix.IPPROTO_IP, soOriginalDst) // sockaddr_in is as large
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%v:%d", net.IP(a.Multiaddr[4:8]), int(a.Multiaddr[2])<<8|int(a.Multiaddr[3]))
}

// Where the agent's name server is.
const agent4, agent6 = "127.0.0.1:15053", "[::1]:15053"

// nameServers answer whatever comes to an address, over UDP and TCP, with the port.
func nameServers(t *testing.T, addresses ...string) {
	t.Helper()
	for _, text := range addresses {
		at := netip.MustParseAddrPort(text)
		port := at.Port()
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		t.Cleanup(func() { udp.Close(); tcp.Close(); wg.Wait() })
		wg.Go(func() {
			b := make([]byte, 512)
			for {
				_, from, err := udp.ReadFromUDP(b)
				if err != nil {
					return
				}
				_, _ = udp.WriteToUDP([]byte(strconv.Itoa(int(port))), from)
			}
		})
		wg.Go(func() {
			for {
				c, err := tcp.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 512)) // or the answer might be lost with what was not read
				_, _ = c.Write([]byte(strconv.Itoa(int(port))))
				c.Close()
			}
		})
	}
}

// whoAnswers sends a query from a port (0: any) and returns what it is answered.
func whoAnswers(t *testing.T, network, to string, from int) string {
	t.Helper()
	d := net.Dialer{Timeout: 10 * time.Second}
	if network == "udp" {
		d.LocalAddr = &net.UDPAddr{Port: from}
	}
	c, err := d.DialContext(t.Context(), network, to)
	if err != nil {
		t.Fatalf("%s %s: %v", network, to, err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("who?")); err != nil {
		t.Fatalf("%s %s: %v", network, to, err)
	}
	b := make([]byte, 16)
	n, err := c.Read(b)
	if err != nil {
		t.Fatalf("%s %s: %v", network, to, err)
	}
	return string(b[:n])
}

// The user's queries get to the agent's name server, whichever they were meant for; nobody else's do, and what else there is on other ports does not.
func TestDNS(t *testing.T) {
	if why := testnet.Missing(); why != "" {
		t.Skip(why)
	}
	servers := []string{"10.2.0.1:53", "127.0.0.53:53", "[" + testnet.Address6 + "]:53", "[::1]:53"}
	nameServers(t, append(servers, "10.2.0.1:54", agent4, agent6)...)
	me, other := uint32(os.Getuid()), uint32(os.Getuid())+1
	for name, tc := range map[string]struct {
		rules capture.Rules
		want  string
	}{
		"captured":             {capture.Rules{User: &me, DNS: true}, "15053"},
		"with its connections": {capture.Rules{User: &me, DNS: true, Outbound: capture.Outbound{Ranges: capture.AllRanges(), ExceptPorts: []uint16{54}}}, "15053"},
		"another user's":       {capture.Rules{User: &other, DNS: true}, "53"},
		"of all but the proxy": {capture.Rules{ExceptUsers: []uint32{other}, DNS: true}, "15053"},
		"the proxy's own":      {capture.Rules{ExceptUsers: []uint32{me}, DNS: true}, "53"},
		"excludeOutboundPorts": {capture.Rules{User: &me, DNS: true, Outbound: capture.Outbound{ExceptPorts: []uint16{53}}}, "53"},
		"without DNS":          {capture.Rules{User: &me}, "53"},
	} {
		t.Run(name, func(t *testing.T) {
			install(t, tc.rules)
			for _, to := range servers {
				for _, network := range []string{"udp", "tcp"} {
					if got := whoAnswers(t, network, to, 0); got != tc.want {
						t.Errorf("%s %s: port %s answers, want %s", network, to, got, tc.want)
					}
				}
			}
			if got := whoAnswers(t, "udp", "10.2.0.1:54", 0); got != "54" {
				t.Errorf("another port: %s answers", got)
			}
		})
	}
}

// A query of the agent's gets to the name server though the application has just asked the same one from the same port.
func TestAgentAsksFromThePortOfTheApplication(t *testing.T) {
	if why := testnet.Missing(); why != "" {
		t.Skip(why)
	}
	nameServers(t, "10.2.0.1:53", agent4)
	me, other := uint32(os.Getuid()), uint32(os.Getuid())+1
	const from = 33333
	install(t, capture.Rules{User: &me, DNS: true})
	if got := whoAnswers(t, "udp", "10.2.0.1:53", from); got != "15053" {
		t.Fatalf("the application: %s", got)
	}
	install(t, capture.Rules{User: &other, DNS: true}) // now this is not the application
	if got := whoAnswers(t, "udp", "10.2.0.1:53", from); got != "53" {
		t.Errorf("the agent: port %s answers", got)
	}
}

// Connections of IPv6 are captured as those of IPv4 are, and say where they were going.
func TestIPv6(t *testing.T) {
	if why := testnet.Missing(); why != "" {
		t.Skip(why)
	}
	me := uint32(os.Getuid())
	seven := []netip.Prefix{netip.MustParsePrefix("fd10:7::/32")}
	dial := func(to string) (net.Conn, error) { return net.Dial("tcp6", to) }
	for name, tc := range map[string]struct {
		outbound      capture.Outbound
		capture, pass []string
	}{
		"everything":              {capture.Outbound{Ranges: capture.AllRanges()}, []string{"[fd10:7::1]:80"}, []string{"[::1]:80"}},
		"includeOutboundIPRanges": {capture.Outbound{Ranges: seven}, []string{"[fd10:7::1]:80"}, []string{"[fd10:8::1]:80"}},
		"excludeOutboundIPRanges": {capture.Outbound{Ranges: capture.AllRanges(), ExceptRanges: seven}, []string{"[fd10:8::1]:80"}, []string{"[fd10:7::1]:80"}},
		"a proxy of IPv4":         {capture.Outbound{Ranges: capture.AllRanges()}, nil, []string{"[fd10:7::1]:80"}},
		"IPv4 alone":              {capture.Outbound{Ranges: capture.AllRanges()[:1]}, nil, []string{"[fd10:7::1]:80"}},
		"includeOutboundPorts":    {capture.Outbound{Ports: []uint16{80}}, []string{"[fd10:7::1]:80"}, []string{"[fd10:7::1]:81"}},
	} {
		t.Run(name, func(t *testing.T) {
			install(t, capture.Rules{User: &me, Outbound: tc.outbound, IPv6: name != "a proxy of IPv4"})
			for _, to := range tc.capture {
				arrives(t, dial, to, capture.OutboundPort)
			}
			for _, to := range tc.pass {
				arrives(t, dial, to, 0)
			}
		})
	}
}

// install puts rules into force, in the place of others, until the test ends.
func install(t *testing.T, r capture.Rules) {
	t.Helper()
	r.Name = "lateen-test"
	remove, err := capture.Install(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	})
}

// Where no route leads to the addresses that the mesh gives, connections to them are captured all the same, as long as there are rules.
func TestAddressesOfTheMesh(t *testing.T) {
	if why := testnet.Missing(); why != "" {
		t.Skip(why)
	}
	me := uint32(os.Getuid())
	dial4 := func(to string) (net.Conn, error) { return net.Dial("tcp4", to) }
	dial6 := func(to string) (net.Conn, error) { return net.Dial("tcp6", to) }
	const four, six = "240.240.7.1:3306", "[2001:2::f0f0:701]:3306"
	refused := func() {
		t.Helper()
		for _, dial := range []func() (net.Conn, error){func() (net.Conn, error) { return dial4(four) }, func() (net.Conn, error) { return dial6(six) }} {
			if c, err := dial(); !errors.Is(err, unix.ENETUNREACH) {
				t.Errorf("without rules: %v %v", c, err)
			}
		}
	}
	refused()
	remove, err := capture.Install(capture.Rules{Name: "lateen-test", User: &me, DNS: true, IPv6: true, Outbound: capture.Outbound{Ranges: capture.AllRanges()}})
	if err != nil {
		t.Fatal(err)
	}
	arrives(t, dial4, four, capture.OutboundPort)
	arrives(t, dial6, six, capture.OutboundPort)
	for range 2 {
		if err := remove(); err != nil {
			t.Error(err)
		}
	}
	refused()
}
