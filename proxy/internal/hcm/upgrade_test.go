package hcm_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
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
