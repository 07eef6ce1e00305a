package hcm_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestInterimFlood: a host that sends interim responses without end fills no memory while the client does not read, and
// costs an HTTP/2 client no more than that stream.
func TestInterimFlood(t *testing.T) {
	var wrote sync.WaitGroup
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		defer wrote.Done()
		many := bytes.Repeat([]byte("HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n"), 1<<13)
		for range 64 {
			if _, err := c.Write(many); err != nil {
				return
			}
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nthe end")
	})
	f := func(name, request string) {
		t.Helper()
		p := base(up).start(t)
		wrote.Add(1)
		c := p.dial().send(request)
		wrote.Wait()
		p.waitStat("http.t.downstream_rq_2xx", 1)
		p.do(func() {
			if n := p.loop.Buffers().InUse(); n > 2<<20 {
				t.Errorf("%s: %d bytes wait for the client", name, n)
			}
		})
		if strings.HasPrefix(request, "PRI") {
			p.waitStat("http2.outbound_flood", 0)
		}
		c.Close()
	}
	f("HTTP/1", "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
	f("HTTP/2", rawHTTP2+"\x00\x00\x0e\x01\x05\x00\x00\x00\x01\x82\x86\x84\x01\x09127.0.0.1")
}
