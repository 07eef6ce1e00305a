package hcm_test

import (
	"bufio"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// peer is an end of an HTTP/2 connection that allocates nothing for a message. It serves one stream at a time.
type peer struct {
	http2.Handler // what is not overridden is not called
	c             net.Conn
	codec         http2.Conn
	head, trailer header.Map
	buf           []byte
	out           iobuf.Buffer
	answer        *header.Map // servers: with body
	body          []byte
	done          bool // clients: the answer is whole
}

func newPeer(c net.Conn, cfg *http2.Config) *peer {
	p := &peer{c: c, buf: make([]byte, 8192)}
	p.codec.Init(cfg, p, &http2.Pool{}, &iobuf.Pool{}, 1)
	return p
}

func (p *peer) OnStream(s *http2.Stream) {
	p.head.Reset()
	p.trailer.Reset()
	s.Head, s.Trailers = &p.head, &p.trailer
}

func (p *peer) OnHeaders(s *http2.Stream, end bool) {
	if p.answer != nil && end {
		p.codec.SendHeaders(s, p.answer, false)
		p.codec.SendData(s, p.body, true)
	}
	p.done = end
}
func (p *peer) OnData(_ *http2.Stream, _ []byte, end bool) { p.done = end }
func (p *peer) OnSettings()                                {}
func (p *peer) OnGoAway(http2.Code)                        {}
func (p *peer) Count(http2.Stat, int64)                    {}

// turn writes what there is and reads once.
func (p *peer) turn() error {
	p.codec.Pull(&p.out, 1<<20)
	if p.out.Len() > 0 {
		if _, err := p.c.Write(p.out.Bytes()); err != nil {
			return err
		}
		p.out.Reset()
	}
	n, err := p.c.Read(p.buf)
	if err != nil {
		return err
	}
	if err := p.codec.Feed(p.buf[:n], 1); err != nil {
		return err
	}
	return nil
}

// request sends a request and waits for all of the answer.
func (p *peer) request(t testing.TB, h *header.Map) {
	p.head.Reset()
	p.trailer.Reset()
	p.done = false
	p.codec.Open(h, true, &p.head, &p.trailer, nil, nil, 1)
	for !p.done {
		if err := p.turn(); err != nil {
			t.Fatal(err)
		}
	}
}

func headers(pairs ...string) *header.Map {
	h := &header.Map{}
	for i := 0; i < len(pairs); i += 2 {
		h.AddKeyString(header.KeyOf(pairs[i]), pairs[i+1])
	}
	return h
}

// http2Pair is a proxy between a peer and an upstream of either version.
func http2Pair(t testing.TB, upstream2 bool) *peer {
	answer := []byte("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\ndate: Sat, 21 Nov 2026 00:00:00 GMT\r\n\r\nhello, world!")
	up := server(t, func(c net.Conn, _ *bufio.Reader) {
		if upstream2 {
			p := newPeer(c, &http2.Config{Server: true})
			p.answer, p.body = headers(":status", "200", "content-type", "text/plain", "content-length", "13", "date", "Sat, 21 Nov 2026 00:00:00 GMT"), []byte("hello, world!")
			for p.turn() == nil {
			}
			return
		}
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
	if upstream2 {
		s.clusters[0].HTTP.Protocol = xdsresource.UpstreamHTTP2
	}
	return newPeer(s.start(t).dial().Conn, &http2.Config{})
}

var plainGet = headers(":method", "GET", ":scheme", "http", ":path", "/path?query", ":authority", "catalog.example", "user-agent", "test", "accept", "*/*", "x-something", "else")

// TestNoAllocationPerRequestHTTP2 is TestNoAllocationPerRequest for HTTP/2 clients, before upstreams of either version.
func TestNoAllocationPerRequestHTTP2(t *testing.T) {
	for name, upstream2 := range map[string]bool{"HTTP1": false, "HTTP2": true} {
		t.Run(name, func(t *testing.T) {
			c := http2Pair(t, upstream2)
			_ = c.c.SetDeadline(time.Now().Add(5 * time.Minute)) // a round is milliseconds on a machine that does much else
			const warm, rounds = 1000, 3000
			for range warm {
				c.request(t, plainGet)
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for range rounds {
				c.request(t, plainGet)
			}
			runtime.ReadMemStats(&after)
			if n := after.Mallocs - before.Mallocs; n > rounds/20 {
				t.Errorf("%d allocations in %d requests", n, rounds)
			}
		})
	}
}

// BenchmarkHTTP2 is BenchmarkHTTP1 for HTTP/2 clients.
func BenchmarkHTTP2(b *testing.B) {
	for name, upstream2 := range map[string]bool{"to-HTTP1": false, "to-HTTP2": true} {
		b.Run(name, func(b *testing.B) {
			c := http2Pair(b, upstream2)
			b.ReportAllocs()
			for b.Loop() {
				c.request(b, plainGet)
			}
		})
	}
}
