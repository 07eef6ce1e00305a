package connpool

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestProtocolChanges: a cluster changes its version of HTTP while the handshakes of its connections are under way, or after a filter has chosen what to offer.
// Connections speak what their handshakes agree on, no request fails, and later requests are of the new version.
func TestProtocolChanges(t *testing.T) {
	const one, two = xdsresource.UpstreamHTTP1, xdsresource.UpstreamHTTP2
	for _, tc := range []struct {
		name, wish    string
		before, after xdsresource.UpstreamProtocol
		want, then    string
	}{
		{"to HTTP/2", "", one, two, "HTTP/1.1", "HTTP/2.0"},
		{"to HTTP/1", "", two, one, "HTTP/2.0", "HTTP/1.1"},
		{"to HTTP/2, chosen before", "istio-http/1.1,http/1.1", one, two, "HTTP/1.1", "HTTP/1.1"},
		{"to HTTP/1, chosen before", "istio-h2,h2", two, one, "HTTP/2.0", "HTTP/2.0"},
		{"chosen before the change to HTTP/2", "istio-http/1.1,http/1.1", two, two, "HTTP/1.1", "HTTP/1.1"},
		{"chosen before the change to HTTP/1", "istio-h2,h2", one, one, "HTTP/2.0", "HTTP/2.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			shake := make(chan struct{})
			host := newTLSHost(t, shake)
			w := newWorld(t, host.address(), func(c *xdsresource.Cluster) {
				c.HTTP.Protocol = tc.before
				c.Transport = &xdsresource.UpstreamTransport{TLS: &xdsresource.UpstreamTLS{}}
			})
			ask := func() *call {
				c := &call{done: make(chan string, 1)}
				c.req.Wish.ALPN = tc.wish
				w.begin(c, "/")
				return c
			}
			calls := []*call{ask(), ask(), ask()}
			change := func(to xdsresource.UpstreamProtocol) {
				next := w.cfg
				next.HTTP.Protocol = to
				if _, err := w.mgr.Update(&next); err != nil {
					t.Fatal(err)
				}
			}
			change(tc.after)
			for changed := false; !changed; {
				w.do(func() { changed = w.mgr.Local(0).Get("c").Config().HTTP.Protocol == tc.after })
			}
			close(shake)
			for _, c := range calls {
				if got := w.wait(c); got != "/: 200 ." {
					t.Error(got)
				}
			}
			if got := host.seen(); !slices.Equal(got, []string{tc.want, tc.want, tc.want}) {
				t.Errorf("the host was asked by %v, want %s", got, tc.want)
			}
			if tc.before != tc.after {
				w.waitStat("upstream_cx_active", 0) // they were of use to those who waited for them
			}
			if got := w.wait(ask()); got != "/: 200 ." {
				t.Error(got)
			}
			if got := host.seen(); got[len(got)-1] != tc.then {
				t.Errorf("after the change the host is asked by %v, want %s", got, tc.then)
			}
			if tc.before != tc.after {
				change(tc.before)
				w.waitStat("upstream_cx_active", 0) // nor are those that wait for work
			}
		})
	}
}

// TestHostLeavesWithItsTransport: what a cluster offers by TLS changes with its version of HTTP, which replaces its hosts. Requests that wait for one that is gone
// get connections one after the other, all of which are offered what it was offered before.
func TestHostLeavesWithItsTransport(t *testing.T) {
	transport := func(alpn string) *xdsresource.UpstreamTransport {
		return &xdsresource.UpstreamTransport{TLS: &xdsresource.UpstreamTLS{CommonTLS: xdsresource.CommonTLS{ALPN: []string{alpn}}}}
	}
	shake := make(chan struct{})
	host := newTLSHost(t, shake)
	w := newWorld(t, host.address(), func(c *xdsresource.Cluster) {
		c.HTTP.Protocol, c.Transport = xdsresource.UpstreamHTTP2, transport("h2")
		c.HTTP.MaxRequestsPerConnection = 1
	})
	calls := []*call{w.start("/", false), w.start("/", false), w.start("/", false)}
	next := w.cfg
	next.HTTP.Protocol, next.Transport = xdsresource.UpstreamHTTP1, transport("http/1.1")
	if _, err := w.mgr.Update(&next); err != nil {
		t.Fatal(err)
	}
	for changed := false; !changed; {
		w.do(func() { changed = w.mgr.Local(0).Get("c").Config().HTTP.Protocol == next.HTTP.Protocol })
	}
	close(shake)
	for _, c := range append(calls, w.start("/", false)) {
		if got := w.wait(c); got != "/: 200 ." {
			t.Error(got)
		}
	}
	if got := slices.Sorted(slices.Values(host.seen())); !slices.Equal(got, []string{"HTTP/1.1", "HTTP/2.0", "HTTP/2.0", "HTTP/2.0"}) {
		t.Errorf("the host was asked by %v", got)
	}
}

// tlsHost speaks HTTP/1.1 and HTTP/2 and notes which it is asked by. It answers no handshake before shake is closed.
type tlsHost struct {
	server *httptest.Server
	mu     sync.Mutex
	by     []string
}

func newTLSHost(t *testing.T, shake <-chan struct{}) *tlsHost {
	h := &tlsHost{}
	h.server = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.by = append(h.by, r.Proto)
	}))
	h.server.EnableHTTP2 = true
	h.server.TLS = &tls.Config{NextProtos: []string{"h2", "http/1.1"}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		<-shake
		return nil, nil
	}}
	h.server.StartTLS()
	t.Cleanup(h.server.Close)
	return h
}

func (h *tlsHost) address() string { return strings.TrimPrefix(h.server.URL, "https://") }

func (h *tlsHost) seen() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.by)
}
