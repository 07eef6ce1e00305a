package matchtree

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// values are what matchers of the test look at, by name; "ip" is an address.
type values map[string]string

func compiler() *Compiler[values, string] {
	return &Compiler[values, string]{
		Value: func(_ xdsresource.MatcherInput, name string) func(values) ([]byte, bool) {
			return func(in values) ([]byte, bool) { v, ok := in[name]; return []byte(v), ok }
		},
		Text: func(m *xdsresource.StringMatch, v []byte) bool { return m.Match(string(v)) },
		Address: func(xdsresource.MatcherInput) func(values) netip.Addr {
			return func(in values) netip.Addr { ip, _ := netip.ParseAddr(in["ip"]); return ip }
		},
		Leaf: func(r *xdsresource.MatcherResult) (string, error) {
			if r.Verdict.Name == "bad" {
				return "", errors.New("a bad leaf")
			}
			return r.Verdict.Name, nil
		},
	}
}

func leaf(name string) *xdsresource.MatcherResult {
	return &xdsresource.MatcherResult{Verdict: &xdsresource.RBACVerdict{Name: name}}
}

func is(name, v string) xdsresource.MatcherPredicate {
	return xdsresource.MatcherPredicate{Header: name, String: xdsresource.StringMatch{Value: v}}
}

func TestFind(t *testing.T) {
	no := is("no", "1")
	longer := &xdsresource.MatcherResult{Matcher: &xdsresource.Matcher{Header: "c", Exact: map[string]*xdsresource.MatcherResult{"1": leaf("long")}}}
	tree, err := compiler().Compile(&xdsresource.Matcher{
		Branches: []xdsresource.MatcherBranch{
			{When: xdsresource.MatcherPredicate{All: []xdsresource.MatcherPredicate{is("a", "1"), {Not: &no}}}, Then: *leaf("all")},
			{When: xdsresource.MatcherPredicate{Any: []xdsresource.MatcherPredicate{is("b", "1"), is("b", "2")}}, Then: xdsresource.MatcherResult{Matcher: &xdsresource.Matcher{
				Header: "path", Prefix: map[string]*xdsresource.MatcherResult{"/p": leaf("short"), "/p/long": longer},
			}}},
			{When: xdsresource.MatcherPredicate{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/0")}}, Then: *leaf("net")},
		},
		NoMatch: leaf("rest"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		in   values
		want string
	}{
		{values{"a": "1"}, "all"},
		{values{"a": "1", "no": "1"}, "rest"},
		{values{"b": "2", "path": "/p/long/x", "c": "1"}, "long"},
		{values{"b": "2", "path": "/p/long/x"}, "short"}, // the longer prefix leads nowhere
		{values{"b": "1", "path": "/q"}, "rest"},
		{values{"b": "1"}, "rest"},
		{values{"b": "3", "ip": "10.1.2.3"}, "net"},
		{values{"ip": "11.1.2.3"}, "rest"},
		{values{}, "rest"},
	} {
		if got, ok := tree.Find(tt.in); !ok || got != tt.want {
			t.Errorf("%v: %q, want %q", tt.in, got, tt.want)
		}
	}
}

// TestNowhere: a matcher without on_no_match may lead nowhere, and an empty one does.
func TestNowhere(t *testing.T) {
	for _, m := range []*xdsresource.Matcher{{}, {Header: "a", Exact: map[string]*xdsresource.MatcherResult{"1": leaf("one")}}} {
		tree, err := compiler().Compile(m)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := tree.Find(values{"a": "2"}); ok {
			t.Errorf("%+v leads to %q", m, got)
		}
	}
}

func TestBadLeaf(t *testing.T) {
	bad := leaf("bad")
	for _, m := range []*xdsresource.Matcher{
		{Branches: []xdsresource.MatcherBranch{{When: is("a", "1"), Then: *bad}}},
		{Exact: map[string]*xdsresource.MatcherResult{"1": bad}},
		{Prefix: map[string]*xdsresource.MatcherResult{"1": bad}},
		{NoMatch: bad},
		{NoMatch: &xdsresource.MatcherResult{Matcher: &xdsresource.Matcher{NoMatch: bad}}},
	} {
		if _, err := compiler().Compile(m); err == nil {
			t.Errorf("%+v is compiled", m)
		}
	}
}
