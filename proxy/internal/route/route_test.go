package route

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// request makes headers of "name: value" pairs after method, authority and path.
func request(method, authority, path string, pairs ...string) *header.Map {
	h := &header.Map{}
	h.AddString(header.Method, method)
	h.AddString(header.Authority, authority)
	h.AddString(header.Path, path)
	h.AddString(header.Scheme, "http")
	for _, p := range pairs {
		n, v, _ := strings.Cut(p, ": ")
		h.AddName(n, []byte(v))
	}
	return h
}

func get(path string, pairs ...string) *Request {
	return &Request{Headers: request("GET", "web.test", path, pairs...)}
}

func to(cluster string) *xdsresource.RouteAction { return &xdsresource.RouteAction{Cluster: cluster} }

func compile(t testing.TB, cfg *xdsresource.RouteConfig) *Table {
	t.Helper()
	tbl, err := Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tbl
}

// one is a table whose only virtual host has these routes.
func one(t testing.TB, routes ...*xdsresource.Route) *Table {
	t.Helper()
	return compile(t, &xdsresource.RouteConfig{Name: "t", VirtualHosts: []*xdsresource.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: routes}}})
}

func ptr[T any](v T) *T { return &v }

func TestHosts(t *testing.T) {
	vh := func(domains ...string) *xdsresource.VirtualHost {
		return &xdsresource.VirtualHost{Name: domains[0], Domains: domains,
			Routes: []*xdsresource.Route{{Name: domains[0], Match: xdsresource.RouteMatch{Path: "/"}, Forward: to("c")}}}
	}
	cfg := &xdsresource.RouteConfig{VirtualHosts: []*xdsresource.VirtualHost{
		vh("web.test", "web.test:80"), vh("*.test"), vh("*.web.test"), vh("-a.*"), vh("web.*"), vh("web.tes*"), vh("*-x.web.test"), vh("[::1]:80", "::1"),
	}}
	strict := compile(t, cfg)
	loose := *cfg
	loose.IgnorePortInHostMatching = true
	ignoring := compile(t, &loose)
	for _, tt := range []struct{ host, want, wantIgnoring string }{
		{"web.test", "web.test", "web.test"},
		{"WEB.Test", "web.test", "web.test"},
		{"web.test:80", "web.test", "web.test"},
		{"web.test:81", "web.tes*", "web.test"},
		{"a.test", "*.test", "*.test"},
		{".test", "", ""}, // a wildcard stands for something
		{"a.web.test", "*.web.test", "*.web.test"},
		{"a-x.web.test", "*-x.web.test", "*-x.web.test"},
		{"web.testing", "web.tes*", "web.tes*"},
		{"web.org", "web.*", "web.*"},
		{"web.", "", ""},
		{"other.org", "", ""},
		{"[::1]:80", "[::1]:80", ""},
		{"", "", ""},
	} {
		for tbl, want := range map[*Table]string{strict: tt.want, ignoring: tt.wantIgnoring} {
			e := tbl.Match(&Request{Headers: request("GET", tt.host, "/")})
			got := ""
			if e != nil {
				got = e.Name
			}
			if got != want {
				t.Errorf("host %q (ignoring the port: %v): %q, want %q", tt.host, tbl == ignoring, got, want)
			}
		}
	}
	cfg.VirtualHosts = append(cfg.VirtualHosts, vh("*"))
	if e := compile(t, cfg).Match(&Request{Headers: request("GET", "other.org", "/")}); e == nil || e.Name != "*" {
		t.Error("no fallback")
	}
}

// oneState is a filter state with one object.
type oneState struct {
	name   string
	object filterstate.Object
}

func (s oneState) FilterState(name string) filterstate.Object {
	if name != s.name {
		return nil
	}
	return s.object
}

func TestMatch(t *testing.T) {
	str := func(k xdsresource.StringKind, v string) *xdsresource.StringMatch {
		return &xdsresource.StringMatch{Kind: k, Value: v}
	}
	hdr := func(m xdsresource.HeaderMatcher) xdsresource.RouteMatch {
		m.Name = "x-a"
		return xdsresource.RouteMatch{Path: "/", Headers: []xdsresource.HeaderMatcher{m}}
	}
	query := func(m xdsresource.QueryMatcher) xdsresource.RouteMatch {
		m.Name = "q"
		return xdsresource.RouteMatch{Path: "/", Query: []xdsresource.QueryMatcher{m}}
	}
	cookies := func(m ...xdsresource.CookieMatcher) xdsresource.RouteMatch {
		return xdsresource.RouteMatch{Path: "/", Cookies: m}
	}
	with := func(o filterstate.Object) *Request {
		r := get("/")
		r.State = oneState{"k", o}
		return r
	}
	ip := func(a string) filterstate.IP { return filterstate.IP(netip.MustParseAddr(a)) }
	ten := []netip.Prefix{netip.MustParsePrefix("9.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	for name, tt := range map[string]struct {
		match  xdsresource.RouteMatch
		yes    []*Request
		no     []*Request
		reason string // part of what Explain says about the first of no
	}{
		"prefix":           {xdsresource.RouteMatch{Path: "/api"}, []*Request{get("/api"), get("/apix"), get("/api/a?x=y")}, []*Request{get("/ap"), get("/API")}, `path "/ap" does not match prefix "/api"`},
		"prefix, any case": {xdsresource.RouteMatch{Path: "/api", CaseInsensitive: true}, []*Request{get("/API/x")}, []*Request{get("/ap")}, "prefix"},
		"exact":            {xdsresource.RouteMatch{Kind: xdsresource.PathExact, Path: "/a"}, []*Request{get("/a"), get("/a?b"), get("/a#c")}, []*Request{get("/a/"), get("/")}, `path "/a/" does not match path "/a"`},
		"regex":            {xdsresource.RouteMatch{Kind: xdsresource.PathRegex, Regex: regexp.MustCompile(`^(?:/v\d+)$`)}, []*Request{get("/v12"), get("/v1?x")}, []*Request{get("/v1/x")}, "regex"},
		"separated":        {xdsresource.RouteMatch{Kind: xdsresource.PathSeparatedPrefix, Path: "/a"}, []*Request{get("/a"), get("/a/b"), get("/a?x")}, []*Request{get("/ab")}, "path-separated"},
		"connect":          {xdsresource.RouteMatch{Kind: xdsresource.PathConnect}, []*Request{{Headers: request("CONNECT", "web.test:1", "")}}, []*Request{get("/")}, "CONNECT"},
		"header exact": {hdr(xdsresource.HeaderMatcher{String: str(xdsresource.StringExact, "b")}),
			[]*Request{get("/", "x-a: b"), get("/", "x-a: b", "x-a: c"), get("/", "x-a: c", "x-a: b")}, []*Request{get("/", "x-a: bc"), get("/")}, `header "x-a" does not match exact "b"`},
		"header never joined": {hdr(xdsresource.HeaderMatcher{String: str(xdsresource.StringExact, "b,c")}), []*Request{get("/", "x-a: b,c")}, []*Request{get("/", "x-a: b", "x-a: c")}, "exact"},
		"header inverted, several": {hdr(xdsresource.HeaderMatcher{String: str(xdsresource.StringExact, "b"), Invert: true}),
			[]*Request{get("/", "x-a: c", "x-a: d")}, []*Request{get("/", "x-a: c", "x-a: b")}, "not exact"},
		"header absent, missing is empty": {hdr(xdsresource.HeaderMatcher{Present: ptr(true), TreatMissingAsEmpty: true}), []*Request{get("/")}, nil, ""},
		"header prefix":                   {hdr(xdsresource.HeaderMatcher{String: str(xdsresource.StringPrefix, "b")}), []*Request{get("/", "x-a: bc")}, []*Request{get("/", "x-a: cb")}, "prefix"},
		"header suffix":                   {hdr(xdsresource.HeaderMatcher{String: str(xdsresource.StringSuffix, "b")}), []*Request{get("/", "x-a: cb")}, []*Request{get("/", "x-a: bc")}, "suffix"},
		"header contains":                 {hdr(xdsresource.HeaderMatcher{String: &xdsresource.StringMatch{Kind: xdsresource.StringContains, Value: "B", IgnoreCase: true}}), []*Request{get("/", "x-a: abc")}, []*Request{get("/", "x-a: ac")}, "contains"},
		"header regex":                    {hdr(xdsresource.HeaderMatcher{String: &xdsresource.StringMatch{Kind: xdsresource.StringRegex, Regex: regexp.MustCompile(`^(?:\d{3})$`)}}), []*Request{get("/", "x-a: 123")}, []*Request{get("/", "x-a: 1234")}, "regex"},
		"header inverted": {hdr(xdsresource.HeaderMatcher{String: str(xdsresource.StringExact, "b"), Invert: true}),
			[]*Request{get("/", "x-a: c")}, []*Request{get("/", "x-a: b"), get("/")}, "not exact"},
		"header inverted, missing is empty": {hdr(xdsresource.HeaderMatcher{String: str(xdsresource.StringExact, "b"), Invert: true, TreatMissingAsEmpty: true}),
			[]*Request{get("/", "x-a: c"), get("/")}, []*Request{get("/", "x-a: b")}, "not exact"},
		"header present":  {hdr(xdsresource.HeaderMatcher{Present: ptr(true)}), []*Request{get("/", "x-a: ")}, []*Request{get("/")}, "present=true"},
		"header absent":   {hdr(xdsresource.HeaderMatcher{Present: ptr(true), Invert: true}), []*Request{get("/")}, []*Request{get("/", "x-a: b")}, "not present"},
		"header absent 2": {hdr(xdsresource.HeaderMatcher{Present: ptr(false)}), []*Request{get("/")}, []*Request{get("/", "x-a: b")}, "present=false"},
		"header range": {hdr(xdsresource.HeaderMatcher{Range: &[2]int64{-5, 10}}),
			[]*Request{get("/", "x-a: 9"), get("/", "x-a: -5"), get("/", "x-a: +0")},
			[]*Request{get("/", "x-a: 10"), get("/", "x-a: 9x"), get("/", "x-a: "), get("/", "x-a: 99999999999999999999")}, "range [-5, 10)"},
		"cookie": {cookies(xdsresource.CookieMatcher{Name: "s", String: *str(xdsresource.StringExact, "1")}),
			[]*Request{get("/", "cookie: s=1"), get("/", `cookie: a=b; s="1"`), get("/", "cookie: a=b", "cookie: s=1"), get("/", "cookie: s=1; s=2")},
			[]*Request{get("/", "cookie: s=2; s=1"), get("/"), get("/", "cookie: S=1"), get("/", "cookie: ss=1")}, `cookie "s" does not match exact "1"`},
		"cookie inverted": {cookies(xdsresource.CookieMatcher{Name: "s", String: *str(xdsresource.StringPrefix, "1"), Invert: true}),
			[]*Request{get("/"), get("/", "cookie: s=2"), get("/", "cookie: s=")}, []*Request{get("/", "cookie: s=12")}, `cookie "s" does not match not prefix "1"`},
		"cookies": {cookies(xdsresource.CookieMatcher{Name: "s", String: *str(xdsresource.StringExact, "1")}, xdsresource.CookieMatcher{Name: "t", String: *str(xdsresource.StringExact, "2")}),
			[]*Request{get("/", "cookie: t=2; s=1")}, []*Request{get("/", "cookie: s=1"), get("/", "cookie: t=2")}, `cookie "t"`},
		"filter state": {xdsresource.RouteMatch{Path: "/", FilterState: []xdsresource.FilterStateMatcher{{Key: "k", String: str(xdsresource.StringPrefix, "a")}}},
			[]*Request{with(filterstate.Text("ab"))}, []*Request{with(filterstate.Text("b")), with(nil), get("/")}, `filter state "k" does not match`},
		"filter state, address": {xdsresource.RouteMatch{Path: "/", FilterState: []xdsresource.FilterStateMatcher{{Key: "k", Prefixes: ten}}},
			[]*Request{with(ip("10.1.2.3"))}, []*Request{with(ip("11.0.0.1")), with(filterstate.Text("10.1.2.3")), with(nil)}, "filter state"},
		"filter state, other address": {xdsresource.RouteMatch{Path: "/", FilterState: []xdsresource.FilterStateMatcher{{Key: "k", Prefixes: ten, Invert: true}}},
			[]*Request{with(ip("11.0.0.1"))}, []*Request{with(ip("10.1.2.3")), with(filterstate.Text("x")), with(nil)}, "filter state"},
		"query exact": {query(xdsresource.QueryMatcher{String: str(xdsresource.StringExact, "a%20b")}),
			[]*Request{get("/?q=a%20b"), get("/?x&q=a%20b&y")}, []*Request{get("/"), get("/?q"), get("/?q=a b"), get("/?qq=a%20b"), get("/?%71=a%20b")}, `query parameter "q"`},
		"query first value":         {query(xdsresource.QueryMatcher{String: str(xdsresource.StringExact, "1")}), []*Request{get("/?q=1&q=2")}, []*Request{get("/?q=2&q=1")}, "query"},
		"query present":             {query(xdsresource.QueryMatcher{Present: ptr(true)}), []*Request{get("/?q"), get("/?q=")}, []*Request{get("/?r")}, "query"},
		"grpc":                      {xdsresource.RouteMatch{Path: "/", GRPC: true}, []*Request{get("/", "content-type: application/grpc"), get("/", "content-type: application/grpc+proto")}, []*Request{get("/", "content-type: application/grpc-web"), get("/")}, "gRPC"},
		"fraction":                  {xdsresource.RouteMatch{Path: "/", Fraction: &xdsresource.FractionalPercent{Numerator: 10, Denominator: 100}}, []*Request{{Headers: get("/").Headers, Random: 109}}, []*Request{{Headers: get("/").Headers, Random: 110}}, "fraction of 10 in 100"},
		"client certificate":        {xdsresource.RouteMatch{Path: "/", TLSPresented: ptr(true)}, []*Request{{Headers: get("/").Headers, TLS: TLS{Presented: true}}}, []*Request{get("/")}, "certificate"},
		"no validated certificate":  {xdsresource.RouteMatch{Path: "/", TLSValidated: ptr(false)}, []*Request{{Headers: get("/").Headers, TLS: TLS{Presented: true}}}, []*Request{{Headers: get("/").Headers, TLS: TLS{Validated: true}}}, "certificate"},
		"dynamic metadata, missing": {xdsresource.RouteMatch{Path: "/", FilterMetadata: []xdsresource.MetadataMatcher{{Filter: "f", Path: []string{"k"}, Value: xdsresource.ValueMatch{Bool: true}, Invert: true}}}, []*Request{get("/")}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tbl := one(t, &xdsresource.Route{Name: "r", Match: tt.match, Forward: to("c")})
			for i, r := range tt.yes {
				if tbl.Match(r) == nil {
					t.Errorf("request %d does not match: %s", i, tbl.Explain(r))
				}
			}
			for i, r := range tt.no {
				if tbl.Match(r) != nil {
					t.Errorf("request %d matches", i)
				}
				if tr := tbl.Explain(r); i == 0 && !strings.Contains(tr.Steps[0].Why, tt.reason) {
					t.Errorf("explained with %q, want %q in it", tr.Steps[0].Why, tt.reason)
				}
			}
		})
	}
}

func TestFirstMatchWins(t *testing.T) {
	tbl := one(t,
		&xdsresource.Route{Name: "v2", Match: xdsresource.RouteMatch{Path: "/", Headers: []xdsresource.HeaderMatcher{{Name: "x-istio-cohort", String: &xdsresource.StringMatch{Value: "internal"}}}},
			Forward: to("v2"), Metadata: xdsresource.Metadata{"istio": {"config": "/apis/x"}}},
		&xdsresource.Route{Name: "v1", Match: xdsresource.RouteMatch{Path: "/"}, Forward: to("v1")})
	if e := tbl.Match(get("/items", "x-istio-cohort: internal")); e.Name != "v2" {
		t.Error(e.Name)
	}
	tr := tbl.Explain(get("/items"))
	if tr.Entry.Name != "v1" || tr.VirtualHost != "v" || len(tr.Steps) != 2 || tr.Steps[0].Origin["istio"]["config"] != "/apis/x" {
		t.Errorf("%+v", tr)
	}
	if s := tr.String(); !strings.Contains(s, `v2: header "x-istio-cohort" does not match exact "internal"`) || !strings.Contains(s, `-> v1`) {
		t.Error(s)
	}
	if s := tbl.Explain(get("/", "x-istio-cohort: internal")).String(); !strings.Contains(s, "v1: would match, but") {
		t.Error(s)
	}
}

func TestRequireTLS(t *testing.T) {
	cfg := &xdsresource.RouteConfig{VirtualHosts: []*xdsresource.VirtualHost{{Name: "v", Domains: []string{"*"}, RequireTLS: xdsresource.TLSAll,
		Routes: []*xdsresource.Route{{Match: xdsresource.RouteMatch{Path: "/"}, Forward: to("c")}}}}}
	r := get("/x?y")
	r.Headers.AddString(header.XForwardedProto, "http")
	e := compile(t, cfg).Match(r)
	if e == nil || e.Redirect == nil {
		t.Fatal("not redirected")
	}
	if got := string(e.AppendLocation(nil, r.Headers, nil)); got != "https://web.test/x?y" {
		t.Error(got)
	}
	r.TLS.Secure = true
	if compile(t, cfg).Match(r).Redirect != nil {
		t.Error("a secure request is redirected")
	}
	cfg.VirtualHosts[0].RequireTLS = xdsresource.TLSExternalOnly
	r.TLS.Secure, r.Internal = false, true
	if compile(t, cfg).Match(r).Redirect != nil {
		t.Error("an internal request is redirected")
	}
}

func TestWeights(t *testing.T) {
	a := &xdsresource.RouteAction{Weighted: []xdsresource.WeightedCluster{{Name: "v1", Weight: 90}, {Name: "zero", Weight: 0}, {Name: "v2", Weight: 10}}}
	f := one(t, &xdsresource.Route{Match: xdsresource.RouteMatch{Path: "/"}, Forward: a}).Match(get("/")).Forward
	got := map[string]int{}
	for r := range uint64(1000) {
		got[f.Pick(HashInput{}, r).Cluster]++
	}
	if got["v1"] != 900 || got["v2"] != 100 || len(got) != 2 {
		t.Error(got)
	}
	_, err := Compile(&xdsresource.RouteConfig{Name: "t", VirtualHosts: []*xdsresource.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []*xdsresource.Route{
		{Name: "r", Forward: &xdsresource.RouteAction{Weighted: []xdsresource.WeightedCluster{{Name: "a"}}}}}}}})
	if err == nil || !strings.Contains(err.Error(), `virtual host "v": route 0 "r"`) {
		t.Error(err)
	}
}

// TestWeightBy: what of a request stands for the random number, which is 0 here.
func TestWeightBy(t *testing.T) {
	byHeader := xdsresource.WeightBy{Header: header.KeyOf("X-Number")}
	byHash := xdsresource.WeightBy{Hash: true}
	ttl := time.Minute
	for _, test := range []struct {
		name    string
		by      xdsresource.WeightBy
		headers []string
		number  uint64
	}{
		{"nothing", xdsresource.WeightBy{}, []string{"x-number: 7", "x-user: ann"}, 0},
		{"header", byHeader, []string{"x-number: 7"}, 7},
		{"header that is too large", byHeader, []string{"x-number: 99999999999999999999"}, 0},
		{"header that is no number", byHeader, []string{"x-number: -7"}, 0},
		{"header twice", byHeader, []string{"x-number: 7", "x-number: 7"}, 0},
		{"no header", byHeader, nil, 0},
		{"hash", byHash, []string{"x-user: ann"}, lb.Hash([]byte("ann"))},
		{"hash of a cookie", byHash, []string{"cookie: c=ann"}, lb.Hash([]byte("ann"))},
		{"no hash: the cookie has yet to be made", byHash, nil, 0},
	} {
		f := forwardOf(&xdsresource.RouteAction{WeightBy: test.by, Hash: []xdsresource.HashPolicy{
			{Header: header.KeyOf("x-user")}, {Cookie: &xdsresource.HashCookie{Name: "c", TTL: &ttl}}}})
		if got := f.number(HashInput{Headers: get("/", test.headers...).Headers}, 0); got != test.number {
			t.Errorf("%s: %d, want %d", test.name, got, test.number)
		}
	}
}

func TestClusterHeader(t *testing.T) {
	tbl := one(t, &xdsresource.Route{Match: xdsresource.RouteMatch{Path: "/"}, Forward: &xdsresource.RouteAction{ClusterHeader: "x-cluster"}})
	r := get("/", "x-cluster: web")
	tg := tbl.Match(r).Forward.Pick(HashInput{}, 0)
	if tg.ClusterName(r.Headers) != "web" || tg.ClusterName(get("/").Headers) != "" {
		t.Error("cluster_header")
	}
}

func TestDuplicateDomain(t *testing.T) {
	_, err := Compile(&xdsresource.RouteConfig{Name: "t", VirtualHosts: []*xdsresource.VirtualHost{
		{Name: "a", Domains: []string{"x"}}, {Name: "b", Domains: []string{"x"}}}})
	if err == nil || !strings.Contains(err.Error(), `virtual host "b": domain "x"`) {
		t.Error(err)
	}
	if _, err = Compile(&xdsresource.RouteConfig{VirtualHosts: []*xdsresource.VirtualHost{{Name: "a"}}}); err == nil {
		t.Error("no domains accepted")
	}
}

func TestFilterConfigs(t *testing.T) {
	cfg := &xdsresource.RouteConfig{
		FilterConfigs: map[string]any{"a": "table", "b": "table", "c": "table", "d": "table"},
		VirtualHosts: []*xdsresource.VirtualHost{{Name: "v", Domains: []string{"*"}, FilterConfigs: map[string]any{"b": "vhost", "c": "vhost", "d": "vhost"},
			Routes: []*xdsresource.Route{{FilterConfigs: map[string]any{"c": "route", "d": "route"}, Match: xdsresource.RouteMatch{Path: "/"},
				Forward: &xdsresource.RouteAction{Weighted: []xdsresource.WeightedCluster{{Name: "w", Weight: 1, FilterConfigs: map[string]any{"d": "weighted"}}}}}}}}}
	e := compile(t, cfg).Match(get("/"))
	for name, want := range map[string]string{"a": "table", "b": "vhost", "c": "route", "d": "weighted"} {
		if got := e.Forward.Targets[0].Filters[name]; got != want {
			t.Errorf("%s: %v, want %s", name, got, want)
		}
	}
	if e.Filters["d"] != "route" || cfg.FilterConfigs["b"] != "table" {
		t.Error("a level was overwritten")
	}
}

func TestRewrites(t *testing.T) {
	re := func(p, s string) *xdsresource.RegexRewrite {
		return &xdsresource.RegexRewrite{Regex: regexp.MustCompile(p), Substitution: s}
	}
	for _, tt := range []struct {
		match  xdsresource.RouteMatch
		action xdsresource.RouteAction
		path   string
		want   string
	}{
		{xdsresource.RouteMatch{Path: "/"}, xdsresource.RouteAction{}, "/a?b", ""},
		{xdsresource.RouteMatch{Path: "/api/"}, xdsresource.RouteAction{PrefixRewrite: "/"}, "/api/x?y=/api/", "/x?y=/api/"},
		{xdsresource.RouteMatch{Path: "/api", CaseInsensitive: true}, xdsresource.RouteAction{PrefixRewrite: "/v1"}, "/API/x", "/v1/x"},
		{xdsresource.RouteMatch{Kind: xdsresource.PathExact, Path: "/a"}, xdsresource.RouteAction{PrefixRewrite: "/b"}, "/a?q", "/b?q"},
		{xdsresource.RouteMatch{Kind: xdsresource.PathSeparatedPrefix, Path: "/a"}, xdsresource.RouteAction{PrefixRewrite: "/b"}, "/a/c", "/b/c"},
		{xdsresource.RouteMatch{Kind: xdsresource.PathRegex, Regex: regexp.MustCompile("^/.*$")}, xdsresource.RouteAction{PrefixRewrite: "/b"}, "/a/c?q", "/b?q"},
		{xdsresource.RouteMatch{Path: "/"}, xdsresource.RouteAction{RegexRewrite: re(`/u/(\d+)`, "/user/${1}/x")}, "/u/7?u=/u/8", "/user/7/x?u=/u/8"},
	} {
		e := one(t, &xdsresource.Route{Match: tt.match, Forward: &tt.action}).Match(get(tt.path))
		if e == nil {
			t.Errorf("%s does not match", tt.path)
			continue
		}
		got, ok := e.RewritePath(nil, []byte(tt.path), nil)
		if string(got) != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %q %v, want %q", tt.path, got, ok, tt.want)
		}
	}
	for _, tt := range []struct {
		rewrite xdsresource.HostRewrite
		want    string
	}{
		{xdsresource.HostRewrite{}, ""}, {xdsresource.HostRewrite{Literal: "l"}, "l"}, {xdsresource.HostRewrite{Auto: true}, "up.test"},
		{xdsresource.HostRewrite{Header: "x-h"}, "from-header"}, {xdsresource.HostRewrite{PathRegex: re("^/([^/]+)/.*$", "${1}.test")}, "a.test"},
	} {
		e := one(t, &xdsresource.Route{Match: xdsresource.RouteMatch{Path: "/"}, Forward: &xdsresource.RouteAction{HostRewrite: tt.rewrite}}).Match(get("/a/b"))
		if got, _ := e.RewriteHost(nil, get("/other", "x-h: from-header").Headers, []byte("/a/b?c"), "up.test", nil); got != tt.want {
			t.Errorf("%+v: %q", tt.rewrite, got)
		}
	}
}

func TestRedirects(t *testing.T) {
	for _, tt := range []struct {
		r               xdsresource.RedirectAction
		proto, host, at string
		want            string
	}{
		{xdsresource.RedirectAction{HTTPS: true}, "http", "web.test", "/a?b", "https://web.test/a?b"},
		{xdsresource.RedirectAction{HTTPS: true}, "http", "web.test:80", "/", "https://web.test/"},
		{xdsresource.RedirectAction{HTTPS: true}, "http", "web.test:8080", "/", "https://web.test:8080/"},
		{xdsresource.RedirectAction{HTTPS: true, Port: 8443}, "http", "web.test:8080", "/", "https://web.test:8443/"},
		{xdsresource.RedirectAction{Scheme: "http"}, "https", "web.test:443", "/", "http://web.test/"},
		{xdsresource.RedirectAction{Host: "new.test"}, "http", "web.test:80", "/x", "http://new.test/x"},
		{xdsresource.RedirectAction{Path: "/p"}, "http", "web.test", "/x?q=1", "http://web.test/p?q=1"},
		{xdsresource.RedirectAction{Path: "/p", StripQuery: true}, "http", "web.test", "/x?q=1", "http://web.test/p"},
		{xdsresource.RedirectAction{Path: "/p?own=1", StripQuery: true}, "http", "web.test", "/x?q=1", "http://web.test/p?own=1"},
		{xdsresource.RedirectAction{HasPrefixRewrite: true, PrefixRewrite: "/new"}, "http", "web.test", "/x?q=1", "http://web.test/new?q=1"},
		{xdsresource.RedirectAction{StripQuery: true}, "http", "[::1]:80", "/x?q", "http://[::1]:80/x"},
		{xdsresource.RedirectAction{HTTPS: true}, "http", "[::1]", "/", "https://[::1]/"},
	} {
		e := one(t, &xdsresource.Route{Match: xdsresource.RouteMatch{Path: "/x"}, Redirect: &tt.r}).vhosts[0].Entries[0]
		h := request("GET", tt.host, tt.at)
		h.AddString(header.XForwardedProto, tt.proto)
		if got := string(e.AppendLocation(nil, h, nil)); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.r, got, tt.want)
		}
	}
}

func TestHeaderOps(t *testing.T) {
	add := func(n, v string, a xdsresource.AppendAction) xdsresource.HeaderOp {
		return xdsresource.HeaderOp{Name: n, Value: v, Action: a}
	}
	cfg := &xdsresource.RouteConfig{
		RequestHeaders: xdsresource.HeaderOps{Add: []xdsresource.HeaderOp{add("x-level", "table", xdsresource.OverwriteIfExistsOrAdd)}},
		VirtualHosts: []*xdsresource.VirtualHost{{Name: "v", Domains: []string{"*"},
			RequestHeaders: xdsresource.HeaderOps{Add: []xdsresource.HeaderOp{add("x-level", "vhost", xdsresource.OverwriteIfExistsOrAdd)}},
			Routes: []*xdsresource.Route{{Match: xdsresource.RouteMatch{Path: "/"}, Forward: to("c"), RequestHeaders: xdsresource.HeaderOps{
				Remove: []string{"x-gone", "x-again"},
				Add: []xdsresource.HeaderOp{
					add("x-level", "route", xdsresource.OverwriteIfExistsOrAdd), add("x-again", "new", xdsresource.AppendIfExistsOrAdd),
					add("x-list", "b", xdsresource.AppendIfExistsOrAdd), add("x-there", "no", xdsresource.AddIfAbsent),
					add("x-absent", "no", xdsresource.OverwriteIfExists), add("x-there2", "yes", xdsresource.OverwriteIfExists),
					add("x-from", "%REQ(user-agent)%!", xdsresource.AppendIfExistsOrAdd), add("x-empty", "%REQ(none)%", xdsresource.AppendIfExistsOrAdd),
				}}}}}}}
	r := get("/", "x-gone: 1", "x-gone: 2", "x-again: old", "x-list: a", "x-there: old", "x-there2: old", "user-agent: curl")
	tbl := compile(t, cfg)
	e := tbl.Match(r)
	e.Forward.Pick(HashInput{}, 0).RequestOps.Apply(r.Headers, &format.Context{Request: r.Headers})
	var got []string
	for i := range r.Headers.Len() {
		if id, n, v := r.Headers.At(i); !id.Pseudo() {
			got = append(got, string(n)+"="+string(v))
		}
	}
	if s, want := strings.Join(got, " "), "x-list=a x-there=old x-there2=yes user-agent=curl x-level=table x-again=new x-list=b x-from=curl!"; s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	cfg.MostSpecificHeaderMutationsWins = true
	r = get("/")
	compile(t, cfg).Match(r).RequestOps.Apply(r.Headers, &format.Context{Request: r.Headers})
	if v, _ := r.Headers.GetName("x-level"); string(v) != "route" {
		t.Errorf("x-level %q, want the most specific", v)
	}
	for _, bad := range []xdsresource.HeaderOps{
		{Remove: []string{":path"}}, {Remove: []string{"host"}}, {Add: []xdsresource.HeaderOp{add("a", "%NOPE%", 0)}},
	} {
		if _, err := CompileOps(&bad); err == nil {
			t.Errorf("%+v accepted", bad)
		}
	}
}

func TestHash(t *testing.T) {
	f := forwardOf(&xdsresource.RouteAction{Hash: []xdsresource.HashPolicy{
		{Header: header.KeyOf("x-user"), Terminal: true}, {Cookie: &xdsresource.HashCookie{Name: "s"}}, {Query: "q"}, {SourceIP: true}}})
	src := netip.MustParseAddr("10.0.0.1")
	hash := func(r *Request) uint64 {
		h, ok, _ := f.Hash(HashInput{Headers: r.Headers, Source: src, Connection: Connection{}}, nil)
		if !ok {
			t.Fatal("no hash")
		}
		return h
	}
	if hash(get("/", "x-user: a", "cookie: s=1")) != hash(get("/?q=5", "x-user: a")) {
		t.Error("a terminal policy does not end the list")
	}
	if hash(get("/", "cookie: a=b; s=1")) == hash(get("/", "cookie: s=2")) || hash(get("/?q=1")) == hash(get("/?q=2")) {
		t.Error("cookie or query do not count")
	}
	if hash(get("/", `cookie: s="1"`)) != hash(get("/", "cookie: x=y;s=1")) {
		t.Error("quotes of a cookie count")
	}
	if _, ok, _ := (&Forward{RouteAction: &xdsresource.RouteAction{}}).Hash(HashInput{Headers: get("/").Headers, Source: src, Connection: Connection{}}, nil); ok {
		t.Error("a hash without policy")
	}
}

func TestMatchAllocations(t *testing.T) {
	tbl := one(t,
		&xdsresource.Route{Match: xdsresource.RouteMatch{Path: "/", Headers: []xdsresource.HeaderMatcher{{Name: "x-a", String: &xdsresource.StringMatch{Value: "b"}}}}, Forward: to("a")},
		&xdsresource.Route{Match: xdsresource.RouteMatch{Path: "/", Query: []xdsresource.QueryMatcher{{Name: "q", String: &xdsresource.StringMatch{Value: "b"}}}}, Forward: to("a")},
		&xdsresource.Route{Match: xdsresource.RouteMatch{Kind: xdsresource.PathRegex, Regex: regexp.MustCompile("^/v[0-9]+$")}, Forward: to("a")},
		&xdsresource.Route{Match: xdsresource.RouteMatch{Path: "/api"}, Forward: to("a"), RequestHeaders: xdsresource.HeaderOps{Add: []xdsresource.HeaderOp{
			{Name: "x-from", Value: "%REQ(user-agent)%"}, {Name: "x-fix", Value: "v"}}}})
	r := get("/api/x?q=%20c", "x-a: c", "x-a: d", "user-agent: curl")
	plain := get("/api/x?q=c", "x-a: c", "user-agent: curl")
	ctx := &format.Context{Request: r.Headers}
	f := func() {
		e := tbl.Match(r)
		tg := e.Forward.Pick(HashInput{}, 1)
		tg.RequestOps.Apply(r.Headers, ctx)
		r.Headers.RemoveName("x-from")
		r.Headers.RemoveName("x-fix")
	}
	f()
	if n := testing.AllocsPerRun(100, func() { tbl.Match(plain) }); n != 0 {
		t.Errorf("Match: %v allocations", n)
	}
	// One at most: a pool forgets now and then under the race detector.
	if n := testing.AllocsPerRun(100, f); n > 1 {
		t.Errorf("Match and Apply: %v allocations", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	hdr := func(n, v string) []xdsresource.HeaderMatcher {
		return []xdsresource.HeaderMatcher{{Name: n, String: &xdsresource.StringMatch{Value: v}}}
	}
	tbl := one(b,
		&xdsresource.Route{Match: xdsresource.RouteMatch{Path: "/", Headers: hdr("x-istio-cohort", "internal")}, Forward: to("v2")},
		&xdsresource.Route{Match: xdsresource.RouteMatch{Path: "/"}, Forward: to("v1")})
	r := get("/items", "user-agent: wrk", "accept: */*", "x-request-id: 8d425652-17a9-4b41-a21c-874acab3b1f4")
	b.ReportAllocs()
	for b.Loop() {
		tbl.Match(r)
	}
}

// TestFormatRewrites: what a format prints takes the place of path or host, unless that is nothing.
func TestFormatRewrites(t *testing.T) {
	for _, tt := range []struct{ path, host, wantPath, wantHost string }{
		{"/new%REQ(x-a)%", "p-%REQ(x-a)%", "/newv?q=1", "p-v"},
		{"/new%REQ(x-none)%", "p-%REQ(x-none)%", "/new?q=1", "p-"},
		{"%REQ(x-none)%", "%REQ(x-none)%", "", ""},
	} {
		a := to("c")
		a.PathFormat, a.HostRewrite.Format = tt.path, tt.host
		r := get("/old/x?q=1", "x-a: v")
		e := one(t, &xdsresource.Route{Match: xdsresource.RouteMatch{Path: "/"}, Forward: a}).Match(r)
		ctx := &format.Context{Request: r.Headers}
		path, ok := e.RewritePath(nil, []byte("/old/x?q=1"), ctx)
		if string(path) != tt.wantPath || ok != (tt.wantPath != "") {
			t.Errorf("%s: %q, %v", tt.path, path, ok)
		}
		host, ok := e.RewriteHost(nil, r.Headers, []byte("/old/x"), "up.test", ctx)
		if host != tt.wantHost || ok != (tt.wantHost != "") {
			t.Errorf("%s: %q, %v", tt.host, host, ok)
		}
	}
	for _, bad := range []*xdsresource.Route{
		{Forward: &xdsresource.RouteAction{Cluster: "c", PathFormat: "%NO%"}},
		{Forward: &xdsresource.RouteAction{Cluster: "c", HostRewrite: xdsresource.HostRewrite{Format: "%NO%"}}},
		{Redirect: &xdsresource.RedirectAction{PathFormat: "%NO%"}},
	} {
		if _, err := Compile(&xdsresource.RouteConfig{VirtualHosts: []*xdsresource.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []*xdsresource.Route{bad}}}}); err == nil || !strings.Contains(err.Error(), "_rewrite") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
