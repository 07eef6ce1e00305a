package proxytest

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Response is an answer that has been read whole.
type Response struct {
	*http.Response
	Text string
}

// Do sends one request on a connection of its own. headers are names and values in turn; "Host"
// is the authority. A body of several pieces goes out in chunks.
func (p *Proxy) Do(method, path string, headers []string, body ...string) Response {
	p.t.Helper()
	var b strings.Builder
	b.WriteString(method + " " + path + " HTTP/1.1\r\n")
	host, chunked := "a", len(body) > 1
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			host = headers[i+1]
			continue
		}
		b.WriteString(headers[i] + ": " + headers[i+1] + "\r\n")
	}
	b.WriteString("host: " + host + "\r\nconnection: close\r\n")
	switch {
	case chunked:
		b.WriteString("transfer-encoding: chunked\r\n\r\n")
	case len(body) == 1:
		b.WriteString("content-length: " + strconv.Itoa(len(body[0])) + "\r\n\r\n" + body[0])
	default:
		b.WriteString("\r\n")
	}
	c := p.Dial()
	defer c.Close()
	c.Send(b.String())
	if chunked {
		for _, piece := range body {
			if piece != "" {
				c.Send(strconv.FormatInt(int64(len(piece)), 16) + "\r\n" + piece + "\r\n")
			}
		}
		c.Send("0\r\n\r\n")
	}
	return c.Read(method)
}

// Get is Do without a body.
func (p *Proxy) Get(path string, headers ...string) Response {
	p.t.Helper()
	return p.Do("GET", path, headers)
}

// Conn is a raw connection to the proxy.
type Conn struct {
	net.Conn
	t testing.TB
	R *bufio.Reader
}

// Dial opens a connection to the listener. It is closed when the test ends.
func (p *Proxy) Dial() *Conn {
	p.t.Helper()
	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	p.t.Cleanup(func() { c.Close() })
	return &Conn{Conn: c, t: p.t, R: bufio.NewReader(c)}
}

// Send writes.
func (c *Conn) Send(s string) *Conn {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Logf("write: %v", err) // the answer may be there already
	}
	return c
}

// Read reads one response to a request of the method.
func (c *Conn) Read(method string) Response {
	c.t.Helper()
	resp, err := http.ReadResponse(c.R, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("response: %v", err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("body after %q: %v", b, err)
	}
	return Response{resp, string(b)}
}

// All reads until the end; a reset counts as one.
func (c *Conn) All() string {
	b, _ := io.ReadAll(c.R)
	return string(b)
}

// Server is an upstream made of a handler; its address is returned.
func Server(t testing.TB, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.Listener.Addr().String()
}

// Echo answers with the request's head, in order of name, and its body.
func Echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	var b strings.Builder
	b.WriteString(r.Method + " " + r.RequestURI + "\nhost: " + r.Host + "\n")
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, v := range r.Header[name] {
			b.WriteString(strings.ToLower(name) + ": " + v + "\n")
		}
	}
	body, _ := io.ReadAll(r.Body)
	b.WriteString("\n" + string(body))
	_, _ = io.WriteString(w, b.String())
}

// HTTP2Server is Server for HTTP/2 without TLS; YAML HTTP2 makes the cluster "up" speak it.
func HTTP2Server(t testing.TB, h http.HandlerFunc) string {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.Listener.Addr().String()
}

// HTTP2 are the fields of a cluster that speaks HTTP/2.
const HTTP2 = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}`
