package route

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// FuzzMatcher compares matchers with a plain reading of what they are documented to mean.
func FuzzMatcher(f *testing.F) {
	addChoices(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		g := matcherGen{r: rand.New(chosen(b))}
		m := g.matcher(3)
		tbl := compile(t, &xdsresource.RouteConfig{VirtualHosts: []*xdsresource.VirtualHost{{Name: "v", Domains: []string{"*"}, Matcher: m}}})
		for range 20 {
			r := g.request()
			want := ""
			for _, x := range read(m, r.Headers) {
				if strings.HasPrefix(string(r.Headers.Value(header.Path)), x.Match.Path) {
					want = x.Name
					break
				}
			}
			got := ""
			if e := tbl.Match(r); e != nil {
				got = e.Name
			}
			if got != want {
				t.Fatalf("route %q, want %q\n%s", got, want, tbl.Explain(r))
			}
		}
	})
}

// read returns the routes that a matcher leads to, nil for none.
func read(m *xdsresource.Matcher, h *header.Map) []*xdsresource.Route {
	follow := func(r *xdsresource.MatcherResult) []*xdsresource.Route {
		switch {
		case r == nil:
			return nil
		case r.Matcher != nil:
			return read(r.Matcher, h)
		}
		return r.Routes
	}
	var in []*xdsresource.MatcherResult // in the order in which they are to be tried
	for i := range m.Branches {
		if holds(&m.Branches[i].When, h) {
			in = append(in, &m.Branches[i].Then)
		}
	}
	if v, ok := joined(h, m.Header); ok && m.Branches == nil {
		in = append(in, m.Exact[v])
		for n := len(v); n >= 0; n-- {
			in = append(in, m.Prefix[v[:n]])
		}
	}
	for _, r := range append(in, m.NoMatch) {
		if out := follow(r); out != nil {
			return out
		}
	}
	return nil
}

func holds(p *xdsresource.MatcherPredicate, h *header.Map) bool {
	each := func(q xdsresource.MatcherPredicate) bool { return holds(&q, h) }
	switch {
	case p.All != nil:
		return !slices.ContainsFunc(p.All, func(q xdsresource.MatcherPredicate) bool { return !each(q) })
	case p.Any != nil:
		return slices.ContainsFunc(p.Any, each)
	case p.Not != nil:
		return !holds(p.Not, h)
	}
	v, ok := joined(h, p.Header)
	return ok && v == p.String.Value
}

func joined(h *header.Map, name string) (string, bool) {
	var all []string
	for i := range h.Len() {
		if id, n, v := h.At(i); string(n) == name || id.String() == name {
			all = append(all, string(v))
		}
	}
	return strings.Join(all, ","), all != nil
}

type matcherGen struct {
	r *rand.Rand
	n int
}

func (g *matcherGen) pick(of ...string) string { return of[g.r.IntN(len(of))] }
func (g *matcherGen) name() string             { return g.pick("x-a", "x-b", ":path", "x-none") }
func (g *matcherGen) value() string            { return g.pick("1", "2", "1,2", "12", "/", "/a", "/ab", "/a/b") }

func (g *matcherGen) matcher(depth int) *xdsresource.Matcher {
	m := &xdsresource.Matcher{}
	switch g.r.IntN(3) {
	case 0:
		for range 1 + g.r.IntN(3) {
			m.Branches = append(m.Branches, xdsresource.MatcherBranch{When: g.predicate(2), Then: *g.result(depth)})
		}
	case 1:
		m.Header, m.Exact = g.name(), map[string]*xdsresource.MatcherResult{}
		for range 1 + g.r.IntN(4) {
			m.Exact[g.value()] = g.result(depth)
		}
	default:
		m.Header, m.Prefix = g.name(), map[string]*xdsresource.MatcherResult{}
		for range 1 + g.r.IntN(4) {
			m.Prefix[g.value()] = g.result(depth)
		}
	}
	if g.r.IntN(2) == 0 {
		m.NoMatch = g.result(depth)
	}
	return m
}

func (g *matcherGen) result(depth int) *xdsresource.MatcherResult {
	if depth > 0 && g.r.IntN(3) == 0 {
		return &xdsresource.MatcherResult{Matcher: g.matcher(depth - 1)}
	}
	r := &xdsresource.MatcherResult{}
	for range 1 + g.r.IntN(2) {
		g.n++
		r.Routes = append(r.Routes, &xdsresource.Route{Name: fmt.Sprint(g.n), Match: xdsresource.RouteMatch{Path: g.pick("/", "/a", "/a/")}, Forward: to("c")})
	}
	return r
}

func (g *matcherGen) predicate(depth int) xdsresource.MatcherPredicate {
	two := func() []xdsresource.MatcherPredicate {
		return []xdsresource.MatcherPredicate{g.predicate(depth - 1), g.predicate(depth - 1)}
	}
	if depth > 0 {
		switch g.r.IntN(6) {
		case 0:
			return xdsresource.MatcherPredicate{All: two()}
		case 1:
			return xdsresource.MatcherPredicate{Any: two()}
		case 2:
			not := g.predicate(depth - 1)
			return xdsresource.MatcherPredicate{Not: &not}
		}
	}
	return xdsresource.MatcherPredicate{Header: g.name(), String: xdsresource.StringMatch{Kind: xdsresource.StringExact, Value: g.value()}}
}

func (g *matcherGen) request() *Request {
	var pairs []string
	for range g.r.IntN(4) {
		pairs = append(pairs, g.pick("x-a", "x-b")+": "+g.pick("1", "2", "12"))
	}
	return get(g.pick("/", "/a", "/ab", "/a/b"), pairs...)
}
