package rbac

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func exact(s string) *xdsresource.StringMatch { return &xdsresource.StringMatch{Value: s} }

func begins(s string) *xdsresource.StringMatch {
	return &xdsresource.StringMatch{Kind: xdsresource.StringPrefix, Value: s}
}

func engine(action xdsresource.RBACAction, policies ...xdsresource.RBACPolicy) *Engine {
	return New(&xdsresource.RBAC{Action: action, Policies: policies})
}

func compiled(r *xdsresource.RBACRule) matcher {
	return (&compiler{values: map[string]int{}}).compile(r)
}

func policyOf(name string, permission, principal xdsresource.RBACRule) xdsresource.RBACPolicy {
	return xdsresource.RBACPolicy{Name: name, Permissions: []xdsresource.RBACRule{permission}, Principals: []xdsresource.RBACRule{principal}}
}

var anyone = xdsresource.RBACRule{Kind: xdsresource.RBACAny}

// client is a TLS client with a certificate.
func client(uris, dns []string, subject string) *conn.Info {
	leaf := &x509.Certificate{DNSNames: dns, Subject: pkix.Name{CommonName: subject}}
	for _, u := range uris {
		p, _ := url.Parse(u)
		leaf.URIs = append(leaf.URIs, p)
	}
	info := &conn.Info{TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}, SNI: "shop.example"}
	if len(uris) > 0 {
		info.PeerURI = uris[0]
	}
	return info
}

func TestAuthenticated(t *testing.T) {
	for _, test := range []struct {
		info *conn.Info
		name *xdsresource.StringMatch
		want bool
	}{
		{&conn.Info{}, nil, false},
		{&conn.Info{TLS: &tls.ConnectionState{}}, nil, true},
		{&conn.Info{TLS: &tls.ConnectionState{}}, exact("a"), false},
		{client([]string{"spiffe://x/a", "spiffe://x/b"}, nil, "c"), exact("spiffe://x/a"), true},
		{client([]string{"spiffe://x/a", "spiffe://x/b"}, nil, "c"), exact("spiffe://x/b"), true},
		{client([]string{"spiffe://x/a"}, []string{"d.example"}, "c"), exact("d.example"), true},
		{client([]string{"spiffe://x/a"}, []string{"d.example"}, "c"), exact("CN=c"), true},
		{client([]string{"spiffe://x/a"}, nil, "c"), begins("spiffe://y/"), false},
	} {
		e := engine(xdsresource.RBACAllow, policyOf("p", anyone, xdsresource.RBACRule{Kind: xdsresource.RBACAuthenticated, String: test.name}))
		if d := e.Decide(&Input{Conn: test.info}); d.Allowed != test.want {
			t.Errorf("%v: %v", test.name, d)
		}
	}
}

func TestState(t *testing.T) {
	c := &conn.Info{}
	c.State.Put("conn", filterstate.IP(netip.MustParseAddr("10.1.2.3")))
	s := &streaminfo.Info{Downstream: c}
	s.State.Put("own", filterstate.Text("text"))
	for _, test := range []struct {
		rule xdsresource.RBACRule
		want bool
	}{
		{xdsresource.RBACRule{Key: "own", String: exact("text")}, true},
		{xdsresource.RBACRule{Key: "own", String: exact("other")}, false},
		{xdsresource.RBACRule{Key: "none", String: exact("")}, false},
		{xdsresource.RBACRule{Key: "conn", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, true},
		{xdsresource.RBACRule{Key: "conn", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Invert: true}, false},
		{xdsresource.RBACRule{Key: "own", Prefixes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}, false},
	} {
		test.rule.Kind = xdsresource.RBACFilterState
		e := engine(xdsresource.RBACAllow, policyOf("p", anyone, test.rule))
		if d := e.Decide(&Input{Conn: c, Stream: s}); d.Allowed != test.want {
			t.Errorf("%+v: %v", test.rule, d)
		}
	}
}

// TestExplain: what is explained is what is decided, and why.
func TestExplain(t *testing.T) {
	var h header.Map
	h.AddString(header.Path, "/admin?x")
	h.AddString(header.Method, "GET")
	in := &Input{Headers: &h, Conn: client([]string{"spiffe://x/ns/a/sa/b"}, nil, "")}
	e := engine(xdsresource.RBACAllow,
		policyOf("1", xdsresource.RBACRule{Kind: xdsresource.RBACPath, String: exact("/shop")}, anyone),
		policyOf("2", xdsresource.RBACRule{Kind: xdsresource.RBACPath, String: begins("/admin")}, xdsresource.RBACRule{Kind: xdsresource.RBACAuthenticated, String: exact("spiffe://x/ns/z/sa/z")}),
		policyOf("3", xdsresource.RBACRule{Kind: xdsresource.RBACOr, Rules: []xdsresource.RBACRule{
			{Kind: xdsresource.RBACHeader, Header: &xdsresource.HeaderMatcher{Name: ":method", String: exact("GET")}},
			{Kind: xdsresource.RBACDestinationPorts, Ports: [2]uint16{80, 80}}}}, anyone),
	)
	d, why := e.Explain(in)
	if d != e.Decide(in) || !d.Allowed || d.Policy != "3" || d.Index != 2 {
		t.Errorf("decision %+v", d)
	}
	want := []string{
		`1 false no permission matches: path exact "/shop"`,
		`2 false no principal matches: authenticated as exact "spiffe://x/ns/z/sa/z"`,
		`3 true header ":method" exact "GET"; anything`,
	}
	for i, j := range why {
		if got := fmt.Sprintln(j.Policy, j.Matches, j.Why); got != want[i]+"\n" {
			t.Errorf("%q, want %q", got, want[i])
		}
	}
}

// TestMetadataIsLookedUpOnce: an engine keeps what it has found while it judges a request, and for no other request or engine.
func TestMetadataIsLookedUpOnce(t *testing.T) {
	claim := func(name, value string) xdsresource.RBACRule {
		return xdsresource.RBACRule{Kind: xdsresource.RBACMetadata, Metadata: &xdsresource.MetadataMatcher{
			Filter: "jwt", Path: []string{"payload", name}, Value: xdsresource.ValueMatch{Kind: xdsresource.ValueString, String: exact(value)},
		}}
	}
	var ps []xdsresource.RBACPolicy
	for i := range 2 * keptValues { // more than are kept
		name := fmt.Sprint("c", i)
		ps = append(ps, policyOf(name, anyone, claim(name, "x")), policyOf(name+" again", anyone, claim(name, "y")))
	}
	e, other := engine(xdsresource.RBACAllow, ps...), engine(xdsresource.RBACAllow, policyOf("other", anyone, claim("c1", "x")))
	in := &Input{Conn: &conn.Info{}}
	for i := range 2 * keptValues {
		for _, value := range []string{"x", "y", "z"} {
			in.Conn.Metadata = map[string]map[string]any{"jwt": {"payload": map[string]any{fmt.Sprint("c", i): value}}}
			want := map[string]string{"x": fmt.Sprint("c", i), "y": fmt.Sprint("c", i, " again")}[value]
			if d := e.Decide(in); d.Policy != want || d.Allowed != (want != "") {
				t.Errorf("claim %d of value %s: %+v, want %q", i, value, d, want)
			}
			if d := other.Decide(in); d.Allowed != (i == 1 && value == "x") {
				t.Errorf("claim %d of value %s, by the other engine: %+v", i, value, d)
			}
			if n := testing.AllocsPerRun(10, func() { e.Decide(in) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		}
	}
}

func TestNoAllocation(t *testing.T) {
	e, in := hundred()
	if n := testing.AllocsPerRun(100, func() { e.Decide(in); in.pathSet = false }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// hundred is what an authorization-heavy mesh has on a route: a hundred policies, of which the
// last matches.
func hundred() (*Engine, *Input) {
	var ps []xdsresource.RBACPolicy
	for i := range 100 {
		id := xdsresource.RBACRule{Kind: xdsresource.RBACAnd, Rules: []xdsresource.RBACRule{
			{Kind: xdsresource.RBACOr, Rules: []xdsresource.RBACRule{
				{Kind: xdsresource.RBACAuthenticated, String: exact(fmt.Sprintf("spiffe://cluster.local/ns/shop/sa/client-%03d", i))},
			}},
		}}
		perm := xdsresource.RBACRule{Kind: xdsresource.RBACAnd, Rules: []xdsresource.RBACRule{
			{Kind: xdsresource.RBACOr, Rules: []xdsresource.RBACRule{{Kind: xdsresource.RBACPath, String: begins(fmt.Sprintf("/api/v1/service-%03d/", i))}, {Kind: xdsresource.RBACPath, String: exact("/api/v1/everyone")}}},
			{Kind: xdsresource.RBACHeader, Header: &xdsresource.HeaderMatcher{Name: ":method", String: exact("GET")}},
		}}
		ps = append(ps, policyOf(fmt.Sprintf("ns[shop]-policy[p%03d]", i), perm, id))
	}
	h := &header.Map{}
	h.AddString(header.Path, "/api/v1/everyone?page=1")
	h.AddString(header.Method, "GET")
	info := client([]string{"spiffe://cluster.local/ns/shop/sa/client-099"}, nil, "")
	info.PeerNames()
	return engine(xdsresource.RBACAllow, ps...), &Input{Headers: h, Conn: info}
}

func BenchmarkHundredPolicies(b *testing.B) {
	e, in := hundred()
	for b.Loop() {
		in.pathSet = false
		if !e.Decide(in).Allowed {
			b.Fatal("denied")
		}
	}
}

// TestMatchesNaively holds the compiled engine against a reading of the rules as they are written.
func TestMatchesNaively(t *testing.T) {
	var naive func(r *xdsresource.RBACRule, path, hdr string) bool
	naive = func(r *xdsresource.RBACRule, path, hdr string) bool {
		switch r.Kind {
		case xdsresource.RBACAnd:
			for i := range r.Rules {
				if !naive(&r.Rules[i], path, hdr) {
					return false
				}
			}
			return true
		case xdsresource.RBACOr:
			for i := range r.Rules {
				if naive(&r.Rules[i], path, hdr) {
					return true
				}
			}
			return false
		case xdsresource.RBACNot:
			return !naive(&r.Rules[0], path, hdr)
		case xdsresource.RBACPath:
			return r.String.Match(path)
		case xdsresource.RBACHeader:
			return hdr != "" && r.Header.String.Match(hdr)
		}
		return true
	}
	seed := uint64(1)
	rnd := func(n int) int {
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		return int(seed % uint64(n))
	}
	words := []string{"/a", "/ab", "/b", "/", "/abc"}
	var rule func(depth int) xdsresource.RBACRule
	rule = func(depth int) xdsresource.RBACRule {
		n := rnd(6)
		if depth == 0 {
			n = 3 + rnd(3)
		}
		switch n {
		case 0, 1, 2:
			r := xdsresource.RBACRule{Kind: []xdsresource.RBACKind{xdsresource.RBACAnd, xdsresource.RBACOr, xdsresource.RBACNot}[n], Rules: []xdsresource.RBACRule{rule(depth - 1)}}
			for n < 2 && rnd(2) == 0 {
				r.Rules = append(r.Rules, rule(depth-1))
			}
			return r
		case 3:
			m := &xdsresource.StringMatch{Kind: xdsresource.StringKind(rnd(4)), Value: words[rnd(5)], IgnoreCase: rnd(2) == 0}
			if rnd(4) == 0 {
				m = &xdsresource.StringMatch{Kind: xdsresource.StringRegex, Value: "/a.*", Regex: regexp.MustCompile("^/a.*$")}
			}
			return xdsresource.RBACRule{Kind: xdsresource.RBACPath, String: m}
		case 4:
			return xdsresource.RBACRule{Kind: xdsresource.RBACHeader, Header: &xdsresource.HeaderMatcher{Name: "x-h", String: begins(words[rnd(5)])}}
		}
		return anyone
	}
	for range 5000 {
		perm, id := rule(3), rule(2)
		path, hdr := words[rnd(5)], []string{"", "/a", "/abc"}[rnd(3)]
		if rnd(3) == 0 {
			path = strings.ToUpper(path)
		}
		h := &header.Map{}
		h.AddString(header.Path, path+"?q")
		if hdr != "" {
			h.AddName("x-h", []byte(hdr))
		}
		e := engine(xdsresource.RBACDeny, policyOf("p", perm, id))
		if got, want := !e.Decide(&Input{Headers: h, Conn: &conn.Info{}}).Allowed, naive(&perm, path, hdr) && naive(&id, path, hdr); got != want {
			t.Fatalf("%s, %s with %q %q: %v, want %v", compiled(&perm), compiled(&id), path, hdr, got, want)
		}
	}
}

// TestIndexKeepsOrder: whichever way policies are looked up, the first in order decides.
func TestIndexKeepsOrder(t *testing.T) {
	byName := xdsresource.RBACRule{Kind: xdsresource.RBACAuthenticated, String: exact("spiffe://x/a")}
	byPath := xdsresource.RBACRule{Kind: xdsresource.RBACPath, String: exact("/a")}
	h := &header.Map{}
	h.AddString(header.Path, "/a?b")
	in := &Input{Headers: h, Conn: client([]string{"spiffe://x/a"}, nil, "")}
	kinds := []xdsresource.RBACPolicy{policyOf("name", anyone, byName), policyOf("path", byPath, anyone), policyOf("rest", anyone, anyone)}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		e := engine(xdsresource.RBACAllow, kinds[order[0]], kinds[order[1]], kinds[order[2]])
		if d := e.Decide(in); d.Index != 0 || d.Policy != kinds[order[0]].Name {
			t.Errorf("%v: %+v", order, d)
		}
	}
	if d := engine(xdsresource.RBACAllow, policyOf("n", anyone, byName)).Decide(&Input{Headers: h, Conn: &conn.Info{}}); d.Allowed {
		t.Errorf("a plain client passes as %+v", d)
	}
}

// BenchmarkHundredPrefixes has a hundred policies that cannot be looked up.
func BenchmarkHundredPrefixes(b *testing.B) {
	var ps []xdsresource.RBACPolicy
	for i := range 100 {
		ps = append(ps, policyOf(fmt.Sprint(i), xdsresource.RBACRule{Kind: xdsresource.RBACAnd, Rules: []xdsresource.RBACRule{
			{Kind: xdsresource.RBACOr, Rules: []xdsresource.RBACRule{{Kind: xdsresource.RBACPath, String: begins(fmt.Sprintf("/api/v1/service-%03d/", i))}}},
			{Kind: xdsresource.RBACHeader, Header: &xdsresource.HeaderMatcher{Name: ":method", String: exact("GET")}}}}, anyone))
	}
	e, in := engine(xdsresource.RBACAllow, ps...), &Input{Headers: &header.Map{}, Conn: &conn.Info{}}
	in.Headers.AddString(header.Path, "/api/v1/service-099/x")
	in.Headers.AddString(header.Method, "GET")
	for b.Loop() {
		in.pathSet = false
		if !e.Decide(in).Allowed {
			b.Fatal("denied")
		}
	}
}

// TestZone: the zone of a link-local address does not take it out of its network.
func TestZone(t *testing.T) {
	from := netip.MustParseAddrPort("[fe80::1%eth0]:1234")
	c := &conn.Info{RemoteAddr: from, DirectRemoteAddr: from, LocalAddr: from}
	c.State.Put("ip", filterstate.IP(netip.MustParseAddr("fe80::1%eth0")))
	c.State.Put("mapped", filterstate.IP(netip.MustParseAddr("::ffff:10.1.2.3")))
	local := netip.MustParsePrefix("fe80::/10")
	for _, rule := range []xdsresource.RBACRule{
		{Kind: xdsresource.RBACSourceIP, Prefix: local},
		{Kind: xdsresource.RBACDirectRemoteIP, Prefix: local},
		{Kind: xdsresource.RBACRemoteIP, Prefix: local},
		{Kind: xdsresource.RBACDestinationIP, Prefix: local},
		{Kind: xdsresource.RBACFilterState, Key: "ip", Prefixes: []netip.Prefix{local}},
		{Kind: xdsresource.RBACFilterState, Key: "mapped", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
	} {
		e := engine(xdsresource.RBACDeny, policyOf("p", anyone, rule))
		if d := e.Decide(&Input{Conn: c}); d.Allowed {
			t.Errorf("%v: passed", compiled(&rule))
		}
	}
}

// TestConditions: a policy matches where its condition is true. One without a value is not, whatever the policy's action.
func TestConditions(t *testing.T) {
	const allow, deny = xdsresource.RBACAllow, xdsresource.RBACDeny
	headers := func(v string) *header.Map {
		m := &header.Map{}
		m.AddString(header.Path, "/a")
		if v != "" {
			m.AddName("x-a", []byte(v))
		}
		return m
	}
	request := func(v string) *Input {
		return &Input{Headers: headers(v), Conn: &conn.Info{}, Stream: &streaminfo.Info{Downstream: &conn.Info{}}}
	}
	from := &Input{Conn: &conn.Info{RemoteAddr: netip.MustParseAddrPort("10.0.0.1:5000"), SNI: "a.example", Metadata: map[string]map[string]any{"f": {"k": "v"}}}}
	for _, test := range []struct {
		condition string
		action    xdsresource.RBACAction
		in        *Input
		matches   bool
	}{
		{"request.headers['x-a'] == '1'", allow, request("1"), true},
		{"request.headers['x-a'] == '1'", allow, request("2"), false},
		{"request.headers['x-a'] == '1'", allow, request(""), false},
		{"request.headers['x-a'] == '1'", deny, request(""), false},
		{"request.headers['x-a'] == '1'", deny, request("1"), true},
		{"request.path", allow, request("1"), false},
		{"response.code == 200", allow, request("1"), false},
		{"source.address == '10.0.0.1:5000' && connection.requested_server_name == 'a.example'", allow, from, true},
		{"metadata.filter_metadata.f.k == 'v'", allow, from, true},
		{"size(request.headers) == 0", allow, from, true},
		{"request.path == '/a'", deny, from, false},
	} {
		p := policyOf("p", anyone, anyone)
		var err error
		if p.Condition, err = xdsresource.CompileExpression(test.condition); err != nil {
			t.Fatal(err)
		}
		e := engine(test.action, p)
		d, why := e.Explain(test.in)
		if d.Matched() != test.matches || d.Allowed != (test.matches == (test.action == allow)) {
			t.Errorf("%s, action %v: %+v", test.condition, test.action, d)
		}
		if why[0].Matches != test.matches || !test.matches && why[0].Why != "its condition is not true" {
			t.Errorf("%s: %+v", test.condition, why)
		}
	}
}
