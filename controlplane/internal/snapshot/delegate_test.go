package snapshot

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

const delegatingRoot = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root}
spec:
  hosts: [catalog]
  http:
  - name: items
    match: [{uri: {prefix: /items}, headers: {x-a: {exact: "1"}}}]
    delegate: {name: items, namespace: team}
    timeout: 5s
---
`

func delegateOf(team string) string {
	return `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: items, namespace: team}
spec:
` + team + "---\n"
}

func describeRules(v *model.VirtualService) []string {
	var out []string
	for _, r := range v.HTTP {
		var matches []string
		for _, m := range r.Matches {
			matches = append(matches, m.Name+":"+m.URI.Value+":"+m.Method.Value+fmt.Sprint(len(m.Headers)))
		}
		out = append(out, fmt.Sprintf("%s [%s] %s %v", r.Name, strings.Join(matches, " "), r.Destinations[0].Host, r.Timeout))
	}
	return out
}

func TestDelegate(t *testing.T) {
	const route = "    route: [{destination: {host: catalog}}]\n"
	for _, c := range []struct{ name, delegate, want, problem string }{
		{"a rule without a match", "  http:\n  - name: all\n" + route, "items-all [:/items:1] catalog.team.svc.cluster.local 5s", ""},
		{"a setting of its own", "  http:\n  - name: all\n    timeout: 1s\n" + route, "items-all [:/items:1] catalog.team.svc.cluster.local 1s", ""},
		{"no name", "  http:\n  - timeout: 1s\n" + route, "items [:/items:1] catalog.team.svc.cluster.local 1s", ""},
		{"a narrower match", "  http:\n  - match: [{name: m, uri: {exact: /items/1}, method: {exact: GET}}]\n" + route, "items [m:/items/1:GET1] catalog.team.svc.cluster.local 5s", ""},
		{"another header", "  http:\n  - match: [{headers: {x-b: {}}}]\n" + route, "items [:/items:2] catalog.team.svc.cluster.local 5s", ""},
		{"a match outside", "  http:\n  - match: [{uri: {prefix: /other}}]\n" + route, "", "does not lie within"},
		{"a wider match", "  http:\n  - match: [{uri: {prefix: /}}]\n" + route, "", "does not lie within"},
		{"another value of a header", "  http:\n  - match: [{headers: {x-a: {exact: \"2\"}}}]\n" + route, "", "does not lie within"},
		{"another case", "  http:\n  - match: [{uri: {prefix: /items}, ignoreUriCase: true}]\n" + route, "", "does not lie within"},
		{"private", "  exportTo: [\".\"]\n  http:\n  - name: all\n" + route, "", "is not exported to namespace shop"},
		{"exported", "  exportTo: [shop]\n  http:\n  - name: all\n" + route, "items-all [:/items:1] catalog.team.svc.cluster.local 5s", ""},
		{"two rules", "  http:\n  - name: a\n    match: [{method: {exact: GET}}]\n" + route + "  - name: b\n" + route,
			"items-a [:/items:GET1] catalog.team.svc.cluster.local 5s, items-b [:/items:1] catalog.team.svc.cluster.local 5s", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := New()
			s, _ := b.Update(events(t, delegatingRoot+delegateOf(c.delegate))...)
			v, ok := s.VirtualServices.Get("shop/root")
			if !ok {
				t.Fatal("there is no root")
			}
			if got := strings.Join(describeRules(v), ", "); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
			found := fmt.Sprint(b.Problems())
			if c.problem == "" && len(b.Problems()) > 0 || !strings.Contains(found, c.problem) {
				t.Errorf("problems %s, want %q", found, c.problem)
			}
			if _, ok := s.VirtualServices.Get("team/items"); ok {
				t.Error("the delegate is a virtual service of its own")
			}
		})
	}
}

// TestDelegateChanges: whatever comes last, the root is as if all had been there at once.
func TestDelegateChanges(t *testing.T) {
	full := delegateOf("  http:\n  - name: all\n    route: [{destination: {host: catalog}}]\n")
	b := New()
	rules := func(s *model.Snapshot) []string {
		v, _ := s.VirtualServices.Get("shop/root")
		return describeRules(v)
	}
	s, _ := b.Update(events(t, delegatingRoot)...)
	if got := rules(s); len(got) != 0 || !strings.Contains(fmt.Sprint(b.Problems()), "there is no VirtualService team/items") {
		t.Errorf("without its delegate: %v, %v", got, b.Problems())
	}
	s, ch := b.Update(events(t, full)...)
	want := []string{"items-all [:/items:1] catalog.team.svc.cluster.local 5s"}
	if got := rules(s); !slices.Equal(got, want) || len(b.Problems()) > 0 || !ch.RouteHosts["catalog.shop.svc.cluster.local"] {
		t.Errorf("with it: %v, %v, %+v", got, b.Problems(), ch)
	}
	v, _ := s.VirtualServices.Get("shop/root")
	if o := v.HTTP[0]; o.Origin.Name != "items" || o.Origin.Field != "spec.http[0]" || o.Matches[0].Origin.Name != "root" || o.Matches[0].Origin.Field != "spec.http[0].match[0]" {
		t.Errorf("origins %+v and %+v", o.Origin, o.Matches[0].Origin)
	}
	s, _ = b.Update(events(t, full)...)
	if again, _ := s.VirtualServices.Get("shop/root"); again != v {
		t.Error("the same delegate once more made the root anew")
	}
	s, _ = b.Update(Delete("config", events(t, full)[0].Key))
	if got := rules(s); len(got) != 0 || len(b.Problems()) != 1 {
		t.Errorf("after it is gone: %v, %v", got, b.Problems())
	}
	// The root goes first: nothing is left to be converted again.
	b.Update(Delete("config", events(t, delegatingRoot)[0].Key))
	s, ch = b.Update(events(t, full)...)
	if s.VirtualServices.Len() != 0 || len(b.delegation.roots)+len(b.delegation.refers)+len(b.delegation.pending) != 0 || len(ch.RouteHosts) > 0 {
		t.Errorf("a delegate without a root: %+v", b.delegation)
	}
}
