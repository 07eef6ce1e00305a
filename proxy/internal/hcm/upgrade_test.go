package hcm_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestRouteUpgrades: what a route says of an upgrade stands above what the connection manager says.
func TestRouteUpgrades(t *testing.T) {
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if req.Method == "CONNECT" {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nupgrade: "+req.Header.Get("Upgrade")+"\r\nconnection: Upgrade\r\n\r\n")
	})
	on, off := true, false
	for _, test := range []struct {
		kind           string // of the request
		manager, route *bool  // whether they allow it; nil: they say nothing
		want           int
	}{
		{"websocket", nil, nil, 403},
		{"websocket", &on, nil, 101},
		{"websocket", &on, &off, 403},
		{"websocket", &on, &on, 101},
		{"websocket", &off, &on, 101},
		{"WebSocket", nil, &on, 101},
		{"websocket", nil, &off, 403},
		{"connect", nil, nil, 403},
		{"connect", &on, &off, 403},
		{"connect", nil, &on, 200},
	} {
		s := base(up)
		s.routes[0].Forward.Upgrades = map[string]bool{"other": true}
		s.hcm.UpgradeTypes = map[string]bool{"other": false}
		kind, ask := "websocket", "GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: "+test.kind+"\r\n\r\n"
		if test.kind == "connect" {
			kind, ask = "connect", "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n"
			s.routes[0].Match = xdsresource.RouteMatch{Kind: xdsresource.PathConnect}
		}
		if test.manager != nil {
			s.hcm.UpgradeTypes[kind] = *test.manager
		}
		if test.route != nil {
			s.routes[0].Forward.Upgrades[kind] = *test.route
		}
		c := s.start(t).dial().send(ask)
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil || resp.StatusCode != test.want {
			t.Errorf("%+v: %v %v", test, resp, err)
		}
	}
}

// TestUpgradeHoldsWhatFollows: until the host has agreed to a tunnel, what the client sends behind its request would be
// requests to the host, past every decision made here.
func TestUpgradeHoldsWhatFollows(t *testing.T) {
	got := make(chan string, 1)
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if req.URL.Path == "/agrees" {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n")
		} else {
			_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
		}
		rest, _ := io.ReadAll(r)
		got <- string(rest)
		_, _ = io.WriteString(c, "done")
	})
	s := base(up)
	s.hcm.UpgradeTypes = map[string]bool{"websocket": true}
	p := s.start(t)
	const follows = "GET /admin HTTP/1.1\r\nhost: a\r\n\r\n"
	for _, test := range []struct {
		path, want string
		code       int
	}{{"/refuses", "", 403}, {"/agrees", follows, 101}} {
		c := p.dial().send("GET " + test.path + " HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n" + follows)
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil || resp.StatusCode != test.code {
			t.Fatalf("%s: %v %v", test.path, resp, err)
		}
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil && test.code == 101 {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(c.r)
		if got := <-got; got != test.want {
			t.Errorf("%s: the host read %q, want %q", test.path, got, test.want)
		}
	}
}

// TestConnectEndsHere: what CONNECT carries goes to the host as bytes, and POST where it may.
func TestConnectEndsHere(t *testing.T) {
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		got, _ := io.ReadAll(r)
		_, _ = io.WriteString(c, "got "+string(got))
	})
	const post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n"
	for _, test := range []struct {
		name, ask string
		terminate xdsresource.Terminate
		code      int
		body      string // beginning and end, with * between them
	}{
		{"CONNECT", "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", xdsresource.Terminate{}, 200, "got hello*"},
		{"PROXY header", "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", xdsresource.Terminate{ProxyHeader: 1}, 200, "got PROXY TCP4 127.0.0.1 127.0.0.1 *\r\nhello"},
		{"PROXY header 2", "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", xdsresource.Terminate{ProxyHeader: 2}, 200, "got \r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01*hello"},
		{"POST", post, xdsresource.Terminate{Post: true}, 200, "got hello*"},
	} {
		s := base(up)
		s.routes[0].Forward.Upgrades = map[string]bool{"connect": true}
		s.routes[0].Forward.Terminate = &test.terminate
		if test.ask != post {
			s.routes[0].Match = xdsresource.RouteMatch{Kind: xdsresource.PathConnect}
		}
		c := s.start(t).dial().send(test.ask + "hello")
		method := "POST"
		if test.ask != post {
			method = "CONNECT"
			if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil || resp.StatusCode != test.code {
			t.Fatalf("%s: %v %v", test.name, resp, err)
		}
		from := io.Reader(resp.Body)
		if method == "CONNECT" {
			from = c.r
		}
		got, _ := io.ReadAll(from)
		begin, end, _ := strings.Cut(test.body, "*")
		if !strings.HasPrefix(string(got), begin) || !strings.HasSuffix(string(got), end) {
			t.Errorf("%s: the host got %q, want %q", test.name, got, test.body)
		}
	}
}
