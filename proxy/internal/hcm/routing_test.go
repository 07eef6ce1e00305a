package hcm_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/cors"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/fault"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func prefix(path string, change func(*xdsresource.Route)) *xdsresource.Route {
	r := route("up")
	r.Match.Path = path
	change(r)
	return r
}

func TestRouteActions(t *testing.T) {
	s := base(httpServer(t, echo))
	s.routes = []*xdsresource.Route{
		prefix("/direct", func(r *xdsresource.Route) {
			r.Forward, r.Direct = nil, &xdsresource.DirectResponse{Status: 418, Body: []byte("teapot")}
			r.ResponseHeaders.Add = []xdsresource.HeaderOp{{Name: "x-route", Value: "direct"}}
		}),
		prefix("/https", func(r *xdsresource.Route) {
			r.Forward, r.Redirect = nil, &xdsresource.RedirectAction{HTTPS: true, Code: 301}
		}),
		prefix("/old/", func(r *xdsresource.Route) { r.Forward.PrefixRewrite = "/new/" }),
		prefix("/regex/", func(r *xdsresource.Route) {
			r.Forward.RegexRewrite = &xdsresource.RegexRewrite{Regex: regexp.MustCompile(`^/regex/(\w+)/(\w+)`), Substitution: "/${2}/${1}"}
		}),
		prefix("/host", func(r *xdsresource.Route) { r.Forward.HostRewrite.Literal = "other.example" }),
		prefix("/headers", func(r *xdsresource.Route) {
			r.RequestHeaders = xdsresource.HeaderOps{Add: []xdsresource.HeaderOp{{Name: "x-added", Value: "%REQ(:METHOD)%"}}, Remove: []string{"x-secret"}}
			r.ResponseHeaders = xdsresource.HeaderOps{Add: []xdsresource.HeaderOp{{Name: "x-out", Value: "1"}}, Remove: []string{"x-app"}}
		}),
		route("up"),
	}
	p := s.start(t)
	c := p.dial()
	do := func(path, headers string) (*http.Response, string) {
		return c.send("GET " + path + " HTTP/1.1\r\nhost: a.example\r\n" + headers + "\r\n").response("GET")
	}
	resp, body := do("/direct", "")
	if resp.StatusCode != 418 || body != "teapot" || resp.Header.Get("X-Route") != "direct" {
		t.Errorf("direct: %d %q %v", resp.StatusCode, body, resp.Header)
	}
	if resp, _ = do("/https/x?y", ""); resp.StatusCode != 301 || resp.Header.Get("Location") != "https://a.example/https/x?y" {
		t.Errorf("redirect: %d %v", resp.StatusCode, resp.Header)
	}
	f := func(path, headers, line string, want ...string) {
		t.Helper()
		_, body := do(path, headers)
		if !strings.HasPrefix(body, line+"\n") {
			t.Errorf("%s: %q, want %q", path, body, line)
		}
		for _, w := range want {
			if not, ok := strings.CutPrefix(w, "!"); strings.Contains(body, "\n"+not) == ok {
				t.Errorf("%s: %q, want %q", path, body, w)
			}
		}
	}
	f("/old/a?b", "", "GET /new/a?b a.example", "x-envoy-original-path: /old/a?b\n")
	f("/regex/one/two?q", "", "GET /two/one?q a.example")
	f("/host", "", "GET /host other.example")
	f("/headers", "x-secret: 1\r\n", "GET /headers a.example", "x-added: GET\n", "!x-secret")
}

func TestWeights(t *testing.T) {
	name := func(n string) string {
		return httpServer(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, n) })
	}
	s := base(name("v1"))
	s.clusters = append(s.clusters, staticCluster("v2", name("v2")))
	s.routes[0].Forward = &xdsresource.RouteAction{
		Weighted: []xdsresource.WeightedCluster{{Name: "up", Weight: 90}, {Name: "v2", Weight: 10}}, TotalWeight: 100,
	}
	c := s.start(t).dial()
	n := 0
	for range 2000 {
		if _, body := c.send(get).response("GET"); body == "v2" {
			n++
		}
	}
	if n < 140 || n > 260 { // 200 +- 4.5 standard deviations
		t.Errorf("%d of 2000 to v2", n)
	}
}

func TestMirror(t *testing.T) {
	shadow := make(chan string, 10)
	s := base(httpServer(t, echo))
	s.clusters = append(s.clusters, staticCluster("shadow", httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		shadow <- fmt.Sprintf("%s %s %s %s %s %s", r.Method, r.Host, r.Header.Get("X-Request-Id"), r.Header.Get("X-B3-Spanid"), r.Header.Get("X-B3-Parentspanid"), body)
		w.WriteHeader(500)
	})))
	s.routes[0].Forward.Mirrors = []xdsresource.MirrorPolicy{{Cluster: "shadow"}}
	s.hcm.Tracing = &xdsresource.Tracing{OverallSampling: 100}
	p := s.start(t)
	c := p.dial()
	header := func(body, name string) string {
		_, v, _ := strings.Cut(body, "\n"+name+": ")
		v, _, _ = strings.Cut(v, "\n")
		return v
	}
	for _, req := range []string{
		"POST / HTTP/1.1\r\nhost: catalog.ns:80\r\ncontent-length: 4\r\n\r\nbody",
		"POST / HTTP/1.1\r\nhost: catalog.ns:80\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
	} {
		resp, body := c.send(req).response("POST")
		if resp.StatusCode != 200 || !strings.HasPrefix(body, "POST / catalog.ns:80\n") {
			t.Fatalf("%d %q", resp.StatusCode, body)
		}
		var got string
		select {
		case got = <-shadow:
		case <-time.After(time.Minute):
			t.Fatal("no mirrored request")
		}
		f := strings.Fields(got)
		if len(f) != 6 || f[0] != "POST" || f[1] != "catalog.ns-shadow:80" || f[2] != header(body, "x-request-id") || f[5] != "body" {
			t.Errorf("mirrored %q", got)
			continue
		}
		if span := header(body, "x-b3-spanid"); f[4] != span || f[3] == span {
			t.Errorf("span %s parent %s of the mirror, original span %s", f[3], f[4], span)
		}
	}
	p.waitStat("cluster.shadow.upstream_rq_500", 2)
	p.waitStat("cluster.shadow.upstream_rq_active", 0)
}

// TestMirrorDead: a mirror that cannot be reached, or never answers, is no matter to the
// request.
func TestMirrorDead(t *testing.T) {
	silent := server(t, func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(struct{ io.Writer }{io.Discard}, r) })
	for _, addr := range []string{deadAddr(t), silent} {
		s := base(httpServer(t, echo))
		s.clusters = append(s.clusters, staticCluster("shadow", addr))
		s.routes[0].Forward.Mirrors = []xdsresource.MirrorPolicy{{Cluster: "shadow"}, {Cluster: "missing"}}
		c := s.start(t).dial()
		for range 3 {
			if resp, _ := c.send(get).response("GET"); resp.StatusCode != 200 {
				t.Errorf("%d", resp.StatusCode)
			}
		}
	}
}

func TestPerTryTimeout(t *testing.T) {
	var calls atomic.Int32
	up := server(t, func(c net.Conn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			if calls.Add(1) > 1 {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
			}
		}
	})
	s := base(up)
	s.routes[0].Forward.Retry = &xdsresource.RetryPolicy{On: xdsresource.Retry5xx, NumRetries: 3, PerTryTimeout: 30 * time.Millisecond, BackOffBase: time.Millisecond, BackOffMax: time.Millisecond}
	p := s.start(t)
	if resp, body := p.dial().send(get).response("GET"); resp.StatusCode != 200 {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	p.waitStat("cluster.up.upstream_rq_per_try_timeout", 1)
	p.waitStat("cluster.up.upstream_rq_retry_success", 1)
}

// TestRetryOfLargeBody: a body beyond the buffer limit is not repeated, and the answer passes.
func TestRetryOfLargeBody(t *testing.T) {
	up := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(503)
	})
	s := base(up)
	s.limit = 16 << 10
	s.routes[0].Forward.Retry = &xdsresource.RetryPolicy{On: xdsresource.Retry5xx, NumRetries: 3, BackOffBase: time.Millisecond, BackOffMax: time.Millisecond}
	p := s.start(t)
	big := strings.Repeat("x", 1<<20)
	c := p.dial().send(fmt.Sprintf("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%s", len(big), big))
	if resp, _ := c.response("POST"); resp.StatusCode != 503 {
		t.Errorf("%d", resp.StatusCode)
	}
	p.waitStat("cluster.up.upstream_rq_total", 1)
}

func TestFault(t *testing.T) {
	always := xdsresource.FractionalPercent{Numerator: 100, Denominator: 100}
	s := base(httpServer(t, echo))
	s.filters = named(fault.Name, fault.New(&fault.Config{}, stats.Scope{}))
	s.routes = []*xdsresource.Route{
		prefix("/abort", func(r *xdsresource.Route) {
			r.FilterConfigs = map[string]any{fault.Name: &fault.Config{Abort: &fault.Abort{Status: 555, Percent: always}}}
		}),
		prefix("/delay", func(r *xdsresource.Route) {
			r.FilterConfigs = map[string]any{fault.Name: &fault.Config{Delay: &fault.Delay{Fixed: 50 * time.Millisecond, Percent: always}}}
		}),
		route("up"),
	}
	s.logText = logFormat
	p := s.start(t)
	c := p.dial()
	resp, body := c.send("GET /abort HTTP/1.1\r\nhost: a\r\n\r\n").response("GET")
	if resp.StatusCode != 555 || body != "fault filter abort" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	begin := time.Now()
	resp, body = c.send("POST /delay HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody").response("POST")
	if d := time.Since(begin); resp.StatusCode != 200 || d < 45*time.Millisecond || !strings.HasSuffix(body, "\n\nbody") {
		t.Errorf("%d after %v, %q", resp.StatusCode, d, body)
	}
	if resp, _ = c.send(get).response("GET"); resp.StatusCode != 200 {
		t.Errorf("%d", resp.StatusCode)
	}
	if got := p.lastLog(1); got != "GET 555 FI fault_filter_abort 0 18 -" && got != "GET 555 FI fault_filter_abort 0 18 up" {
		t.Errorf("log %q", got)
	}
	if got := p.lastLog(2); !strings.HasPrefix(got, "POST 200 DI via_upstream 4 ") {
		t.Errorf("log %q", got)
	}
}

func TestCORS(t *testing.T) {
	var calls atomic.Int32
	s := base(httpServer(t, func(w http.ResponseWriter, r *http.Request) { calls.Add(1); echo(w, r) }))
	s.filters = named(cors.Name, cors.New(stats.Scope{}))
	yes := true
	s.routes[0].FilterConfigs = map[string]any{cors.Name: &xdsresource.CORSPolicy{
		Origins:      []xdsresource.StringMatch{{Value: "https://a.example"}},
		AllowMethods: "GET,POST", AllowHeaders: "x-a", ExposeHeaders: "x-b", MaxAge: "60", AllowCredentials: &yes,
	}}
	c := s.start(t).dial()
	const preflight = "OPTIONS / HTTP/1.1\r\nhost: a\r\norigin: https://a.example\r\naccess-control-request-method: GET\r\n\r\n"
	resp, body := c.send(preflight).response("OPTIONS")
	h := resp.Header
	if resp.StatusCode != 200 || body != "" || calls.Load() != 0 || h.Get("Access-Control-Allow-Origin") != "https://a.example" ||
		h.Get("Access-Control-Allow-Methods") != "GET,POST" || h.Get("Access-Control-Max-Age") != "60" || h.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("preflight: %d %q %v, %d calls", resp.StatusCode, body, h, calls.Load())
	}
	resp, _ = c.send("GET / HTTP/1.1\r\nhost: a\r\norigin: https://a.example\r\n\r\n").response("GET")
	if h = resp.Header; h.Get("Access-Control-Allow-Origin") != "https://a.example" || h.Get("Access-Control-Expose-Headers") != "x-b" {
		t.Errorf("actual: %v", h)
	}
	resp, _ = c.send("GET / HTTP/1.1\r\nhost: a\r\norigin: https://b.example\r\n\r\n").response("GET")
	if h = resp.Header; h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin: %v", h)
	}
	resp, _ = c.send(strings.Replace(preflight, "a.example", "b.example", 1)).response("OPTIONS")
	if calls.Load() != 3 || resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight of another origin: %d calls, %v", calls.Load(), resp.Header)
	}
}
