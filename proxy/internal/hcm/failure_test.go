package hcm_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

const logFormat = "%REQ(:METHOD)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER%\n"

// lastLog waits for the log to have n lines and returns the last.
func (p *proxy) lastLog(n int) string {
	p.t.Helper()
	var last string
	eventually(p.t, func() error {
		b, _ := os.ReadFile(p.log)
		lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		if len(lines) < n || lines[0] == "" {
			return fmt.Errorf("log has %q, want %d lines", b, n)
		}
		last = lines[n-1]
		return nil
	})
	return last
}

// TestUpstreamDies: the host goes away at each point of an exchange.
func TestUpstreamDies(t *testing.T) {
	f := func(name, answer string, code int, wantBody, wantLog string) {
		t.Helper()
		up := server(t, func(c net.Conn, r *bufio.Reader) {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			_, _ = io.WriteString(c, answer)
		})
		s := base(up)
		s.logText = logFormat
		p := s.start(t)
		c := p.dial().send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
		resp, err := http.ReadResponse(c.r, &http.Request{Method: "POST"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		b, err := io.ReadAll(resp.Body)
		if wantBody == "" {
			if err == nil {
				t.Errorf("%s: the client takes the cut answer for whole: %q", name, b)
			}
		} else if err != nil || string(b) != wantBody {
			t.Errorf("%s: body %q, %v", name, b, err)
		}
		if resp.StatusCode != code {
			t.Errorf("%s: code %d, want %d", name, resp.StatusCode, code)
		}
		if got := p.lastLog(1); got != wantLog {
			t.Errorf("%s: log %q, want %q", name, got, wantLog)
		}
		p.waitStat("cluster.up.upstream_rq_active", 0)
		p.waitStat("cluster.up.upstream_cx_active", 0)
		p.waitStat("http.t.downstream_rq_active", 0)
	}
	const reset = "upstream connect error or disconnect/reset before headers. reset reason: connection termination"
	const broken = "upstream connect error or disconnect/reset before headers. reset reason: protocol error"
	f("before the head", "", 503, reset, "POST 503 UC upstream_reset_before_response_started{connection_termination} 0 95 up")
	f("in the head", "HTTP/1.1 200 OK\r\ncontent-le", 502, broken, "POST 502 UPE upstream_reset_before_response_started{protocol_error} 0 87 up")
	f("before the body", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 200, "", "POST 200 UPE upstream_reset_after_response_started{protocol_error} 0 0 up")
	f("in the body", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe", 200, "", "POST 200 UPE upstream_reset_after_response_started{protocol_error} 0 2 up")
	f("in a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe", 200, "", "POST 200 UPE upstream_reset_after_response_started{protocol_error} 0 2 up")
	f("before the last chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n", 200, "", "POST 200 UPE upstream_reset_after_response_started{protocol_error} 0 2 up")
	f("no HTTP", "220 smtp ready\r\n", 502, broken,
		"POST 502 UPE upstream_reset_before_response_started{protocol_error} 0 87 up")
}

func TestNoUpstream(t *testing.T) {
	f := func(name string, s *setup, code int, body, log string) {
		t.Helper()
		s.logText = logFormat
		p := s.start(t)
		resp, got := p.dial().send(get).response("GET")
		if resp.StatusCode != code || got != body || resp.Close {
			t.Errorf("%s: %d %q close %v", name, resp.StatusCode, got, resp.Close)
		}
		if got := p.lastLog(1); got != log {
			t.Errorf("%s: log %q, want %q", name, got, log)
		}
	}
	f("no hosts", base(), 503, "no healthy upstream", "GET 503 UH no_healthy_upstream 0 19 up")
	refused := "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
	s := base(deadAddr(t))
	s.logText = logFormat
	p := s.start(t)
	resp, body := p.dial().send(get).response("GET")
	if resp.StatusCode != 503 || !strings.HasPrefix(body, "upstream connect error or disconnect/reset before headers. reset reason: ") {
		t.Errorf("refused: %d %q (Envoy: %q)", resp.StatusCode, body, refused)
	}
	if l := p.lastLog(1); !strings.HasPrefix(l, "GET 503 UF ") {
		t.Errorf("refused: log %q", l)
	}
	s = base("127.0.0.1:1")
	s.routes[0].Match.Path = "/elsewhere"
	f("no route", s, 404, "", "GET 404 NR route_not_found 0 0 -")
	s = base("127.0.0.1:1")
	s.routes[0].Forward.Cluster = "missing"
	f("no cluster", s, 503, "", "GET 503 NC cluster_not_found 0 0 -")
}

func TestTimeout(t *testing.T) {
	up := server(t, func(c net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	s := base(up)
	s.routes[0].Forward.Timeout = 30 * time.Millisecond
	s.logText = logFormat
	p := s.start(t)
	c := p.dial()
	for i := range 2 {
		resp, body := c.send(get).response("GET")
		if resp.StatusCode != 504 || body != "upstream request timeout" {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
		if got := p.lastLog(i + 1); got != "GET 504 UT response_timeout 0 24 up" {
			t.Errorf("log %q", got)
		}
	}
	p.waitStat("cluster.up.upstream_rq_timeout", 2)
	p.waitStat("cluster.up.upstream_cx_active", 0)
}

func TestRetry(t *testing.T) {
	var calls atomic.Int32
	up := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1)%3 != 0 {
			w.WriteHeader(500)
		}
		echo(w, r)
	})
	s := base(up)
	s.routes[0].Forward.Retry = &xdsresource.RetryPolicy{On: xdsresource.Retry5xx, NumRetries: 3, BackOffBase: time.Millisecond, BackOffMax: 2 * time.Millisecond}
	s.vhost.IncludeRequestAttemptCount = true
	p := s.start(t)
	c := p.dial()
	for range 3 {
		resp, body := c.send("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody").response("POST")
		if resp.StatusCode != 200 || !strings.HasSuffix(body, "\n\nbody") || !strings.Contains(body, "x-envoy-attempt-count: 3\n") {
			t.Fatalf("%d %q", resp.StatusCode, body)
		}
	}
	p.waitStat("cluster.up.upstream_rq_retry", 6)
	p.waitStat("cluster.up.upstream_rq_retry_success", 3)
	p.waitStat("cluster.up.retry.upstream_rq_500", 6)
	p.waitStat("cluster.up.upstream_cx_total", 1)
	p.waitStat("cluster.up.upstream_rq_200", 3)
	p.waitStat("cluster.up.upstream_rq_active", 0)
}

// TestRetryExhausted: the last answer is passed on when the retries are used up.
func TestRetryExhausted(t *testing.T) {
	up := httpServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	s := base(up)
	s.routes[0].Forward.Retry = &xdsresource.RetryPolicy{On: xdsresource.Retry5xx, NumRetries: 3, BackOffBase: time.Millisecond, BackOffMax: time.Millisecond}
	s.logText = logFormat
	p := s.start(t)
	resp, body := p.dial().send(get).response("GET")
	if resp.StatusCode != 500 || body != "" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	p.waitStat("cluster.up.upstream_rq_retry", 3)
	p.waitStat("cluster.up.upstream_rq_retry_limit_exceeded", 1)
	if got := p.lastLog(1); got != "GET 500 URX via_upstream 0 0 up" {
		t.Errorf("log %q", got)
	}
}

// TestRetryOtherHost: a dead host is hidden by previous_hosts and connect-failure.
func TestRetryOtherHost(t *testing.T) {
	s := base(deadAddr(t), httpServer(t, echo))
	s.routes[0].Forward.Retry = &xdsresource.RetryPolicy{
		On: xdsresource.RetryConnectFailure, NumRetries: 2, AvoidPreviousHosts: true, HostSelectionMaxAttempts: 5,
		BackOffBase: time.Millisecond, BackOffMax: time.Millisecond,
	}
	p := s.start(t)
	c := p.dial()
	for range 20 {
		if resp, body := c.send(get).response("GET"); resp.StatusCode != 200 {
			t.Fatalf("%d %q", resp.StatusCode, body)
		}
	}
}

// TestPooledConnectionClosed: a host that closes an idle connection while a request is on its
// way to it is asked again; the request had not been seen.
func TestPooledConnectionClosed(t *testing.T) {
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
			_, _ = http.ReadRequest(r) // and close without an answer
		}
	})
	p := base(up).start(t)
	c := p.dial()
	for range 5 {
		if resp, body := c.send(get).response("GET"); resp.StatusCode != 200 {
			t.Fatalf("%d %q", resp.StatusCode, body)
		}
	}
}

// TestClientDisconnects: the upstream connection of an unfinished exchange is closed.
func TestClientDisconnects(t *testing.T) {
	f := func(name, req string) {
		t.Helper()
		gone := make(chan error, 1)
		begun := make(chan bool, 1)
		up := server(t, func(c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			begun <- true
			_, err := io.Copy(io.Discard, r)
			gone <- err
		})
		s := base(up)
		s.logText = logFormat
		p := s.start(t)
		c := p.dial().send(req)
		<-begun
		c.Close()
		select {
		case <-gone:
		case <-time.After(time.Minute):
			t.Fatalf("%s: the upstream connection stays", name)
		}
		p.waitStat("cluster.up.upstream_cx_active", 0)
		p.waitStat("cluster.up.upstream_rq_active", 0)
		p.waitStat("cluster.up.upstream_cx_destroy_local_with_active_rq", 1)
		if got := p.lastLog(1); !strings.Contains(got, " 0 DC downstream_remote_disconnect ") {
			t.Errorf("%s: log %q", name, got)
		}
	}
	f("while the answer is awaited", get)
	f("in the body", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
	f("in a chunk", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n10\r\nhalf")
}

// TestEarlyResponse: an answer before the end of the request is passed on, the connection is
// not used again on either side.
func TestEarlyResponse(t *testing.T) {
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
		_, _ = io.Copy(io.Discard, r)
	})
	p := base(up).start(t)
	c := p.dial().send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nfirst")
	resp, body := c.response("POST")
	if resp.StatusCode != 413 || body != "no" || !resp.Close {
		t.Errorf("%d %q close %v", resp.StatusCode, body, resp.Close)
	}
	c.closed()
	p.waitStat("cluster.up.upstream_cx_active", 0)
	p.waitStat("http.t.downstream_rq_response_before_rq_complete", 1)
}

// TestSlowReader: a large body goes through bounded memory in both directions.
func TestSlowReader(t *testing.T) {
	const size, limit = 32 << 20, 64 << 10
	start := make(chan bool)
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if req.Method == "POST" {
			<-start
			n, _ := io.Copy(io.Discard, req.Body)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-got: %d\r\n\r\n", n)
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", size)
		_, _ = io.CopyN(c, zeros{}, size)
	})
	s := base(up)
	s.limit = limit
	s.clusters[0].BufferLimit = limit
	s.routes[0].Forward.Timeout = 0
	p := s.start(t)
	inUse := func() (n int) {
		p.do(func() { n = p.loop.Buffers().InUse() })
		return n
	}
	bounded := func(dir string) {
		t.Helper()
		most := 0
		for range 50 {
			most = max(most, inUse())
			<-time.After(2 * time.Millisecond)
		}
		if most > 2<<20 {
			t.Errorf("%s: %d bytes of buffers in use", dir, most)
		}
	}
	c := p.dial().send(get)
	bounded("response")
	_, body := c.response("GET")
	if len(body) != size {
		t.Errorf("%d bytes", len(body))
	}
	c = p.dial()
	done := make(chan error, 1)
	go func() {
		_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n", size)
		if err == nil {
			_, err = io.CopyN(c.Conn, zeros{}, size)
		}
		done <- err
	}()
	bounded("request")
	close(start)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if resp, _ := c.response("POST"); resp.Header.Get("X-Got") != fmt.Sprint(size) {
		t.Errorf("upstream got %s", resp.Header.Get("X-Got"))
	}
}

// TestPipeliningFlood: a client that sends requests for ever and reads no answer is stopped,
// whether the answers are ours or the host's, and gets all of them when it does read.
func TestPipeliningFlood(t *testing.T) {
	for _, path := range []string{"/local", "/up"} {
		s := base(httpServer(t, echo))
		s.limit = 64 << 10
		s.routes = []*xdsresource.Route{
			prefix("/local", func(r *xdsresource.Route) {
				r.Forward, r.Direct = nil, &xdsresource.DirectResponse{Status: 200, Body: []byte("ours")}
			}),
			route("up"),
		}
		p := s.start(t)
		c := p.dial()
		_ = c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		_ = c.Conn.(*net.TCPConn).SetWriteBuffer(64 << 10)
		req := strings.Repeat("GET "+path+" HTTP/1.1\r\nhost: a\r\n\r\n", 100)
		sent := 0
		for range 5000 {
			_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			n, err := io.WriteString(c, req)
			sent += n
			if err != nil {
				break
			}
		}
		if sent == 5000*len(req) {
			t.Fatalf("%s: the proxy read %d bytes of requests without answering", path, sent)
		}
		n := 0
		p.do(func() { n = p.loop.Buffers().InUse() })
		if n > 2<<20 {
			t.Errorf("%s: %d bytes of buffers in use", path, n)
		}
		whole := sent / (len(req) / 100)
		for range whole {
			_ = c.SetReadDeadline(time.Now().Add(time.Minute)) // the flood may have taken most of the first
			if resp, _ := c.response("GET"); resp.StatusCode != 200 {
				t.Fatalf("%s: %d", path, resp.StatusCode)
			}
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
