package listener

import (
	"crypto/tls"
	"strings"
	"testing"
)

// TestFingerprintVectors has the examples of the two formats' own descriptions, as lists.
func TestFingerprintVectors(t *testing.T) {
	// The README of JA3: "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0".
	old := offer{
		version: 769, ciphers: []uint16{47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4}, extensions: []uint16{0, 10, 11},
		groups: []uint16{23, 24, 25}, formats: []byte{0}, named: true,
	}
	if got, want := old.ja3(), "ada70206e40642a3e4461f35503241d5"; got != want {
		t.Errorf("JA3 %s, want %s", got, want)
	}
	if got, want := (&offer{version: 769, ciphers: []uint16{4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99}}).ja3(), "de350869b8c85de67a350c8d186f11e6"; got != want {
		t.Errorf("JA3 %s, want %s", got, want)
	}
	// The technical details of JA4: a browser's.
	chrome := offer{
		version:    0x0303,
		ciphers:    []uint16{0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035},
		extensions: []uint16{0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015},
		versions:   []uint16{0x0304, 0x0303}, alpn: []byte("h2"), named: true,
		signatures: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601},
	}
	if got, want := chrome.ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1"; got != want {
		t.Errorf("JA4 %s, want %s", got, want)
	}
	if got, want := (&offer{version: 0x0303}).ja4(), "t12i000000_000000000000_000000000000"; got != want {
		t.Errorf("JA4 of nothing %s, want %s", got, want)
	}
	for p, want := range map[string]string{"": "00", "h2": "h2", "http/1.1": "h1", "x": "xx", "\xab": "ab", "\xab\xcd": "ad", "0\xab": "3b"} {
		if got := ja4Protocol([]byte(p)); got != want {
			t.Errorf("protocol %q: %s, want %s", p, got, want)
		}
	}
}

// TestOffer: what Go's client sends, whole and cut off.
func TestOffer(t *testing.T) {
	b := clientHello(&tls.Config{ServerName: "a.example", NextProtos: []string{"h2"}})
	o, ok := offerOf(b)
	if !ok || !o.named || string(o.alpn) != "h2" || o.version != tls.VersionTLS12 || len(o.versions) == 0 || len(o.ciphers) == 0 || len(o.groups) == 0 {
		t.Errorf("%+v %v", o, ok)
	}
	if !strings.HasPrefix(o.ja4(), "t13d") || len(o.ja3()) != 32 {
		t.Errorf("%s %s", o.ja4(), o.ja3())
	}
	for i := range b {
		if _, ok := offerOf(b[:i]); ok {
			t.Fatalf("taken after %d of %d bytes", i, len(b))
		}
	}
}
