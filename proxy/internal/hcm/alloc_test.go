package hcm_test

import (
	"bufio"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestNoAllocationPerRequest drives plain keep-alive requests through real sockets, from a
// client and to an upstream that allocate nothing themselves, and holds that the proxy does
// not either: header routing, added headers, time-outs, statistics included.
func TestNoAllocationPerRequest(t *testing.T) {
	answer := []byte("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\ndate: Sat, 21 Nov 2026 00:00:00 GMT\r\n\r\nhello, world!")
	up := server(t, func(c net.Conn, _ *bufio.Reader) {
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
	s := base(up)
	v1 := route("other")
	v1.Match.Headers = []xdsresource.HeaderMatcher{{Name: "x-cohort", String: &xdsresource.StringMatch{Value: "internal"}}}
	s.routes = []*xdsresource.Route{v1, s.routes[0]}
	s.routes[1].RequestHeaders.Add = []xdsresource.HeaderOp{{Name: "x-first", Value: "one"}, {Name: "x-second", Value: "%REQ(:path)%"}}
	p := s.start(t)
	c := p.dial()
	req := []byte("GET /path?query HTTP/1.1\r\nHost: catalog.example\r\nUser-Agent: test\r\nAccept: */*\r\nX-Something: else\r\n\r\n")
	buf := make([]byte, 8192)
	round := func() {
		if _, err := c.Write(req); err != nil {
			t.Fatal(err)
		}
		n, err := io.ReadAtLeast(c.Conn, buf, 1)
		if err != nil || n < 100 {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Minute)) // a round is milliseconds on a machine that does much else
	const warm, rounds = 1000, 3000
	for range warm {
		round()
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range rounds {
		round()
	}
	runtime.ReadMemStats(&after)
	// The runtime itself allocates a little now and then; one allocation per request would
	// be 3,000.
	if n := after.Mallocs - before.Mallocs; n > rounds/20 {
		t.Errorf("%d allocations in %d requests", n, rounds)
	}
	p.waitStat("cluster.up.upstream_cx_total", 1)
}
