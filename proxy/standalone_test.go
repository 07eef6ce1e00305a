package proxy

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// posts is the configuration that people have from tutorials for Envoy 1.19: a router with no
// typed_config, a load assignment whose cluster_name is not the cluster's, flow maps, comments in
// Korean. Ports are the system's choice here, and httpbin is a name that every machine knows.
const posts = `
admin: # 관리자 API
  address:
    socket_address: { address: 127.0.0.1, port_value: 0 } # 포트 15000
static_resources:
  listeners:
  - name: httpbin-demo # 리스너 이름
    address:
      socket_address: { address: 127.0.0.1, port_value: 0 }
    per_connection_buffer_limit_bytes: 32768
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress_http
          http_filters:
          - name: envoy.filters.http.router # typed_config 없음
          route_config:
            name: httpbin_local_route
            virtual_hosts:
            - name: httpbin_local_service
              domains: ["*"]
              routes:
              - match: { prefix: "/" } # 모든 요청
                route:
                  auto_host_rewrite: true
                  cluster: httpbin_service
                  %s
  clusters:
  - name: httpbin_service
    connect_timeout: 5s
    type: LOGICAL_DNS
    dns_lookup_family: V4_ONLY # IPv4만 사용
    lb_policy: ROUND_ROBIN
    load_assignment:
      cluster_name: httpbin # 클러스터 이름과 다름
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address:
                address: localhost
                port_value: %s
`

// httpbin answers what the tests below ask of the program of that name.
func httpbin(t *testing.T) (port string) {
	t.Helper()
	stop := make(chan struct{})
	lis, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, arg, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		switch kind {
		case "headers":
			r.Header.Set("Host", r.Host)
			_ = json.NewEncoder(w).Encode(r.Header)
		case "delay":
			select {
			case <-stop:
			case <-r.Context().Done():
			}
		case "status":
			code, _ := strconv.Atoi(arg)
			w.WriteHeader(code)
		default:
			_, _ = io.Copy(w, r.Body)
		}
	}))
	srv.Listener.Close()
	srv.Listener = lis
	srv.Start()
	t.Cleanup(func() { close(stop); srv.Close() })
	_, port, _ = net.SplitHostPort(lis.Addr().String())
	return port
}

func startPosts(t *testing.T, route string) (*running, string) {
	t.Helper()
	r := runWith(t, Config{Overlay: []byte(fmt.Sprintf(posts, route, httpbin(t)))}) // A1: --config-yaml alone
	return r, "http://" + r.ListenerAddrs()["httpbin-demo"]
}

func TestPostsTimeout(t *testing.T) {
	r, url := startPosts(t, "timeout: 1s") // A2 to A12, A19
	_, _, body := do(t, "GET", url+"/headers")
	var got http.Header
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Get("X-Envoy-Expected-Rq-Timeout-Ms") != "1000" || got.Get("X-Request-Id") == "" { // A13
		t.Errorf("headers of the proxy: %v", got)
	}
	if got.Get("Host") != "localhost" { // A8
		t.Errorf("host = %q", got.Get("Host"))
	}
	began := time.Now()
	code, _, body := do(t, "GET", url+"/delay/2")
	if code != 504 || body != "upstream request timeout" || time.Since(began) < time.Second { // A14, A9
		t.Errorf("%d %q after %v", code, body, time.Since(began))
	}
	if code, _, body := do(t, "HEAD", url+"/headers"); code != 200 || body != "" { // A24
		t.Errorf("HEAD: %d %q", code, body)
	}
	resp, err := http.Post(url+"/echo", "application/json", io.MultiReader(strings.NewReader(`{"a":`), strings.NewReader(`1}`))) // chunked
	if err != nil {
		t.Fatal(err)
	}
	echo, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if string(echo) != `{"a":1}` {
		t.Errorf("chunked body came back as %q", echo)
	}

	code, text := r.admin("POST", "/logging") // A15
	if code != 200 || !strings.Contains(text, "active loggers:") || !strings.Contains(text, "  http: info") {
		t.Errorf("/logging: %d %s", code, text)
	}
	if _, text := r.admin("POST", "/logging?http=debug"); !strings.Contains(text, "  http: debug") {
		t.Errorf("/logging?http=debug: %s", text)
	}
	if _, text := r.admin("GET", "/stats/prometheus"); !strings.Contains(text, `envoy_cluster_upstream_rq_timeout{envoy_cluster_name="httpbin_service"} 1`) { // A16
		t.Error("/stats/prometheus does not count the time-out")
	}
}

func TestPostsRetry(t *testing.T) {
	r, url := startPosts(t, "retry_policy: { retry_on: 5xx, num_retries: 3 }")
	if code, _, body := do(t, "GET", url+"/status/500"); code != 500 || body != "" { // A18
		t.Errorf("%d %q", code, body)
	}
	_, text := r.admin("GET", "/stats") // A17
	for _, want := range []string{
		"cluster.httpbin_service.retry.upstream_rq_500: 3", "cluster.httpbin_service.upstream_rq_retry: 3",
		"cluster.httpbin_service.upstream_rq_retry_limit_exceeded: 1", "cluster.httpbin_service.upstream_rq_500: 1",
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("/stats has no %q", want)
		}
	}
	_, _, body := do(t, "GET", url+"/headers")
	if !strings.Contains(body, `"X-Envoy-Expected-Rq-Timeout-Ms":["15000"]`) { // A13
		t.Errorf("headers: %s", body)
	}
}

// moveTo writes a file beside its place and moves it there, as operators and ConfigMaps do.
func moveTo(t *testing.T, path, text string) {
	t.Helper()
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

// TestFileXDS (A21): listeners, clusters, routes, endpoints and secrets come from files, and a new
// version that is moved into place serves within a second.
func TestFileXDS(t *testing.T) {
	backend := func(name string) (host, port string) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
		t.Cleanup(srv.Close)
		host, port, _ = net.SplitHostPort(srv.Listener.Addr().String())
		return host, port
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	endpoints := func(host, port string) string {
		return fmt.Sprintf(`
resources:
- "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
  cluster_name: svc
  endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]
`, host, port)
	}
	routes := func(prefix string) string {
		return fmt.Sprintf(`{"version_info": %q, "resources": [{"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "r",
 "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": %q}, "route": {"cluster": "web"}}]}]}]}`, prefix, prefix)
	}
	oneHost, onePort := backend("one")
	twoHost, twoPort := backend("two")
	moveTo(t, file("eds.yaml"), endpoints(oneHost, onePort))
	moveTo(t, file("rds.json"), routes("/"))
	cds := `
version_info: "1"
resources:
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: web
  type: EDS
  connect_timeout: 1s
  eds_cluster_config: {service_name: svc, eds_config: {path_config_source: {path: ` + file("eds.yaml") + `}}}
`
	moveTo(t, file("cds.yaml"), cds)
	lds := `
resources:
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: main
  address: {socket_address: {address: 127.0.0.1, port_value: 0}}
  filter_chains:
  - filters:
    - name: envoy.filters.network.http_connection_manager
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: in
        rds: {route_config_name: r, config_source: {path_config_source: {path: ` + file("rds.json") + `}}}
        http_filters: [{name: envoy.filters.http.router}]
`
	moveTo(t, file("lds.yaml"), lds)
	r := run(t, `
node: {id: test, cluster: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
dynamic_resources:
  lds_config: {path_config_source: {path: `+file("lds.yaml")+`}}
  cds_config: {path: `+file("cds.yaml")+`}
`)
	get := func(path string) string {
		_, _, body := do(t, "GET", "http://"+r.ListenerAddrs()["main"]+path)
		return body
	}
	if body := get("/"); body != "one" {
		t.Fatalf("body %q", body)
	}
	moveTo(t, file("eds.yaml"), endpoints(twoHost, twoPort))
	eventually(t, "new endpoints", func() bool { return get("/") == "two" })
	moveTo(t, file("rds.json"), routes("/only"))
	eventually(t, "new routes", func() bool { return get("/") == "" && get("/only") == "two" })

	// What is wrong changes nothing and is counted; the listener beside it goes on.
	moveTo(t, file("rds.json"), `{"resources": [{"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "r", "virtual_hostz": []}]}`)
	stat := func(line string) bool {
		_, text := r.admin("GET", "/stats?filter=rds|cds|lds")
		return strings.Contains(text, line+"\n")
	}
	eventually(t, "the refusal is counted", func() bool { return stat("http.in.rds.r.update_failure: 1") })
	if get("/only") != "two" {
		t.Error("a broken file took the routes away")
	}
	for _, want := range []string{"http.in.rds.r.update_success: 2", "http.in.rds.r.config_reload: 2", "cluster_manager.cds.update_success: 1", "listener_manager.lds.update_attempt: 1"} {
		if !stat(want) {
			_, text := r.admin("GET", "/stats?filter=rds|cds|lds")
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	// A resource that is gone from its file is gone.
	moveTo(t, file("lds.yaml"), "resources: []\n")
	eventually(t, "the listener is gone", func() bool { return len(r.ListenerAddrs()) == 0 })
}
