package hcm_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
)

type factoryFunc func() httpfilter.Filter

func (f factoryFunc) NewFilter(*eventloop.Loop) httpfilter.Filter { return f() }

// named is a chain of one filter under its name.
func named(name string, f httpfilter.Factory) []httpfilter.Named {
	return []httpfilter.Named{{Name: name, Factory: f}}
}

// chain is a chain of filters called f0, f1 and so on.
func chain(fs ...httpfilter.Factory) (out []httpfilter.Named) {
	for i, f := range fs {
		out = append(out, httpfilter.Named{Name: "f" + strconv.Itoa(i), Factory: f})
	}
	return out
}

// pauser stops in each direction at the headers and goes on from a timer.
type pauser struct{ timer eventloop.Timer }

func (f *pauser) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	h.SetName("x-paused", []byte("request"))
	f.timer.Init(s.ContinueRequest)
	s.Loop().Arm(&f.timer, 1e6)
	return httpfilter.Stop
}

func (f *pauser) OnResponseHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	h.SetName("x-paused", []byte("response"))
	f.timer.Init(s.ContinueResponse)
	s.Loop().Arm(&f.timer, 1e6)
	return httpfilter.Stop
}

func (f *pauser) OnComplete(s httpfilter.Stream) { s.Loop().Disarm(&f.timer) }

// shouter buffers a whole body and replaces it by upper case.
type shouter struct{ out []byte }

func (f *shouter) OnRequestHeaders(_ httpfilter.Stream, h *header.Map, end bool) httpfilter.Status {
	if end {
		return httpfilter.Continue
	}
	return httpfilter.Buffer
}

func (f *shouter) OnRequestData(_ httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	if !end {
		return httpfilter.Buffer
	}
	f.out = append(f.out[:0], bytes.ToUpper(d.Bytes)...)
	d.Bytes = f.out
	return httpfilter.Continue
}

func (f *shouter) OnResponseData(_ httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	f.out = append(f.out[:0], bytes.ReplaceAll(d.Bytes, []byte("HELLO"), []byte("HALLO"))...)
	d.Bytes = f.out
	return httpfilter.Continue
}

func (f *shouter) OnComplete(httpfilter.Stream) { f.out = f.out[:0] }

// guard answers itself.
type guard struct{ seen *int }

func (f guard) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	if string(h.Value(header.Path)) == "/forbidden" {
		s.Reply(httpfilter.Reply{Code: 403, Body: "RBAC: access denied", Details: "rbac"})
		return httpfilter.Stop
	}
	return httpfilter.Continue
}

func (f guard) OnResponseHeaders(httpfilter.Stream, *header.Map, bool) httpfilter.Status {
	*f.seen++
	return httpfilter.Continue
}

func TestFilters(t *testing.T) {
	up := httpServer(t, echo)
	post := "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
	s := base(up)
	seen := 0
	s.filters = chain(
		factoryFunc(func() httpfilter.Filter { return &pauser{} }),
		factoryFunc(func() httpfilter.Filter { return guard{&seen} }),
		factoryFunc(func() httpfilter.Filter { return &shouter{} }),
		factoryFunc(func() httpfilter.Filter { return &pauser{} }),
	)
	p := s.start(t)
	c := p.dial()
	for range 3 {
		resp, body := c.send(post).response("POST")
		if resp.StatusCode != 200 || !strings.HasSuffix(body, "\n\nHALLO") || !strings.Contains(body, "x-paused: request") || resp.Header.Get("X-Paused") != "response" {
			t.Fatalf("%d %q %v", resp.StatusCode, body, resp.Header)
		}
		resp, body = c.send("GET /forbidden HTTP/1.1\r\nhost: a\r\n\r\n").response("GET")
		if resp.StatusCode != 403 || body != "RBAC: access denied" || resp.Header.Get("X-Paused") != "response" {
			t.Fatalf("%d %q %v", resp.StatusCode, body, resp.Header)
		}
	}
	c.Close()
	p.stop()
	if seen != 6 {
		t.Errorf("local replies passed the response filters %d times, want 6", seen)
	}
}

// TestFilterBufferLimit: a filter that buffers more than the limit ends the request.
func TestFilterBufferLimit(t *testing.T) {
	s := base(httpServer(t, echo))
	s.limit = 1 << 10
	s.filters = chain(factoryFunc(func() httpfilter.Filter { return &shouter{} }))
	p := s.start(t)
	c := p.dial().send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\n" + strings.Repeat("a", 5000))
	resp, body := c.response("POST")
	if resp.StatusCode != 413 || body != "Payload Too Large" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	p.waitStat("http.t.downstream_rq_too_large", 1)
}

// sometimes pauses a stream now and then, in either direction, and answers itself at times.
type sometimes struct{ pauser }

func (f *sometimes) OnRequestHeaders(s httpfilter.Stream, h *header.Map, end bool) httpfilter.Status {
	switch s.Loop().Rand() % 8 {
	case 0:
		return f.pauser.OnRequestHeaders(s, h, end)
	case 1:
		s.Reply(httpfilter.Reply{Code: 403, Body: "no", Details: "sometimes"})
		return httpfilter.Stop
	}
	return httpfilter.Continue
}

func (f *sometimes) OnResponseHeaders(s httpfilter.Stream, h *header.Map, end bool) httpfilter.Status {
	if s.Loop().Rand()%8 == 0 {
		return f.pauser.OnResponseHeaders(s, h, end)
	}
	return httpfilter.Continue
}
