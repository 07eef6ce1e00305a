package hcm_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestDowngrade sends each request of testdata/downgrade.txt in HTTP/2 and holds what a host of HTTP/1.1 reads, byte by
// byte, up to the end of what was written: there is nothing else in it, whatever the request looks like.
func TestDowngrade(t *testing.T) {
	raw, err := os.ReadFile("testdata/downgrade.txt")
	if err != nil {
		t.Fatal(err)
	}
	wire := make(chan string, 1)
	p := base(server(t, func(c net.Conn, r *bufio.Reader) { wire <- readMessage(c, r) })).start(t)
	for _, text := range strings.Split(string(raw), "\n\n") {
		lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
		if strings.HasPrefix(lines[0], "# ") {
			continue
		}
		name := strings.TrimPrefix(lines[0], "== ")
		t.Run(name, func(t *testing.T) {
			var want []string
			c := p.dial()
			f := http2.NewFramer(c.Conn, c.r)
			_, _ = io.WriteString(c, http2.ClientPreface)
			_ = f.WriteSettings()
			var parts [][]string // header blocks, and bodies as one line with "< " in front
			for _, l := range lines[1:] {
				if l, ok := strings.CutPrefix(l, "> "); ok {
					want = append(want, l)
					continue
				}
				if n := len(parts); n == 0 || strings.HasPrefix(l, "< ") != strings.HasPrefix(parts[n-1][0], "< ") {
					parts = append(parts, nil)
				}
				parts[len(parts)-1] = append(parts[len(parts)-1], l)
			}
			var block bytes.Buffer
			enc := hpack.NewEncoder(&block)
			for i, part := range parts {
				last := i == len(parts)-1
				if body, ok := strings.CutPrefix(part[0], "< "); ok {
					_ = f.WriteData(1, last, []byte(unquote(t, body)))
					continue
				}
				block.Reset()
				for _, l := range part {
					name, value, _ := strings.Cut(l[1:], ": ") // a pseudo-header's colon is no separator
					_ = enc.WriteField(hpack.HeaderField{Name: l[:1] + name, Value: unquote(t, value)})
				}
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: last, EndHeaders: true})
			}
			select {
			case got := <-wire:
				if w := strings.Join(want, "\n") + "\n"; got != w {
					t.Errorf("the host read\n%swant\n%s", got, w)
				}
			case <-time.After(time.Minute):
				t.Error("nothing reached the host")
			}
			c.Close()
			p.waitStat("cluster.up.upstream_cx_active", 0)
		})
	}
}

// readMessage reads one request as a plain reader of RFC 9112 does, answers it, and reads on until the proxy ends the
// connection. It returns the lines, quoted where they are no plain text, without what the proxy adds to each request.
func readMessage(c net.Conn, r *bufio.Reader) string {
	var out strings.Builder
	line := func() string {
		l, _ := r.ReadString('\n')
		l, ok := strings.CutSuffix(l, "\r\n")
		if !ok {
			l += " (no CRLF)"
		}
		return l
	}
	length, chunked := 0, false
	for l := line(); l != ""; l = line() {
		name, value, _ := strings.Cut(l, ": ")
		switch name {
		case "x-request-id", "x-forwarded-proto", "x-forwarded-for", "x-envoy-internal", "x-envoy-expected-rq-timeout-ms":
			continue
		case "content-length":
			_, _ = fmt.Sscan(value, &length)
		case "transfer-encoding":
			chunked = true
		}
		fmt.Fprintln(&out, plain(l))
	}
	for chunked {
		var n int
		size := line()
		if _, err := fmt.Sscanf(size, "%x", &n); err != nil {
			fmt.Fprintln(&out, "no size:", plain(size))
			break
		}
		b := make([]byte, n)
		_, _ = io.ReadFull(r, b)
		fmt.Fprintln(&out, strings.TrimRight(fmt.Sprintf("%x %s", n, plain(string(b))), " "))
		for l := line(); n == 0 && l != ""; l = line() {
			fmt.Fprintln(&out, plain(l))
		}
		chunked = n != 0
	}
	if length > 0 {
		b := make([]byte, length)
		_, _ = io.ReadFull(r, b)
		fmt.Fprintln(&out, plain(string(b)))
	}
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
	if rest, _ := io.ReadAll(r); len(rest) > 0 {
		fmt.Fprintln(&out, "and then", plain(string(rest)))
	}
	return out.String()
}

// plain quotes what is not printable ASCII.
func plain(s string) string {
	if q := fmt.Sprintf("%+q", s); q != `"`+s+`"` && strings.ContainsAny(q, `\`) {
		return q
	}
	return s
}

func unquote(t *testing.T, s string) string {
	t.Helper()
	if !strings.HasPrefix(s, `"`) {
		return s
	}
	var out string
	if _, err := fmt.Sscanf(s, "%q", &out); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return out
}
