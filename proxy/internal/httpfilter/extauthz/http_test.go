package extauthz_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// httpAuthz is an authorizer over HTTP. A path's last element says what it answers.
type httpAuthz struct {
	addr string
	mu   sync.Mutex
	last string // the request, but for what every one has
}

func (a *httpAuthz) told() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

func startHTTP(t *testing.T) *httpAuthz {
	a := &httpAuthz{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for _, n := range []string{"X-Request-Id", "X-Forwarded-Proto"} {
			r.Header.Del(n)
		}
		a.mu.Lock()
		a.last = fmt.Sprintf("%s %s %s [%s] %d %q", r.Method, r.RequestURI, r.Host, headersOf(r.Header, ""), r.ContentLength, body)
		a.mu.Unlock()
		h := w.Header()
		h.Add("X-Up", "1")
		h.Add("X-Up", "2")
		h.Set("X-App", "authz")
		h.Set("X-Cl", "authz")
		h.Set("X-Md", "authz")
		h.Set("X-Envoy-Auth-Headers-To-Remove", "x-gone , X-Gone2,,")
		switch r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:] {
		case "401":
			h.Set("Www-Authenticate", "Basic")
			w.WriteHeader(401)
			_, _ = io.WriteString(w, "who are you")
		case "302":
			h.Set("Location", "/login")
			h.Add("Set-Cookie", "a")
			h.Add("Set-Cookie", "b")
			w.WriteHeader(302)
		case "201":
			w.WriteHeader(201)
		case "500":
			w.WriteHeader(500)
		case "chunked":
			w.WriteHeader(403)
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "in chunks")
		case "cut":
			h.Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "hang":
			<-r.Context().Done()
		}
	}))
	srv.Config.ErrorLog = nil
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	a.addr = srv.Listener.Addr().String()
	return a
}

const lists = `path_prefix: /pre, authorization_request: {allowed_headers: {patterns: [{prefix: X-, ignore_case: true}, {exact: connection}]},
  headers_to_add: [{key: x-add, value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'}, {key: x-a, value: over}]},
  authorization_response: {allowed_upstream_headers: {patterns: [{exact: x-up}]}, allowed_upstream_headers_to_append: {patterns: [{exact: x-app}]},
  allowed_client_headers: {patterns: [{exact: x-cl}]}, allowed_client_headers_on_success: {patterns: [{exact: x-cl}]}, dynamic_metadata_from_headers: {patterns: [{exact: x-md}]}}`

// TestHTTPRequest: what a service is told over HTTP.
func TestHTTPRequest(t *testing.T) {
	a := startHTTP(t)
	for _, c := range []struct {
		name, service, fields string
		method                string
		headers, body         []string
		want                  string
	}{
		{"default", "", "", "POST", []string{"x-a", "1", "authorization", "z", "x-forwarded-for", "1.2.3.4"}, []string{"body"},
			`POST /a/ok?q=1 h:8 [authorization=z content-length=0 x-envoy-expected-rq-timeout-ms=2000 x-envoy-internal=true] 0 ""`},
		{"lists", lists, "", "GET", []string{"x-a", "1", "x-a", "2", "x-b", "1", "x-b", "2", "authorization", "z", "y-a", "1"}, nil,
			`GET /pre/a/ok?q=1 h:8 [authorization=z content-length=0 x-a=over x-add=127.0.0.1 x-b=1,2 x-envoy-expected-rq-timeout-ms=2000 x-envoy-internal=true] 0 ""`},
		{"override", "path_override: /other", "", "GET", nil, nil,
			`GET /other h:8 [content-length=0 x-envoy-expected-rq-timeout-ms=2000 x-envoy-internal=true] 0 ""`},
		{"body", "", "with_request_body: {max_request_bytes: 8}, disallowed_headers: {patterns: [{exact: authorization}]}", "POST", []string{"authorization", "z"}, []string{"one", "two"},
			`POST /a/ok?q=1 h:8 [content-length=6 x-envoy-auth-partial-body=false x-envoy-expected-rq-timeout-ms=2000 x-envoy-internal=true] 6 "onetwo"`},
		{"part", "", "with_request_body: {max_request_bytes: 4, allow_partial_message: true, pack_as_bytes: true}, allowed_headers: {patterns: [{exact: x-a}]}", "PUT", []string{"x-a", "1"}, []string{"one", "two"},
			`PUT /a/ok?q=1 h:8 [content-length=4 x-a=1 x-envoy-auth-partial-body=true x-envoy-expected-rq-timeout-ms=2000 x-envoy-internal=true] 4 "onet"`},
		{"raw", "", "encode_raw_headers: true, allowed_headers: {patterns: [{exact: x-a}]}", "GET", []string{"x-a", "1", "x-a", "2"}, nil,
			`GET /a/ok?q=1 h:8 [content-length=0 x-a=1+2 x-envoy-expected-rq-timeout-ms=2000 x-envoy-internal=true] 0 ""`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := proxytest.Start(t, proxytest.Config{Upstream: proxytest.Server(t, proxytest.Echo), Filters: overHTTP(c.service, c.fields), Clusters: authz("authz", a.addr, false)})
			if r := p.Do(c.method, "/a/ok?q=1", append(c.headers, "Host", "h:8"), c.body...); r.StatusCode != 200 || !strings.HasSuffix(r.Text, "\n\n"+strings.Join(c.body, "")) {
				t.Errorf("%d %s", r.StatusCode, r.Text)
			}
			if got := a.told(); got != c.want {
				t.Errorf("told\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// TestHTTPAnswers: what answers over HTTP do.
func TestHTTPAnswers(t *testing.T) {
	a := startHTTP(t)
	const all = "x-app=authz x-cl=authz x-envoy-upstream-service-time= x-md=authz x-up=1+2"
	for _, c := range []struct {
		path, service   string
		code            int
		headers, text   string
		upstream, notes string // what the upstream sees, the log
	}{
		{"/a/ok", "", 200, "x-envoy-upstream-service-time=", "", "GET /a/ok, x-app: client, x-envoy-expected-rq-timeout-ms: 15000, x-up: client", "200 via_upstream - -"},
		{"/a/ok", lists, 200, "x-cl=authz x-envoy-upstream-service-time=", "", "GET /a/ok, x-app: client, x-app: authz, x-envoy-expected-rq-timeout-ms: 15000, x-up: 2", "200 via_upstream - authz"},
		{"/a/401", "", 401, all, "who are you", "", "401 ext_authz_denied UAEX -"},
		{"/a/401", lists, 401, "x-cl=authz", "who are you", "", "401 ext_authz_denied UAEX authz"},
		{"/a/302", "", 302, all, "", "", "302 ext_authz_denied UAEX -"},
		{"/a/302", lists, 302, "x-cl=authz", "", "", "302 ext_authz_denied UAEX authz"},
		{"/a/201", "", 201, all, "", "", "201 ext_authz_denied UAEX -"},
		{"/a/500", "", 403, "", "", "", "403 ext_authz_error UAEX -"},
		{"/a/cut", "", 403, "", "", "", "403 ext_authz_error UAEX -"},
		{"/a/chunked", "", 403, all, "in chunks", "", "403 ext_authz_denied UAEX -"},
	} {
		t.Run(c.path+c.service[:min(len(c.service), 4)], func(t *testing.T) {
			p := proxytest.Start(t, proxytest.Config{
				Upstream: proxytest.Server(t, proxytest.Echo), Filters: overHTTP(c.service, ""), Clusters: authz("authz", a.addr, false),
				Log: logFormat + " %DYNAMIC_METADATA(envoy.filters.http.ext_authz:x-md)%",
			})
			r := p.Get(c.path, "x-up", "client", "x-app", "client", "x-gone", "1", "x-gone2", "1")
			if r.Header.Get("X-Envoy-Upstream-Service-Time") != "" {
				r.Header.Set("X-Envoy-Upstream-Service-Time", "")
			}
			if got := headersOf(r.Header, "x-"); r.StatusCode != c.code || got != c.headers {
				t.Errorf("%d %q, want %d %q", r.StatusCode, got, c.code, c.headers)
			}
			if c.upstream == "" && r.Text != c.text {
				t.Errorf("body %q, want %q", r.Text, c.text)
			}
			if c.upstream != "" {
				got := strings.Replace(seen(r.Text, "x-"), ", x-forwarded-proto: http", "", 1)
				if i := strings.Index(got, ", x-request-id"); i >= 0 {
					got = got[:i] + got[i+len(", x-request-id: 01234567-0123-0123-0123-0123456789ab"):]
				}
				if got != c.upstream {
					t.Errorf("the upstream sees %q, want %q", got, c.upstream)
				}
			}
			if c.code == 302 && r.Header.Get("Location") != "/login" || c.code == 401 && r.Header.Get("Www-Authenticate") != "Basic" {
				t.Errorf("headers %v", r.Header)
			}
			wantLog(t, p, 1, c.notes)
		})
	}
}

// TestHTTPRetry: another attempt is made as the policy says.
func TestHTTPRetry(t *testing.T) {
	a := startHTTP(t)
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo), Clusters: authz("authz", a.addr, false),
		Filters: overHTTP("retry_policy: {retry_on: '5xx', num_retries: 2, retry_back_off: {base_interval: 0.001s, max_interval: 0.05s}}", "charge_cluster_response_stats: false"),
	})
	for path, want := range map[string]int{"/a/500": 403, "/a/hang": 403, "/a/401": 401} {
		if r := p.Get(path); r.StatusCode != want {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	p.WantStats(map[string]int64{
		"cluster.authz.upstream_rq_retry": 4, "cluster.authz.upstream_rq_per_try_timeout": 3, "cluster.authz.upstream_rq_retry_limit_exceeded": 2,
		"cluster.authz.retry.upstream_rq_500": 2, "cluster.up.upstream_rq_401": 0, "http.async-client.rq_total": 3,
	})
}

// TestBody: how much of a body is waited for.
func TestBody(t *testing.T) {
	s := startService(t)
	for _, c := range []struct {
		name, rules string
		body        []string
		code        int
		told, part  string
	}{
		{"none", "", []string{"01234567"}, 200, "", ""},
		{"whole", "max_request_bytes: 8", []string{"0123", "4567"}, 200, "01234567", "false"},
		{"no body", "max_request_bytes: 8", nil, 200, "", ""},
		{"over", "max_request_bytes: 7", []string{"0123", "4567"}, 413, "", ""},
		{"over at once", "max_request_bytes: 7", []string{"01234567"}, 413, "", ""},
		{"part", "max_request_bytes: 6, allow_partial_message: true", []string{"0123", "4567"}, 200, "012345", "true"},
		{"less than a part", "max_request_bytes: 9, allow_partial_message: true", []string{"0123", "4567"}, 200, "01234567", "false"},
		{"no text", "max_request_bytes: 9", []string{"\xff\xfe", "é"}, 200, "!!é", "false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.mu.Lock()
			s.last = nil
			s.mu.Unlock()
			fields := ""
			if c.rules != "" {
				fields = "with_request_body: {" + c.rules + "}"
			}
			p := proxytest.Start(t, proxytest.Config{Upstream: proxytest.Server(t, proxytest.Echo), Filters: overGRPC(fields), Clusters: authz("authz", s.addr, true)})
			r := p.Do("POST", "/", nil, c.body...)
			if r.StatusCode != c.code || c.code == 200 && !strings.HasSuffix(r.Text, "\n\n"+strings.Join(c.body, "")) {
				t.Errorf("%d %q", r.StatusCode, r.Text)
			}
			if told := s.told().GetAttributes().GetRequest().GetHttp(); told.GetBody() != c.told || told.GetHeaders()["x-envoy-auth-partial-body"] != c.part || len(told.GetRawBody()) > 0 {
				t.Errorf("told %q, partial %q; want %q, %q", told.GetBody(), told.GetHeaders()["x-envoy-auth-partial-body"], c.told, c.part)
			}
		})
	}
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo), Filters: overGRPC("with_request_body: {max_request_bytes: 9, pack_as_bytes: true}"), Clusters: authz("authz", s.addr, true),
	})
	c := p.Dial().Send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\n\xff\xfe\r\n")
	<-time.After(20 * time.Millisecond) // the rest comes alone
	c.Send("1\r\nx\r\n0\r\nx-trailer: 1\r\n\r\n")
	if r := c.Read("POST"); r.StatusCode != 200 || !strings.HasSuffix(r.Text, "\n\n\xff\xfex") {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
	if told := s.told().GetAttributes().GetRequest().GetHttp(); string(told.GetRawBody()) != "\xff\xfex" || told.GetBody() != "" || told.GetSize() != 3 {
		t.Errorf("told %v", told)
	}
}

// TestRoutes: what routes say of the filter.
func TestRoutes(t *testing.T) {
	s, other, a := startService(t), startService(t), startHTTP(t)
	route := func(path, fields string) string {
		return "- {match: {path: " + path + "}, route: {cluster: up}, " + perRoute(fields) + "}\n"
	}
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo), Clusters: authz("authz", s.addr, true) + authz("other", other.addr, true) + authz("http", a.addr, false),
		Filters:     overGRPC("with_request_body: {max_request_bytes: 4}"),
		RouteConfig: perRoute("check_settings: {context_extensions: {a: table, b: table}}"),
		VirtualHost: perRoute("check_settings: {context_extensions: {b: host, c: host}}"),
		Routes: route("/off", "disabled: true") +
			route("/context", "check_settings: {context_extensions: {c: route, d: route}}") +
			route("/nobody", "check_settings: {disable_request_body_buffering: true}") +
			route("/body", "check_settings: {with_request_body: {max_request_bytes: 8, allow_partial_message: true}}") +
			route("/bytes", "check_settings: {with_request_body: {max_request_bytes: 8, pack_as_bytes: true}}") +
			route("/other", "check_settings: {grpc_service: {envoy_grpc: {cluster_name: other}}}") +
			route("/x/401", "check_settings: {http_service: {server_uri: {uri: http://x, cluster: http, timeout: 1s}, path_prefix: /a}}") +
			"- {match: {prefix: /}, route: {cluster: up}}\n",
	})
	told := func() string {
		r := s.told().GetAttributes()
		return fmt.Sprintf("%v %q", r.GetContextExtensions(), r.GetRequest().GetHttp().GetBody()+string(r.GetRequest().GetHttp().GetRawBody()))
	}
	for _, c := range []struct {
		path, body string
		code       int
		want       string
	}{
		{"/off", "", 200, "map[] \"\""},
		{"/plain", "0123", 200, `map[a:table b:host c:host] "0123"`},
		{"/plain", "01234", 413, `map[a:table b:host c:host] "0123"`},
		{"/context", "", 200, `map[a:table b:host c:route d:route] ""`},
		{"/nobody", "01234567890", 200, `map[a:table b:host c:host] ""`},
		{"/body", "0123456789", 200, `map[a:table b:host c:host] "01234567"`},
		{"/bytes", "\xff", 200, `map[a:table b:host c:host] "\xff"`},
	} {
		if c.path == "/bytes" && proxytest.Envoy() {
			continue // it does not read pack_as_bytes of a route
		}
		method, body := "GET", []string(nil)
		if c.body != "" {
			method, body = "POST", []string{c.body}
		}
		if r := p.Do(method, c.path, nil, body...); r.StatusCode != c.code {
			t.Errorf("%s: %d, want %d", c.path, r.StatusCode, c.code)
		}
		if got := told(); got != c.want {
			t.Errorf("%s: told %s, want %s", c.path, got, c.want)
		}
	}
	if r := p.Get("/other"); r.StatusCode != 200 || other.told().GetAttributes().GetRequest().GetHttp().GetPath() != "/other" {
		t.Errorf("another service: %d, told %v", r.StatusCode, other.told())
	}
	if r := p.Get("/x/401"); r.StatusCode != 401 || r.Text != "who are you" {
		t.Errorf("another protocol: %d %q, told %s", r.StatusCode, r.Text, a.told())
	}
}

// TestEnabled: requests that the filter leaves alone.
func TestEnabled(t *testing.T) {
	s := startService(t)
	s.do["no"] = answer(deny(401, ""))
	const match = "filter_enabled_metadata: {filter: f, path: [{key: k}], value: {string_match: {exact: v}}"
	for _, c := range []struct {
		fields   string
		code     int
		disabled int64
		log      string
	}{
		{"filter_enabled: {default_value: {numerator: 100}}", 401, 0, "401 ext_authz_denied UAEX"},
		{"filter_enabled: {default_value: {numerator: 0}}", 200, 1, "200 via_upstream -"},
		{"filter_enabled: {default_value: {numerator: 0}}, deny_at_disable: {runtime_key: k, default_value: true}", 403, 1, "403 ext_authz_error UAEX"},
		{"filter_enabled: {default_value: {numerator: 0}}, deny_at_disable: {runtime_key: k, default_value: false}", 200, 1, "200 via_upstream -"},
		{match + "}", 200, 1, "200 via_upstream -"},
		{match + ", invert: true}", 401, 0, "401 ext_authz_denied UAEX"},
	} {
		p := proxytest.Start(t, proxytest.Config{Upstream: proxytest.Server(t, proxytest.Echo), Filters: overGRPC(c.fields), Clusters: authz("authz", s.addr, true), Log: logFormat})
		if r := p.Get("/", "x-do", "no"); r.StatusCode != c.code {
			t.Errorf("%s: %d, want %d", c.fields, r.StatusCode, c.code)
		}
		wantLog(t, p, 1, c.log)
		p.WantStats(map[string]int64{"http.t.ext_authz.disabled": c.disabled})
	}
}

// TestMaxDenied: a long reason is cut.
func TestMaxDenied(t *testing.T) {
	s := startService(t)
	s.do["no"] = answer(deny(401, "0123456789"))
	p := proxytest.Start(t, proxytest.Config{Upstream: proxytest.Server(t, proxytest.Echo), Filters: overGRPC("max_denied_response_body_bytes: 4"), Clusters: authz("authz", s.addr, true)})
	if r := p.Get("/", "x-do", "no"); r.Text != "0123" {
		t.Errorf("%q", r.Text)
	}
}

// TestUpgrade: an upgraded request has no body to wait for.
func TestUpgrade(t *testing.T) {
	s := startService(t)
	up := proxytest.Server(t, func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello")
		_ = rw.Flush()
	})
	p := proxytest.Start(t, proxytest.Config{
		Upstream: up, Clusters: authz("authz", s.addr, true), HCM: "upgrade_configs: [{upgrade_type: websocket}]",
		Filters: overGRPC("with_request_body: {max_request_bytes: 4}"),
	})
	c := p.Dial().Send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
	if got := c.All(); !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.HasSuffix(got, "hello") {
		t.Errorf("%q", got)
	}
	if s.told().GetAttributes().GetRequest().GetHttp().GetPath() != "/ws" {
		t.Errorf("told %v", s.told())
	}
}
