package jwtauthn_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/jwt"
	"github.com/lateen-mesh/lateen/proxy/internal/jwt/jwttest"
	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// issuer is a server of keys, whose behaviour changes while the proxy runs.
type issuer struct {
	addr string

	mu     sync.Mutex
	answer http.HandlerFunc
	asked  int
	head   string // of the last request
}

func newIssuer(t *testing.T, answer http.HandlerFunc) *issuer {
	s := &issuer{answer: answer}
	s.addr = proxytest.Server(t, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked++
		s.head = r.Method + " " + r.Host + r.RequestURI
		answer := s.answer
		s.mu.Unlock()
		answer(w, r)
	})
	return s
}

func (s *issuer) set(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *issuer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// cluster is the issuer's.
func (s *issuer) cluster() string {
	host, port, _ := net.SplitHostPort(s.addr)
	return fmt.Sprintf("- {name: jwks, connect_timeout: 1s, load_assignment: {cluster_name: jwks, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}}", host, port)
}

// start runs a proxy that asks the issuer for keys; more are fields of remote_jwks.
func (s *issuer) start(t *testing.T, timeout, more string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo), Clusters: s.cluster(), Log: log,
		Filters: filter("providers: {p: {issuer: i, remote_jwks: {http_uri: {uri: 'https://issuer.example:444/keys?x=y', cluster: jwks, timeout: " + timeout + "}" + more + "}}}, " + everywhere("{provider_name: p}")),
	})
}

func text(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
}

const (
	fetchSuccess = "http.t.jwt_authn.jwks_fetch_success"
	fetchFailed  = "http.t.jwt_authn.jwks_fetch_failed"
	notFetched   = "Jwks remote fetch is failed"
)

// TestRemote: a fetch that fails, in whatever way, is told from a token that is refused, and the next
// request tries again.
func TestRemote(t *testing.T) {
	k := jwttest.New(t)
	block := make(chan struct{})
	s := newIssuer(t, nil)
	p := s.start(t, "0.3s", "")
	good := bearer(k.Sign("ES256", `{"iss":"i"}`))
	var fetches int64
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"500", text(500, k.Set())},
		{"404", text(404, k.Set())},
		{"201", text(201, k.Set())},
		{"redirect", text(302, k.Set())},
		{"empty", text(200, "")},
		{"a lie", text(200, "<html>all is well</html>")},
		{"no keys", text(200, `{"keys":[]}`)},
		{"no such keys", text(200, `{"keys":[{"kty":"XX"}]}`)},
		{"too slow", func(http.ResponseWriter, *http.Request) { <-block }},
		{"cut", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("content-length", "1000")
			_, _ = w.Write([]byte(k.Set()))
			panic(http.ErrAbortHandler)
		}},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"huge", text(200, `{"x":"`+strings.Repeat("x", jwt.MaxKeySetSize)+`",`+k.Set()[1:])},
		{"too many", text(200, `{"keys":[`+strings.Repeat(`{"kty":"oct","k":"AA"},`, 200)+k.Set()[9:])},
	} {
		if proxytest.Envoy() && (test.name == "huge" || test.name == "too many") {
			continue // which takes them
		}
		s.set(test.answer)
		if r := p.Get("/", good...); r.StatusCode != 401 || r.Text != notFetched || r.Header.Get("www-authenticate") == "" {
			t.Errorf("%s: %d %q", test.name, r.StatusCode, r.Text)
		}
		fetches++
	}
	close(block)
	if r := p.Get("/", bearer("x")...); r.Text == notFetched {
		t.Error("keys were fetched for what is no token")
	}
	s.set(text(200, k.Set()))
	for range 3 {
		if r := p.Get("/", good...); r.StatusCode != 200 {
			t.Errorf("%d %q", r.StatusCode, r.Text)
		}
	}
	p.WantStats(map[string]int64{fetchFailed: fetches, fetchSuccess: 1})
	if s.head != "GET issuer.example:444/keys?x=y" {
		t.Errorf("asked for %q", s.head)
	}
	if got, want := p.Log(1)[0], "401 jwt_authn_access_denied{Jwks_remote_fetch_is_failed} - -"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
}

// TestRotation: a token of a new key is good once the keys have been fetched again, and one of a key
// that is gone is not, though it was verified before.
func TestRotation(t *testing.T) {
	old, next := jwttest.New(t), jwttest.New(t)
	s := newIssuer(t, text(200, old.Set()))
	p := s.start(t, "1s", ", cache_duration: 0.1s")
	first, second := bearer(old.Sign("ES256", `{"iss":"i"}`)), bearer(next.Sign("ES256", `{"iss":"i"}`))
	for _, test := range []struct {
		headers []string
		code    int
	}{{first, 200}, {second, 401}, {first, 200}} {
		if r := p.Get("/", test.headers...); r.StatusCode != test.code {
			t.Fatalf("%d %q, want %d", r.StatusCode, r.Text, test.code)
		}
	}
	s.set(text(200, next.Set()))
	want := func(headers []string, code int) {
		t.Helper()
		proxytest.Eventually(t, func() error {
			if r := p.Get("/", headers...); r.StatusCode != code {
				return fmt.Errorf("%d %q, want %d", r.StatusCode, r.Text, code)
			}
			return nil
		})
	}
	want(first, 401)
	want(second, 200)
}

// TestServerGone: keys that were fetched stay while the server is away, and new ones are taken when
// it is back. (Envoy forgets them, unless async_fetch is on.)
func TestServerGone(t *testing.T) {
	if proxytest.Envoy() {
		t.Skip("see above")
	}
	k, next := jwttest.New(t), jwttest.New(t)
	for _, more := range []string{", cache_duration: 0.05s", ", cache_duration: 0.05s, async_fetch: {failed_refetch_duration: 0.05s}"} {
		s := newIssuer(t, text(200, k.Set()))
		p := s.start(t, "1s", more)
		good := bearer(k.Sign("ES256", `{"iss":"i"}`))
		always := func() {
			t.Helper()
			if r := p.Get("/", good...); r.StatusCode != 200 {
				t.Fatalf("%s: %d %q", more, r.StatusCode, r.Text)
			}
		}
		always()
		s.set(text(503, ""))
		proxytest.Eventually(t, func() error {
			always()
			if n := p.Stat(fetchFailed); n < 1 {
				return fmt.Errorf("%d failures", n)
			}
			return nil
		})
		s.set(text(200, next.Set()))
		proxytest.Eventually(t, func() error {
			if r := p.Get("/", bearer(next.Sign("ES256", `{"iss":"i"}`))...); r.StatusCode != 200 {
				return fmt.Errorf("%d %q", r.StatusCode, r.Text)
			}
			return nil
		})
	}
}

// TestWaiting: requests wait for one fetch together, some of them not to its end.
func TestWaiting(t *testing.T) {
	if proxytest.Envoy() {
		t.Skip("fetches once for each request")
	}
	k := jwttest.New(t)
	release, asked := make(chan struct{}), make(chan struct{}, 10)
	s := newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-release
		text(200, k.Set())(w, r)
	})
	p := s.start(t, "10s", "")
	send := func(body string) *proxytest.Conn {
		return p.Dial().Send("POST / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + k.Sign("ES256", `{"iss":"i"}`) + "\r\ncontent-length: 3\r\n\r\n" + body)
	}
	var waiting []*proxytest.Conn
	for range 5 {
		waiting = append(waiting, send("abc"))
	}
	half, gone := send("a"), send("abc")
	<-asked
	proxytest.Eventually(t, func() error {
		if n := p.Stat("http.t.downstream_rq_active"); n != 7 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	gone.Close()
	proxytest.Eventually(t, func() error {
		if n := p.Stat("http.t.downstream_rq_active"); n != 6 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	close(release)
	for _, c := range waiting {
		if r := c.Read("POST"); r.StatusCode != 200 || !strings.HasSuffix(r.Text, "\n\nabc") {
			t.Errorf("%d %q", r.StatusCode, r.Text)
		}
	}
	if r := half.Send("bc").Read("POST"); r.StatusCode != 200 || !strings.HasSuffix(r.Text, "\n\nabc") {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
	if n := s.count(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	p.WantStats(map[string]int64{fetchSuccess: 1, "http.t.jwt_authn.allowed": 6})
}

// TestWaitingTree: of two providers one is slow, and the other decides meanwhile, or is asked for, too.
func TestWaitingTree(t *testing.T) {
	k := jwttest.New(t)
	release := make(chan struct{})
	s := newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		text(200, k.Set())(w, r)
	})
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo), Clusters: s.cluster(),
		Filters: filter("providers: {slow: {issuer: i, forward: true, payload_in_metadata: x, remote_jwks: {http_uri: {uri: 'http://a/', cluster: jwks, timeout: 10s}}}, here: {issuer: i, forward: true, " + local(k) + "}}, " +
			"rules: [{match: {prefix: /any}, requires: {requires_any: {requirements: [{provider_name: slow}, {provider_name: here}]}}}, " +
			"{match: {prefix: /all}, requires: {requires_all: {requirements: [{provider_name: slow}, {provider_and_audiences: {provider_name: slow, audiences: [a]}}, {provider_name: here}]}}}, " +
			"{match: {prefix: /twice}, requires: {requires_any: {requirements: [{provider_and_audiences: {provider_name: slow, audiences: [two]}}, {provider_and_audiences: {provider_name: slow, audiences: [one]}}]}}}]"),
	})
	good := k.Sign("ES256", `{"iss":"i","aud":"a"}`)
	if r := p.Get("/any", bearer(good)...); r.StatusCode != 200 {
		t.Errorf("any: %d %q", r.StatusCode, r.Text)
	}
	// Refused without waiting, by the one that is here.
	if r := p.Get("/all", bearer(jwttest.New(t).Sign("ES256", `{"iss":"i","aud":"a"}`))...); r.StatusCode != 401 {
		t.Errorf("all, refused: %d %q", r.StatusCode, r.Text)
	}
	all := p.Dial().Send("GET /all HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + good + "\r\n\r\n")
	two := p.Dial().Send("GET /twice HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + k.Sign("ES256", `{"iss":"i","aud":["one","two"]}`) + "\r\n\r\n")
	proxytest.Eventually(t, func() error {
		if n := p.Stat("http.t.downstream_rq_active"); n != 2 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	close(release)
	if r := all.Read("GET"); r.StatusCode != 200 {
		t.Errorf("all: %d %q", r.StatusCode, r.Text)
	}
	if r := two.Read("GET"); r.StatusCode != 200 {
		t.Errorf("twice: %d %q", r.StatusCode, r.Text)
	}
}

// TestRetries: attempts of one fetch.
func TestRetries(t *testing.T) {
	k := jwttest.New(t)
	var s *issuer
	s = newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
		if s.count() < 3 {
			text(503, "")(w, r)
			return
		}
		text(200, k.Set())(w, r)
	})
	p := s.start(t, "5s", ", retry_policy: {num_retries: 2, retry_back_off: {base_interval: 0.001s, max_interval: 0.002s}}")
	if r := p.Get("/", bearer(k.Sign("ES256", `{"iss":"i"}`))...); r.StatusCode != 200 {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
	if n := s.count(); n != 3 {
		t.Errorf("%d attempts", n)
	}
	p.WantStats(map[string]int64{fetchSuccess: 1, fetchFailed: 0, "cluster.jwks.upstream_rq_retry": 2})
}

// TestNoCluster: a cluster that is not there is a fetch that fails.
func TestNoCluster(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{
		Filters: filter("providers: {p: {remote_jwks: {http_uri: {uri: 'http://a/', cluster: none, timeout: 1s}}}}, " + everywhere("{provider_name: p}")),
	})
	if r := p.Get("/", bearer(jwttest.New(t).Sign("ES256", `{}`))...); r.StatusCode != 401 || r.Text != notFetched {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
	p.WantStats(map[string]int64{fetchFailed: 1})
}

// TestAsync: the listener waits for the first fetch, and no request does.
func TestAsync(t *testing.T) {
	if proxytest.Envoy() {
		t.Skip("the harness cannot tell when its listener is up")
	}
	k := jwttest.New(t)
	var first sync.Once
	answered := make(chan struct{})
	s := newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
		text(200, k.Set())(w, r)
		first.Do(func() { close(answered) })
	})
	p := s.start(t, "5s", ", cache_duration: 0.05s, async_fetch: {}")
	select {
	case <-answered:
	default:
		t.Error("the listener did not wait")
	}
	if r := p.Get("/", bearer(k.Sign("ES256", `{"iss":"i"}`))...); r.StatusCode != 200 {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
	proxytest.Eventually(t, func() error {
		if n := p.Stat(fetchSuccess); n < 3 {
			return fmt.Errorf("%d fetches", n)
		}
		return nil
	})
}

// TestAsyncFails: the listener comes up all the same, and the fetch is repeated.
func TestAsyncFails(t *testing.T) {
	if proxytest.Envoy() {
		t.Skip("the harness cannot tell when its listener is up")
	}
	k := jwttest.New(t)
	s := newIssuer(t, text(500, ""))
	p := s.start(t, "5s", ", async_fetch: {failed_refetch_duration: 0.02s}")
	if r := p.Get("/", bearer(k.Sign("ES256", `{"iss":"i"}`))...); r.Text != notFetched {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
	s.set(text(200, k.Set()))
	proxytest.Eventually(t, func() error {
		if n := p.Stat(fetchSuccess); n < 1 {
			return fmt.Errorf("%d fetches", n)
		}
		return nil
	})
	if r := p.Get("/", bearer(k.Sign("ES256", `{"iss":"i"}`))...); r.StatusCode != 200 {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
}

// TestAsyncFast: the listener does not wait; a request that comes too early does.
func TestAsyncFast(t *testing.T) {
	k := jwttest.New(t)
	release := make(chan struct{})
	s := newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		text(200, k.Set())(w, r)
	})
	p := s.start(t, "10s", ", async_fetch: {fast_listener: true}")
	c := p.Dial().Send("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + k.Sign("ES256", `{"iss":"i"}`) + "\r\n\r\n")
	proxytest.Eventually(t, func() error {
		if n := p.Stat("http.t.downstream_rq_active"); n != 1 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	close(release)
	if r := c.Read("GET"); r.StatusCode != 200 {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
}
