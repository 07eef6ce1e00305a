package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
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

// TestOverloadTimeouts: connections that were there before time-outs are reduced feel it.
func TestOverloadTimeouts(t *testing.T) {
	r, addr := overloaded(t, `
overload_manager:
  refresh_interval: 0.01s
  resource_monitors:
  - {name: envoy.resource_monitors.global_downstream_max_connections, typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig, max_active_downstream_connections: 2}}
  actions:
  - name: envoy.overload_actions.reduce_timeouts
    triggers: [{name: envoy.resource_monitors.global_downstream_max_connections, scaled: {scaling_threshold: 0.6, saturation_threshold: 1}}]
    typed_config:
      "@type": type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig
      timer_scale_factors: [{timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_timeout: 0.05s}]
`)
	open := func() net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return c
	}
	first := open() // alone it may stay for an hour
	_ = first.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("an idle connection ended without need: %v", err)
	}
	for _, c := range []net.Conn{open(), first} {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("an idle connection, of two that there may be: %v", err)
		}
	}
	if _, text := r.admin("GET", "/stats?filter=idle_timeout|reduce_timeouts"); !strings.Contains(text, "http.ingress_http.downstream_cx_idle_timeout: 2\n") ||
		!strings.Contains(text, "overload.envoy.overload_actions.reduce_timeouts.scale_percent: ") {
		t.Errorf("statistics:\n%s", text)
	}
}

// TestLoadShedPoints: what each point does, as Envoy 1.40 does it.
func TestLoadShedPoints(t *testing.T) {
	for _, tt := range []struct{ point, answer, stat string }{
		{"tcp_listener_accept", "", "downstream_cx_overload_reject"},
		{"hcm_ondata_creating_codec", "", "downstream_rq_overload_close"},
		{"http_connection_manager_decode_headers", "HTTP/1.1 503 Service Unavailable", "downstream_rq_overload_close"},
	} {
		t.Run(tt.point, func(t *testing.T) {
			name := "envoy.load_shed_points." + tt.point
			r, addr := overloaded(t, strings.NewReplacer("actions:", "loadshed_points:", "envoy.overload_actions.", "envoy.load_shed_points.").Replace(fmt.Sprintf(heapMonitor, "1000", tt.point)))
			eventually(t, "the monitor has looked", func() bool {
				_, text := r.admin("GET", "/stats?filter="+name+".scale_percent")
				return strings.HasSuffix(text, ": 100\n")
			})
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") // the connection may be gone already
			answer, _ := io.ReadAll(c)
			if line, _, _ := strings.Cut(string(answer), "\r\n"); line != tt.answer {
				t.Errorf("answer %q, want %q", line, tt.answer)
			}
			_, text := r.admin("GET", "/stats?filter=overload")
			for _, want := range []string{tt.stat + ": 1\n", name + ".shed_load_count: 1\n"} {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in:\n%s", want, text)
				}
			}
		})
	}
}

// TestRuntimeConnectionLimit: the older way to bound connections, which the runtime changes at once.
func TestRuntimeConnectionLimit(t *testing.T) {
	r, addr := overloaded(t, "")
	served := func() bool {
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + addr + "/")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	}
	modify := func(value string) {
		if code, text := r.admin("POST", "/runtime_modify?overload.global_downstream_max_connections="+value); code != 200 {
			t.Fatalf("/runtime_modify: %d %s", code, text)
		}
	}
	if !served() {
		t.Fatal("without a limit a connection is not served")
	}
	if modify("0"); served() {
		t.Error("a connection was served though there may be none")
	}
	if modify(""); !served() {
		t.Error("the limit stays though it was taken back")
	}
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

	_, err := New(Config{Overlay: []byte(`overload_manager:
  resource_monitors: [{name: other}]
  actions:
  - {name: envoy.overload_actions.reset_high_memory_stream, triggers: [{name: other, threshold: {value: 1}}]}
  - {name: envoy.overload_actions.reduce_timeouts, triggers: [{name: other, threshold: {value: 1}}]}
  - name: envoy.overload_actions.reduce_timeouts
    triggers: [{name: other, threshold: {value: 1}}]
    typed_config: {"@type": type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig, timer_scale_factors: [{timer: HTTP_DOWNSTREAM_STREAM_FLUSH, min_timeout: 1s}]}
  loadshed_points: [{name: envoy.load_shed_points.tcp_proxy_on_data, triggers: [{name: other, threshold: {value: 1}}]}]
`)})
	for _, want := range []string{
		`action "envoy.overload_actions.reset_high_memory_stream" is not supported`, `resource monitor "other"`, "actions[1].typed_config: is required",
		"timer_scale_factors[0].timer: HTTP_DOWNSTREAM_STREAM_FLUSH is not supported", `load shed point "envoy.load_shed_points.tcp_proxy_on_data" is not supported`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}
