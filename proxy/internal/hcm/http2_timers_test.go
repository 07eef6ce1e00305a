package hcm_test

import (
	"io"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
)

// rawHTTP2 is what a client of HTTP/2 begins with.
const rawHTTP2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// TestHTTP2Deadlines: a time-out that begins later than another, and ends before it, is kept.
func TestHTTP2Deadlines(t *testing.T) {
	up := echoServer(t)
	const soon = 50 * time.Millisecond
	f := func(name string, change func(*setup), play func(*proxy, *client)) {
		t.Helper()
		s := base(up)
		change(s)
		p := s.start(t)
		c := p.dial().send(rawHTTP2)
		p.waitStat("http.t.downstream_cx_http2_active", 1)
		play(p, c)
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c.r); err != nil {
			t.Errorf("%s: the connection does not end: %v", name, err)
		}
		c.Close()
	}
	f("drain", func(s *setup) { s.hcm.DrainTimeout = soon }, func(p *proxy, _ *client) {
		p.do(func() { p.conns[0].Handler().(listener.Drainer).Drain() })
	})
	f("header block", func(s *setup) { s.hcm.RequestHeadersTimeout = soon }, func(_ *proxy, c *client) {
		c.send("\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82") // HEADERS without END_HEADERS: CONTINUATION does not come
	})
	f("idle", func(s *setup) {
		s.hcm.IdleTimeout, s.hcm.StreamIdleTimeout, s.hcm.MaxConnectionDuration = 4*soon, 0, time.Hour
	}, func(p *proxy, c *client) {
		// The timer fires while the request is under way, and is set for the end of the hour; the request ends later.
		c.send("\x00\x00\x0e\x01\x04\x00\x00\x00\x01\x83\x86\x84\x01\x09127.0.0.1")
		p.waitStat("http.t.downstream_rq_active", 1)
		passed, timer := make(chan struct{}), &eventloop.Timer{}
		p.do(func() {
			timer.Init(func() { close(passed) })
			p.loop.Arm(timer, 5*soon)
		})
		<-passed // and so has the connection's, on the same loop
		c.send("\x00\x00\x00\x00\x01\x00\x00\x00\x01")
		p.waitStat("http.t.downstream_rq_2xx", 1)
	})
}
