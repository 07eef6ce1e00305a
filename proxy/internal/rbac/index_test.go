package rbac

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestPrefixes holds the look-up against trying all.
func TestPrefixes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		var b strings.Builder
		for range rnd.IntN(6) {
			b.WriteByte("/ab\xff"[rnd.IntN(4)])
		}
		return b.String()
	}
	for range 2000 {
		in := map[string][]int{}
		for i := range rnd.IntN(12) {
			in["/"+text()] = []int{i}
		}
		ps, path := newPrefixes(in), text()
		if rnd.IntN(2) == 0 {
			path = "/" + path
		}
		var got, want []string
		for i := ps.longest([]byte(path)); i >= 0; i = ps[i].shorter {
			got = append(got, ps[i].text)
		}
		for p := range in {
			if strings.HasPrefix(path, p) {
				want = append(want, p)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%q among %v: %q, want %q", path, ps, got, want)
		}
	}
}

// TestIndexFindsTheFirst: of several policies of all kinds the one decides that would if all were asked in their order.
func TestIndexFindsTheFirst(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	words := []string{"/", "/a", "/a/", "/a/b", "/ab", "/b", ""}
	names := []string{"spiffe://x/a", "spiffe://x/b"}
	text := func(of []string) *xdsresource.StringMatch {
		return &xdsresource.StringMatch{Kind: xdsresource.StringKind(rnd.IntN(3)), Value: of[rnd.IntN(len(of))], IgnoreCase: rnd.IntN(8) == 0}
	}
	var rule func(depth int, kind xdsresource.RBACKind, of []string) xdsresource.RBACRule
	rule = func(depth int, kind xdsresource.RBACKind, of []string) xdsresource.RBACRule {
		r := xdsresource.RBACRule{Kind: []xdsresource.RBACKind{xdsresource.RBACAnd, xdsresource.RBACOr, xdsresource.RBACNot, kind, kind}[rnd.IntN(5)]}
		switch {
		case depth == 0 || r.Kind == kind:
			if rnd.IntN(6) == 0 {
				return anyone
			}
			return xdsresource.RBACRule{Kind: kind, String: text(of)}
		case r.Kind == xdsresource.RBACNot:
			r.Rules = []xdsresource.RBACRule{rule(depth-1, kind, of)}
		default:
			for range 1 + rnd.IntN(2) {
				r.Rules = append(r.Rules, rule(depth-1, kind, of))
			}
		}
		return r
	}
	claim := func() xdsresource.RBACRule {
		m := &xdsresource.MetadataMatcher{Filter: "jwt", Path: []string{names[rnd.IntN(2)]}, Invert: rnd.IntN(8) == 0,
			Value: xdsresource.ValueMatch{Kind: xdsresource.ValueString, String: text(words)}}
		return xdsresource.RBACRule{Kind: xdsresource.RBACMetadata, Metadata: m}
	}
	claims := func() xdsresource.RBACRule {
		out := xdsresource.RBACRule{Kind: []xdsresource.RBACKind{xdsresource.RBACAnd, xdsresource.RBACOr}[rnd.IntN(2)], Rules: []xdsresource.RBACRule{claim()}}
		if rnd.IntN(2) == 0 {
			out.Rules = append(out.Rules, claim())
		}
		return out
	}
	looked := 0
	for range 5000 {
		var ps []xdsresource.RBACPolicy
		for i := range 6 {
			permission, principal := anyone, claims()
			if rnd.IntN(2) == 0 {
				permission, principal = rule(2, xdsresource.RBACPath, words), rule(1, xdsresource.RBACAuthenticated, names)
			}
			ps = append(ps, policyOf(fmt.Sprint(i), permission, principal))
		}
		e := engine(xdsresource.RBACDeny, ps...)
		h := &header.Map{}
		h.AddString(header.Path, words[rnd.IntN(6)]+"?q")
		c := &conn.Info{}
		if rnd.IntN(4) > 0 {
			c = client(names[rnd.IntN(2):], nil, "")
		}
		c.Metadata = map[string]map[string]any{"jwt": {names[rnd.IntN(2)]: words[rnd.IntN(7)], names[rnd.IntN(2)]: []any{words[rnd.IntN(7)], 7.0, ""}[rnd.IntN(3)]}}
		want := -1
		for i := range e.policies {
			if p := &e.policies[i]; p.permissions.match(&Input{Headers: h, Conn: c}) && p.principals.match(&Input{Headers: h, Conn: c}) {
				want = i
				break
			}
		}
		if got := e.Decide(&Input{Headers: h, Conn: c}).Index; got != want {
			t.Fatalf("%q, %v: policy %d, want %d", h.Value(header.Path), c.PeerNames(), got, want)
		}
		if want >= 0 && len(e.index.rest) < len(ps) {
			looked++
		}
	}
	if looked < 1000 {
		t.Errorf("only %d times there was something to look up", looked)
	}
}
