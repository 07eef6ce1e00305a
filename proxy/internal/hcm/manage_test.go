package hcm_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestHTTP10(t *testing.T) {
	s := base(httpServer(t, echo))
	s.hcm.AcceptHTTP10, s.hcm.DefaultHostForHTTP10 = true, "default.example"
	p := s.start(t)
	c := p.dial().send("GET /old HTTP/1.0\r\n\r\n")
	resp, body := c.response("GET")
	if resp.StatusCode != 200 || !strings.HasPrefix(body, "GET /old default.example\n") || !resp.Close {
		t.Errorf("%d %q close %v", resp.StatusCode, body, resp.Close)
	}
	c.closed()
	c = p.dial()
	for range 2 {
		resp, _ = c.send("GET /old HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").response("GET")
		if resp.Header.Get("Connection") != "keep-alive" {
			t.Errorf("%v", resp.Header)
		}
	}
}

// TestForwarding: who the client is, and what it may say, by configuration.
func TestForwarding(t *testing.T) {
	up := httpServer(t, echo)
	f := func(name string, change func(*xdsresource.HTTPConnectionManager), headers string, want, without []string) {
		t.Helper()
		s := base(up)
		change(&s.hcm)
		_, body := s.start(t).dial().send("GET / HTTP/1.1\r\nhost: a\r\n" + headers + "\r\n").response("GET")
		for _, w := range want {
			if !strings.Contains(body, "\n"+w+"\n") && !strings.Contains(body, "\n"+w) {
				t.Errorf("%s: upstream did not see %q in %q", name, w, body)
			}
		}
		for _, w := range without {
			if strings.Contains(body, "\n"+w) {
				t.Errorf("%s: upstream saw %q in %q", name, w, body)
			}
		}
	}
	edge := func(*xdsresource.HTTPConnectionManager) {}
	f("edge, external by x-forwarded-for", edge,
		"x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\nx-envoy-internal: true\r\nx-envoy-max-retries: 9\r\nx-envoy-decorator-operation: x\r\nx-request-id: mine\r\n",
		[]string{"x-forwarded-for: 203.0.113.9,127.0.0.1", "x-forwarded-proto: http", "x-envoy-external-address: 127.0.0.1", "x-request-id: "},
		[]string{"x-envoy-internal", "x-envoy-max-retries", "x-envoy-decorator-operation", "x-request-id: mine"})
	f("one trusted hop", func(c *xdsresource.HTTPConnectionManager) { c.XFFTrustedHops = 1 },
		"x-forwarded-for: 1.1.1.1, 203.0.113.9\r\nx-forwarded-proto: https\r\n",
		[]string{"x-forwarded-for: 1.1.1.1, 203.0.113.9,127.0.0.1", "x-forwarded-proto: https", "x-envoy-external-address: 203.0.113.9"}, nil)
	inner := func(c *xdsresource.HTTPConnectionManager) { c.UseRemoteAddress = false }
	f("inside, one private address", inner, "x-forwarded-for: 10.1.2.3\r\nx-request-id: mine\r\n",
		[]string{"x-forwarded-for: 10.1.2.3", "x-envoy-internal: true", "x-request-id: mine"}, []string{"x-envoy-external-address"})
	f("inside, nobody is internal by default", func(c *xdsresource.HTTPConnectionManager) { c.UseRemoteAddress, c.InternalAddresses = false, nil },
		"x-forwarded-for: 10.1.2.3\r\nx-envoy-max-retries: 9\r\n", []string{"x-forwarded-for: 10.1.2.3"}, []string{"x-envoy-internal", "x-envoy-max-retries"})
	f("inside, public address", inner, "x-forwarded-for: 203.0.113.9\r\nx-envoy-internal: true\r\n",
		[]string{"x-forwarded-for: 203.0.113.9"}, []string{"x-envoy-internal", "x-envoy-external-address"})
	f("inside, no address", inner, "x-envoy-max-retries: 9\r\n", nil, []string{"x-envoy-internal", "x-forwarded-for", "x-envoy-max-retries"})
	f("inside, two addresses", inner, "x-forwarded-for: 10.1.2.3, 10.1.2.4\r\n", nil, []string{"x-envoy-internal"})
	f("preserved id", func(c *xdsresource.HTTPConnectionManager) { c.PreserveExternalRequestID = true }, "x-forwarded-for: 203.0.113.9\r\nx-request-id: mine\r\n",
		[]string{"x-request-id: mine"}, nil)
	f("client certificate without TLS", func(c *xdsresource.HTTPConnectionManager) { c.ForwardClientCert = xdsresource.XFCCAppendForward },
		"x-forwarded-client-cert: Hash=1\r\n", nil, []string{"x-forwarded-client-cert"})
	f("via", func(c *xdsresource.HTTPConnectionManager) { c.Via = "lateen" }, "via: x\r\n", []string{"via: x, lateen"}, nil)
	f("first trace", func(c *xdsresource.HTTPConnectionManager) { c.Tracing = &xdsresource.Tracing{OverallSampling: 100} }, "",
		[]string{"x-b3-traceid: ", "x-b3-spanid: ", "x-b3-sampled: 0"}, []string{"x-b3-parentspanid"})
	f("underscores dropped", func(c *xdsresource.HTTPConnectionManager) { c.Underscores = xdsresource.UnderscoresDrop }, "a_b: 1\r\nc-d: 2\r\n",
		[]string{"c-d: 2"}, []string{"a_b"})
}

func TestHostAndPath(t *testing.T) {
	up := httpServer(t, echo)
	f := func(change func(*xdsresource.HTTPConnectionManager), host, path, want string) {
		t.Helper()
		s := base(up)
		change(&s.hcm)
		_, body := s.start(t).dial().send("GET " + path + " HTTP/1.1\r\nhost: " + host + "\r\n\r\n").response("GET")
		if line, _, _ := strings.Cut(body, "\n"); line != want {
			t.Errorf("%s %s: %q, want %q", host, path, line, want)
		}
	}
	f(func(c *xdsresource.HTTPConnectionManager) { c.StripAnyHostPort = true }, "a.example:81", "/", "GET / a.example")
	f(func(c *xdsresource.HTTPConnectionManager) { c.StripMatchingHostPort = true }, "a.example:81", "/", "GET / a.example:81")
	f(func(c *xdsresource.HTTPConnectionManager) { c.StripTrailingHostDot = true }, "a.example.:81", "/", "GET / a.example:81")
	norm := func(c *xdsresource.HTTPConnectionManager) { c.NormalizePath, c.MergeSlashes = true, true }
	f(norm, "a", "/a/./b/../c?x=/../y", "GET /a/c?x=/../y a")
	f(norm, "a", "/a/%2e%2e/b", "GET /b a")
	f(norm, "a", "/../../etc", "GET /etc a")
	f(norm, "a", "/a\\b//c", "GET /a/b/c a")
	f(norm, "a", "/%41%2F", "GET /A%2F a")
	f(norm, "a", "/plain/path.html", "GET /plain/path.html a")
	f(func(c *xdsresource.HTTPConnectionManager) {
		c.EscapedSlashes = xdsresource.EscapedSlashesUnescapeForward
	}, "a", "/a%2fb%5C?%2f", "GET /a/b\\?%2f a")
	f(func(*xdsresource.HTTPConnectionManager) {}, "a", "/a/../b%2f", "GET /a/../b%2f a")
}

func TestWebSocket(t *testing.T) {
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if req.Header.Get("Upgrade") != "websocket" || req.Header.Get("Connection") != "Upgrade" {
			_, _ = io.WriteString(c, "HTTP/1.1 400 X\r\ncontent-length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\nhello")
		_, _ = io.Copy(struct{ io.Writer }{c}, r) // no splice: its pipes outlive the test
	})
	const ask = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
	s := base(up)
	resp, _ := s.start(t).dial().send(ask).response("GET")
	if resp.StatusCode != 403 {
		t.Errorf("not allowed: %d", resp.StatusCode)
	}
	s.hcm.UpgradeTypes = map[string]bool{"websocket": true}
	p := s.start(t)
	c := p.dial().send(ask)
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("%v %v", resp, err)
	}
	read := func(want string) {
		t.Helper()
		b := make([]byte, len(want))
		if _, err := io.ReadFull(c.r, b); err != nil || string(b) != want {
			t.Fatalf("%q, %v", b, err)
		}
	}
	read("hello")
	c.send("GET not http")
	read("GET not http")
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	c.closed()
	p.waitStat("cluster.up.upstream_cx_active", 0)
	p.waitStat("http.t.downstream_cx_upgrades_active", 0)
}

func TestTimeouts(t *testing.T) {
	silent := server(t, func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	f := func(name string, change func(*xdsresource.HTTPConnectionManager), req string, code int, body string) {
		t.Helper()
		s := base(silent)
		change(&s.hcm)
		c := s.start(t).dial().send(req)
		if code != 0 {
			resp, got := c.response("GET")
			if resp.StatusCode != code || got != body {
				t.Errorf("%s: %d %q", name, resp.StatusCode, got)
			}
		}
		if code != 504 { // the request was complete, and another may follow
			c.closed()
		}
	}
	const soon = 30 * time.Millisecond
	f("idle connection", func(c *xdsresource.HTTPConnectionManager) { c.IdleTimeout = soon }, "", 0, "")
	f("stream idle, waiting for the answer", func(c *xdsresource.HTTPConnectionManager) { c.StreamIdleTimeout = soon }, get, 504, "stream timeout")
	f("stream idle, waiting for the body", func(c *xdsresource.HTTPConnectionManager) { c.StreamIdleTimeout = soon },
		"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nx", 408, "stream timeout")
	f("request", func(c *xdsresource.HTTPConnectionManager) { c.RequestTimeout = soon },
		"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nx", 408, "request timeout")
	f("request head", func(c *xdsresource.HTTPConnectionManager) { c.RequestHeadersTimeout = soon }, "GET / HT", 408, "request header timeout")
	f("stream duration", func(c *xdsresource.HTTPConnectionManager) { c.MaxStreamDuration = soon }, get, 504, "downstream duration timeout")
	f("connection duration", func(c *xdsresource.HTTPConnectionManager) { c.MaxConnectionDuration = soon }, "", 0, "")
}

func TestMaxRequestsPerConnection(t *testing.T) {
	s := base(httpServer(t, echo))
	s.hcm.MaxRequestsPerConnection = 2
	c := s.start(t).dial()
	if resp, _ := c.send(get).response("GET"); resp.Close {
		t.Error("closed after the first request")
	}
	if resp, _ := c.send(get).response("GET"); !resp.Close {
		t.Error("not closed after the second")
	}
	c.closed()
}

// TestServerHeader, local replies and their mapping.
func TestServerHeaderAndReplies(t *testing.T) {
	up := httpServer(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Server", "app") })
	f := func(mode xdsresource.ServerHeader, want string) {
		t.Helper()
		s := base(up)
		s.hcm.ServerHeader = mode
		resp, _ := s.start(t).dial().send(get).response("GET")
		if got := resp.Header.Get("Server"); got != want {
			t.Errorf("mode %d: %q, want %q", mode, got, want)
		}
	}
	f(xdsresource.ServerOverwrite, "envoy")
	f(xdsresource.ServerAppendIfAbsent, "app")
	f(xdsresource.ServerPassThrough, "app")

	s := base()
	body := "sorry"
	s.hcm.LocalReplyBody = &xdsresource.BodyFormat{Text: "%RESPONSE_CODE%: %LOCAL_REPLY_BODY%", ContentType: "text/plain"}
	s.hcm.LocalReplies = []xdsresource.LocalReplyMapper{{
		Filter:     &xdsresource.AccessLogFilter{StatusCode: &xdsresource.ComparisonFilter{Op: "EQ", Value: 503}},
		StatusCode: 418, Body: &body, HeadersToAdd: []xdsresource.HeaderOp{{Name: "x-mapped", Value: "yes"}},
	}}
	resp, got := s.start(t).dial().send(get).response("GET")
	if resp.StatusCode != 418 || got != "418: sorry" || resp.Header.Get("X-Mapped") != "yes" {
		t.Errorf("%d %q %v", resp.StatusCode, got, resp.Header)
	}
}

func TestTrailers(t *testing.T) {
	seen := make(chan string, 1)
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.ReadAll(req.Body)
		seen <- req.Trailer.Get("X-Sum")
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\ngrpc-status: 0\r\n\r\n")
	})
	for _, on := range []bool{false, true} {
		s := base(up)
		s.hcm.HTTP1.EnableTrailers, s.clusters[0].HTTP.HTTP1.EnableTrailers = on, on
		p := s.start(t)
		resp, body := p.dial().send("POST / HTTP/1.1\r\nhost: a\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-sum: 7\r\n\r\n").response("POST")
		want := map[bool][2]string{false: {"", ""}, true: {"7", "0"}}[on]
		if got := [2]string{<-seen, resp.Trailer.Get("Grpc-Status")}; got != want || body != "hi" {
			t.Errorf("enabled %v: %q, want %q; body %q", on, got, want, body)
		}
	}
}
