package statefulsession_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	own      = "'@type': type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession"
	perRoute = "'@type': type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute"
	states   = "type.googleapis.com/envoy.extensions.http.stateful_session."
)

func cookie(more string) string {
	return "session_state: {name: envoy.http.stateful_session.cookie, typed_config: {'@type': " + states + "cookie.v3.CookieBasedSessionState, cookie: {name: sess, " + more + "}}}"
}

func byHeader(name string) string {
	return "session_state: {name: envoy.http.stateful_session.header, typed_config: {'@type': " + states + "header.v3.HeaderBasedSessionState, name: " + name + "}}"
}

func envelope(name string) string {
	return "session_state: {name: envoy.http.stateful_session.envelope, typed_config: {'@type': " + states + "envelope.v3.EnvelopeSessionState, header: {name: " + name + "}}}"
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// hosts runs two upstreams, which say who they are and what came, and a cluster "two" of them.
func hosts(t *testing.T, more string) (a, b, clusters string) {
	var addr [2]string
	var endpoints []string
	for i := range addr {
		addr[i] = proxytest.Server(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Host", r.Context().Value(http.LocalAddrContextKey).(net.Addr).String())
			if v := r.Header.Get("X-Session"); v != "" {
				w.Header().Set("X-Session", "kept "+v)
			} else {
				w.Header().Set("X-Session", "new")
			}
		})
		host, port, _ := net.SplitHostPort(addr[i])
		status := ""
		if i == 1 {
			status = more
		}
		endpoints = append(endpoints, fmt.Sprintf("{%sendpoint: {address: {socket_address: {address: %s, port_value: %s}}}}", status, host, port))
	}
	return addr[0], addr[1], "- {name: two, connect_timeout: 5s, load_assignment: {cluster_name: two, endpoints: [{lb_endpoints: [" + strings.Join(endpoints, ", ") + "]}]}}"
}

// value is a cookie's value for an address: Envoy's message.
func value(address, more string) string {
	return b64("\x0a" + string(rune(len(address))) + address + more)
}

func TestCookie(t *testing.T) {
	a, b, clusters := hosts(t, "")
	p := proxytest.Start(t, proxytest.Config{
		Filters:  "- {name: s, typed_config: {" + own + ", stat_prefix: pre, " + cookie("path: /shop, attributes: [{name: SameSite, value: Strict}, {name: Secure}]") + "}}",
		Clusters: clusters,
		Routes: "- {match: {path: /shop/ttl}, route: {cluster: two}, typed_per_filter_config: {s: {" + perRoute + ", stateful_session: {" + cookie("ttl: 90s") + "}}}}\n" +
			"- {match: {path: /shop/off}, route: {cluster: two}, typed_per_filter_config: {s: {" + perRoute + ", disabled: true}}}\n" +
			"- {match: {prefix: /}, route: {cluster: two}}",
	})
	first := p.Get("/shop")
	at := first.Header.Get("X-Host")
	if got, want := first.Header.Get("Set-Cookie"), fmt.Sprintf(`sess="%s"; Path=/shop; SameSite=Strict; Secure; HttpOnly`, value(at, "")); got != want {
		t.Errorf("Set-Cookie: %q, want %q", got, want)
	}
	for i, test := range []struct {
		path, cookie string
		to           string // "": nobody in particular
		sets         bool
	}{
		{"/shop", "sess=" + value(b, ""), b, false},
		{"/shop/x", "sess=" + value(a, ""), a, false},
		{"/shop?q", "sess=" + value(a, ""), a, false},
		{"/shop", "other=x; sess=\"" + value(b, "") + "\"", b, false},
		{"/shop", "sess=" + b64(a), a, false},                               // the address alone, an old form
		{"/shop", "sess=" + value(b, "\x10\xff\xff\xff\xff\x7f"), b, false}, // ends in a far future
		{"/shop", "sess=" + value(b, "\x18\x07\x22\x01x"), b, false},        // fields of a later version
		{"/shop", "sess=" + value(b, "\x10\x05"), "", true},                 // has ended
		{"/shop", "sess=" + strings.TrimRight(value(b, ""), "="), "", strings.HasSuffix(value(b, ""), "=")},
		{"/shop", "sess=" + value("127.0.0.9:1", ""), "", true},
		{"/shop", "sess=", "", true},
		{"/shopping", "sess=" + value("127.0.0.9:1", ""), "", false},
		{"/", "", "", false},
		{"/shop/off", "sess=" + value("127.0.0.9:1", ""), "", false},
		{"/shop/ttl", "sess=" + value(b, ""), b, false},
	} {
		for range 3 { // round robin would not go to one of two three times
			r := p.Get(test.path, "cookie", test.cookie)
			if r.StatusCode != 200 || test.to != "" && r.Header.Get("X-Host") != test.to {
				t.Errorf("%d: %d from %q, want %q", i, r.StatusCode, r.Header.Get("X-Host"), test.to)
			}
			set := r.Header.Get("Set-Cookie")
			if (set != "") != test.sets || set != "" && !strings.Contains(set, value(r.Header.Get("X-Host"), "")) {
				t.Errorf("%d: Set-Cookie %q from %q", i, set, r.Header.Get("X-Host"))
			}
		}
	}
	if set := p.Get("/shop/ttl").Header.Get("Set-Cookie"); !strings.Contains(set, `"; Max-Age=90; HttpOnly`) {
		t.Errorf("Set-Cookie with a time to live: %q", set)
	}
	p.WantStats(map[string]int64{"http.t.stateful_session.pre.no_session": 6, "http.t.stateful_session.pre.failed_closed": 0})
	if n := p.Stat("http.t.stateful_session.pre.routed"); n < 21 {
		t.Errorf("routed: %d", n)
	}
}

func TestHeader(t *testing.T) {
	a, b, clusters := hosts(t, "")
	p := proxytest.Start(t, proxytest.Config{
		Filters:  "- {name: s, typed_config: {" + own + ", stat_prefix: pre, " + byHeader("X-Sticky") + "}}",
		Clusters: clusters, Routes: "- {match: {prefix: /}, route: {cluster: two}}",
	})
	r := p.Get("/")
	if got := r.Header.Get("X-Sticky"); got != b64(r.Header.Get("X-Host")) {
		t.Errorf("new: %q from %q", got, r.Header.Get("X-Host"))
	}
	for range 2 {
		for _, at := range []string{a, a, b, b} {
			if r := p.Get("/", "x-sticky", b64(at)); r.Header.Get("X-Host") != at || r.Header.Get("X-Sticky") != "" {
				t.Errorf("%s: %q, %q", at, r.Header.Get("X-Host"), r.Header.Get("X-Sticky"))
			}
		}
	}
	if r := p.Get("/", "x-sticky", "no base64"); r.Header.Get("X-Sticky") != b64(r.Header.Get("X-Host")) {
		t.Errorf("nonsense: %q", r.Header.Get("X-Sticky"))
	}
	p.WantStats(map[string]int64{"http.t.stateful_session.pre.routed": 8, "http.t.stateful_session.pre.failed_open": 2})
}

func TestEnvelope(t *testing.T) {
	a, b, clusters := hosts(t, "")
	p := proxytest.Start(t, proxytest.Config{
		Filters:  "- {name: s, typed_config: {" + own + ", stat_prefix: pre, " + envelope("X-Session") + "}}",
		Clusters: clusters, Routes: "- {match: {prefix: /}, route: {cluster: two}}",
	})
	wrapped := func(at, v string) string { return b64(at) + ";UV:" + b64(v) }
	r := p.Get("/")
	if got := r.Header.Get("X-Session"); got != wrapped(r.Header.Get("X-Host"), "new") {
		t.Errorf("new: %q", got)
	}
	for _, at := range []string{a, a, b, b} {
		if r := p.Get("/", "x-session", wrapped(at, "mine")); r.Header.Get("X-Host") != at || r.Header.Get("X-Session") != wrapped(at, "kept mine") {
			t.Errorf("%s: %q, %q", at, r.Header.Get("X-Host"), r.Header.Get("X-Session"))
		}
	}
	// What is no envelope is the upstream's as it is.
	for _, v := range []string{"bare", b64(a), b64(a) + ";UV:", b64(a) + ";UV:?", b64(a) + ";XX:" + b64("x")} {
		if r := p.Get("/", "x-session", v); r.Header.Get("X-Session") != wrapped(r.Header.Get("X-Host"), "kept "+v) {
			t.Errorf("%q: %q", v, r.Header.Get("X-Session"))
		}
	}
	if !proxytest.Envoy() { // which takes it for its own fault, and hangs up
		v := b64(a) + ";UV:" + b64("a\r\nx-forged: 1")
		if r := p.Get("/", "x-session", v); r.Header.Get("X-Session") != wrapped(r.Header.Get("X-Host"), "kept "+v) {
			t.Errorf("a line end in an envelope: %q", r.Header.Get("X-Session"))
		}
	}
}

func TestStrict(t *testing.T) {
	const log = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"
	for name, test := range map[string]struct {
		state, filter, cluster string
		missing, unhealthy     string
	}{
		"open":               {"health_status: UNHEALTHY, ", "", "", "200 - via_upstream", "200 - via_upstream"},
		"strict":             {"health_status: UNHEALTHY, ", "strict: true, ", "", "503 UH no_healthy_upstream", "503 UH no_healthy_upstream"},
		"status":             {"health_status: UNHEALTHY, ", "strict: true, status_on_strict_destination_not_found: 410, ", "", "410 UH no_healthy_upstream", "503 UH no_healthy_upstream"},
		"status, not strict": {"health_status: UNHEALTHY, ", "status_on_strict_destination_not_found: 410, ", "", "200 - via_upstream", "200 - via_upstream"},
		"degraded":           {"health_status: DEGRADED, ", "strict: true, ", "", "503 UH no_healthy_upstream", "200 - via_upstream"},
		"degraded is not allowed": {"health_status: DEGRADED, ", "strict: true, ", "common_lb_config: {override_host_status: {statuses: [HEALTHY]}}",
			"503 UH no_healthy_upstream", "503 UH no_healthy_upstream"},
		"unhealthy is allowed": {"health_status: UNHEALTHY, ", "strict: true, ", "common_lb_config: {override_host_status: {statuses: [UNHEALTHY]}}",
			"503 UH no_healthy_upstream", "200 - via_upstream"},
		"draining is allowed": {"health_status: DRAINING, ", "strict: true, ", "common_lb_config: {override_host_status: {statuses: [DRAINING]}}",
			"503 UH no_healthy_upstream", "200 - via_upstream"},
		"nothing is allowed": {"health_status: HEALTHY, ", "strict: true, ", "common_lb_config: {override_host_status: {statuses: []}}",
			"503 UH no_healthy_upstream", "503 UH no_healthy_upstream"},
	} {
		_, b, clusters := hosts(t, test.state)
		if test.cluster != "" {
			clusters = strings.Replace(clusters, "connect_timeout: 5s,", "connect_timeout: 5s, "+test.cluster+",", 1)
		}
		p := proxytest.Start(t, proxytest.Config{
			Filters:  "- {name: s, typed_config: {" + own + ", stat_prefix: pre, " + test.filter + byHeader("x-sticky") + "}}",
			Clusters: clusters, Routes: "- {match: {prefix: /}, route: {cluster: two}}", Log: log,
		})
		p.Get("/", "x-sticky", b64("127.0.0.9:1"))
		p.Get("/", "x-sticky", b64(b))
		closed := int64(0)
		for i, want := range []string{test.missing, test.unhealthy} {
			if got := p.Log(2)[i]; got != want {
				t.Errorf("%s: %d: %q, want %q", name, i, got, want)
			}
			if !strings.HasPrefix(want, "200") {
				closed++
			}
		}
		p.WantStats(map[string]int64{"http.t.stateful_session.pre.failed_closed": closed})
	}
}

// TestRetry: the host that is named is tried first, and a retry may go to another one, strict or not.
func TestRetry(t *testing.T) {
	good := proxytest.Server(t, proxytest.Echo)
	_, goodPort, _ := net.SplitHostPort(good)
	bad := proxytest.Server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	_, badPort, _ := net.SplitHostPort(bad)
	endpoint := func(port string) string {
		return "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: " + port + "}}}}"
	}
	p := proxytest.Start(t, proxytest.Config{
		Filters: "- {name: s, typed_config: {" + own + ", strict: true, " + byHeader("x-sticky") + "}}",
		Clusters: "- {name: two, connect_timeout: 5s, load_assignment: {cluster_name: two, endpoints: [{lb_endpoints: [" +
			endpoint(goodPort) + ", " + endpoint(badPort) + "]}]}}",
		Routes: "- {match: {prefix: /}, route: {cluster: two, retry_policy: {retry_on: 5xx, num_retries: 5, retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts, typed_config: {'@type': type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}], host_selection_retry_max_attempts: 9}}}",
		Log:    "%RESPONSE_CODE% %UPSTREAM_REQUEST_ATTEMPT_COUNT%",
	})
	for range 3 {
		p.Get("/", "x-sticky", b64(bad))
	}
	for i, line := range p.Log(3) {
		if line != "200 2" {
			t.Errorf("%d: %s, want 200 at the second attempt", i, line)
		}
	}
}

func TestRefused(t *testing.T) {
	for f, want := range map[string]string{
		"session_state: {name: x, typed_config: {'@type': type.googleapis.com/google.protobuf.Empty}}":                   `session state "google.protobuf.Empty" is not supported`,
		"strict: true, status_on_strict_destination_not_found: 700":                                                      "is no status",
		"session_state: {name: x, typed_config: {'@type': " + states + "cookie.v3.CookieBasedSessionState, cookie: {}}}": "cookie.name",
		"session_state: {name: x, typed_config: {'@type': " + states + "header.v3.HeaderBasedSessionState}}":             "name",
	} {
		err := proxytest.Check(proxytest.Config{Filters: "- {name: s, typed_config: {" + own + ", " + f + "}}"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", f, err, want)
		}
	}
}
