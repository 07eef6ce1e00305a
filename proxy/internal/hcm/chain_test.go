package hcm_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// later stops every piece of the response's body and goes on from a timer, injecting a mark first.
type later struct {
	mark  string
	timer eventloop.Timer
}

func (f *later) OnResponseData(s httpfilter.Stream, _ *httpfilter.Data, end bool) httpfilter.Status {
	f.timer.Init(func() {
		s.InjectResponse([]byte(f.mark), false)
		s.ContinueResponse()
	})
	s.Loop().Arm(&f.timer, 1e6)
	return httpfilter.Stop
}

func (f *later) OnComplete(s httpfilter.Stream) { s.Loop().Disarm(&f.timer) }

// wrapper writes around a response's body, whatever it is, and adds a trailer.
type wrapper struct{ open, close string }

func (f *wrapper) OnResponseHeaders(s httpfilter.Stream, h *header.Map, end bool) httpfilter.Status {
	h.Remove(header.ContentLength)
	s.InjectResponse([]byte(f.open), false)
	if end {
		f.finish(s)
	}
	return httpfilter.Continue
}

func (f *wrapper) finish(s httpfilter.Stream) {
	s.InjectResponse([]byte(f.close), false)
	s.AddResponseTrailers().AddName("x-"+strings.Trim(f.open, "<>"), []byte("yes"))
}

func (f *wrapper) OnResponseData(s httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	if !end {
		return httpfilter.Continue
	}
	if len(d.Bytes) > 0 {
		s.InjectResponse(append([]byte(nil), d.Bytes...), false)
		d.Bytes = nil
	}
	f.finish(s)
	return httpfilter.Continue
}

func (f *wrapper) OnResponseTrailers(s httpfilter.Stream, t *header.Map) httpfilter.Status {
	f.finish(s)
	return httpfilter.Continue
}

// TestChainStopsInSeveralPlaces: filters that stop and inject at the same time keep the order of
// what passes, in every arrangement.
func TestChainStopsInSeveralPlaces(t *testing.T) {
	up := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/empty" {
			_, _ = w.Write([]byte("body"))
		}
	})
	s := base(up)
	s.hcm.HTTP1.EnableTrailers = true
	s.filters = chain( // the last one sees the response first
		factoryFunc(func() httpfilter.Filter { return &later{mark: "2"} }),
		factoryFunc(func() httpfilter.Filter { return &wrapper{"<b>", "</b>"} }),
		factoryFunc(func() httpfilter.Filter { return &later{mark: "1"} }),
		factoryFunc(func() httpfilter.Filter { return &pauser{} }),
		factoryFunc(func() httpfilter.Filter { return &wrapper{"<a>", "</a>"} }),
	)
	p := s.start(t)
	c := p.dial()
	for range 3 {
		for path, content := range map[string]string{"/": "body", "/empty": ""} {
			resp, body := c.send("GET " + path + " HTTP/1.1\r\nhost: a\r\n\r\n").response("GET")
			plain := strings.NewReplacer("1", "", "2", "").Replace(body)
			if want := "<b><a>" + content + "</a></b>"; plain != want || !strings.Contains(body, "1") || !strings.Contains(body, "2") {
				t.Errorf("%s: %q, want %q with marks", path, body, want)
			}
			if resp.Trailer.Get("X-A") != "yes" || resp.Trailer.Get("X-B") != "yes" {
				t.Errorf("%s: trailers %v", path, resp.Trailer)
			}
		}
	}
	c.Close()
	p.stop()
}

// collector buffers a whole request and reports what it saw.
type collector struct{ calls int }

func (f *collector) OnRequestHeaders(_ httpfilter.Stream, _ *header.Map, end bool) httpfilter.Status {
	if end {
		return httpfilter.Continue
	}
	return httpfilter.Buffer
}

func (f *collector) OnRequestData(s httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	f.calls++
	if !end {
		return httpfilter.Buffer
	}
	s.RequestHeaders().SetName("x-body", bytes.Clone(d.Bytes))
	s.AddRequestTrailers().AddName("x-seen", []byte("all"))
	return httpfilter.Continue
}

// TestBufferWithTrailers: a body that ends in trailers is whole for a buffering filter, too.
func TestBufferWithTrailers(t *testing.T) {
	s := base(httpServer(t, echo))
	s.hcm.HTTP1.EnableTrailers = true
	s.filters = chain(factoryFunc(func() httpfilter.Filter { return &collector{} }))
	p := s.start(t)
	c := p.dial()
	for _, trailer := range []string{"", "x-own: 1\r\n"} {
		_, body := c.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n" + trailer + "\r\n").response("POST")
		if !strings.Contains(body, "x-body: abcde") || !strings.HasSuffix(body, "abcde") {
			t.Errorf("trailer %q: %q", trailer, body)
		}
	}
}

// tagger adds its name to the request, and what the route says.
type tagger struct{}

func (tagger) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	h.AddName("x-ran", []byte("yes"))
	if c, ok := s.FilterConfig().(string); ok {
		h.AddName("x-route", []byte(c))
	}
	s.EachFilterConfig(func(c any) { h.AddName("x-level", []byte(c.(string))) })
	return httpfilter.Continue
}

func TestFiltersOffAndOn(t *testing.T) {
	up := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["x-got"] = []string{strings.Join(r.Header["X-Ran"], "") + "/" + strings.Join(r.Header["X-Route"], "") + "/" + strings.Join(r.Header["X-Level"], "")}
	})
	for _, test := range []struct {
		disabled     bool
		vhost, route any
		want         string
	}{
		{false, nil, nil, "yes//"},
		{true, nil, nil, "//"},
		{false, xdsresource.FilterOff, nil, "//"},
		{false, "v", xdsresource.FilterOff, "//"},
		{false, xdsresource.FilterOff, "r", "yes/r/r"},
		{true, "v", nil, "yes/v/v"},
		{true, nil, xdsresource.FilterOn, "yes//"},
		{true, "v", xdsresource.FilterOn, "yes/v/v"},
		{false, "v", "r", "yes/r/vr"},
	} {
		s := base(up)
		s.filters = named("tag", factoryFunc(func() httpfilter.Filter { return tagger{} }))
		s.filters[0].Disabled = test.disabled
		if test.vhost != nil {
			s.vhost.FilterConfigs = map[string]any{"tag": test.vhost}
		}
		if test.route != nil {
			s.routes[0].FilterConfigs = map[string]any{"tag": test.route}
		}
		p := s.start(t)
		c := p.dial()
		resp, _ := c.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").response("GET")
		c.Close()
		if got := resp.Header.Get("X-Got"); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
		p.stop()
	}
}

// TestGRPCReply: a local reply to a gRPC client is one that it understands.
func TestGRPCReply(t *testing.T) {
	s := base(deadAddr(t))
	p := s.start(t)
	resp, body := p.dial().send("POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc+proto\r\ncontent-length: 0\r\n\r\n").response("POST")
	if resp.StatusCode != 200 || body != "" || resp.Header.Get("Grpc-Status") != "14" || resp.Header.Get("Content-Type") != "application/grpc" ||
		!strings.HasPrefix(resp.Header.Get("Grpc-Message"), "upstream connect error") {
		t.Errorf("%d %v %q", resp.StatusCode, resp.Header, body)
	}
}

// once fails when it is shown a second response, and changes the body of the first.
type once struct{ seen int }

func (f *once) OnResponseHeaders(_ httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	f.seen++
	h.Remove(header.ContentLength)
	h.SetName("x-seen", []byte{'0' + byte(f.seen)})
	return httpfilter.Continue
}

func (f *once) OnResponseData(_ httpfilter.Stream, d *httpfilter.Data, _ bool) httpfilter.Status {
	d.Bytes = bytes.ToUpper(d.Bytes)
	return httpfilter.Continue
}

// objector answers in place of the response.
type objector struct{}

func (objector) OnResponseHeaders(s httpfilter.Stream, _ *header.Map, _ bool) httpfilter.Status {
	s.Reply(httpfilter.Reply{Code: 502, Body: "no", Details: "objected"})
	return httpfilter.Stop
}

// TestReplyToResponse: a reply in place of a response goes past the filters, which have seen one
// and would take it for a part of that.
func TestReplyToResponse(t *testing.T) {
	s := base(httpServer(t, echo))
	s.filters = chain( // the last one sees the response first
		factoryFunc(func() httpfilter.Filter { return objector{} }),
		factoryFunc(func() httpfilter.Filter { return &once{} }),
	)
	p := s.start(t)
	c := p.dial()
	for range 2 {
		resp, body := c.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").response("GET")
		if resp.StatusCode != 502 || body != "no" || resp.Header.Get("X-Seen") != "" || resp.ContentLength != 2 {
			t.Errorf("%d %q %v", resp.StatusCode, body, resp.Header)
		}
	}
}
