package hcm_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sort"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// echo answers with what it saw: request line, headers sorted, body.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var lines []string
	for k, vs := range r.Header {
		for _, v := range vs {
			lines = append(lines, strings.ToLower(k)+": "+v)
		}
	}
	sort.Strings(lines)
	fmt.Fprintf(w, "%s %s %s\n%s\n\n%s", r.Method, r.RequestURI, r.Host, strings.Join(lines, "\n"), body)
}

const get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n"

func TestKeepAlive(t *testing.T) {
	p := base(httpServer(t, echo)).start(t)
	c := p.dial()
	for i := range 5 {
		resp, body := c.send(fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: a.example\r\nX-Custom: v\r\n\r\n", i)).response("GET")
		if resp.StatusCode != 200 || !strings.HasPrefix(body, fmt.Sprintf("GET /%d a.example\n", i)) || !strings.Contains(body, "x-custom: v\n") {
			t.Fatalf("%d %q", resp.StatusCode, body)
		}
		for k, want := range map[string]string{"Server": "envoy", "X-Envoy-Upstream-Service-Time": "0"} {
			if got := resp.Header.Get(k); got != want && k == "Server" || got == "" {
				t.Errorf("%s: %q, want %q", k, got, want)
			}
		}
		if resp.Header.Get("Date") == "" || resp.Close {
			t.Errorf("header %v, close %v", resp.Header, resp.Close)
		}
		for _, want := range []string{"x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-envoy-expected-rq-timeout-ms: 15000", "x-request-id: ", "x-envoy-internal: true"} {
			if !strings.Contains(body, want) {
				t.Errorf("upstream did not see %q in %q", want, body)
			}
		}
	}
	p.waitStat("cluster.up.upstream_cx_total", 1)
	p.waitStat("cluster.up.upstream_rq_total", 5)
	p.waitStat("cluster.up.upstream_rq_active", 0)
	p.waitStat("http.t.downstream_rq_2xx", 5)
	p.waitStat("listener.l.http.t.downstream_rq_2xx", 5)
	p.waitStat("listener.l.http.t.downstream_rq_completed", 5)
	p.waitStat("http.t.downstream_rq_total", 5)
	p.waitStat("http.t.downstream_rq_active", 0)
	p.waitStat("http.t.downstream_cx_active", 1)
	c.Close()
	p.waitStat("http.t.downstream_cx_active", 0)
}

func TestPipelining(t *testing.T) {
	p := base(httpServer(t, echo)).start(t)
	c := p.dial()
	var all strings.Builder
	for i := range 20 {
		fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nb%02d", i, i)
	}
	c.send(all.String())
	for i := range 20 {
		_, body := c.response("POST")
		if !strings.HasPrefix(body, fmt.Sprintf("POST /%d ", i)) || !strings.HasSuffix(body, fmt.Sprintf("\n\nb%02d", i)) {
			t.Fatalf("answer %d: %q", i, body)
		}
	}
}

func TestBodies(t *testing.T) {
	p := base(httpServer(t, echo)).start(t)
	big := strings.Repeat("0123456789", 100_000)
	f := func(name, req, want string) {
		t.Helper()
		resp, body := p.dial().send(req).response("POST")
		if _, got, _ := strings.Cut(body, "\n\n"); resp.StatusCode != 200 || got != want {
			t.Errorf("%s: %d, %d bytes, want %d", name, resp.StatusCode, len(got), len(want))
		}
	}
	f("length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", "hello")
	f("chunked", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello!")
	f("chunked, empty", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "")
	f("large", fmt.Sprintf("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%s", len(big), big), big)
	f("large chunks", fmt.Sprintf("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n3\r\nend\r\n0\r\n\r\n", len(big), big), big+"end")
}

// TestResponseForms: how upstream frames its answers, and what the client sees.
func TestResponseForms(t *testing.T) {
	f := func(name, method, answer, wantHead, wantBody string) {
		t.Helper()
		up := server(t, func(c net.Conn, r *bufio.Reader) {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			_, _ = io.WriteString(c, answer)
		})
		p := base(up).start(t)
		c := p.dial().send(method + " / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
		b, err := io.ReadAll(c.r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		head, body, _ := strings.Cut(string(b), "\r\n\r\n")
		var kept []string
		for _, l := range strings.Split(head, "\r\n") {
			if !strings.HasPrefix(l, "date: ") && !strings.HasPrefix(l, "server: ") && !strings.HasPrefix(l, "x-envoy-upstream-service-time: ") {
				kept = append(kept, l)
			}
		}
		if got := strings.Join(kept, "|"); got != wantHead || body != wantBody {
			t.Errorf("%s:\ngot  %q %q\nwant %q %q", name, got, body, wantHead, wantBody)
		}
	}
	f("length", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", "HTTP/1.1 200 OK|content-length: 2|connection: close", "hi")
	f("chunked", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n3;x\r\n!!!\r\n0\r\n\r\n", "HTTP/1.1 200 OK|transfer-encoding: chunked|connection: close", "2\r\nhi\r\n3\r\n!!!\r\n0\r\n\r\n")
	f("until close", "GET", "HTTP/1.1 200 OK\r\n\r\nhi", "HTTP/1.1 200 OK|transfer-encoding: chunked|connection: close", "2\r\nhi\r\n0\r\n\r\n")
	f("head", "HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n", "HTTP/1.1 200 OK|content-length: 20|connection: close", "")
	f("204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content|connection: close", "")
	f("304", "GET", "HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n", "HTTP/1.1 304 Not Modified|etag: x|connection: close", "")
	f("empty", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 200 OK|content-length: 0|connection: close", "")
	f("hop by hop", "GET", "HTTP/1.1 200 OK\r\nconnection: x-a\r\nx-a: 1\r\nkeep-alive: 3\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 200 OK|content-length: 0|connection: close", "")
}

func TestInterim(t *testing.T) {
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
	})
	c := base(up).start(t).dial().send(get)
	var first []string
	for range 3 {
		l, _ := c.r.ReadString('\n')
		first = append(first, l)
	}
	if got := strings.Join(first, ""); got != "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" {
		t.Errorf("%q", got)
	}
	if _, body := c.response("GET"); body != "hi" {
		t.Errorf("%q", body)
	}
}

func TestRefusals(t *testing.T) {
	p := base(httpServer(t, echo)).start(t)
	f := func(req string, code int, wantBody string) {
		t.Helper()
		c := p.dial().send(req)
		resp, body := c.response("GET")
		if resp.StatusCode != code || body != wantBody {
			t.Errorf("%q: %d %q, want %d %q", req, resp.StatusCode, body, code, wantBody)
		}
		if !resp.Close {
			t.Errorf("%q: the connection stays", req)
		}
		c.closed()
	}
	f("GET / HTTP/1.1\r\n\r\n", 400, "")
	f("GET / HTTP/1.0\r\n\r\n", 426, "Upgrade Required")
	f("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400, "Bad Request")
	f("GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400, "Bad Request")
	f("\x16\x03\x01\x00\x00\r\n\r\n", 400, "Bad Request")
	f("GET / HTTP/1.1\r\nhost: a\r\nx: "+strings.Repeat("a", 61<<10)+"\r\n\r\n", 431, "Request Header Fields Too Large")
	f("GET /#frag HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 400, "")
	f("CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", 404, "")
	f("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400, "Bad Request")
	p.waitStat("cluster.up.upstream_rq_active", 0)
	p.waitStat("http.t.downstream_rq_active", 0)
}

func TestExpectContinue(t *testing.T) {
	p := base(httpServer(t, echo)).start(t)
	c := p.dial().send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
	line, err := c.r.ReadString('\n')
	if err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if line, _ = c.r.ReadString('\n'); line != "\r\n" {
		t.Fatalf("%q", line)
	}
	_, body := c.send("hi").response("POST")
	if !strings.HasSuffix(body, "\n\nhi") || strings.Contains(body, "expect:") {
		t.Errorf("%q", body)
	}
}

// TestPipelineAndEnd: what a client has asked for before it ended its side is answered, however much of it came at once.
func TestPipelineAndEnd(t *testing.T) {
	s := base(deadAddr(t))
	s.routes[0].Forward = nil
	s.routes[0].Direct = &xdsresource.DirectResponse{Status: 200, Body: []byte("x")}
	p := s.start(t)
	const n = 1500
	c := p.dial()
	release, busy := make(chan struct{}), make(chan struct{})
	p.loop.Post(func() { close(busy); <-release }) // so that the proxy reads all of it at once
	<-busy
	c.send(strings.Repeat("GET / HTTP/1.1\r\nhost: a\r\n\r\n", n))
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	close(release)
	b, err := io.ReadAll(c.r)
	if got := strings.Count(string(b), "HTTP/1.1 200 OK"); got != n || err != nil {
		t.Errorf("%d of %d answers, %v", got, n, err)
	}
}
