package cluster

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestConnectOrder: names are families and numbers, "4a" is IPv4.
func TestConnectOrder(t *testing.T) {
	addr := func(name string) xdsresource.Address {
		ip := netip.AddrFrom4([4]byte{10, 0, 0, name[1]})
		if name[0] == '6' {
			ip = netip.AddrFrom16([16]byte{0xfd, 15: name[1]})
		}
		return xdsresource.Address{IP: ip, Port: 80}
	}
	name := func(a xdsresource.Address) string {
		b := a.IP.AsSlice()
		return string([]byte{"46"[len(b)/16], b[len(b)-1]})
	}
	for _, tc := range []struct {
		in, want string
		e        xdsresource.Eyeballs
	}{
		{"4a", "", xdsresource.Eyeballs{}},
		{"4a 4b", "4a 4b", xdsresource.Eyeballs{}},
		{"6a 6b 4a 4b", "6a 4a 6b 4b", xdsresource.Eyeballs{}},
		{"4a 6a 6b 6c", "4a 6a 6b 6c", xdsresource.Eyeballs{}},
		{"6a 6b 6c 4a 4b", "6a 6b 4a 6c 4b", xdsresource.Eyeballs{Count: 2}},
		{"6a 6b 4a 4b", "4a 6a 4b 6b", xdsresource.Eyeballs{Family: xdsresource.FamilyV4}},
		{"4a 4b 6a", "6a 4a 4b", xdsresource.Eyeballs{Family: xdsresource.FamilyV6, Count: 3}},
		{"4a 4b", "4a 4b", xdsresource.Eyeballs{Family: xdsresource.FamilyV6}},
	} {
		var in []xdsresource.Address
		for f := range strings.FieldsSeq(tc.in) {
			in = append(in, addr(f))
		}
		var got []string
		for _, a := range connectOrder(&tc.e, in[0], in[1:]) {
			got = append(got, name(a))
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s with %+v: %v, want %s", tc.in, tc.e, got, tc.want)
		}
	}
}

// TestAdditionalAddressesChange: the host stays, and with it its connections.
func TestAdditionalAddressesChange(t *testing.T) {
	m := newMesh(t, 1, nil)
	l := m.local(t, eds("c"), endpoints("10.0.0.1:80"))
	h := l.Pick(&lb.Context{})
	if h.Host.Info().Addresses != nil {
		t.Error("one address is a list")
	}
	e := endpoints("10.0.0.1:80")
	e.Localities[0].Endpoints[0].More = []xdsresource.Address{endpoint("[fd00::1]:80").Address}
	m.UpdateEndpoints("c", e)
	m.run()
	if l.Pick(&lb.Context{}) != h || len(h.Host.Info().Addresses) != 2 {
		t.Errorf("addresses %v, the same host %v", h.Host.Info().Addresses, l.Pick(&lb.Context{}) == h)
	}
}
