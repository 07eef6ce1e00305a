package proxyprotocol

import (
	"errors"
	"fmt"
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
