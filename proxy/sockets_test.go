package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnixAndIPv6 goes through every place that has an address: listener, cluster and admin, with a
// Unix path, an abstract name and IPv6.
func TestUnixAndIPv6(t *testing.T) {
	dir := t.TempDir()
	serve := func(network, addr, answer string) string {
		lis, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
		srv.Listener.Close()
		srv.Listener = lis
		srv.Start()
		t.Cleanup(srv.Close)
		return lis.Addr().String()
	}
	abstract := "@lateen-up-" + filepath.Base(dir)
	serve("unix", dir+"/up.sock", "path")
	serve("unix", abstract, "abstract")
	_, port6, _ := net.SplitHostPort(serve("tcp", "[::1]:0", "six"))
	listener := func(name, address string) string {
		return fmt.Sprintf(`
  - name: %[1]s
    address: {%[2]s}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: %[1]s
          http_filters: [{name: envoy.filters.http.router}]
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: %[1]s}}]}`, name, address)
	}
	cluster := func(name, address string) string {
		return fmt.Sprintf(`
  - name: %[1]s
    type: STATIC
    connect_timeout: 1s
    load_assignment: {cluster_name: %[1]s, endpoints: [{lb_endpoints: [{endpoint: {address: {%[2]s}}}]}]}`, name, address)
	}
	inAbstract := "@lateen-in-" + filepath.Base(dir)
	r := run(t, `
admin: {address: {pipe: {path: `+dir+`/admin.sock, mode: 0600}}}
static_resources:
  listeners:`+
		listener("path", "pipe: {path: "+dir+"/in.sock}")+
		listener("abstract", "pipe: {path: '"+inAbstract+"'}")+
		listener("six", "socket_address: {address: '::1', port_value: 0}")+`
  clusters:`+
		cluster("path", "pipe: {path: "+dir+"/up.sock}")+
		cluster("abstract", "pipe: {path: '"+abstract+"'}")+
		cluster("six", "socket_address: {address: '::1', port_value: "+port6+"}"))
	get := func(network, addr, path string) string {
		tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}}
		resp, err := (&http.Client{Transport: tr}).Get("http://x" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	for _, tt := range [][3]string{
		{"unix", dir + "/in.sock", "path"}, {"unix", inAbstract, "abstract"}, {"tcp", r.ListenerAddrs()["six"], "six"},
	} {
		if got := get(tt[0], tt[1], "/"); got != tt[2] {
			t.Errorf("%s: %q", tt[1], got)
		}
	}
	text := get("unix", dir+"/admin.sock", "/listeners")
	for _, want := range []string{"path::" + dir + "/in.sock", "abstract::" + inAbstract, "six::[::1]:"} {
		if !strings.Contains(text, want) {
			t.Errorf("/listeners has no %q:\n%s", want, text)
		}
	}
	if text := get("unix", dir+"/admin.sock", "/clusters"); !strings.Contains(text, "six::[::1]:"+port6+"::") || !strings.Contains(text, "path::"+dir+"/up.sock::") {
		t.Errorf("/clusters:\n%s", text)
	}
}
