package hcm_test

import (
	"bufio"
	"net"
	"testing"
)

// BenchmarkHTTP1 is a keep-alive request through sockets, to an upstream that does nothing else. Most of the time goes
// to the system; compare runs of one machine.
func BenchmarkHTTP1(b *testing.B) {
	answer := []byte("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\ndate: Sat, 21 Nov 2026 00:00:00 GMT\r\n\r\nhello, world!")
	up := server(b, func(c net.Conn, _ *bufio.Reader) {
		buf := make([]byte, 8192)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
	p := base(up).start(b)
	c := p.dial()
	req := []byte("GET /path?query HTTP/1.1\r\nHost: catalog.example\r\nUser-Agent: test\r\nAccept: */*\r\nX-Something: else\r\n\r\n")
	buf := make([]byte, 8192)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(req); err != nil {
			b.Fatal(err)
		}
		if n, err := c.Read(buf); err != nil || n < 100 {
			b.Fatalf("%q, %v", buf[:n], err)
		}
	}
}
