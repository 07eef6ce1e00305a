package extauthz_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// TestGRPCAnswers: what answers of the service do to the client's. Statistics count them all.
func TestGRPCAnswers(t *testing.T) {
	s := startService(t)
	s.do["empty"] = answer(&authv3.CheckResponse{})
	s.do["plain no"] = answer(&authv3.CheckResponse{Status: &status.Status{Code: 7}})
	s.do["no with ok"] = answer(&authv3.CheckResponse{Status: &status.Status{Code: 16}, HttpResponse: ok(&authv3.OkHttpResponse{}).HttpResponse})
	s.do["yes with denied"] = answer(&authv3.CheckResponse{HttpResponse: deny(401, "b").HttpResponse})
	s.do["no"] = answer(deny(401, "no entry", by(appendOrAdd, "x-a", "1"), by(overwrite, "X-A", "2"), appending(true, "x-lost", "3"), by(appendOrAdd, "content-type", "text/x"), by(overwrite, "content-length", "1")))
	s.do["no code"] = answer(deny(0, ""))
	s.do["redirect"] = answer(deny(302, "", by(overwrite, "location", "/login"), by(appendOrAdd, "set-cookie", "a"), by(appendOrAdd, "set-cookie", "b")))
	s.do["error"] = func(context.Context) (*authv3.CheckResponse, error) { return nil, errors.New("oh") }
	s.do["error response"] = answer(&authv3.CheckResponse{Status: &status.Status{Code: 13}, HttpResponse: &authv3.CheckResponse_ErrorResponse{
		ErrorResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: 502}, Body: "eb", Headers: []*corev3.HeaderValueOption{by(overwrite, "x-e", "1")}},
	}})
	s.do["bare error response"] = answer(&authv3.CheckResponse{Status: &status.Status{Code: 13}, HttpResponse: &authv3.CheckResponse_ErrorResponse{ErrorResponse: &authv3.DeniedHttpResponse{}}})
	s.do["big"] = answer(deny(403, strings.Repeat("x", 100<<10)))
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo), Filters: overGRPC("stat_prefix: waf"), Clusters: authz("authz", s.addr, true), Log: logFormat,
	})
	n := 0
	for _, c := range []struct {
		do, want, headers, log string
	}{
		{"", "200 GET /", "", "200 via_upstream -"},
		{"empty", "200 GET /", "", "200 via_upstream -"},
		{"plain no", "403 ", "", "403 ext_authz_denied UAEX"},
		{"no with ok", "403 ", "", "403 ext_authz_denied UAEX"},
		{"yes with denied", "200 GET /", "", "200 via_upstream -"},
		{"no", "401 no entry", "x-a=1+2", "401 ext_authz_denied UAEX"},
		{"no code", "403 ", "", "403 ext_authz_denied UAEX"},
		{"redirect", "302 ", "", "302 ext_authz_denied UAEX"},
		{"error", "403 ", "", "403 ext_authz_error UAEX"},
		{"error response", "502 eb", "x-e=1", "502 ext_authz_error UAEX"},
		{"bare error response", "403 ", "", "403 ext_authz_error UAEX"},
		{"big", "403 " + strings.Repeat("x", 100<<10), "", "403 ext_authz_denied UAEX"},
	} {
		headers := []string{}
		if c.do != "" {
			headers = []string{"x-do", c.do}
		}
		r := p.Get("/", headers...)
		n++
		text, _, _ := strings.Cut(r.Text, "\n")
		if r.Status[:4]+strings.TrimSuffix(text, " HTTP/1.1") != c.want {
			t.Errorf("%s: %s%.80s", c.do, r.Status[:4], text)
		}
		r.Header.Del("X-Envoy-Upstream-Service-Time")
		if got := headersOf(r.Header, "x-"); got != c.headers {
			t.Errorf("%s: headers %q, want %q", c.do, got, c.headers)
		}
		switch c.do {
		case "no":
			if ct := r.Header.Get("Content-Type"); ct != "text/x" || r.ContentLength != 8 {
				t.Errorf("content-type %q, length %d", ct, r.ContentLength)
			}
		case "redirect":
			if got := headersOf(r.Header, "set-cookie") + r.Header.Get("Location"); got != "set-cookie=a+b/login" {
				t.Error(got)
			}
		}
		wantLog(t, p, n, c.log)
	}
	r := p.Get("/", "x-do", "no", "content-type", "application/grpc")
	if r.StatusCode != 200 || r.Header.Get("Grpc-Status") != "16" || r.Header.Get("Grpc-Message") != "no entry" {
		t.Errorf("a gRPC client: %d %v", r.StatusCode, r.Header)
	}
	p.WantStats(map[string]int64{
		"http.t.ext_authz.waf.ok": 3, "http.t.ext_authz.waf.denied": 7, "http.t.ext_authz.waf.error": 3, "http.t.ext_authz.waf.failure_mode_allowed": 0,
		"cluster.up.ext_authz.waf.ok": 3, "cluster.up.ext_authz.waf.denied": 7, "cluster.up.ext_authz.waf.error": 3,
		"cluster.up.internal.upstream_rq_401": 2, "cluster.up.upstream_rq_403": 4, "cluster.authz.internal.upstream_rq_200": 13,
		"http.async-client.rq_total": 13, "cluster.authz.upstream_rq_active": 0,
	})
}

// TestMutations: what a service may change.
func TestMutations(t *testing.T) {
	s := startService(t)
	change := &authv3.OkHttpResponse{
		Headers: []*corev3.HeaderValueOption{
			by(appendOrAdd, "x-a0", "new"), by(ifAbsent, "x-a1", "new"), by(overwrite, "x-a2", "new"), by(ifPresent, "x-a3", "new"),
			by(appendOrAdd, "x-b0", "new"), by(ifAbsent, "x-b1", "new"), by(overwrite, "X-B2", "new"), by(ifPresent, "x-b3", "new"),
			appending(true, "x-c0", "new"), appending(false, "x-c1", "new"), appending(true, "x-d0", "new"), appending(false, "x-d1", "new"),
			appending(true, "x-e", "2"), by(overwrite, "x-e", "1"), // what is set comes first
			by(overwrite, "host", "other"), by(overwrite, ":status", "500"),
		},
		HeadersToRemove: []string{"X-Gone", ":method", "host", "not a name"},
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{
			by(appendOrAdd, "x-r0", "new"), by(ifAbsent, "x-r1", "new"), by(overwrite, "x-r2", "new"), by(ifPresent, "x-r3", "new"),
			by(appendOrAdd, "x-s0", "new"), by(ifAbsent, "x-s1", "new"), by(overwrite, "x-s2", "new"), by(ifPresent, "x-s3", "new"),
			appending(true, "x-t0", "new"), appending(false, "x-t1", "new"),
		},
		QueryParametersToSet:    []*corev3.QueryParameter{{Key: "q", Value: "set"}, {Key: "new", Value: "n"}},
		QueryParametersToRemove: []string{"rm"},
	}
	s.do["change"] = answer(ok(change))
	status := &authv3.OkHttpResponse{ResponseHeadersToAdd: []*corev3.HeaderValueOption{by(overwrite, ":status", "201")}}
	s.do["status"] = answer(ok(status))
	up := proxytest.Server(t, func(w http.ResponseWriter, r *http.Request) {
		for _, n := range []string{"x-r0", "x-r1", "x-r2", "x-r3", "x-t0", "x-t1"} {
			w.Header().Set(n, "old")
		}
		proxytest.Echo(w, r)
	})
	p := proxytest.Start(t, proxytest.Config{Upstream: up, Filters: overGRPC("validate_mutations: true"), Clusters: authz("authz", s.addr, true), Log: logFormat})
	old := []string{"x-do", "change"}
	for _, n := range []string{"x-a0", "x-a1", "x-a2", "x-a3", "x-c0", "x-c1", "x-gone"} {
		old = append(old, n, "old")
	}
	r := p.Get("/m?b=1&q=1&q=2&rm=1&x=%41+b", old...)
	const want = "GET /m?b=1&new=n&q=set&x=%41+b, x-a0: new, x-a1: new, x-a2: new, x-a3: new, x-b0: new, x-b1: new, x-b2: new, x-b3: new, " +
		"x-c0: old,new, x-c1: new, x-d1: new, x-do: change, x-e: 1,2, x-envoy-expected-rq-timeout-ms: 15000"
	got := seen(r.Text, "x-")
	if i := strings.Index(got, ", x-forwarded-proto"); i < 0 || got[:i] != want {
		t.Errorf("the upstream sees\n%s\nwant\n%s", got, want)
	}
	if !strings.Contains(r.Text, "\nhost: other\n") {
		t.Errorf("host: %s", r.Text)
	}
	r.Header.Del("X-Envoy-Upstream-Service-Time")
	if got, want := headersOf(r.Header, "x-"), "x-r0=old+new x-r1=old x-r2=new x-r3=new x-s0=new x-s1=new x-s2=new x-t0=old+new x-t1=new"; got != want {
		t.Errorf("the client sees\n%s\nwant\n%s", got, want)
	}
	if r := p.Get("/", "x-do", "status"); r.StatusCode != 201 {
		t.Errorf("status %d, want 201", r.StatusCode)
	}
	wantLog(t, p, 2, "201 via_upstream -")
}

// TestRouteAfterMutation: a route is looked up anew where clear_route_cache asks for it.
func TestRouteAfterMutation(t *testing.T) {
	s := startService(t)
	s.do["change"] = answer(ok(&authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{by(overwrite, "x-tenant", "b")}}))
	routes := "- {match: {prefix: /, headers: [{name: x-tenant, string_match: {exact: b}}]}, direct_response: {status: 202}}\n- {match: {prefix: /}, route: {cluster: up}}\n"
	for fields, want := range map[string]int{"clear_route_cache: true": 202, "": 200} {
		p := proxytest.Start(t, proxytest.Config{
			Upstream: proxytest.Server(t, proxytest.Echo), Filters: overGRPC(fields), Routes: routes, Clusters: authz("authz", s.addr, true),
		})
		if r := p.Get("/", "x-do", "change"); r.StatusCode != want {
			t.Errorf("%q: %d, want %d", fields, r.StatusCode, want)
		}
		p.WantStats(map[string]int64{"cluster.up.ext_authz.ok": 1})
	}
}

// TestInvalid: answers that no message can hold. Envoy lets some of them out where it is not told to
// validate.
func TestInvalid(t *testing.T) {
	s := startService(t)
	request := func(o ...*corev3.HeaderValueOption) *authv3.CheckResponse {
		return ok(&authv3.OkHttpResponse{Headers: o})
	}
	response := func(o ...*corev3.HeaderValueOption) *authv3.CheckResponse {
		return ok(&authv3.OkHttpResponse{ResponseHeadersToAdd: o})
	}
	many := &authv3.OkHttpResponse{}
	for i := range 200 {
		many.Headers = append(many.Headers, by(overwrite, "x-"+strings.Repeat("y", i+1), "v"))
	}
	for name, r := range map[string]*authv3.CheckResponse{
		"value": request(by(overwrite, "x-a", "a\r\nb: c")), "name": request(by(overwrite, "x a", "v")), "empty name": request(by(overwrite, "", "v")),
		"response value": response(by(overwrite, "x-a", "a\r\nb: c")), "response name": response(by(overwrite, "x:a", "v")), "many": ok(many),
		"reply value": deny(401, "", by(overwrite, "x-a", "a\nb")), "reply name": deny(401, "", by(overwrite, "x a", "b")),
		"query": ok(&authv3.OkHttpResponse{QueryParametersToSet: []*corev3.QueryParameter{{Key: "q", Value: "a b"}}}),
		"path":  request(by(overwrite, ":path", "/a b")), "no path": request(by(overwrite, ":path", "x")), "method": request(by(overwrite, ":method", "")),
		"host": request(by(overwrite, ":authority", "a/b")), "scheme": request(by(overwrite, ":scheme", "gopher")), "action": response(by(9, "x-a", "b")),
		"encoding": ok(&authv3.OkHttpResponse{QueryParametersToSet: []*corev3.QueryParameter{{Key: "q", Value: "%20"}}}),
	} {
		s.do[name] = answer(r)
	}
	// checked are those that Envoy refuses, too, when it validates; lenient are fine without.
	checked := map[string]bool{
		"value": true, "name": true, "response value": true, "response name": true, "many": true, "reply value": true, "reply name": true, "query": true,
		"action": true, "encoding": true,
	}
	lenient := map[string]bool{"action": true, "encoding": true}
	for _, validate := range []bool{true, false} {
		fields := "validate_mutations: false"
		if validate {
			fields = "validate_mutations: true"
		}
		p := proxytest.Start(t, proxytest.Config{Upstream: proxytest.Server(t, proxytest.Echo), Filters: overGRPC(fields), Clusters: authz("authz", s.addr, true), Log: logFormat})
		n := int64(0)
		for name := range s.do {
			if proxytest.Envoy() && !(validate && checked[name]) {
				continue
			}
			if !validate && lenient[name] {
				if r := p.Get("/", "x-do", name); r.StatusCode != 200 {
					t.Errorf("%s, without validate_mutations: %d", name, r.StatusCode)
				}
				continue
			}
			n++
			if r := p.Get("/", "x-do", name); r.StatusCode != 500 || r.Text != "" {
				t.Errorf("%s: %d %s", name, r.StatusCode, r.Text)
			}
		}
		if n == 0 {
			continue
		}
		p.WantStats(map[string]int64{"http.t.ext_authz.invalid": n, "cluster.up.ext_authz.invalid": n, "http.t.ext_authz.request_header_limits_reached": 1})
		for _, line := range p.Log(int(n)) {
			if line != "500 ext_authz_invalid UAEX" && line != "200 via_upstream -" {
				t.Errorf("log %q", line)
			}
		}
	}
}

// TestFraming: a service cannot change how a message is framed. (In Envoy it can, and the request hangs.)
func TestFraming(t *testing.T) {
	if proxytest.Envoy() {
		t.Skip("differs from Envoy, on purpose")
	}
	s := startService(t)
	s.do["frame"] = answer(ok(&authv3.OkHttpResponse{
		Headers:              []*corev3.HeaderValueOption{by(overwrite, "content-length", "5"), by(overwrite, "Transfer-Encoding", "chunked"), by(overwrite, "connection", "x-a"), by(overwrite, "upgrade", "x")},
		HeadersToRemove:      []string{"content-length"},
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{by(overwrite, "content-length", "1"), by(overwrite, "transfer-encoding", "chunked")},
	}))
	s.do["reply"] = answer(deny(401, "body", by(overwrite, "transfer-encoding", "chunked"), by(overwrite, "connection", "keep-alive")))
	p := proxytest.Start(t, proxytest.Config{Upstream: proxytest.Server(t, proxytest.Echo), Filters: overGRPC(""), Clusters: authz("authz", s.addr, true)})
	if r := p.Do("POST", "/", []string{"x-do", "frame"}, "four"); r.StatusCode != 200 || !strings.HasSuffix(r.Text, "\n\nfour") {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
	if r := p.Get("/", "x-do", "reply"); r.Text != "body" || len(r.TransferEncoding) != 0 {
		t.Errorf("%q %v", r.Text, r.TransferEncoding)
	}
}

// TestTold: what the service is told of a request.
func TestTold(t *testing.T) {
	s := startService(t)
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo), Clusters: authz("authz", s.addr, true),
		Filters: overGRPC("include_tls_session: true, include_peer_certificate: true, route_metadata_context_namespaces: [r], disallowed_headers: {patterns: [{exact: x-secret}]}"),
		Routes:  "- {match: {prefix: /}, route: {cluster: up}, metadata: {filter_metadata: {r: {k: [1, {a: b}]}, other: {}}}}",
	})
	p.Get("/p?a=b", "x-dup", "1", "x-dup", "2", "x-secret", "s", "x-envoy-auth-partial-body", "forged", "x-latin", "caf\xe9", "Host", "h:8")
	compareTold(t, s.told(), `{
		"source": {"address": {"socketAddress": {"address": "127.0.0.1"}}},
		"destination": {"address": {"socketAddress": {"address": "127.0.0.1"}}},
		"request": {"http": {"method": "GET", "path": "/p?a=b", "host": "h:8", "scheme": "http", "protocol": "HTTP/1.1",
			"headers": {":authority": "h:8", ":method": "GET", ":path": "/p?a=b", ":scheme": "http", "x-dup": "1,2", "x-forwarded-proto": "http", "x-latin": "caf!"}}},
		"metadataContext": {}, "routeMetadataContext": {"filterMetadata": {"r": {"k": [1, {"a": "b"}]}}}, "tlsSession": {}}`)

	p = proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo), Clusters: authz("authz", s.addr, true),
		Filters: overGRPC("encode_raw_headers: true, allowed_headers: {patterns: [{prefix: x-a}, {exact: ':path'}]}, disallowed_headers: {patterns: [{suffix: -no}]}"),
	})
	p.Get("/", "x-ab", "\xe9", "x-ab", "2", "x-a-no", "s", "x-b", "1")
	compareTold(t, s.told(), `{
		"source": {"address": {"socketAddress": {"address": "127.0.0.1"}}},
		"destination": {"address": {"socketAddress": {"address": "127.0.0.1"}}},
		"request": {"http": {"method": "GET", "path": "/", "host": "a", "scheme": "http", "protocol": "HTTP/1.1",
			"headerMap": {"headers": [{"key": ":path", "rawValue": "Lw=="}, {"key": "x-ab", "rawValue": "6Q=="}, {"key": "x-ab", "rawValue": "Mg=="}]}}},
		"metadataContext": {}, "routeMetadataContext": {}}`)
}

// compareTold compares a request with JSON, but for what differs each time.
func compareTold(t *testing.T, r *authv3.CheckRequest, want string) {
	t.Helper()
	raw, err := protojson.Marshal(r.GetAttributes())
	if err != nil {
		t.Fatal(err)
	}
	var got, wanted map[string]any
	if err := errors.Join(json.Unmarshal(raw, &got), json.Unmarshal([]byte(want), &wanted)); err != nil {
		t.Fatal(err)
	}
	field := func(m any, path ...string) map[string]any {
		for _, k := range path {
			m = m.(map[string]any)[k]
		}
		return m.(map[string]any)
	}
	request := field(got, "request")
	if stamp, err := time.Parse(time.RFC3339Nano, request["time"].(string)); err != nil || time.Since(stamp) > time.Minute || time.Since(stamp) < 0 {
		t.Errorf("time %v: %v", request["time"], err)
	}
	delete(request, "time")
	http := field(request, "http")
	if len(http["id"].(string)) < 10 {
		t.Errorf("id %v", http["id"])
	}
	delete(http, "id")
	if h, ok := http["headers"].(map[string]any); ok {
		delete(h, "x-request-id")
	}
	for _, end := range []string{"source", "destination"} {
		if addr := field(got, end, "address", "socketAddress"); addr["portValue"].(float64) > 0 {
			delete(addr, "portValue")
		}
	}
	a, _ := json.MarshalIndent(got, "", " ")
	b, _ := json.MarshalIndent(wanted, "", " ")
	if string(a) != string(b) {
		t.Errorf("told\n%s\nwant\n%s", a, b)
	}
}

// TestMetadata: what the service says of a request, and whether it is heard.
func TestMetadata(t *testing.T) {
	s := startService(t)
	md, err := structpb.NewStruct(map[string]any{"n": 1, "deep": map[string]any{"a": []any{"b"}}})
	if err != nil {
		t.Fatal(err)
	}
	yes, no, old := ok(&authv3.OkHttpResponse{}), deny(401, ""), ok(&authv3.OkHttpResponse{DynamicMetadata: md})
	yes.DynamicMetadata, no.DynamicMetadata = md, md
	s.do["yes"], s.do["no"], s.do["old"] = answer(yes), answer(no), answer(old)
	for fields, want := range map[string]string{"": `["b"] 1`, "enable_dynamic_metadata_ingestion: false": "- -"} {
		p := proxytest.Start(t, proxytest.Config{
			Upstream: proxytest.Server(t, proxytest.Echo), Filters: overGRPC(fields), Clusters: authz("authz", s.addr, true),
			Log: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:deep:a)% %DYNAMIC_METADATA(envoy.filters.http.ext_authz:n)% %DYNAMIC_METADATA(envoy.filters.http.ext_authz:ext_authz_duration)%",
		})
		for i, do := range []string{"yes", "no", "old"} {
			p.Get("/", "x-do", do)
			line := p.Log(i + 1)[i]
			i := strings.LastIndexByte(line, ' ')
			if line[:i] != want || (line[i+1:] == "-") != (do == "no" || fields != "") {
				t.Errorf("%s %s: %q", fields, do, line)
			}
		}
		ignored := int64(0)
		if fields != "" {
			ignored = 3
		}
		p.WantStats(map[string]int64{"http.t.ext_authz.ignored_dynamic_metadata": ignored})
	}
}

// TestFailures: a service that gives no answer, in every way.
func TestFailures(t *testing.T) {
	s := startService(t)
	s.do["hang"] = s.hang
	s.do["unknown"] = func(context.Context) (*authv3.CheckResponse, error) { return nil, errors.New("oh") }
	s.do["huge"] = answer(deny(403, strings.Repeat("x", 3<<20)))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := ln.Addr().String()
	ln.Close()
	noise := noisy(t)
	for _, c := range []struct{ name, addr, do, service string }{
		{"slow", s.addr, "hang", "timeout: 0.05s"},
		{"error", s.addr, "unknown", "timeout: 2s"},
		{"too large", s.addr, "huge", "timeout: 2s"},
		{"gone", gone, "", "timeout: 2s"},
		{"no HTTP/2", noise, "", "timeout: 2s"},
	} {
		large := ""
		if c.name == "too large" {
			if proxytest.Envoy() {
				continue // its limit is not of a call like this one
			}
			large = ", max_receive_message_length: 1000000"
		}
		for fields, want := range map[string]int{"": 403, "status_on_error: {code: ServiceUnavailable}": 503, "failure_mode_allow: true": 200, "failure_mode_allow: true, failure_mode_allow_header_add: true": 200} {
			filter := strings.Replace(strings.Replace(overGRPC(fields), "timeout: 2s", c.service, 1), "cluster_name: authz", "cluster_name: authz"+large, 1)
			p := proxytest.Start(t, proxytest.Config{Upstream: proxytest.Server(t, proxytest.Echo), Filters: filter, Clusters: authz("authz", c.addr, true), Log: logFormat})
			headers := []string{}
			if c.do != "" {
				headers = []string{"x-do", c.do}
			}
			r := p.Get("/", headers...)
			if r.StatusCode != want {
				t.Errorf("%s, %q: %d, want %d", c.name, fields, r.StatusCode, want)
			}
			if added := strings.Contains(r.Text, "x-envoy-auth-failure-mode-allowed: true"); added != strings.Contains(fields, "header_add") {
				t.Errorf("%s, %q: header %v", c.name, fields, added)
			}
			allowed := int64(0)
			if want == 200 {
				allowed = 1
				wantLog(t, p, 1, "200 via_upstream -")
			} else {
				wantLog(t, p, 1, strconv.Itoa(want)+" ext_authz_error UAEX")
			}
			p.WantStats(map[string]int64{
				"http.t.ext_authz.error": 1, "cluster.up.ext_authz.error": 1, "http.t.ext_authz.failure_mode_allowed": allowed,
				"cluster.up.ext_authz.failure_mode_allowed": allowed, "cluster.authz.upstream_rq_active": 0,
			})
		}
	}
	// A cluster that is not there.
	p := proxytest.Start(t, proxytest.Config{Upstream: proxytest.Server(t, proxytest.Echo), Filters: overHTTP("", ""), Clusters: authz("authz", gone, false)})
	if r := p.Get("/"); r.StatusCode != 403 {
		t.Errorf("over HTTP: %d", r.StatusCode)
	}
}

// noisy is a service that says nothing that makes sense.
func noisy(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(strings.Repeat("HTTP/1.1 400 no\r\n\r\n", 20)))
			c.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return ln.Addr().String()
}

// TestClientLeaves: nobody is asked for a client that is gone.
func TestClientLeaves(t *testing.T) {
	s := startService(t)
	s.do["hang"] = s.hang
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo), Filters: overGRPC("failure_mode_allow: true"), Clusters: authz("authz", s.addr, true),
	})
	c := p.Dial().Send("GET / HTTP/1.1\r\nhost: a\r\nx-do: hang\r\n\r\n")
	proxytest.Eventually(t, func() error {
		if s.told() == nil {
			return errors.New("the service was not asked")
		}
		return nil
	})
	c.Close()
	proxytest.Eventually(t, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.left != 1 {
			return errors.New("the call goes on")
		}
		return nil
	})
	p.WantStats(map[string]int64{
		"cluster.authz.upstream_rq_active": 0, "cluster.authz.upstream_rq_tx_reset": 1, "cluster.authz.upstream_cx_active": 1,
		"http.t.ext_authz.error": 0, "http.t.ext_authz.ok": 0, "http.t.downstream_rq_active": 0, "cluster.up.upstream_rq_total": 0,
	})
}
