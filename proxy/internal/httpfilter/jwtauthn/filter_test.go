package jwtauthn_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/jwt/jwttest"
	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	typ  = "'@type': type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
	name = "envoy.filters.http.jwt_authn"
	log  = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %DYNAMIC_METADATA(" + name + ")%"
)

// filter is the filter with some fields.
func filter(body string) string {
	return "- {name: " + name + ", typed_config: {" + typ + ", " + body + "}}"
}

// local is a source of keys.
func local(k *jwttest.Keys) string { return "local_jwks: {inline_string: '" + k.Set() + "'}" }

// everywhere asks for a requirement on all paths.
func everywhere(requirement string) string {
	return "rules: [{match: {prefix: /}, requires: " + requirement + "}]"
}

func perRoute(body string) string {
	return "typed_per_filter_config: {" + name + ": {'@type': type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig, " + body + "}}"
}

func bearer(token string) []string { return []string{"authorization", "Bearer " + token} }

// echoed is a header's value as the upstream got it, "" for none, and all values joined for several.
func echoed(r proxytest.Response, header string) string {
	var out []string
	for line := range strings.Lines(r.Text) {
		if v, ok := strings.CutPrefix(line, header+": "); ok {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return strings.Join(out, ",")
}

// TestAnswers holds status, challenge, body, details and metadata of refusals.
func TestAnswers(t *testing.T) {
	k := jwttest.New(t)
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo), Log: log,
		Filters: filter("stat_prefix: sp, providers: {p: {issuer: i, audiences: ['https://api.example/', b], subjects: {prefix: user-}, clock_skew_seconds: 5, failed_status_in_metadata: why, " + local(k) + "}}, " + everywhere("{provider_name: p}")),
	})
	now := time.Now().Unix()
	claims := func(more string) string { return `{"iss":"i","sub":"user-1","aud":"b"` + more + `}` }
	sign := func(c string) []string { return bearer(k.Sign("ES256", c)) }
	long := "/" + strings.Repeat("x", 300)
	lines := 0
	for _, test := range []struct {
		name, path string
		headers    []string
		code       int
		number     int
		text       string
		realm      string // "": the path
	}{
		{name: "missing", code: 401, number: 1, text: "Jwt is missing"},
		{name: "missing, query", path: "/a?b=c", code: 401, number: 1, text: "Jwt is missing"},
		{name: "long path", path: long, code: 401, number: 1, text: "Jwt is missing", realm: long[:256]},
		{name: "format", headers: bearer("a.b"), code: 401, number: 4, text: "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"},
		{name: "alg none", headers: bearer("eyJhbGciOiJub25lIn0.e30.AA"), code: 401, number: 8, text: "Jwt header [alg] is not supported"},
		{name: "issuer", headers: sign(`{"iss":"j","aud":"b","sub":"user-1"}`), code: 401, number: 24, text: "Jwt issuer is not configured"},
		{name: "no issuer", headers: sign(`{}`), code: 401, number: 24, text: "Jwt issuer is not configured"},
		{name: "audience", headers: sign(`{"iss":"i","aud":"c","sub":"user-1"}`), code: 403, number: 25, text: "Audiences in Jwt are not allowed"},
		{name: "no audience", headers: sign(`{"iss":"i","sub":"user-1"}`), code: 403, number: 25, text: "Audiences in Jwt are not allowed"},
		{name: "subject", headers: sign(`{"iss":"i","aud":"b","sub":"admin"}`), code: 401, number: 26, text: "Jwt verification fails"},
		{name: "expired", headers: sign(claims(`,"exp":` + strconv.FormatInt(now-20, 10))), code: 401, number: 3, text: "Jwt is expired"},
		{name: "expired before all else", headers: sign(`{"iss":"i","aud":"c","exp":1}`), code: 401, number: 3, text: "Jwt is expired"},
		{name: "too early", headers: sign(claims(`,"nbf":` + strconv.FormatInt(now+60, 10))), code: 401, number: 2, text: "Jwt not yet valid"},
		{name: "signature", headers: bearer(jwttest.New(t).Sign("ES256", claims(""))), code: 401, number: 26, text: "Jwt verification fails"},
		{name: "key", headers: bearer(k.SignRaw("ES256", "p256", `{"alg":"ES256","kid":"x"}`, claims(""))), code: 401, number: 32, text: "Jwks doesn't have key to match kid or alg from Jwt"},
		{name: "good", headers: sign(claims("")), code: 200},
		{name: "good, skew", headers: sign(claims(`,"exp":` + strconv.FormatInt(now-2, 10) + `,"nbf":` + strconv.FormatInt(now+3, 10))), code: 200},
		{name: "good, other form of the audience", headers: sign(`{"iss":"i","aud":["x","http://api.example"],"sub":"user-"}`), code: 200},
		{name: "good, parameter", path: "/?access_token=" + k.Sign("RS256", claims("")), code: 200},
	} {
		path := test.path
		if path == "" {
			path = "/"
		}
		r := p.Get(path, test.headers...)
		lines++
		line := p.Log(lines)[lines-1]
		if r.StatusCode != test.code {
			t.Errorf("%s: %d %q", test.name, r.StatusCode, r.Text)
		}
		if test.code == 200 {
			if line != "200 via_upstream - -" {
				t.Errorf("%s: %s", test.name, line)
			}
			continue
		}
		if test.realm == "" {
			test.realm = path
		}
		challenge := `Bearer realm="http://a` + test.realm + `"`
		if test.number != 1 {
			challenge += `, error="invalid_token"`
		}
		if got := r.Header.Get("www-authenticate"); got != challenge {
			t.Errorf("%s: challenge %s, want %s", test.name, got, challenge)
		}
		if r.Text != test.text {
			t.Errorf("%s: %q, want %q", test.name, r.Text, test.text)
		}
		want := fmt.Sprintf(`%d jwt_authn_access_denied{%s} - {"why":{"code":%d,"message":%q}}`, test.code, strings.ReplaceAll(test.text, " ", "_"), test.number, test.text)
		if line != want {
			t.Errorf("%s: log\n%s, want\n%s", test.name, line, want)
		}
	}
	p.WantStats(map[string]int64{
		"http.t.jwt_authn.sp.allowed": 4, "http.t.jwt_authn.sp.denied": 15, "http.t.jwt_authn.sp.cors_preflight_bypassed": 0,
		"http.t.jwt_authn.sp.jwt_cache_hit": 0, "http.t.jwt_authn.sp.jwt_cache_miss": 16,
	})
}

// TestLifetime: how long a token may live, and that it says so at all.
func TestLifetime(t *testing.T) {
	k := jwttest.New(t)
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo),
		Filters: filter("strip_failure_response: true, providers: {exp: {issuer: i, require_expiration: true, " + local(k) + "}, max: {issuer: i, require_expiration: true, max_lifetime: 100s, " + local(k) + "}}, " +
			"rules: [{match: {prefix: /exp}, requires: {provider_name: exp}}, {match: {prefix: /max}, requires: {provider_name: max}}]"),
	})
	in := func(seconds int64) string {
		return `{"iss":"i","exp":` + strconv.FormatInt(time.Now().Unix()+seconds, 10) + `}`
	}
	for _, test := range []struct {
		path, claims string
		code         int
	}{
		{"/exp", `{"iss":"i"}`, 401},
		{"/exp", `{"iss":"i","exp":0}`, 401},
		{"/exp", in(1e6), 200},
		{"/exp", `{"iss":"i","exp":18446744073709549568}`, 200},
		{"/max", `{"iss":"i"}`, 401},
		{"/max", in(50), 200},
		{"/max", in(-10), 200}, // within the clock skew
		{"/max", in(200), 401},
		{"/max", `{"iss":"i","exp":18446744073709549568}`, 401}, // a number that Envoy takes for a negative one
	} {
		if proxytest.Envoy() && strings.Contains(test.claims, "18446744073709549568") {
			continue
		}
		r := p.Get(test.path, bearer(k.Sign("HS256", test.claims))...)
		if r.StatusCode != test.code {
			t.Errorf("%s %s: %d %q", test.path, test.claims, r.StatusCode, r.Text)
		}
		if test.code == 401 && (r.Text != "" || r.Header.Get("www-authenticate") != "") {
			t.Errorf("%s %s: not stripped: %q %v", test.path, test.claims, r.Text, r.Header)
		}
	}
}

// TestRequirements: trees of requirements over three providers, of which r takes any issuer, from a
// header of its own.
func TestRequirements(t *testing.T) {
	k := jwttest.New(t)
	trees := []string{
		"{allow_missing: {}}",
		"{allow_missing_or_failed: {}}",
		"{requires_any: {requirements: [{provider_name: p}, {provider_name: q}]}}",
		"{requires_any: {requirements: [{provider_name: p}, {provider_name: q}, {provider_name: r}]}}",
		"{requires_any: {requirements: [{provider_name: p}, {allow_missing: {}}]}}",
		"{requires_any: {requirements: [{provider_name: p}, {provider_name: q}, {allow_missing_or_failed: {}}]}}",
		"{requires_all: {requirements: [{provider_name: p}, {provider_name: r}]}}",
		"{requires_all: {requirements: [{provider_name: p}, {requires_any: {requirements: [{provider_name: q}, {provider_name: r}]}}]}}",
		"{provider_and_audiences: {provider_name: p, audiences: [x]}}",
		"{provider_and_audiences: {provider_name: p}}",
		"{}",
		"{extract_only_without_validation: {}}",
		"{requires_any: {requirements: [{allow_missing: {}}, {allow_missing: {}}]}}",
	}
	rules := ""
	for i, tree := range trees {
		rules += fmt.Sprintf("{match: {path: /%d}, requires: %s}, ", i, tree)
	}
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo),
		Filters: filter("providers: {p: {issuer: i1, " + local(k) + "}, q: {issuer: i2, " + local(k) + "}, r: {from_headers: [{name: x-r}], " + local(k) + "}}, " +
			"rules: [" + rules + "]"),
	})
	t1, t2, t3 := k.Sign("ES256", `{"iss":"i1"}`), k.Sign("ES256", `{"iss":"i2"}`), k.Sign("ES256", `{"iss":"i3"}`)
	bad := jwttest.New(t).Sign("ES256", `{"iss":"i1"}`)
	requests := [][]string{
		nil, bearer(t1), bearer(t2), bearer(t3), bearer(bad),
		append(bearer(t1), "x-r", t2), {"x-r", t3}, {"x-r", "x"},
	}
	const (
		ok      = "ok"
		missing = "Jwt is missing"
		issuer  = "Jwt issuer is not configured"
		fails   = "Jwt verification fails"
		form    = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
		aud     = "Audiences in Jwt are not allowed"
	)
	for i, want := range [][]string{
		{ok, ok, ok, issuer, fails, ok, ok, form},
		{ok, ok, ok, ok, ok, ok, ok, ok},
		{missing, ok, ok, issuer, fails, ok, missing, missing},
		{missing, ok, ok, issuer, fails, ok, ok, form},
		{ok, ok, issuer, issuer, fails, ok, ok, ok},
		{ok, ok, ok, ok, ok, ok, ok, ok},
		{missing, missing, issuer, issuer, fails, ok, missing, missing},
		{missing, missing, issuer, issuer, fails, ok, missing, missing},
		{missing, aud, issuer, issuer, aud, aud, missing, missing},
		{missing, ok, issuer, issuer, fails, ok, missing, missing},
		{ok, ok, ok, ok, ok, ok, ok, ok},
		{ok, ok, ok, ok, ok, ok, ok, ok},
		{ok, ok, ok, issuer, fails, ok, ok, form},
	} {
		for j, headers := range requests {
			r := p.Get("/"+strconv.Itoa(i), headers...)
			got := r.Text
			if r.StatusCode == 200 {
				got = ok
			}
			if got != want[j] {
				t.Errorf("%s with %.60v: %q, want %q", trees[i], headers, got, want[j])
			}
			// The mode that verifies nothing says so.
			unverified := trees[i] == "{extract_only_without_validation: {}}" && (j == 3 || j == 4 || j == 7)
			if v := echoed(r, "x-jwt-signature-verified"); (v == "false") != unverified {
				t.Errorf("%s with %.60v: x-jwt-signature-verified: %q", trees[i], headers, v)
			}
		}
	}
}

// TestRules: which requirement applies, by rules, by the filter state, and by routes.
func TestRules(t *testing.T) {
	k := jwttest.New(t)
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo), Log: log,
		Filters: "- {name: s, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config, on_request_headers: [{object_key: sel, factory_key: envoy.string, format_string: {text_format_source: {inline_string: '%REQ(x-sel)%'}}}]}}\n" +
			filter("bypass_cors_preflight: true, providers: {p: {issuer: i, "+local(k)+"}}, requirement_map: {'n 1': {provider_name: p}, n2: {allow_missing: {}}}, "+
				"rules: [{match: {prefix: /open}}, {match: {prefix: /q, query_parameters: [{name: a, string_match: {exact: '1'}}]}, requires: {provider_name: p}}, "+
				"{match: {prefix: /h, headers: [{name: x-h, string_match: {exact: '1'}}]}, requires: {provider_name: p}}, "+
				"{match: {path: /CI, case_sensitive: false}, requires: {provider_name: p}}, {match: {path_separated_prefix: /sep}, requires: {provider_name: p}}, "+
				"{match: {safe_regex: {regex: '/re[0-9]+'}}, requires: {provider_name: p}}, {match: {prefix: /named}, requirement_name: n 1}, {match: {prefix: /route}, requires: {provider_name: p}}], "+
				"filter_state_rules: {name: sel, requires: {a: {provider_name: p}, b: {allow_missing: {}}}}"),
		Routes: "- {match: {path: /route-off}, route: {cluster: up}, " + perRoute("disabled: true") + "}\n" +
			"- {match: {path: /route-free}, route: {cluster: up}, " + perRoute("requirement_name: n2") + "}\n" +
			"- {match: {path: /on}, route: {cluster: up}, " + perRoute("requirement_name: n 1") + "}\n" +
			"- {match: {path: /unknown}, route: {cluster: up}, " + perRoute("requirement_name: no such") + "}\n" +
			"- {match: {prefix: /}, route: {cluster: up}}",
	})
	lines := 0
	for _, test := range []struct {
		path    string
		code    int
		headers []string
	}{
		{"/", 200, nil},
		{"/open", 200, nil},
		{"/q?a=1", 401, nil},
		{"/q?a=2", 200, nil},
		{"/q?b=3&a=1", 401, nil},
		{"/h", 200, nil},
		{"/h", 401, []string{"x-h", "1"}},
		{"/ci", 401, nil},
		{"/ci?x", 401, nil},
		{"/sepx", 200, nil},
		{"/sep", 401, nil},
		{"/sep/x?y", 401, nil},
		{"/re1", 401, nil},
		{"/re1?x=1", 401, nil},
		{"/re1x", 200, nil},
		{"/named", 401, nil},
		{"/named", 200, bearer(k.Sign("EdDSA", `{"iss":"i"}`))},
		{"/", 401, []string{"x-sel", "a"}},
		{"/", 200, []string{"x-sel", "b"}},
		{"/", 200, []string{"x-sel", "c"}},
		{"/open", 200, []string{"x-sel", "a"}},
		{"/route", 401, nil},
		{"/route-off", 200, nil},
		{"/route-free", 200, nil},
		{"/on", 401, nil},
		{"/unknown", 403, nil},
	} {
		r := p.Get(test.path, test.headers...)
		lines++
		if r.StatusCode != test.code {
			t.Errorf("%s %v: %d %q", test.path, test.headers, r.StatusCode, r.Text)
		}
		if test.code == 403 {
			const what = "Wrong requirement_name: no such. It should be one of [n 1,n2]"
			if r.Text != "Failed JWT authentication: "+what || r.Header.Get("www-authenticate") != "" {
				t.Errorf("%s: %q %v", test.path, r.Text, r.Header)
			}
			if got, want := p.Log(lines)[lines-1], "403 jwt_authn_access_denied{"+strings.ReplaceAll(what, " ", "_")+"} - -"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
	}
	preflight := []string{"origin", "https://a", "access-control-request-method", "GET"}
	for i, code := range []int{200, 401, 401, 401} {
		method, headers := "OPTIONS", preflight
		switch i {
		case 1:
			method = "GET"
		case 2:
			headers = preflight[:2]
		case 3:
			headers = preflight[2:]
		}
		if r := p.Do(method, "/on", headers); r.StatusCode != code {
			t.Errorf("%s %v: %d", method, headers, r.StatusCode)
		}
	}
	p.WantStats(map[string]int64{"http.t.jwt_authn.cors_preflight_bypassed": 1, "http.t.jwt_authn.allowed": 13, "http.t.jwt_authn.denied": 17})
}

func TestRefused(t *testing.T) {
	k := jwttest.New(t)
	one := "providers: {p: {issuer: i, " + local(k) + "}}, "
	remote := func(body string) string { return "providers: {p: {remote_jwks: {" + body + "}}}" }
	const uri = "http_uri: {uri: 'http://a/b', cluster: up, timeout: 1s}"
	for body, want := range map[string]string{
		one + everywhere("{provider_name: q}"):                                                                            `"q" is not configured`,
		one + everywhere("{provider_and_audiences: {provider_name: q}}"):                                                  `"q" is not configured`,
		one + everywhere("{requires_any: {requirements: [{provider_name: p}]}}"):                                          "at least 2",
		one + "rules: [{match: {prefix: /}, requirement_name: none}]":                                                     `"none" is none of the requirement_map`,
		one + "rules: [{match: {prefix: /, grpc: {}}, requires: {}}]":                                                     "rules[0].match.grpc",
		one + "rules: [{match: {prefix: /, tls_context: {presented: true}}, requires: {}}]":                               "match.tls_context",
		one + "rules: [{match: {prefix: /, runtime_fraction: {default_value: {numerator: 1}}}}]":                          "match.runtime_fraction",
		one + "rules: [{requires: {}}]":                                                                                   "match",
		"providers: {p: {issuer: i}}":                                                                                     "required",
		"providers: {p: {local_jwks: {filename: /no/such/file}}}":                                                         "no such file",
		"providers: {p: {local_jwks: {inline_string: '{}'}}}":                                                             `needs the member "keys"`,
		"providers: {p: {local_jwks: {inline_bytes: AAAA}}}":                                                              "JSON object",
		"providers: {p: {local_jwks: {environment_variable: NO_SUCH_VARIABLE}}}":                                          "NO_SUCH_VARIABLE",
		"providers: {p: {local_jwks: {inline_string: x, watched_directory: {path: /}}}}":                                  "watched_directory",
		"providers: {p: {from_headers: [{name: ':path'}], " + local(k) + "}}":                                             "from_headers[0].name",
		"providers: {p: {forward_payload_header: ':method', " + local(k) + "}}":                                           "forward_payload_header",
		"providers: {p: {claim_to_headers: [{header_name: Host, claim_name: a}], " + local(k) + "}}":                      "claim_to_headers[0].header_name",
		"providers: {p: {claim_to_headers: [{header_name: content-length, claim_name: a}], " + local(k) + "}}":            "where a request goes or ends",
		"providers: {p: {claim_to_headers: [{header_name: x}], " + local(k) + "}}":                                        "exactly one of claim_name and claim_path",
		"providers: {p: {claim_to_headers: [{header_name: x, claim_name: a, claim_path: [{key: b}]}], " + local(k) + "}}": "exactly one of claim_name and claim_path",
		"providers: {p: {jwt_cache_config: {jwt_cache_size: 1000000}, " + local(k) + "}}":                                 "jwt_cache_size",
		remote("http_uri: {uri: 'x', cluster: up, timeout: 1s}"):                                                          "is no URI",
		remote("http_uri: {uri: 'http://', cluster: up, timeout: 1s}"):                                                    "has no host",
		remote("http_uri: {uri: 'http://a:b/c', cluster: up, timeout: 1s}"):                                               "invalid port",
		remote("http_uri: {uri: 'http://a/b', timeout: 1s}"):                                                              "http_upstream_type",
		remote(uri + ", retry_policy: {retry_on: 5xx}"):                                                                   "retry_on",
		remote(uri + ", retry_policy: {retry_back_off: {base_interval: 2s, max_interval: 1s}}"):                           "shorter than base_interval",
		"filter_state_rules: {name: a, requires: {x: {provider_name: q}}}":                                                `filter_state_rules.requires["x"]`,
		"requirement_map: {name: {provider_name: q}}":                                                                     `requirement_map["name"]`,
	} {
		if err := proxytest.Check(proxytest.Config{Filters: filter(body)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s: %v, want %q", body, err, want)
		}
	}
}

// TestManyTokens: a request with more tokens than anybody needs is refused before they are looked at.
func TestManyTokens(t *testing.T) {
	if proxytest.Envoy() {
		t.Skip("looks at one of them")
	}
	k := jwttest.New(t)
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo),
		Filters: filter("providers: {p: {issuer: i, from_cookies: [t], " + local(k) + "}}, rules: [{match: {prefix: /must}, requires: {provider_name: p}}, " +
			"{match: {prefix: /may}, requires: {allow_missing: {}}}, {match: {prefix: /all}, requires: {allow_missing_or_failed: {}}}]"),
	})
	good := "t=" + k.Sign("EdDSA", `{"iss":"i"}`) + "; "
	for _, test := range []struct {
		path    string
		cookies string
		code    int
	}{
		{"/must", strings.Repeat(good, 16), 200},
		{"/must", strings.Repeat(good, 17), 401},
		{"/may", strings.Repeat(good, 16), 200},
		{"/may", strings.Repeat(good, 17), 401},
		{"/may", "t=bad; " + good, 401},
		{"/may", good + "t=bad", 401},
		{"/all", strings.Repeat("t=; ", 5000), 200},
	} {
		r := p.Get(test.path, "cookie", test.cookies)
		if r.StatusCode != test.code {
			t.Errorf("%s %.50s: %d %q", test.path, test.cookies, r.StatusCode, r.Text)
		}
		if strings.HasPrefix(test.cookies, strings.Repeat(good, 17)) && r.Text != "Found multiple Jwt tokens" {
			t.Errorf("%s: %q", test.path, r.Text)
		}
	}
}

// TestPaths: with the connection manager's normalisation there is no way around a rule by writing a
// path differently.
func TestPaths(t *testing.T) {
	k := jwttest.New(t)
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo),
		HCM:      "normalize_path: true\nmerge_slashes: true\npath_with_escaped_slashes_action: UNESCAPE_AND_FORWARD",
		Filters:  filter("providers: {p: {issuer: i, " + local(k) + "}}, rules: [{match: {prefix: /admin}, requires: {provider_name: p}}]"),
	})
	for _, path := range []string{
		"/admin", "/admin/", "/admin/x", "/admin?x", "/admin?", "/admin;x", "/adminx", "//admin", "///admin//x", "/./admin", "/x/../admin", "/x/y/../../admin",
		"/%61dmin", "/%61%64%6d%69%6e", "/x/%2e%2e/admin", "/x/.%2E/admin", "/%2fadmin", "/x%2f..%2fadmin", "/x%5c..%5cadmin", `/x\..\admin`, `\admin`, "/admin%2fx",
		"http://a/admin", "http://a//admin", "http://b.example/x/../admin", "/admin%00", "/admin%20", "/admin#x", "/x#/admin", "/x?/../admin",
	} {
		code := p.Get(path).StatusCode
		switch path {
		case "/x?/../admin": // another path
			if code != 200 {
				t.Errorf("%s: %d", path, code)
			}
		default:
			if code != 401 && code != 400 {
				t.Errorf("%s: %d", path, code)
			}
		}
	}
}
