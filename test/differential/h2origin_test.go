package differential

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// speaksH2 tells by an origin's name what it is scripted in.
func speaksH2(name string) bool {
	return strings.HasPrefix(name, "h2") || strings.HasPrefix(name, "tls-h2")
}

// h2serving is one connection of an origin that speaks HTTP/2.
type h2serving struct {
	o    *origin
	c    net.Conn
	w    *h2wire
	wg   sync.WaitGroup
	last uint32

	streams map[uint32]*h2serve
}

// h2serve is a request: where it is recorded, and its answer.
type h2serve struct {
	exchange
	at     int
	answer answer
	echo   chan []byte // what came of the body, of an answer that sends it back
}

func (o *origin) serveH2(c net.Conn) {
	in := bufio.NewReader(c)
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(in, preface); err != nil || string(preface) != http2.ClientPreface {
		return
	}
	s := &h2serving{o: o, c: c, w: newH2Wire(readingFrom{c, in}), streams: map[uint32]*h2serve{}}
	defer s.wg.Wait()
	set := h2frame{kind: "settings"}
	if o.name == "h2-websocket" {
		set.set = []http2.Setting{{ID: http2.SettingEnableConnectProtocol, Val: 1}}
	}
	if o.name == "h2-one" {
		set.set = []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: 1}}
	}
	if s.w.send(0, set) != nil {
		return
	}
	for {
		ev, err := s.w.read()
		if err != nil {
			for _, r := range s.streams {
				r.finishEcho()
			}
			return
		}
		s.take(&ev)
	}
}

// readingFrom is a connection of which something has been read into a buffer.
type readingFrom struct {
	net.Conn
	in *bufio.Reader
}

func (r readingFrom) Read(p []byte) (int, error) { return r.in.Read(p) }

func (s *h2serving) take(ev *h2event) {
	if ev.kind == "goaway" || ev.kind == "pong" {
		return
	}
	r := s.streams[ev.stream]
	first := r == nil
	if first {
		r = &h2serve{}
		s.streams[ev.stream] = r
		s.last = ev.stream
	}
	r.take(ev)
	if first {
		r.at, r.answer = s.o.next(r.message())
	}
	s.o.record(r.at, r.message())
	if r.echo != nil && len(ev.data) > 0 {
		r.echo <- ev.data
	}
	if r.over {
		r.finishEcho()
	}
	if starts := first && r.answer.early || ev.end && !r.answer.early; starts {
		if r.answer.echo && !r.over {
			r.echo = make(chan []byte, 64)
		}
		stream, a, echo, last := ev.stream, r.answer, r.echo, s.last
		s.wg.Go(func() { s.play(stream, &a, echo, last) })
	}
}

func (r *h2serve) finishEcho() {
	if r.echo != nil {
		close(r.echo)
		r.echo = nil
	}
}

func (s *h2serving) play(stream uint32, a *answer, echo <-chan []byte, last uint32) {
	time.Sleep(a.delay)
	if a.hang {
		return
	}
	frames := a.frames
	if frames == nil && !a.close && !a.reset && !a.echo {
		frames = []h2frame{
			{kind: "headers", fields: []hpack.HeaderField{{Name: ":status", Value: "200"}, {Name: "x-origin", Value: s.o.name}}},
			{kind: "data", data: []byte("by " + s.o.name), end: true},
		}
	}
	if !s.sendAll(stream, frames, last) {
		return
	}
	for _, p := range a.rest {
		time.Sleep(p.pause)
		if !s.sendAll(stream, p.frames, last) {
			return
		}
	}
	if echo != nil {
		for b := range echo {
			if s.w.send(stream, h2frame{kind: "data", data: b}) != nil {
				return
			}
		}
		_ = s.w.send(stream, h2frame{kind: "data", end: true}) // the reader finds a broken connection
	}
	if a.reset {
		if t, ok := s.c.(*net.TCPConn); ok {
			t.SetLinger(0)
		}
	}
	if a.close || a.reset {
		s.c.Close()
	}
}

func (s *h2serving) sendAll(stream uint32, frames []h2frame, last uint32) bool {
	for i := range frames {
		if frames[i].kind == "goaway" && frames[i].number == 0 {
			frames[i].number = last
		}
	}
	return s.w.send(stream, frames...) == nil
}

// negotiatesH2 is false for a TLS connection whose client did not choose HTTP/2.
func negotiatesH2(c net.Conn) bool {
	t, ok := c.(*tls.Conn)
	return !ok || t.Handshake() == nil && t.ConnectionState().NegotiatedProtocol == "h2"
}
