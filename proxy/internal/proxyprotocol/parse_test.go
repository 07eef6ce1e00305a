package proxyprotocol

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// v2 is a header of version 2.
func v2(verCmd, family byte, body string) string {
	return signature + string([]byte{verCmd, family, byte(len(body) >> 8), byte(len(body))}) + body
}

const (
	body4 = "\x01\x02\x03\x04\x05\x06\x07\x08\x00\x50\x01\xbb"
	body6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x50\x01\xbb"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		in   string
		want string // source, destination, extensions
		err  error
	}{
		{"PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n", "1.2.3.4:80 5.6.7.8:443 []", nil},
		{"PROXY TCP6 2001:db8::1 2001:db8::2 80 443\r\n", "[2001:db8::1]:80 [2001:db8::2]:443 []", nil},
		{"PROXY UNKNOWN\r\n", "invalid AddrPort invalid AddrPort []", nil},
		{"PROXY UNKNOWN ffff::1 anything at all\r\n", "invalid AddrPort invalid AddrPort []", nil},
		{"PROXY TCP4 1.2.3.4 5.6.7.8 0 65535\r\n", "1.2.3.4:0 5.6.7.8:65535 []", nil},
		{"", "", ErrMore}, {"P", "", ErrMore}, {"PROXY", "", ErrMore}, {"PROXY TCP4 1.2.3.4", "", ErrMore}, {"PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r", "", ErrMore},
		{"GET / HTTP/1.1\r\n", "", ErrNone}, {"PROXI", "", ErrNone}, {"proxy TCP4", "", ErrNone}, {"\r\nGET", "", ErrNone},
		{"PROXY TCP4 1.2.3.4 5.6.7.8 80 443\n" + strings.Repeat(" ", 100), "", ErrV1},
		{"PROXY " + strings.Repeat("x", 102), "", ErrV1},
		{"PROXY TCP4 1.2.3.4 5.6.7.8 80\r\n", "", ErrV1}, {"PROXY TCP4 1.2.3.4 5.6.7.8 80 443 1\r\n", "", ErrV1}, {"PROXY  TCP4 1.2.3.4 5.6.7.8 80 443\r\n", "", ErrV1},
		{"PROXY TCP4 ::1 5.6.7.8 80 443\r\n", "", ErrV1}, {"PROXY TCP6 1.2.3.4 5.6.7.8 80 443\r\n", "", ErrV1}, {"PROXY TCP6 fe80::1%eth0 ::1 80 443\r\n", "", ErrV1},
		{"PROXY TCP4 1.2.3.4 5.6.7.8 80 65536\r\n", "", ErrV1}, {"PROXY TCP4 1.2.3.4 5.6.7.8 -1 443\r\n", "", ErrV1}, {"PROXY TCP4 1.2.3.4 5.6.7.8 +1 443\r\n", "", ErrV1},
		{"PROXY TCP4 1.2.3.4 5.6.7.8 080 443\r\n", "", ErrV1}, {"PROXY TCP4 01.2.3.4 5.6.7.8 80 443\r\n", "", ErrV1}, {"PROXY UDP4 1.2.3.4 5.6.7.8 80 443\r\n", "", ErrV1},

		{"PROXY TCP4 224.0.0.1 5.6.7.8 80 443\r\n", "", ErrV1}, {"PROXY TCP4 1.2.3.4 255.255.255.255 80 443\r\n", "", ErrV1}, {"PROXY TCP6 :: ::1 80 443\r\n", "", ErrV1},
		{v2(0x21, 0x11, "\xe0"+body4[1:]), "", ErrV2}, {v2(0x21, 0x11, body4[:4]+"\x00\x00\x00\x00"+body4[8:]), "", ErrV2}, {v2(0x20, 0x11, "\xe0"+body4[1:]), "invalid AddrPort invalid AddrPort []", nil},

		{v2(0x21, 0x11, body4), "1.2.3.4:80 5.6.7.8:443 []", nil},
		{v2(0x21, 0x21, body6), "[2001:db8::1]:80 [2001:db8::2]:443 []", nil},
		{v2(0x21, 0x11, body4+"\x02\x00\x03abc\xea\x00\x00"), "1.2.3.4:80 5.6.7.8:443 [{2 [97 98 99]} {234 []}]", nil},
		{v2(0x20, 0x11, body4), "invalid AddrPort invalid AddrPort []", nil},
		{v2(0x20, 0x00, ""), "invalid AddrPort invalid AddrPort []", nil}, {v2(0x20, 0x31, "whatever"), "invalid AddrPort invalid AddrPort []", nil},
		{v2(0x21, 0x00, "x"), "invalid AddrPort invalid AddrPort []", nil},
		{signature[:5], "", ErrMore}, {signature, "", ErrMore}, {v2(0x21, 0x11, body4)[:20], "", ErrMore},
		{signature + "\x11", "", ErrV2}, {v2(0x22, 0x11, body4), "", ErrV2}, {v2(0x11, 0x11, body4), "", ErrV2},
		{v2(0x21, 0x31, strings.Repeat("x", 216)), "", ErrV2},
		{v2(0x21, 0x11, body4[:11]), "", ErrV2}, {v2(0x21, 0x21, body6[:35]), "", ErrV2},
		{v2(0x21, 0x11, body4+"\x02\x00"), "", ErrV2}, {v2(0x21, 0x11, body4+"\x02\x00\x04abc"), "", ErrV2},
	} {
		h, n, err := Parse([]byte(test.in + map[bool]string{true: "rest"}[test.err == nil]))
		if !errors.Is(err, test.err) || err == nil && n != len(test.in) {
			t.Errorf("%q: length %d, %v, want %v", test.in, n, err, test.err)
			continue
		}
		if err == nil {
			if got := fmt.Sprint(h.Source, h.Destination, h.TLVs); got != test.want {
				t.Errorf("%q: %s, want %s", test.in, got, test.want)
			}
		}
	}
}

// FuzzParse holds that a header reads the same however it arrives, and that nothing beyond it is
// looked at.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\nGET", "PROXY UNKNOWN\r\n", v2(0x21, 0x11, body4+"\x02\x00\x03abc"), v2(0x21, 0x21, body6), v2(0x20, 0, ""), "GET / HTTP/1.1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Parse(b)
		if err != nil {
			return
		}
		if n <= 0 || n > len(b) || n > fixed2+65535 {
			t.Fatalf("length %d of %d", n, len(b))
		}
		for i := range n {
			if _, _, err := Parse(b[:i]); !errors.Is(err, ErrMore) {
				t.Fatalf("%d of %d bytes: %v", i, n, err)
			}
		}
		again, m, err := Parse(b[:n])
		if err != nil || m != n || fmt.Sprint(again) != fmt.Sprint(h) {
			t.Fatalf("%v %d %v, first %v %d", again, m, err, h, n)
		}
	})
}

func ends(t *testing.T, src, dst string) (a, b netip.AddrPort) {
	t.Helper()
	for s, to := range map[string]*netip.AddrPort{src: &a, dst: &b} {
		if s == "" {
			continue
		}
		var err error
		if *to, err = netip.ParseAddrPort(s); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

func TestAppend(t *testing.T) {
	for _, test := range []struct{ src, dst, v1, v2 string }{
		{"1.2.3.4:80", "5.6.7.8:443", "PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n", v2(0x21, 0x11, body4)},
		{"[2001:db8::1]:80", "[2001:db8::2]:443", "PROXY TCP6 2001:db8::1 2001:db8::2 80 443\r\n", v2(0x21, 0x21, body6)},
		{"[::ffff:1.2.3.4]:80", "5.6.7.8:443", "PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n", v2(0x21, 0x11, body4)},
		{"[fe80::1%eth0]:1", "[fe80::2%eth0]:2", "PROXY TCP6 fe80::1 fe80::2 1 2\r\n", ""},
		{"1.2.3.4:80", "[2001:db8::2]:443", "PROXY TCP6 ::ffff:1.2.3.4 2001:db8::2 80 443\r\n", ""},
		{"", "5.6.7.8:443", "PROXY UNKNOWN\r\n", v2(0x21, 0, "")},
	} {
		src, dst := ends(t, test.src, test.dst)
		if got := string(Append1(nil, src, dst)); got != test.v1 {
			t.Errorf("%s, %s: %q, want %q", test.src, test.dst, got, test.v1)
		}
		if got, whole := Append2(nil, src, dst, nil); test.v2 != "" && string(got) != test.v2 || !whole {
			t.Errorf("%s, %s: %q, want %q", test.src, test.dst, got, test.v2)
		}
	}
	if got := string(AppendLocal(nil)); got != v2(0x20, 0, "") {
		t.Errorf("local: %q", got)
	}
}

// TestAppendTooMuch: what does not fit is left out, and what comes after it is not.
func TestAppendTooMuch(t *testing.T) {
	src, dst := ends(t, "1.2.3.4:80", "5.6.7.8:443")
	big := TLV{7, make([]byte, 40000)}
	b, whole := Append2(nil, src, dst, []TLV{big, big, {8, []byte("x")}})
	if whole {
		t.Error("80,000 bytes fit 16 bits")
	}
	h, n, err := Parse(b)
	if err != nil || n != len(b) || len(h.TLVs) != 2 || h.TLVs[1].Type != 8 {
		t.Errorf("%d extensions, %d of %d bytes, %v", len(h.TLVs), n, len(b), err)
	}
	if b, whole := Append2(nil, src, dst, []TLV{{1, make([]byte, maxRest-12-3)}}); !whole || len(b) != fixed2+maxRest {
		t.Errorf("the longest header: %d bytes, %v", len(b), whole)
	}
}

// FuzzAppend: what we write reads as what it was made of.
func FuzzAppend(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4}, []byte{5, 6, 7, 8}, uint16(1), uint16(2), byte(3), []byte("value"))
	f.Add(make([]byte, 16), []byte(body6[:16]), uint16(0), uint16(65535), byte(255), []byte{})
	f.Fuzz(func(t *testing.T, a, b []byte, p, q uint16, kind byte, value []byte) {
		x, ok1 := netip.AddrFromSlice(a)
		y, ok2 := netip.AddrFromSlice(b)
		if !ok1 || !ok2 || !unicast(x) || !unicast(y) || len(value) > 60000 {
			return
		}
		src, dst, _ := oneFamily(netip.AddrPortFrom(x, p), netip.AddrPortFrom(y, q))
		raw, whole := Append2(nil, src, dst, []TLV{{kind, value}})
		h, n, err := Parse(raw)
		if err != nil || !whole || n != len(raw) || h.Source.Addr().Unmap() != src.Addr().Unmap() || h.Destination.Addr().Unmap() != dst.Addr().Unmap() ||
			h.Source.Port() != p || h.Destination.Port() != q || len(h.TLVs) != 1 || h.TLVs[0].Type != kind || string(h.TLVs[0].Value) != string(value) {
			t.Fatalf("%v %v read as %+v, %v", src, dst, h, err)
		}
		if !src.Addr().Is4In6() && !dst.Addr().Is4In6() { // version 1 has one way to write these
			if h, _, err := Parse(Append1(nil, src, dst)); err != nil || h.Source != src || h.Destination != dst {
				t.Fatalf("%v %v read as %+v, %v", src, dst, h, err)
			}
		}
	})
}
