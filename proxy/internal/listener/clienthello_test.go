package listener

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// recordHello is a net.Conn that keeps what a TLS client sends first.
type recordHello struct {
	net.Conn
	got []byte
}

func (r *recordHello) Write(p []byte) (int, error)      { r.got = append(r.got, p...); return len(p), nil }
func (r *recordHello) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (r *recordHello) Close() error                     { return nil }
func (r *recordHello) SetDeadline(time.Time) error      { return nil }
func (r *recordHello) SetWriteDeadline(time.Time) error { return nil }

func clientHello(cfg *tls.Config) []byte {
	var r recordHello
	cfg.InsecureSkipVerify = true
	_ = tls.Client(&r, cfg).Handshake()
	// Only the ClientHello; an alert follows it.
	n := 5 + int(r.got[3])<<8 + int(r.got[4])
	return r.got[:n]
}

func TestParseHello(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  *tls.Config
		sni  string
		alpn []string
	}{
		{"sni and alpn", &tls.Config{ServerName: "Catalog.Example.com", NextProtos: []string{"istio", "h2", "http/1.1"}}, "catalog.example.com", []string{"istio", "h2", "http/1.1"}},
		{"neither", &tls.Config{}, "", nil},
		{"tls 1.2", &tls.Config{ServerName: "a.b", MaxVersion: tls.VersionTLS12}, "a.b", nil},
		{"large", &tls.Config{ServerName: "a.b", NextProtos: slices.Repeat([]string{strings.Repeat("p", 200)}, 40)}, "a.b", slices.Repeat([]string{strings.Repeat("p", 200)}, 40)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := clientHello(tc.cfg)
			for i := range b {
				if _, v := parseHello(b[:i], maxHello); v != needMore {
					t.Fatalf("verdict %d after %d of %d bytes", v, i, len(b))
				}
			}
			check := func(b []byte) {
				t.Helper()
				h, v := parseHello(b, maxHello)
				if v != isTLS || h.sni != tc.sni || !slices.Equal(h.alpn, tc.alpn) {
					t.Fatalf("verdict %d, %q %q", v, h.sni, h.alpn)
				}
			}
			check(b)
			check(append(slices.Clone(b), "more"...))
			check(fragment(b, 100))
			check(fragment(b, 1))
		})
	}
}

// fragment spreads a ClientHello over records of n bytes (RFC 8446, 5.1 allows it).
func fragment(b []byte, n int) []byte {
	var out []byte
	for msg := b[5:]; len(msg) > 0; {
		k := min(n, len(msg))
		out = append(out, 22, 3, 1, byte(k>>8), byte(k))
		out = append(out, msg[:k]...)
		msg = msg[k:]
	}
	return out
}

func TestParseHelloRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   string
		want verdict
	}{
		{"http", "GET / HTTP/1.1\r\n", notTLS},
		{"sslv2", "\x80\x2e\x01\x00\x02", notTLS},
		{"other version", "\x16\x04\x01\x00\x05hello", notTLS},
		{"empty record", "\x16\x03\x01\x00\x00", badTLS},
		{"record too long", "\x16\x03\x01\x40\x01", badTLS},
		{"not a ClientHello", "\x16\x03\x01\x00\x04\x02\x00\x00\x00", badTLS},
		{"hello too long", "\x16\x03\x01\x00\x04\x01\x01\x00\x00", badTLS},
		{"truncated body", "\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03", badTLS},
		{"nothing", "", needMore},
		{"one byte", "\x16", needMore},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, v := parseHello([]byte(tc.in), maxHello); v != tc.want {
				t.Errorf("verdict %d, want %d", v, tc.want)
			}
		})
	}
}

func FuzzParseHello(f *testing.F) {
	f.Add(clientHello(&tls.Config{ServerName: "a.b", NextProtos: []string{"h2"}}))
	f.Add(fragment(clientHello(&tls.Config{ServerName: "a.b"}), 50))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := slices.Clone(b)
		h, v := parseHello(b, maxHello)
		if !slices.Equal(before, b) {
			t.Fatal("the input was changed")
		}
		if v != isTLS && (h.sni != "" || h.alpn != nil) {
			t.Fatal("found something in what is no ClientHello")
		}
		if v == needMore && len(b) > 2*maxHello+5*maxHello {
			t.Fatal("wants more for ever")
		}
		// A decision does not depend on what follows.
		if v != needMore {
			if _, again := parseHello(append(slices.Clone(b), 0), maxHello); again != v {
				t.Fatalf("verdict %d becomes %d with another byte", v, again)
			}
		}
	})
}

func TestSniffHTTP(t *testing.T) {
	for _, tc := range []struct {
		in, proto string
		more      bool
	}{
		{"", "", true}, {"GE", "", true}, {"GET /", "http/1.1", false}, {"PRI * HTTP/2.0\r\n", "h2c", false},
		{"PRI *", "", true}, {"P", "", true}, {"PUT ", "http/1.1", false}, {"hello", "", false}, {"\x00", "", false},
	} {
		if p, m := sniffHTTP([]byte(tc.in)); p != tc.proto || m != tc.more {
			t.Errorf("%q: %q %v", tc.in, p, m)
		}
	}
}

// TestHelloLimit: a hello may be as long as the limit, and no longer.
func TestHelloLimit(t *testing.T) {
	hello := append([]byte{22, 3, 1, 1, 4, 1, 0, 1, 0, 3, 3}, make([]byte, 0x100-2)...) // 4+256 bytes
	if _, v := parseHello(hello[:20], 4+256); v != needMore {
		t.Errorf("the begin of one that may be so long: verdict %d", v)
	}
	if _, v := parseHello(hello[:20], 3+256); v != badTLS {
		t.Errorf("the begin of one that may not: verdict %d", v)
	}
}
