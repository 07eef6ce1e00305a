package hcm_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// http2Client is net/http's client of HTTP/2 without TLS, by prior knowledge.
func http2Client(t testing.TB) *http.Client {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &p, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func (p *proxy) url(path string) string { return "http://" + p.addr + path }

// fetch sends a request and reads all of the answer.
func fetch(t testing.TB, c *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("body after %d bytes: %v", len(b), err)
	}
	return resp, string(b)
}

func newRequest(method, url string, body io.Reader) *http.Request {
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		panic(err)
	}
	return r
}

// echo answers with method, path, host and some headers of the request, and its body.
func echoServer(t testing.TB) string {
	return httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("x-proto", r.Proto)
		fmt.Fprintf(w, "%s %s %s cookie=%s te=%s len=%d chunked=%v body=%s", r.Method, r.URL, r.Host, r.Header.Get("Cookie"), r.Header.Get("Te"), r.ContentLength, len(r.TransferEncoding) > 0, b)
	})
}

// TestHTTP2 is a client of HTTP/2 before an upstream of HTTP/1.1.
func TestHTTP2(t *testing.T) {
	s := base(echoServer(t))
	s.logText = "%PROTOCOL% %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %RESPONSE_CODE_DETAILS%\n"
	p := s.start(t)
	c := http2Client(t)
	f := func(req *http.Request, want string) {
		t.Helper()
		resp, body := fetch(t, c, req)
		if resp.ProtoMajor != 2 || resp.StatusCode != 200 || body != want || resp.Header.Get("X-Proto") != "HTTP/1.1" {
			t.Errorf("%s %d %q (%v), want %q", resp.Proto, resp.StatusCode, body, resp.Header, want)
		}
	}
	f(newRequest("GET", p.url("/a?b=c"), nil), "GET /a?b=c "+p.addr+" cookie= te= len=0 chunked=false body=")
	f(newRequest("POST", p.url("/p"), strings.NewReader("hello")), "POST /p "+p.addr+" cookie= te= len=5 chunked=false body=hello")
	f(newRequest("POST", p.url("/s"), io.MultiReader(strings.NewReader("str"), strings.NewReader("eam"))), "POST /s "+p.addr+" cookie= te= len=-1 chunked=true body=stream")
	r := newRequest("GET", p.url("/c"), nil)
	r.Header["Cookie"] = []string{"a=1", "b=2"}
	r.Header.Set("TE", "trailers")
	f(r, "GET /c "+p.addr+" cookie=a=1; b=2 te=trailers len=0 chunked=false body=")
	resp, body := fetch(t, c, newRequest("HEAD", p.url("/h"), nil))
	if resp.StatusCode != 200 || body != "" || resp.ContentLength <= 0 {
		t.Errorf("HEAD: %d, %q, length %d", resp.StatusCode, body, resp.ContentLength)
	}
	if got := p.lastLog(5); !strings.HasPrefix(got, "HTTP/2 HEAD /h 200 - 0 0 via_upstream") {
		t.Errorf("log %q", got)
	}
	p.waitStat("http.t.downstream_cx_http2_total", 1)
	p.waitStat("http.t.downstream_cx_http1_total", 0)
	p.waitStat("http.t.downstream_rq_http2_total", 5)
	p.waitStat("http.t.downstream_rq_2xx", 5)
	p.waitStat("http2.streams_active", 0)
}

// TestHTTP2LargeBodies moves bodies that are many windows long, both ways, through buffers of 64 KiB.
func TestHTTP2LargeBodies(t *testing.T) {
	const size = 20 << 20
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", size)
		_, _ = io.Copy(c, req.Body)
	})
	s := base(up)
	s.limit = 64 << 10
	p := s.start(t)
	resp, err := http2Client(t).Do(newRequest("POST", p.url("/"), io.LimitReader(&pattern{}, size)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	want, got := &pattern{}, make([]byte, 64<<10)
	total := 0
	for {
		n, err := resp.Body.Read(got)
		exp := make([]byte, n)
		_, _ = want.Read(exp)
		if !bytes.Equal(got[:n], exp) {
			t.Fatalf("the body differs behind %d bytes", total)
		}
		total += n
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", total, err)
		}
	}
	if total != size {
		t.Errorf("%d bytes, want %d", total, size)
	}
}

// pattern is bytes that tell where they are.
type pattern struct{ at int }

func (r *pattern) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.at>>8) ^ byte(r.at)
		r.at++
	}
	return len(p), nil
}

// TestHTTP2SlowReader: a stream that is not read holds up its upstream, and not the other streams.
func TestHTTP2SlowReader(t *testing.T) {
	var sent sync.WaitGroup
	sent.Add(1)
	written := 0
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if req.URL.Path != "/slow" {
				fmt.Fprint(c, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nquick")
				continue
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
			_ = c.SetWriteDeadline(time.Now().Add(700 * time.Millisecond))
			for {
				n, err := c.Write(make([]byte, 32<<10))
				written += n
				if err != nil {
					break
				}
			}
			sent.Done()
			return
		}
	})
	s := base(up)
	s.limit = 64 << 10
	p := s.start(t)
	c := http2Client(t)
	resp, err := c.Do(newRequest("GET", p.url("/slow"), nil))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, body := fetch(t, c, newRequest("GET", p.url("/quick"), nil)); body != "quick" {
			t.Errorf("got %q", body)
		}
	}
	sent.Wait()
	// What the system's buffers and the client's window hold is some 10 MB; the point is that it ends.
	if written > 40<<20 {
		t.Errorf("the upstream could write %d bytes to a reader that reads nothing", written)
	}
	resp.Body.Close()
}

// TestHTTP2Trailers pass both ways when HTTP/1 may have them.
func TestHTTP2Trailers(t *testing.T) {
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		b, _ := io.ReadAll(req.Body)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nx-sum: %s\r\n\r\n", len(b), b, req.Trailer.Get("X-Sum"))
	})
	s := base(up)
	s.hcm.HTTP1.EnableTrailers = true
	s.clusters[0].HTTP.HTTP1.EnableTrailers = true
	p := s.start(t)
	req := newRequest("POST", p.url("/"), io.MultiReader(strings.NewReader("body")))
	req.Trailer = http.Header{"X-Sum": {"42"}}
	resp, body := fetch(t, http2Client(t), req)
	if body != "body" || resp.Trailer.Get("X-Sum") != "42" {
		t.Errorf("%q, trailers %v", body, resp.Trailer)
	}
	p.waitStat("http2.trailers", 1)
}

// TestHTTP2Local: answers of our own.
func TestHTTP2Local(t *testing.T) {
	s := base(deadAddr(t))
	s.logText = logFormat
	p := s.start(t)
	c := http2Client(t)
	resp, body := fetch(t, c, newRequest("GET", p.url("/"), nil))
	if resp.StatusCode != 503 || !strings.HasPrefix(body, "upstream connect error") {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	// The client is told to stop sending what nobody waits for.
	resp, _ = fetch(t, c, newRequest("POST", p.url("/"), io.LimitReader(&pattern{}, 100<<20)))
	if resp.StatusCode != 503 {
		t.Errorf("%d", resp.StatusCode)
	}
	p.waitStat("http.t.downstream_rq_active", 0)
	req := newRequest("POST", p.url("/"), nil)
	req.Header.Set("Content-Type", "application/grpc")
	resp, body = fetch(t, c, req)
	if resp.StatusCode != 200 || body != "" || resp.Header.Get("Grpc-Status") != "14" || !strings.HasPrefix(resp.Header.Get("Grpc-Message"), "upstream connect error") {
		t.Errorf("gRPC: %d %q %v", resp.StatusCode, body, resp.Header)
	}
}

// TestHTTP2Cancel: a client that resets a stream ends the upstream's part of it, and no other stream.
func TestHTTP2Cancel(t *testing.T) {
	gone := make(chan struct{})
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if req.URL.Path == "/other" {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
			_, _ = r.ReadByte()
			return
		}
		_, err = r.ReadByte()
		if err != nil {
			close(gone)
		}
	})
	s := base(up)
	s.logText = logFormat
	p := s.start(t)
	c := http2Client(t)
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error, 1)
	go func() {
		_, err := c.Do(newRequest("GET", p.url("/wait"), nil).WithContext(ctx))
		errs <- err
	}()
	p.waitStat("cluster.up.upstream_rq_active", 1)
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-gone
	if got := p.lastLog(1); !strings.Contains(got, " 0 DR http2.remote_reset ") {
		t.Errorf("log %q", got)
	}
	if _, body := fetch(t, c, newRequest("GET", p.url("/other"), nil)); body != "ok" {
		t.Errorf("got %q", body)
	}
	p.waitStat("http.t.downstream_rq_rx_reset", 1)
	p.waitStat("http2.rx_reset", 1)
	p.waitStat("http.t.downstream_cx_http2_total", 1)
}

// TestHTTP2UpstreamDies: what is cut off is reset.
func TestHTTP2UpstreamDies(t *testing.T) {
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhal")
		}
	})
	p := base(up).start(t)
	c := http2Client(t)
	for range 3 {
		resp, err := c.Do(newRequest("GET", p.url("/"), nil))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != "hal" || err == nil || !strings.Contains(err.Error(), "INTERNAL_ERROR") {
			t.Errorf("got %q, %v", b, err)
		}
	}
	p.waitStat("http.t.downstream_cx_http2_total", 1)
	p.waitStat("http2.tx_reset", 3)
}

// TestHTTP2Timeouts of the stream.
func TestHTTP2Timeouts(t *testing.T) {
	up := server(t, func(c net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	f := func(name string, change func(*setup), body io.Reader, code int, flags string) {
		t.Helper()
		s := base(up)
		s.logText = logFormat
		change(s)
		p := s.start(t)
		resp, _ := fetch(t, http2Client(t), newRequest("POST", p.url("/"), body))
		if resp.StatusCode != code {
			t.Errorf("%s: %d, want %d", name, resp.StatusCode, code)
		}
		if got := p.lastLog(1); !strings.Contains(got, flags) {
			t.Errorf("%s: log %q, want %q", name, got, flags)
		}
	}
	f("idle", func(s *setup) { s.hcm.StreamIdleTimeout = 50 * time.Millisecond }, nil, 504, "SI stream_idle_timeout")
	f("duration", func(s *setup) { s.hcm.MaxStreamDuration = 50 * time.Millisecond }, nil, 504, "- max_duration_timeout")
	never, w := io.Pipe() // a body that does not come
	t.Cleanup(func() { w.Close() })
	f("request", func(s *setup) { s.hcm.RequestTimeout = 50 * time.Millisecond }, never, 408, "request_overall_timeout")
	f("route", func(s *setup) { s.routes[0].Forward.Timeout = 50 * time.Millisecond }, nil, 504, "UT response_timeout")
}

// TestHTTP2Drain: GOAWAY, and then the end, when what had begun is done.
func TestHTTP2Drain(t *testing.T) {
	release := make(chan struct{})
	up := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-release
		}
		fmt.Fprint(w, "ok")
	})
	p := base(up).start(t)
	c := http2Client(t)
	done := make(chan string, 1)
	go func() {
		_, body := fetch(t, c, newRequest("GET", p.url("/wait"), nil))
		done <- body
	}()
	p.waitStat("cluster.up.upstream_rq_active", 1)
	p.do(func() { p.conns[0].Handler().(listener.Drainer).Drain() })
	// A new request has a connection of its own.
	if _, body := fetch(t, c, newRequest("GET", p.url("/"), nil)); body != "ok" {
		t.Errorf("got %q", body)
	}
	p.waitStat("http.t.downstream_cx_http2_total", 2)
	close(release)
	if body := <-done; body != "ok" {
		t.Errorf("what had begun got %q", body)
	}
	p.waitStat("http.t.downstream_cx_http2_active", 1)
	p.waitStat("http.t.downstream_cx_drain_close", 1)
	p.waitStat("http2.goaway_sent", 1)
}

// TestHTTP2Connection: limits of the connection.
func TestHTTP2Connection(t *testing.T) {
	up := echoServer(t)
	t.Run("requests", func(t *testing.T) {
		s := base(up)
		s.hcm.MaxRequestsPerConnection = 2
		p := s.start(t)
		c := http2Client(t)
		for range 6 {
			fetch(t, c, newRequest("GET", p.url("/"), nil))
		}
		p.waitStat("http.t.downstream_cx_max_requests_reached", 3)
		p.waitStat("http.t.downstream_cx_http2_active", 0)
	})
	t.Run("idle", func(t *testing.T) {
		s := base(up)
		s.hcm.IdleTimeout = 50 * time.Millisecond
		p := s.start(t)
		fetch(t, http2Client(t), newRequest("GET", p.url("/"), nil))
		p.waitStat("http.t.downstream_cx_http2_active", 0)
		p.waitStat("http.t.downstream_cx_idle_timeout", 1)
	})
	t.Run("duration", func(t *testing.T) {
		s := base(up)
		s.hcm.MaxConnectionDuration = 50 * time.Millisecond
		p := s.start(t)
		fetch(t, http2Client(t), newRequest("GET", p.url("/"), nil))
		p.waitStat("http.t.downstream_cx_http2_active", 0)
		p.waitStat("http.t.downstream_cx_max_duration_reached", 1)
	})
	for name, part := range map[string]string{
		"head without an end": "\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82", // no END_HEADERS
		"half a frame":        "\x00\x00\x06\x01\x05\x00\x00\x00\x01\x82\x84",
	} {
		t.Run(name, func(t *testing.T) {
			s := base(up)
			s.hcm.RequestHeadersTimeout = 50 * time.Millisecond
			p := s.start(t)
			c := p.dial().send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" + part)
			_, _ = io.Copy(io.Discard, c)
			p.waitStat("http.t.downstream_rq_header_timeout", 1)
			p.waitStat("http.t.downstream_cx_http2_active", 0)
		})
	}
	t.Run("keepalive", func(t *testing.T) {
		s := base(up)
		s.hcm.HTTP2.Keepalive = &xdsresource.HTTP2Keepalive{Interval: 20 * time.Millisecond, Timeout: 20 * time.Millisecond}
		p := s.start(t)
		c := p.dial().send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		_, _ = io.Copy(io.Discard, c)
		p.waitStat("http2.keepalive_timeout", 1)
		p.waitStat("http.t.downstream_cx_http2_active", 0)
	})
}

// TestHTTP2Codec: which codec a connection gets.
func TestHTTP2Codec(t *testing.T) {
	up := echoServer(t)
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	f := func(name string, codec xdsresource.CodecType, pieces []string, want string) {
		t.Helper()
		s := base(up)
		s.hcm.Codec = codec
		p := s.start(t)
		c := p.dial()
		for _, piece := range pieces {
			c.send(piece)
			p.do(func() {}) // let it arrive by itself, mostly
		}
		buf := make([]byte, 5)
		_, _ = io.ReadFull(c.r, buf)
		got := "nothing"
		switch {
		case string(buf) == "HTTP/":
			got = "HTTP/1"
		case buf[3] == 4: // SETTINGS
			got = "HTTP/2"
		}
		if got != want {
			t.Errorf("%s: %s (%q), want %s", name, got, buf, want)
		}
	}
	get := "GET / HTTP/1.1\r\nhost: a\r\n\r\n"
	f("auto, HTTP/1", xdsresource.CodecAuto, []string{get}, "HTTP/1")
	f("auto, HTTP/2", xdsresource.CodecAuto, []string{preface}, "HTTP/2")
	f("auto, HTTP/2 in pieces", xdsresource.CodecAuto, []string{preface[:1], preface[1:9], preface[9:]}, "HTTP/2")
	f("auto, method that begins likewise", xdsresource.CodecAuto, []string{"PR", "OPFIND / HTTP/1.1\r\nhost: a\r\n\r\n"}, "HTTP/1")
	f("HTTP/1 alone", xdsresource.CodecHTTP1, []string{preface}, "HTTP/1")
	f("HTTP/2 alone", xdsresource.CodecHTTP2, []string{get}, "HTTP/2") // and GOAWAY
}

// TestHTTP2Hostile: the connection ends, its streams with it, and the record says why.
func TestHTTP2Hostile(t *testing.T) {
	up := server(t, func(c net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	s := base(up)
	s.logText = logFormat
	p := s.start(t)
	const open = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	const get = "\x00\x00\x06\x01\x05\x00\x00\x00\x01\x82\x84\x86\x41\x01a"
	c := p.dial().send(open + get)
	p.waitStat("cluster.up.upstream_rq_active", 1)
	c.send("\x00\x00\x01\x06\x00\x00\x00\x00\x00x") // PING of one byte
	all, err := io.ReadAll(c.r)
	if err != nil || !bytes.Contains(all, []byte("\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x06")) {
		t.Errorf("no GOAWAY of FRAME_SIZE_ERROR: %q, %v", all, err)
	}
	if got := p.lastLog(1); !strings.Contains(got, " 0 DPE http2.protocol_error ") {
		t.Errorf("log %q", got)
	}
	p.waitStat("http.t.downstream_cx_protocol_error", 1)
	p.waitStat("http.t.downstream_rq_active", 0)
	p.waitStat("cluster.up.upstream_rq_active", 0)
	// A malformed request ends the connection as well, by default.
	c = p.dial().send(open + "\x00\x00\x08\x01\x05\x00\x00\x00\x01\x82\x84\x86\x00\x01A\x01x")
	if all, err = io.ReadAll(c.r); err != nil || !bytes.Contains(all, []byte("\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x01")) {
		t.Errorf("no RST_STREAM of PROTOCOL_ERROR: %q, %v", all, err)
	}
	if got := p.lastLog(2); !strings.Contains(got, " 0 DPE http2.invalid.header.field ") {
		t.Errorf("log %q", got)
	}
	p.waitStat("http2.rx_messaging_error", 1)
}

// TestHTTP2Parallel: many streams on one connection at a time.
func TestHTTP2Parallel(t *testing.T) {
	p := base(echoServer(t)).start(t)
	c := http2Client(t)
	fetch(t, c, newRequest("GET", p.url("/"), nil)) // so that there is one connection
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			body := strings.Repeat(fmt.Sprint(i), 1+i*50)
			resp, got := fetch(t, c, newRequest("POST", p.url(fmt.Sprint("/", i)), strings.NewReader(body)))
			if resp.StatusCode != 200 || !strings.HasSuffix(got, "body="+body) {
				t.Errorf("%d: %d, %d bytes", i, resp.StatusCode, len(got))
			}
		}()
	}
	wg.Wait()
	p.waitStat("http.t.downstream_cx_http2_total", 1)
	p.waitStat("http.t.downstream_rq_http2_total", 201)
}
