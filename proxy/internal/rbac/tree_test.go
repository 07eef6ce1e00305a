package rbac

import (
	"net/netip"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func verdict(name string, action xdsresource.RBACAction) xdsresource.MatcherResult {
	return xdsresource.MatcherResult{Verdict: &xdsresource.RBACVerdict{Name: name, Action: action}}
}

func is(in xdsresource.MatcherInput, name, value string) xdsresource.MatcherPredicate {
	return xdsresource.MatcherPredicate{Input: in, Header: name, String: *exact(value)}
}

func only(when xdsresource.MatcherPredicate) *Engine {
	return New(&xdsresource.RBAC{Matcher: &xdsresource.Matcher{Branches: []xdsresource.MatcherBranch{{When: when, Then: verdict("v", xdsresource.RBACAllow)}}}})
}

// TestMatcherInputs: what each input is of a request, and of a connection without one.
func TestMatcherInputs(t *testing.T) {
	c := client([]string{"spiffe://x/a", "spiffe://x/b"}, []string{"a.example", "b.example"}, "c")
	c.LocalAddr, c.RemoteAddr, c.DirectRemoteAddr = netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("10.0.0.2:4000"), netip.MustParseAddrPort("10.0.0.3:5000")
	h := &header.Map{}
	h.AddName("x-a", []byte("1"))
	h.AddName("x-a", []byte("2"))
	bare := &conn.Info{}
	for _, test := range []struct {
		when                 xdsresource.MatcherPredicate
		request, alone, none bool // with headers, of a connection, of one that knows nothing
	}{
		{is(xdsresource.InputHeader, "x-a", "1,2"), true, false, false},
		{is(xdsresource.InputHeader, "x-b", ""), false, false, false},
		{is(xdsresource.InputDestinationIP, "", "10.0.0.1"), true, true, false},
		{is(xdsresource.InputDestinationPort, "", "80"), true, true, false},
		{is(xdsresource.InputSourceIP, "", "10.0.0.2"), true, true, false},
		{is(xdsresource.InputSourcePort, "", "4000"), true, true, false},
		{is(xdsresource.InputDirectSourceIP, "", "10.0.0.3"), true, true, false},
		{is(xdsresource.InputServerName, "", "shop.example"), true, true, false},
		{is(xdsresource.InputServerName, "", ""), false, false, false},
		{is(xdsresource.InputURISAN, "", "spiffe://x/a,spiffe://x/b"), true, true, false},
		{is(xdsresource.InputDNSSAN, "", "a.example,b.example"), true, true, false},
		{is(xdsresource.InputSubject, "", "CN=c"), true, true, false},
		{xdsresource.MatcherPredicate{Input: xdsresource.InputSourceIP, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/31")}}, true, true, false},
		{xdsresource.MatcherPredicate{Input: xdsresource.InputDestinationIP, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/31"), netip.MustParsePrefix("::/0")}}, false, false, false},
	} {
		e := only(test.when)
		for what, in := range map[string]*Input{"request": {Headers: h, Conn: c, Stream: &streaminfo.Info{Downstream: c}}, "alone": {Conn: c}, "none": {Conn: bare}} {
			want := map[string]bool{"request": test.request, "alone": test.alone, "none": test.none}[what]
			if got := e.Decide(in); got.Allowed != want || got.Matched() != want {
				t.Errorf("%+v of a %s: %+v, want %v", test.when, what, got, want)
			}
		}
	}
}

// TestMatcherTree follows lists and maps, and what leads nowhere.
func TestMatcherTree(t *testing.T) {
	leaf := func(name string, a xdsresource.RBACAction) *xdsresource.MatcherResult {
		r := verdict(name, a)
		return &r
	}
	not := is(xdsresource.InputHeader, "x-no", "1")
	e := New(&xdsresource.RBAC{Matcher: &xdsresource.Matcher{
		Branches: []xdsresource.MatcherBranch{
			{When: xdsresource.MatcherPredicate{All: []xdsresource.MatcherPredicate{is(xdsresource.InputHeader, "x-a", "1"), {Not: &not}}}, Then: *leaf("all", xdsresource.RBACAllow)},
			{When: xdsresource.MatcherPredicate{Any: []xdsresource.MatcherPredicate{is(xdsresource.InputHeader, "x-b", "1"), is(xdsresource.InputHeader, "x-b", "2")}}, Then: xdsresource.MatcherResult{Matcher: &xdsresource.Matcher{
				Header: ":path", Prefix: map[string]*xdsresource.MatcherResult{"/p": leaf("short", xdsresource.RBACDeny), "/p/long": {Matcher: &xdsresource.Matcher{Header: "x-c", Exact: map[string]*xdsresource.MatcherResult{"1": leaf("long", xdsresource.RBACLog)}}}}}}},
		},
		NoMatch: leaf("rest", xdsresource.RBACDeny),
	}})
	for _, test := range []struct {
		path string
		head [2]string
		more [2]string
		want Decision
	}{
		{"/", [2]string{"x-a", "1"}, [2]string{}, Decision{true, "all", 0, DoNotLog}},
		{"/", [2]string{"x-a", "1"}, [2]string{"x-no", "1"}, Decision{false, "rest", 3, DoNotLog}},
		{"/p/x", [2]string{"x-b", "1"}, [2]string{}, Decision{false, "short", 1, DoNotLog}},
		{"/p/long", [2]string{"x-b", "2"}, [2]string{"x-c", "1"}, Decision{true, "long", 2, DoLog}},
		{"/p/long", [2]string{"x-b", "2"}, [2]string{"x-c", "2"}, Decision{false, "short", 1, DoNotLog}}, // what is nested leads nowhere
		{"/q", [2]string{"x-b", "2"}, [2]string{}, Decision{false, "rest", 3, DoNotLog}},
	} {
		h := &header.Map{}
		h.AddString(header.Path, test.path)
		h.AddName(test.head[0], []byte(test.head[1]))
		if test.more[0] != "" {
			h.AddName(test.more[0], []byte(test.more[1]))
		}
		in := &Input{Headers: h, Conn: &conn.Info{}}
		d, why := e.Explain(in)
		if d != test.want || d != e.Decide(in) {
			t.Errorf("%s %v %v: %+v, want %+v", test.path, test.head, test.more, d, test.want)
		}
		if len(why) != 4 || !why[d.Index].Matches || why[d.Index].Policy != d.Policy {
			t.Errorf("%s: explained as %+v", test.path, why)
		}
		if n := testing.AllocsPerRun(20, func() { e.Decide(in) }); n != 0 {
			t.Errorf("%s: %v allocations", test.path, n)
		}
	}
	if d := only(is(xdsresource.InputHeader, "x-a", "1")).Decide(&Input{Conn: &conn.Info{}}); d != (Decision{Index: -1}) {
		t.Errorf("what leads nowhere: %+v", d)
	}
}
