package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a proxy under test.
type running struct {
	*Proxy
	t *testing.T
}

// run starts a proxy and waits until it serves.
func run(t *testing.T, bootstrap string) *running {
	t.Helper()
	return runWith(t, Config{Bootstrap: []byte(bootstrap)})
}

func runWith(t *testing.T, cfg Config) *running {
	t.Helper()
	r, done := launch(t, cfg)
	select {
	case <-r.Ready():
	case err := <-done:
		done <- nil
		t.Fatalf("Run ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the proxy did not become ready")
	}
	return r
}

// launch starts a proxy. done gets what Run returns.
func launch(t *testing.T, cfg Config) (r *running, done chan error) {
	t.Helper()
	cfg.Concurrency, cfg.Logger = 2, slog.New(slog.NewTextHandler(t.Output(), nil))
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done = make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &running{p, t}, done
}

// do sends a request and returns status, headers and body.
func do(t *testing.T, method, url string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second,
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

func (r *running) admin(method, path string) (int, string) {
	r.t.Helper()
	code, _, body := do(r.t, method, "http://"+r.AdminAddr()+path)
	return code, body
}

// staticBootstrap is one listener, one route table and one cluster before a backend.
func staticBootstrap(backend string) string {
	host, port, _ := net.SplitHostPort(backend)
	return fmt.Sprintf(`
node: {id: test, cluster: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress_http
          http_filters:
          - name: envoy.filters.http.router
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: "/old"}
                redirect: {path_redirect: "/new"}
              - match: {prefix: "/direct"}
                direct_response: {status: 418, body: {inline_string: "short and stout"}}
              - match: {prefix: "/"}
                route: {cluster: backend, timeout: 1s}
  clusters:
  - name: backend
    connect_timeout: 1s
    type: STATIC
    load_assignment:
      cluster_name: other_name
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]
`, host, port)
}

func TestStaticBootstrap(t *testing.T) {
	stop := make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			select {
			case <-r.Context().Done():
			case <-stop:
			}
			return
		}
		w.Header().Set("X-Powered-By", "Express")
		fmt.Fprintf(w, "%s %s timeout=%s id=%d", r.Method, r.URL.Path,
			r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms"), len(r.Header.Get("X-Request-Id")))
	}))
	defer backend.Close()
	defer close(stop)
	p := run(t, staticBootstrap(backend.Listener.Addr().String()))
	base := "http://" + p.ListenerAddrs()["main"]

	code, h, body := do(t, "GET", base+"/hello")
	if code != 200 || body != "GET /hello timeout=1000 id=36" {
		t.Errorf("GET /hello: %d %q", code, body)
	}
	if h.Get("X-Powered-By") != "Express" || h.Get("Server") != "envoy" || h.Get("X-Envoy-Upstream-Service-Time") == "" {
		t.Errorf("headers = %v", h)
	}
	if code, h, _ = do(t, "GET", base+"/old"); code != 301 || !strings.HasSuffix(h.Get("Location"), "/new") {
		t.Errorf("redirect: %d %v", code, h)
	}
	if code, _, body = do(t, "GET", base+"/direct"); code != 418 || body != "short and stout" {
		t.Errorf("direct response: %d %q", code, body)
	}
	if code, _, body = do(t, "GET", base+"/slow"); code != 504 || body != "upstream request timeout" { // A14
		t.Errorf("timeout: %d %q", code, body)
	}

	t.Run("admin", func(t *testing.T) { checkAdmin(t, p) })
}

func checkAdmin(t *testing.T, p *running) {
	for _, tt := range []struct {
		method, path string
		code         int
		want         []string
	}{
		{"GET", "/ready", 200, []string{"LIVE"}},
		{"GET", "/server_info", 200, []string{`"state": "LIVE"`, `"id": "test"`, `"concurrency": 2`}},
		{"GET", "/stats", 200, []string{"cluster.backend.upstream_rq_total: 2", "server.live: 1", "http.ingress_http.downstream_rq_2xx: 1"}},
		{"GET", "/stats?filter=upstream_rq_5..$&usedonly", 200, []string{"cluster.backend.upstream_rq_504: 1"}},
		{"GET", "/stats?format=json&filter=backend", 200, []string{`"stats"`, `"cluster.backend.upstream_rq_total"`}},
		{"GET", "/stats/prometheus", 200, []string{`envoy_cluster_upstream_rq_total{envoy_cluster_name="backend"} 2`}},
		{"GET", "/stats?filter=(", 400, []string{"Invalid re2 regex"}},
		{"GET", "/clusters", 200, []string{"backend::default_priority::max_connections::1024", "::cx_total::", "::rq_timeout::1", "::health_flags::healthy"}},
		{"GET", "/clusters?format=json", 200, []string{`"name": "backend"`, `"eds_health_status": "HEALTHY"`, `"name": "rq_total"`}},
		{"GET", "/listeners", 200, []string{"main::127.0.0.1:"}},
		{"GET", "/listeners?format=json", 200, []string{`"name": "main"`}},
		{"GET", "/logging", 405, []string{"POST required"}},
		{"POST", "/logging", 200, []string{"active loggers:", "  http: info"}},
		{"POST", "/logging?http=debug", 200, []string{"  http: debug", "  router: info"}},
		{"POST", "/logging?http=loud", 400, []string{"no log level"}},
		{"GET", "/memory", 200, []string{`"allocated"`}},
		{"GET", "/certs", 200, []string{"{"}},
		{"GET", "/runtime", 200, []string{"layers"}},
		{"GET", "/help", 200, []string{"/config_dump"}},
		{"GET", "/nope", 404, []string{"invalid path"}},
		{"POST", "/healthcheck/fail", 200, []string{"OK"}},
		{"GET", "/ready", 503, []string{"DRAINING"}},
		{"POST", "/healthcheck/ok", 200, []string{"OK"}},
		{"GET", "/config_dump?resource=static_clusters", 200, []string{`"backend"`}},
		{"GET", "/config_dump?resource=static_route_configs", 200, []string{`"name": "local"`, "short and stout"}},
		{"GET", "/config_dump?resource=nonsense", 404, []string{"not found in config dump"}},
		{"POST", "/reopen_logs", 200, []string{"OK"}},
		{"POST", "/reset_counters", 200, []string{"OK"}},
		{"GET", "/stats?filter=cluster.backend.upstream_rq_total", 200, []string{"upstream_rq_total: 0"}},
	} {
		code, body := p.admin(tt.method, tt.path)
		if code != tt.code {
			t.Errorf("%s %s: status %d, want %d: %s", tt.method, tt.path, code, tt.code, body)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(normalise(body), want) {
				t.Errorf("%s %s: no %q in:\n%s", tt.method, tt.path, want, body)
			}
		}
	}
	_, body := p.admin("GET", "/config_dump?include_eds")
	var dump struct {
		Configs []map[string]any `json:"configs"`
	}
	if err := json.Unmarshal([]byte(body), &dump); err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, c := range dump.Configs {
		types = append(types, strings.TrimPrefix(c["@type"].(string), "type.googleapis.com/envoy.admin.v3."))
	}
	want := "BootstrapConfigDump ClustersConfigDump EndpointsConfigDump ListenersConfigDump ScopedRoutesConfigDump RoutesConfigDump SecretsConfigDump"
	if got := strings.Join(types, " "); got != want {
		t.Errorf("config dump holds %s, want %s", got, want)
	}
}

// normalise undoes protojson's random choice between one and two spaces after a colon.
func normalise(s string) string { return strings.ReplaceAll(s, `":  `, `": `) }

func TestRunReportsATakenPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	text := strings.Replace(staticBootstrap("127.0.0.1:1"), "port_value: 0}}\n    filter", "port_value: "+port+"}}\n    filter", 1)
	p, err := New(Config{Bootstrap: []byte(text), Concurrency: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(context.Background()); err == nil || !strings.Contains(err.Error(), port) || !strings.Contains(err.Error(), "main") {
		t.Errorf("Run = %v, want an error that names the listener and the port", err)
	}
}

// TestEndAtOnce ends proxies while they are starting, at whatever step that hits.
func TestEndAtOnce(t *testing.T) {
	for i := range 20 {
		p, err := New(Config{Bootstrap: []byte(staticBootstrap("127.0.0.1:1")), Concurrency: 1, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*100*time.Microsecond)
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

func TestQuit(t *testing.T) {
	p, err := New(Config{Bootstrap: []byte(`admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}`), Concurrency: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(context.Background()) }()
	<-p.Ready()
	if code, _, _ := do(t, "POST", "http://"+p.AdminAddr()+"/quitquitquit"); code != 200 {
		t.Errorf("quitquitquit: %d", code)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
