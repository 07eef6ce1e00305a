package hcm_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestInternalRedirect has a request led to another route, over both protocols: filters, route and
// record begin anew, and the connection stays.
func TestInternalRedirect(t *testing.T) {
	s := base(httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if to, ok := strings.CutPrefix(r.URL.Path, "/to/"); ok {
			w.Header().Set("location", "http://b.example/"+to)
			w.WriteHeader(307)
			fmt.Fprint(w, "moved")
			return
		}
		fmt.Fprintf(w, "%s %s %s from=%s body=%d", r.Method, r.URL, r.Host, r.Header.Get("X-Envoy-Original-Url"), len(b))
	}))
	s.routes = []*xdsresource.Route{
		prefix("/to/", func(r *xdsresource.Route) {
			r.Name = "first"
			r.Forward.InternalRedirect = &xdsresource.InternalRedirect{Max: 1, Codes: []int{307}}
		}),
		prefix("/", func(r *xdsresource.Route) { r.Name = "second" }),
	}
	s.logText = "%ROUTE_NAME% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED%\n"
	p := s.start(t)
	large := strings.Repeat("x", 300_000)
	for _, c := range []*http.Client{http2Client(t), {Transport: &http.Transport{}}} {
		for _, body := range []string{"", "hello", large} {
			var in io.Reader
			if body != "" {
				in = strings.NewReader(body)
			}
			resp, got := fetch(t, c, newRequest("POST", p.url("/to/x?y=1"), in))
			want := fmt.Sprintf("POST /x b.example from=http://%s/to/x?y=1 body=%d", p.addr, len(body))
			if resp.StatusCode != 200 || got != want {
				t.Errorf("%s: %d %q, want %q", resp.Proto, resp.StatusCode, got, want)
			}
		}
		// Beyond the buffer limit the redirect is the client's.
		noFollow := *c
		noFollow.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp, got := fetch(t, &noFollow, newRequest("POST", p.url("/to/x"), strings.NewReader(strings.Repeat("x", 2<<20))))
		if resp.StatusCode != 307 || got != "moved" {
			t.Errorf("%s: %d %q, want the redirect", resp.Proto, resp.StatusCode, got)
		}
		c.CloseIdleConnections()
	}
	p.waitStat("cluster.up.upstream_internal_redirect_succeeded_total", 6)
	p.waitStat("cluster.up.upstream_internal_redirect_failed_total", 2)
	p.waitStat("cluster.up.retry_or_shadow_abandoned", 2)
	p.waitStat("http.t.downstream_rq_total", 14)
	p.waitStat("http.t.downstream_rq_2xx", 6)
	p.waitStat("http.t.downstream_rq_3xx", 2)
	p.waitStat("http.t.downstream_rq_active", 0)
	eventually(t, func() error {
		log, err := os.ReadFile(p.log)
		if err != nil {
			return err
		}
		if n := strings.Count(string(log), "second /x 307 internal_redirect 5\nsecond /x 200 via_upstream 5\n"); n != 2 {
			return fmt.Errorf("%d records of the redirect with a small body:\n%s", n, log)
		}
		return nil
	})
}

// TestInternalRedirectLoop is led in a circle, as far as the policy lets it.
func TestInternalRedirectLoop(t *testing.T) {
	s := base(httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("location", "http://a.example"+r.URL.Path+"x")
		w.WriteHeader(302)
	}))
	s.routes[0].Forward.InternalRedirect = &xdsresource.InternalRedirect{Max: 1000, Codes: []int{302}}
	p := s.start(t)
	c := p.dial()
	resp, _ := c.send("GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").response("GET")
	if want := "http://a.example/" + strings.Repeat("x", 1001); resp.StatusCode != 302 || resp.Header.Get("Location") != want {
		t.Errorf("%d %d bytes", resp.StatusCode, len(resp.Header.Get("Location")))
	}
	p.waitStat("cluster.up.upstream_internal_redirect_succeeded_total", 1000)
	p.waitStat("cluster.up.upstream_internal_redirect_failed_total", 1)
	if resp, _ = c.send("GET /second HTTP/1.1\r\nhost: a.example\r\n\r\n").response("GET"); resp.StatusCode != 302 {
		t.Errorf("second request on the connection: %d", resp.StatusCode)
	}
}
