package hcm_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// http2Server is an upstream of HTTP/2 without TLS.
func http2Server(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: h, Protocols: &p, HTTP2: &http.HTTP2Config{
		MaxConcurrentStreams: 1000, MaxReceiveBufferPerStream: 256 << 10,
		MaxReceiveBufferPerConnection: 16 << 20, // so that one stream that waits does not stop all
	}}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return ln.Addr().String()
}

// http1Client is net/http's client of HTTP/1.
func http1Client(t testing.TB) *http.Client {
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// toHTTP2 is a proxy before an upstream of HTTP/2.
func toHTTP2(h http.HandlerFunc) func(t testing.TB) *setup {
	return func(t testing.TB) *setup {
		s := base(http2Server(t, h))
		s.hcm.HTTP1.EnableTrailers = true
		s.clusters[0].HTTP.Protocol = xdsresource.UpstreamHTTP2
		return s
	}
}

// bothClients runs a test with a client of each version.
func bothClients(t *testing.T, run func(t *testing.T, c *http.Client)) {
	t.Run("HTTP1", func(t *testing.T) { run(t, http1Client(t)) })
	t.Run("HTTP2", func(t *testing.T) { run(t, http2Client(t)) })
}

func TestUpstreamHTTP2(t *testing.T) {
	bothClients(t, func(t *testing.T, c *http.Client) {
		s := toHTTP2(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("Trailer", "X-Sum")
			w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
			fmt.Fprintf(w, "%s %s %s %s %s", r.Proto, r.Method, r.URL, r.Host, b)
			_ = http.NewResponseController(w).Flush() // no content-length: HTTP/1 has no trailers beside it
			w.Header().Set("X-Sum", "42"+r.Trailer.Get("X-Sent"))
		})(t)
		s.logText = "%UPSTREAM_PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS%\n"
		p := s.start(t)
		resp, body := fetch(t, c, newRequest("GET", p.url("/a?b"), nil))
		if body != "HTTP/2.0 GET /a?b "+p.addr+" " || resp.Trailer.Get("X-Sum") != "42" || resp.Header.Get("X-Length") != "0" {
			t.Errorf("%q %v %v", body, resp.Header, resp.Trailer)
		}
		req := newRequest("POST", p.url("/p"), io.MultiReader(strings.NewReader("bo"), strings.NewReader("dy")))
		req.Trailer = http.Header{"X-Sent": {"!"}}
		resp, body = fetch(t, c, req)
		if body != "HTTP/2.0 POST /p "+p.addr+" body" || resp.Trailer.Get("X-Sum") != "42!" {
			t.Errorf("%q %v", body, resp.Trailer)
		}
		if resp, body = fetch(t, c, newRequest("HEAD", p.url("/h"), nil)); resp.StatusCode != 200 || body != "" {
			t.Errorf("HEAD: %d %q", resp.StatusCode, body)
		}
		if got := p.lastLog(3); got != "HTTP/2 200 -" {
			t.Errorf("log %q", got)
		}
		p.waitStat("cluster.up.upstream_cx_http2_total", 1)
		p.waitStat("cluster.up.upstream_rq_total", 3)
		p.waitStat("cluster.up.http2.streams_active", 0)
		p.waitStat("cluster.up.upstream_rq_active", 0)
	})
}

// TestUpstreamHTTP2LargeBodies moves bodies that are many windows long, both ways, with one slow stream beside them.
func TestUpstreamHTTP2LargeBodies(t *testing.T) {
	bothClients(t, func(t *testing.T, c *http.Client) {
		const size = 20 << 20
		s := toHTTP2(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(200)
			_, _ = io.Copy(w, r.Body)
		})(t)
		s.limit = 64 << 10
		p := s.start(t)
		slow, err := c.Do(newRequest("POST", p.url("/"), io.LimitReader(&pattern{}, size)))
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Body.Close()
		for range 2 {
			resp, err := c.Do(newRequest("POST", p.url("/"), io.LimitReader(&pattern{}, size)))
			if err != nil {
				t.Fatal(err)
			}
			checkPattern(t, resp.Body, size)
			resp.Body.Close()
		}
		checkPattern(t, slow.Body, size)
	})
}

func checkPattern(t *testing.T, r io.Reader, size int) {
	t.Helper()
	want, buf := &pattern{}, make([]byte, 64<<10)
	total := 0
	for {
		n, err := r.Read(buf)
		exp := make([]byte, n)
		_, _ = want.Read(exp)
		if !bytes.Equal(buf[:n], exp) {
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

// TestUpstreamHTTP2Resets: an aborted answer is an aborted answer; one that had not begun may be tried again.
func TestUpstreamHTTP2Resets(t *testing.T) {
	bothClients(t, func(t *testing.T, c *http.Client) {
		var tries atomic.Int32
		s := toHTTP2(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/cut":
				w.WriteHeader(200)
				fmt.Fprint(w, "ha")
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			case "/once":
				if tries.Add(1) == 1 {
					panic(http.ErrAbortHandler)
				}
				fmt.Fprint(w, "second")
			default:
				panic(http.ErrAbortHandler)
			}
		})(t)
		s.logText = logFormat
		p := s.start(t)
		resp, body := fetch(t, c, newRequest("GET", p.url("/reset"), nil))
		if resp.StatusCode != 503 || !strings.HasSuffix(body, "reset reason: remote reset") {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
		if got := p.lastLog(1); !strings.Contains(got, " 503 UR upstream_reset_before_response_started{remote_reset} ") {
			t.Errorf("log %q", got)
		}
		resp, err := c.Do(newRequest("GET", p.url("/cut"), nil))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != "ha" || err == nil {
			t.Errorf("an answer that was cut off is %q, %v", b, err)
		}
		if got := p.lastLog(2); !strings.Contains(got, " 200 UR upstream_reset_after_response_started{remote_reset} ") {
			t.Errorf("log %q", got)
		}
		req := newRequest("GET", p.url("/once"), nil)
		req.Header.Set("X-Envoy-Retry-On", "reset")
		if resp, body = fetch(t, c, req); resp.StatusCode != 200 || body != "second" {
			t.Errorf("retried: %d %q", resp.StatusCode, body)
		}
		p.waitStat("cluster.up.upstream_rq_rx_reset", 3)
		p.waitStat("cluster.up.upstream_cx_http2_total", 1)
	})
}

// TestUpstreamHTTP2Refused: what was not looked at is tried again under refused-stream, and under nothing less.
func TestUpstreamHTTP2Refused(t *testing.T) {
	refusing := server(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = io.WriteString(c, "\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		if _, err := io.ReadFull(r, make([]byte, 24)); err != nil { // the preface
			return
		}
		f := make([]byte, 9)
		for {
			if _, err := io.ReadFull(r, f); err != nil {
				return
			}
			if _, err := r.Discard(int(f[1])<<8 | int(f[2])); err != nil {
				return
			}
			if f[3] == 1 { // HEADERS: RST_STREAM, REFUSED_STREAM
				_, _ = io.WriteString(c, "\x00\x00\x04\x03\x00"+string(f[5:])+"\x00\x00\x00\x07")
			}
		}
	})
	for on, retries := range map[string]int64{"refused-stream": 1, "connect-failure": 0, "5xx": 1} {
		s := base(refusing)
		s.clusters[0].HTTP.Protocol = xdsresource.UpstreamHTTP2
		p := s.start(t)
		req := newRequest("GET", p.url("/"), nil)
		req.Header.Set("X-Envoy-Retry-On", on)
		resp, body := fetch(t, http1Client(t), req)
		if resp.StatusCode != 503 || !strings.Contains(body, "remote refused stream reset") {
			t.Errorf("%s: %d %q", on, resp.StatusCode, body)
		}
		p.waitStat("cluster.up.upstream_rq_retry", retries)
	}
}

// TestGRPC: statuses in trailers pass, those of an answer without body are worth a retry, and clients are answered in their
// form.
func TestGRPC(t *testing.T) {
	var tries atomic.Int32
	s := toHTTP2(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		if r.URL.Path == "/retry" && tries.Add(1) == 1 {
			w.Header().Set("Grpc-Status", "14")
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("Grpc-Status", "0")
	})(t)
	s.logText = "%GRPC_STATUS% %GRPC_STATUS(NUMBER)% %RESPONSE_CODE%\n"
	p := s.start(t)
	c := http2Client(t)
	call := func(path string) (*http.Response, string) {
		req := newRequest("POST", p.url(path), io.MultiReader(strings.NewReader("\x00\x00\x00\x00\x02hi")))
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("TE", "trailers")
		req.Header.Set("X-Envoy-Retry-Grpc-On", "unavailable")
		return fetch(t, c, req)
	}
	resp, body := call("/ok")
	if body != "\x00\x00\x00\x00\x02hi" || resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%q %v", body, resp.Trailer)
	}
	if got := p.lastLog(1); got != "OK 0 200" {
		t.Errorf("log %q", got)
	}
	resp, body = call("/retry")
	if body != "\x00\x00\x00\x00\x02hi" || resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%q %v %v", body, resp.Header, resp.Trailer)
	}
	p.waitStat("cluster.up.upstream_rq_retry", 1)
	p.waitStat("cluster.up.upstream_rq_retry_success", 1)
}

// TestGRPCOutlier: a gRPC status in the head counts for the host like the HTTP status that it stands for.
func TestGRPCOutlier(t *testing.T) {
	s := toHTTP2(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", strings.TrimPrefix(r.URL.Path, "/"))
	})(t)
	s.clusters[0].Outlier = &xdsresource.OutlierDetection{
		Consecutive5xx: 3, EnforcingConsecutive5xx: 100, Interval: time.Hour, BaseEjectionTime: time.Hour, MaxEjectionTime: time.Hour, MaxEjectionPercent: 100,
	}
	p := s.start(t)
	c := http2Client(t)
	for _, status := range []string{"14", "13", "0", "14", "5", "14", "13"} { // never three in a row
		req := newRequest("POST", p.url("/"+status), nil)
		req.Header.Set("Content-Type", "application/grpc")
		fetch(t, c, req)
	}
	p.waitStat("cluster.up.outlier_detection.ejections_detected_consecutive_5xx", 0)
	req := newRequest("POST", p.url("/2"), nil)
	req.Header.Set("Content-Type", "application/grpc")
	fetch(t, c, req)
	p.waitStat("cluster.up.outlier_detection.ejections_detected_consecutive_5xx", 1)
}

// TestWebSocketOverHTTP2: an upgrade becomes an extended CONNECT, and back, on either side.
func TestWebSocketOverHTTP2(t *testing.T) {
	up := server(t, func(c net.Conn, r *bufio.Reader) { // an upstream of HTTP/1 that echoes behind the upgrade
		req, err := http.ReadRequest(r)
		if err != nil || req.Header.Get("Upgrade") != "websocket" {
			fmt.Fprint(c, "HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n")
			return
		}
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\n\r\n")
		_, _ = io.Copy(struct{ io.Writer }{c}, r) // no splice: its pipes outlive the test
	})
	// The inner proxy takes extended CONNECT and speaks HTTP/1; the outer one takes HTTP/1 and speaks HTTP/2.
	in := base(up)
	in.hcm.UpgradeTypes = map[string]bool{"websocket": true}
	in.hcm.HTTP2.AllowConnect = true
	inner := in.start(t)
	out := base(inner.addr)
	out.hcm.UpgradeTypes = map[string]bool{"websocket": true}
	out.clusters[0].HTTP.Protocol = xdsresource.UpstreamHTTP2
	out.logText = "%REQ(UPGRADE)% %RESPONSE_CODE%\n"
	outer := out.start(t)
	c := outer.dial().send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
	resp, err := http.ReadResponse(c.r, &http.Request{Method: "GET"})
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Sec-Websocket-Accept") != "x" {
		t.Fatalf("%v, %v", resp, err)
	}
	for _, word := range []string{"one", "two"} {
		c.send(word)
		buf := make([]byte, 3)
		if _, err := io.ReadFull(c.r, buf); err != nil || string(buf) != word {
			t.Fatalf("echo of %q is %q, %v", word, buf, err)
		}
	}
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		t.Errorf("at the end: %q, %v", rest, err)
	}
	inner.waitStat("http.t.downstream_cx_upgrades_total", 1)
	inner.waitStat("http.t.downstream_rq_http2_total", 1)
	inner.waitStat("http.t.downstream_rq_active", 0)
	outer.waitStat("http.t.downstream_rq_active", 0)
	if got := outer.lastLog(1); got != "websocket 101" {
		t.Errorf("log %q", got)
	}
}

// TestUpstreamHTTP2Cancel: a client that goes away ends its stream, and no other.
func TestUpstreamHTTP2Cancel(t *testing.T) {
	gone := make(chan struct{})
	s := toHTTP2(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-r.Context().Done()
			close(gone)
			return
		}
		fmt.Fprint(w, "ok")
	})(t)
	p := s.start(t)
	c := p.dial().send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
	p.waitStat("cluster.up.upstream_rq_active", 1)
	c.Close()
	<-gone
	if _, body := fetch(t, http1Client(t), newRequest("GET", p.url("/"), nil)); body != "ok" {
		t.Errorf("got %q", body)
	}
	p.waitStat("cluster.up.upstream_rq_tx_reset", 1)
	p.waitStat("cluster.up.upstream_cx_total", 1)
}
