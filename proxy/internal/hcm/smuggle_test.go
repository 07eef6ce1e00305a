package hcm_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/listener"
)

// TestNoSmuggling: whatever a client sends in one connection, the upstream never sees a request
// that the proxy did not see, and what follows a refused message is never read.
func TestNoSmuggling(t *testing.T) {
	seen := make(chan string, 100)
	up := httpServer(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen <- r.RequestURI
	})
	p := base(up).start(t)
	const hidden = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
	for _, head := range []string{
		"content-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
		"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
		"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
		"transfer-encoding: xchunked\r\n\r\n",
		"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
		"transfer-encoding: chunked\n\r\n0\r\n\r\n",
		"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
		"x: y\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
		"x: y\rtransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
		"content-length: 0\r\ncontent-length: 40\r\n\r\n",
		"content-length: +0\r\n\r\n",
		"content-length: 0, 0\r\n\r\n",
		"content-length: -0\r\n\r\n",
		"transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n",
		"transfer-encoding: chunked\r\n\r\n0 \r\n\r\n",
		"transfer-encoding: chunked\r\n\r\n1\r\nZ0\r\n\r\n",
		"transfer-encoding: chunked\r\n\r\n10000000000000000\r\n\r\n",
		"transfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 9\r\n\r\n",
		"transfer-encoding: chunked\r\n\r\n0;a\nb\r\n\r\n",
		"host: b\r\n\r\n",
		"connection: content-length\r\ncontent-length: 0\r\n\r\n",
		"\x00: y\r\n\r\n",
	} {
		c := p.dial().send("POST /seen HTTP/1.1\r\nhost: a\r\n" + head + hidden)
		resp, _ := c.response("POST")
		if resp.StatusCode/100 == 2 || !resp.Close {
			t.Errorf("%q: %d, close %v", head, resp.StatusCode, resp.Close)
		}
		c.closed()
	}
	// Well-formed messages whose bodies look like requests.
	c := p.dial().send("POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 35\r\n\r\n" + hidden)
	c.response("POST")
	c.send("POST /chunks HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n23\r\n" + hidden + "\r\n0\r\n\r\n")
	c.response("POST")
	c.send("GET /getbody HTTP/1.1\r\nhost: a\r\ncontent-length: 35\r\n\r\n" + hidden)
	c.response("GET")
	p.waitStat("cluster.up.upstream_rq_active", 0)
	for len(seen) > 0 {
		if path := <-seen; strings.Contains(path, "smuggled") {
			t.Fatalf("the upstream saw %s", path)
		}
	}
}

// TestResponseSplitting: bytes behind an answer are not taken for the next one.
func TestResponseSplitting(t *testing.T) {
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
			if req.RequestURI == "/evil" {
				<-time.After(time.Millisecond)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
			}
		}
	})
	p := base(up).start(t)
	c := p.dial()
	for i := range 20 {
		path := "/good"
		if i%2 == 0 {
			path = "/evil"
		}
		_, body := c.send("GET " + path + " HTTP/1.1\r\nhost: a\r\n\r\n").response("GET")
		if body != "ok" {
			t.Fatalf("%s: %q", path, body)
		}
		if path == "/evil" {
			p.waitStat("cluster.up.upstream_cx_active", 0) // what the host said unasked ended it
		}
	}
}

// TestDrain: the next answer says that it is the last.
func TestDrain(t *testing.T) {
	p := base(httpServer(t, echo)).start(t)
	c := p.dial()
	if resp, _ := c.send(get).response("GET"); resp.Close {
		t.Fatal("closed before draining")
	}
	p.do(func() {
		p.conns[0].Handler().(listener.Drainer).Drain()
	})
	resp, body := c.send(get).response("GET")
	if !resp.Close || resp.StatusCode != 200 {
		t.Errorf("%d %q close %v", resp.StatusCode, body, resp.Close)
	}
	c.closed()
	p.waitStat("http.t.downstream_cx_drain_close", 1)
}

// TestClaimOfTLS: at the edge, https in the absolute form needs TLS; behind another proxy that may have had it, it does not.
func TestClaimOfTLS(t *testing.T) {
	up := httpServer(t, func(http.ResponseWriter, *http.Request) {})
	for _, test := range []struct {
		target string
		edge   bool
		hops   uint32
		want   int
	}{
		{"https://a/", true, 0, 403}, {"HTTPS://a/", true, 0, 403}, {"http://a/", true, 0, 200}, {"https://a/", true, 1, 200}, {"https://a/", false, 0, 200},
	} {
		s := base(up)
		s.hcm.UseRemoteAddress, s.hcm.XFFTrustedHops = test.edge, test.hops
		if resp, _ := s.start(t).dial().send("GET " + test.target + " HTTP/1.1\r\nhost: a\r\n\r\n").response("GET"); resp.StatusCode != test.want {
			t.Errorf("%+v: %d", test, resp.StatusCode)
		}
	}
}
