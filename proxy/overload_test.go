package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func overloaded(t *testing.T, manager string) (*running, string) {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(backend.Close)
	r := run(t, staticBootstrap(backend.Listener.Addr().String())+manager)
	return r, r.ListenerAddrs()["main"]
}

const heapMonitor = `
overload_manager:
  refresh_interval: 0.01s
  resource_monitors:
  - {name: envoy.resource_monitors.fixed_heap, typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig, max_heap_size_bytes: %s}}
  actions:
  - {name: envoy.overload_actions.%s, triggers: [{name: envoy.resource_monitors.fixed_heap, threshold: {value: 0.9}}]}
`

func TestOverloadRequests(t *testing.T) {
	r, addr := overloaded(t, fmt.Sprintf(heapMonitor, "1000", "stop_accepting_requests"))
	var code int
	var body string
	eventually(t, "requests are shed", func() bool {
		code, _, body = do(t, "GET", "http://"+addr+"/")
		return code == 503
	})
	if body != "envoy overloaded" {
		t.Errorf("body %q", body)
	}
	if _, text := r.admin("GET", "/stats?filter=overload"); !strings.Contains(text, "http.ingress_http.downstream_rq_overload_close: 1\n") ||
		!strings.Contains(text, "overload.envoy.overload_actions.stop_accepting_requests.active: 1\n") || !strings.Contains(text, "fixed_heap.pressure: 100\n") {
		t.Errorf("statistics:\n%s", text)
	}
	if code, _ := r.admin("GET", "/ready"); code != 200 {
		t.Errorf("/ready: %d", code)
	}
}

func TestOverloadKeepalive(t *testing.T) {
	_, addr := overloaded(t, fmt.Sprintf(heapMonitor, "1000", "disable_http_keepalive"))
	eventually(t, "connections are not kept", func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode == 200 && resp.Close
	})
}

// TestOverloadAccept: connections wait while accepting is stopped.
func TestOverloadAccept(t *testing.T) {
	r, addr := overloaded(t, fmt.Sprintf(heapMonitor, "1000", "stop_accepting_connections"))
	eventually(t, "accepting has stopped", func() bool {
		_, text := r.admin("GET", "/stats?filter=stop_accepting_connections.active")
		return strings.Contains(text, "active: 1\n")
	})
	eventually(t, "a connection waits", func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, err = c.Read(make([]byte, 1))
		ne, ok := err.(net.Error)
		return ok && ne.Timeout()
	})
}

func TestConnectionLimit(t *testing.T) {
	r, addr := overloaded(t, `
overload_manager:
  resource_monitors:
  - {name: envoy.resource_monitors.global_downstream_max_connections, typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig, max_active_downstream_connections: 2}}
`)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ok := func(c net.Conn) bool {
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.StatusCode == 200
	}
	a, b := dial(), dial()
	if !ok(a) || !ok(b) {
		t.Fatal("the first two connections are not served")
	}
	if ok(dial()) {
		t.Error("a third connection was served")
	}
	if _, text := r.admin("GET", "/stats?filter=global_cx_overflow"); !strings.Contains(text, "downstream_global_cx_overflow: 1\n") {
		t.Errorf("statistics:\n%s", text)
	}
	a.Close()
	eventually(t, "there is room again", func() bool { return ok(dial()) })

	_, err := New(Config{Overlay: []byte(`overload_manager: {actions: [{name: envoy.overload_actions.reduce_timeouts, triggers: [{name: x, threshold: {value: 1}}]}], resource_monitors: [{name: other}]}`)})
	if err == nil || !strings.Contains(err.Error(), `action "envoy.overload_actions.reduce_timeouts" is not supported`) || !strings.Contains(err.Error(), `resource monitor "other"`) {
		t.Errorf("what is not supported: %v", err)
	}
}
