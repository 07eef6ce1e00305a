package route

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestMatcherTree follows the matcher of a virtual host to the routes that are tried.
func TestMatcherTree(t *testing.T) {
	leaf := func(names ...string) *xdsresource.MatcherResult {
		r := &xdsresource.MatcherResult{}
		for _, n := range names {
			path, _, _ := strings.Cut(n, " ")
			r.Routes = append(r.Routes, &xdsresource.Route{Name: n, Match: xdsresource.RouteMatch{Path: path}, Forward: to(n)})
		}
		return r
	}
	is := func(h, v string) xdsresource.MatcherPredicate {
		return xdsresource.MatcherPredicate{Header: h, String: xdsresource.StringMatch{Kind: xdsresource.StringExact, Value: v}}
	}
	not := is("x-no", "1")
	m := &xdsresource.Matcher{
		Branches: []xdsresource.MatcherBranch{
			{When: xdsresource.MatcherPredicate{All: []xdsresource.MatcherPredicate{is("x-a", "1"), {Not: &not}}}, Then: *leaf("/one", "/ all")},
			{When: xdsresource.MatcherPredicate{Any: []xdsresource.MatcherPredicate{is("x-b", "1"), is("x-b", "1,2")}},
				Then: xdsresource.MatcherResult{Matcher: &xdsresource.Matcher{Header: ":path", Exact: map[string]*xdsresource.MatcherResult{"/exact": leaf("/exact")}}}},
			{When: is("x-c", "1"), Then: xdsresource.MatcherResult{Matcher: &xdsresource.Matcher{
				Header: ":path", Prefix: map[string]*xdsresource.MatcherResult{"/p": leaf("/p"), "/p/long": leaf("/p/long")}, NoMatch: leaf("/ rest")}}},
		},
		NoMatch: leaf("/none"),
	}
	tbl := compile(t, &xdsresource.RouteConfig{Name: "t", VirtualHosts: []*xdsresource.VirtualHost{{Name: "v", Domains: []string{"*"}, Matcher: m}}})
	f := func(r *Request, want string) {
		t.Helper()
		got := ""
		if e := tbl.Match(r); e != nil {
			got = e.Name
		}
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
		tr := tbl.Explain(r)
		if tr.Entry != tbl.Match(r) {
			t.Errorf("explained is another route than matched for %q", want)
		}
		if n := testing.AllocsPerRun(20, func() { tbl.Match(r) }); n > 1 {
			t.Errorf("%q: %v allocations", want, n)
		}
	}
	f(get("/one", "x-a: 1"), "/one")
	f(get("/other", "x-a: 1"), "/ all")
	f(get("/none", "x-a: 1", "x-no: 1"), "/none")
	f(get("/other", "x-a: 2"), "")
	f(get("/exact", "x-b: 1", "x-b: 2"), "/exact")
	f(get("/none", "x-b: 1"), "/none") // what is nested matches nothing: on with the next
	f(get("/p/long/x", "x-c: 1"), "/p/long")
	f(get("/p/x", "x-c: 1"), "/p")
	f(get("/q", "x-c: 1"), "/ rest")
	f(get("/q", "x-c: 1", "x-c: 2"), "")
	f(get("/none"), "/none")

	if unknown := tbl.Config.UnknownClusters(func(string) bool { return false }, true); len(unknown) != 7 {
		t.Errorf("clusters of the leaves: %v", unknown)
	}
	empty := compile(t, &xdsresource.RouteConfig{Name: "t", VirtualHosts: []*xdsresource.VirtualHost{{Name: "v", Domains: []string{"*"}, Matcher: &xdsresource.Matcher{Header: "x-a"}}}})
	if s := empty.Explain(get("/")).String(); !strings.Contains(s, "the matcher leads nowhere") {
		t.Error(s)
	}
}
