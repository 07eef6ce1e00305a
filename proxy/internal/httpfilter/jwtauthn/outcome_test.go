package jwtauthn_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/jwt/jwttest"
	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// TestClaims: what becomes of a good token, in headers and dynamic metadata.
func TestClaims(t *testing.T) {
	k := jwttest.New(t)
	claims := ""
	for _, c := range []string{"s", "i", "neg", "d", "b", "n", "l", "o", "o.k", "big", "e", "u", "f", "a.b", "uni", "sub", "o.x", "s.x"} {
		claims += "{header_name: X-C-" + strings.ReplaceAll(c, ".", "-") + ", claim_name: '" + c + "'}, "
	}
	claims += "{header_name: x-path, claim_path: [{key: a.b}]}, {header_name: x-path-o, claim_path: [{key: o}, {key: k}]}, {header_name: x-c-s, claim_name: i}"
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo), Log: log,
		Filters: filter("providers: {p: {issuer: i, claim_to_headers: [" + claims + "], forward_payload_header: X-Payload, payload_in_metadata: pl, header_in_metadata: hd, " +
			"normalize_payload_in_metadata: {space_delimited_claims: [scope, e, i]}, " + local(k) + "}}, rules: [{match: {prefix: /open}}, {match: {prefix: /}, requires: {provider_name: p}}]"),
	})
	const payload = `{"iss":"i","s":"str","i":5,"neg":-5,"d":1.5,"b":false,"n":null,"l":[1,"<x>",null],"o":{"k":"v"},"big":12345678901234567890,"e":"","u":1e25,"f":1e-7,"a.b":"dotted","uni":"é","scope":"read  write"}`
	forged := []string{"x-c-s", "evil", "x-c-n", "evil", "x-payload", "evil", "X-C-E", "evil"}
	r := p.Get("/", append(bearer(k.Sign("ES256", payload)), forged...)...)
	for name, want := range map[string]string{
		"x-payload": jwttest.Encode(payload),
		"x-c-s":     "str,5", "x-c-i": "5", "x-c-neg": "-5.000000", "x-c-d": "1.500000", "x-c-b": "false", "x-c-n": "", "x-c-e": "",
		"x-c-l": base64.StdEncoding.EncodeToString([]byte(`[1,"\u003cx\u003e",null]`)), "x-c-o": base64.StdEncoding.EncodeToString([]byte(`{"k":"v"}`)),
		"x-c-o-k": "v", "x-c-big": "12345678901234567168", "x-c-u": "10000000000000000905969664.000000", "x-c-f": "0.000000",
		"x-c-a-b": "", "x-path": "dotted", "x-path-o": "v", "x-c-uni": "é", "x-c-sub": "", "x-c-o-x": "", "x-c-s-x": "",
		"authorization": "",
	} {
		if got := echoed(r, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	const meta = `200 via_upstream - {"hd":{"alg":"ES256","kid":"p256"},"pl":{"a.b":"dotted","b":false,"d":1.5,"e":"","i":5,"iss":"i",` +
		`"l":[1,"<x>",null],"n":null,"neg":-5,"o":{"k":"v"},"s":"str","scope":["read","write"],"u":1e+25,"uni":"é"}}`
	// How the log writes such numbers is its own affair.
	if got := regexp.MustCompile(`"(big|f)":[^,]*,`).ReplaceAllString(p.Log(1)[0], ""); got != meta {
		t.Errorf("metadata\n%s, want\n%s", got, meta)
	}
	// Nobody else sets these headers, not even where no token is asked for.
	r = p.Get("/open", append(bearer("x"), forged...)...)
	for _, name := range []string{"x-c-s", "x-c-n", "x-payload", "x-c-e"} {
		if got := echoed(r, name); got != "" {
			t.Errorf("/open: %s: %q", name, got)
		}
	}
	if echoed(r, "authorization") != "Bearer x" {
		t.Error("/open: the token is gone")
	}
	// A claim ends no line.
	for _, bad := range []string{`a\r\nx-admin: yes`, `a\u0000`, `a\u007f`} {
		r := p.Get("/", bearer(k.Sign("ES256", `{"iss":"i","s":"`+bad+`"}`))...)
		if r.StatusCode != 503 || r.Text != "invalid header value for: x-c-s" {
			t.Errorf("%s: %d %q", bad, r.StatusCode, r.Text)
		}
	}
	if got, want := p.Log(3)[2], "503 filter_removed_required_request_headers{invalid_header_value_for:_x-c-s} DPE "; !strings.HasPrefix(got, want) {
		t.Errorf("log %q, want %q", got, want)
	}
}

// TestPadding: the payload with and without padding, the token kept.
func TestPadding(t *testing.T) {
	k := jwttest.New(t)
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo),
		Filters: filter("providers: {a: {forward: true, forward_payload_header: x-p, pad_forward_payload_header: true, " + local(k) + "}, b: {forward: true, forward_payload_header: x-p, " + local(k) + "}}, " +
			"rules: [{match: {prefix: /a}, requires: {provider_name: a}}, {match: {prefix: /b}, requires: {provider_name: b}}]"),
	})
	for _, payload := range []string{`{}`, `{ }`, `{  }`, `{   }`} {
		token := k.Sign("ES256", payload)
		for _, path := range []string{"/a", "/b", "/a", "/b"} { // the second time from the cache
			r := p.Get(path, bearer(token)...)
			want := base64.URLEncoding.EncodeToString([]byte(payload))
			if path == "/b" {
				want = strings.TrimRight(want, "=")
			}
			if got := echoed(r, "x-p"); got != want {
				t.Errorf("%s %q: %q, want %q", path, payload, got, want)
			}
			if got := echoed(r, "authorization"); got != "Bearer "+token {
				t.Errorf("%s: token %q", path, got)
			}
		}
	}
}

// TestReaders: RBAC reads the metadata, and the route follows claims, in headers and in metadata,
// where clear_route_cache says so.
func TestReaders(t *testing.T) {
	k := jwttest.New(t)
	rbac := "- {name: r, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, rules: {action: DENY, policies: {p: {permissions: [{any: true}], principals: [" +
		"{metadata: {filter: " + name + ", path: [{key: pl}, {key: groups}], value: {list_match: {one_of: {string_match: {exact: banned}}}}}}]}}}}}"
	p := proxytest.Start(t, proxytest.Config{
		Filters: filter("providers: {p: {payload_in_metadata: pl, clear_route_cache: true, claim_to_headers: [{header_name: x-tier, claim_name: tier}], "+local(k)+"}, q: {payload_in_metadata: pl, claim_to_headers: [{header_name: x-tier, claim_name: tier}], "+local(k)+"}}, "+
			"rules: [{match: {prefix: /p}, requires: {provider_name: p}}, {match: {prefix: /q}, requires: {provider_name: q}}]") + "\n" + rbac,
		Routes: "- {match: {prefix: /, headers: [{name: x-tier, string_match: {exact: gold}}]}, direct_response: {status: 200, body: {inline_string: gold}}}\n" +
			"- {match: {prefix: /, dynamic_metadata: [{filter: " + name + ", path: [{key: pl}, {key: org}], value: {string_match: {exact: acme}}}]}, direct_response: {status: 200, body: {inline_string: acme}}}\n" +
			"- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: other}}}",
	})
	for _, test := range [][3]string{
		{"/p", `{"tier":"gold"}`, "gold"},
		{"/p", `{"org":"acme"}`, "acme"},
		{"/p", `{}`, "other"},
		{"/q", `{"tier":"gold"}`, "other"},
		{"/q", `{"org":"acme"}`, "other"},
		{"/p", `{"tier":"gold","groups":["x","banned"]}`, "RBAC: access denied"},
		{"/q", `{"groups":["x","banned"]}`, "RBAC: access denied"},
		{"/q", `{"groups":["x"]}`, "other"},
	} {
		for range 2 {
			if r := p.Get(test[0], bearer(k.Sign("ES256", test[1]))...); r.Text != test[2] {
				t.Errorf("%s %s: %q, want %q", test[0], test[1], r.Text, test[2])
			}
		}
	}
	if r := p.Get("/p", "x-tier", "gold"); r.StatusCode != 401 {
		t.Errorf("without a token: %d", r.StatusCode)
	}
}

// TestCacheCounts: hits and misses of jwt_cache_config, as Envoy counts them.
func TestCacheCounts(t *testing.T) {
	k := jwttest.New(t)
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo),
		Filters:  filter("stat_prefix: c, providers: {p: {issuer: i, jwt_cache_config: {jwt_cache_size: 2, jwt_max_token_size: 300}, " + local(k) + "}}, " + everywhere("{provider_name: p}")),
	})
	a, b, c := k.Sign("ES256", `{"iss":"i","n":1}`), k.Sign("ES256", `{"iss":"i","n":2}`), k.Sign("ES256", `{"iss":"i","n":3}`)
	big := k.Sign("ES256", `{"iss":"i","n":"`+strings.Repeat("x", 300)+`"}`)
	for _, test := range []struct {
		token        string
		code         int
		hits, misses int64
	}{
		{a, 200, 0, 1}, {a, 200, 1, 1}, {b, 200, 1, 2}, {a, 200, 2, 2}, {c, 200, 2, 3}, {a, 200, 3, 3}, {b, 200, 3, 4},
		{"x", 401, 3, 5}, {"x", 401, 3, 6}, {big, 200, 3, 7}, {big, 200, 3, 8},
	} {
		if r := p.Get("/", bearer(test.token)...); r.StatusCode != test.code {
			t.Errorf("%d %q", r.StatusCode, r.Text)
		}
		p.WantStats(map[string]int64{"http.t.jwt_authn.c.jwt_cache_hit": test.hits, "http.t.jwt_authn.c.jwt_cache_miss": test.misses})
	}
}

// TestNoLocalKeys: without keys all tokens are refused, and nothing else.
func TestNoLocalKeys(t *testing.T) {
	k := jwttest.New(t)
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo),
		Filters:  filter("providers: {p: {issuer: i, local_jwks: {inline_string: ''}}}, rules: [{match: {prefix: /jwt}, requires: {provider_name: p}}]"),
	})
	if r := p.Get("/jwt", bearer(k.Sign("ES256", `{"iss":"i"}`))...); r.StatusCode != 401 || r.Text != "Jwks doesn't have any valid public key" {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
	if r := p.Get("/"); r.StatusCode != 200 {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
}

// TestLocalForms: keys from wherever a data source can be.
func TestLocalForms(t *testing.T) {
	k := jwttest.New(t)
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, []byte(k.Set("p256")), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_JWKS", k.Set("p256"))
	providers, rules := "", ""
	sources := []string{
		"filename: " + file, "environment_variable: TEST_JWKS", "inline_string: '" + k.Set("p256") + "'",
		"inline_bytes: " + base64.StdEncoding.EncodeToString([]byte(k.Set("p256"))),
	}
	for i, s := range sources {
		providers += fmt.Sprintf("p%d: {local_jwks: {%s}}, ", i, s)
		rules += fmt.Sprintf("{match: {prefix: /%d}, requires: {provider_name: p%d}}, ", i, i)
	}
	p := proxytest.Start(t, proxytest.Config{Upstream: proxytest.Server(t, proxytest.Echo), Filters: filter("providers: {" + providers + "}, rules: [" + rules + "]")})
	for i, s := range sources {
		path := fmt.Sprintf("/%d", i)
		if r := p.Get(path, bearer(k.Sign("ES256", `{}`))...); r.StatusCode != 200 {
			t.Errorf("%.30s: %d %q", s, r.StatusCode, r.Text)
		}
		if r := p.Get(path, bearer(k.Sign("RS256", `{}`))...); r.StatusCode != 401 {
			t.Errorf("%.30s, with a key that is not there: %d", s, r.StatusCode)
		}
	}
}
