package testnet

import (
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Enter()
	os.Exit(m.Run())
}

func TestCapture(t *testing.T) {
	if why := Missing(); why != "" {
		t.Skip(why)
	}
	for mark, port := range map[Mark]int{Outbound: OutboundPort, Inbound: InboundPort} {
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{Port: port})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := Dialer(mark).DialContext(t.Context(), "tcp", "10.200.1.9:3306")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		in, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		f, err := in.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		const soOriginalDst = 80
		a, err := unix.GetsockoptIPv6Mreq(int(f.Fd()), unix.IPPROTO_IP, soOriginalDst) // sockaddr_in is as large
		if err != nil {
			t.Fatal(err)
		}
		got := net.TCPAddr{IP: a.Multiaddr[4:8], Port: int(a.Multiaddr[2])<<8 | int(a.Multiaddr[3])}
		if got.String() != "10.200.1.9:3306" {
			t.Errorf("mark %d: original destination %s", mark, got.String())
		}
	}
}

func TestNames(t *testing.T) {
	if why := Missing(); why != "" {
		t.Skip(why)
	}
	for _, want := range []string{"10.9.9.1", "10.9.9.2"} { // the second is known at once
		stop, err := ServeNames(map[string][]string{"db.example": {want, "2001:db8::1"}})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		got, err := net.DefaultResolver.LookupIP(t.Context(), "ip4", "db.example")
		if err != nil || len(got) != 1 || got[0].String() != want {
			t.Errorf("got %v, %v", got, err)
		}
		if got, err := net.DefaultResolver.LookupHost(t.Context(), "db.example"); err != nil || len(got) != 2 {
			t.Errorf("of both families: %v, %v", got, err)
		}
		stop()
	}
	if _, err := net.DefaultResolver.LookupHost(t.Context(), "other.example"); err == nil {
		t.Error("a name that nobody gave resolves")
	}
}
