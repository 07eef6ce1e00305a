package extauthz

import (
	"regexp"
	"testing"
)

// TestMutationRules: which headers rules let a service change, in the order of their fields.
func TestMutationRules(t *testing.T) {
	re := regexp.MustCompile
	for name, test := range map[string]struct {
		rules   mutationRules
		yes, no []string
	}{
		"defaults":   {mutationRules{}, []string{"x-a", ":path", "content-type"}, []string{"Host", ":authority", ":scheme", ":method", "X-Envoy-Internal"}},
		"routing":    {mutationRules{routing: true}, []string{"host", ":authority", ":method"}, []string{"x-envoy-a"}},
		"envoy":      {mutationRules{envoy: true}, []string{"x-envoy-a"}, []string{"host"}},
		"no system":  {mutationRules{routing: true, noSystem: true}, []string{"host", "x-a"}, []string{":path", ":authority"}},
		"none":       {mutationRules{routing: true, envoy: true, none: true}, nil, []string{"x-a", "host"}},
		"allowed":    {mutationRules{none: true, allowed: re(`^(?:x-good|host)$`)}, []string{"X-Good", "host"}, []string{"x-goods"}},
		"disallowed": {mutationRules{allowed: re(`^(?:x-.*)$`), disallowed: re(`^(?:x-bad)$`)}, []string{"x-a", "x-envoy-a"}, []string{"X-Bad"}},
	} {
		for _, h := range test.yes {
			if !test.rules.allow(h) {
				t.Errorf("%s: %s may not be changed", name, h)
			}
		}
		for _, h := range test.no {
			if test.rules.allow(h) {
				t.Errorf("%s: %s may be changed", name, h)
			}
		}
	}
}

// TestObey: what is not allowed is left out of an answer, or makes it invalid.
func TestObey(t *testing.T) {
	mixed := func() *answer {
		return &answer{set: []pair{{"x-a", "1"}, {"host", "b"}}, add: []pair{{"x-envoy-a", "1"}}, join: []pair{{"x-b", "1"}}, remove: []string{"host", "x-c"}}
	}
	a := mixed()
	if !a.obey(&mutationRules{}) || len(a.set) != 1 || len(a.add) != 0 || len(a.join) != 1 || len(a.remove) != 1 {
		t.Errorf("left of it: %+v", a)
	}
	if mixed().obey(&mutationRules{fails: true}) {
		t.Error("an answer that asks for too much is no error")
	}
	if a := (&answer{set: []pair{{"x-a", "1"}}}); !a.obey(&mutationRules{fails: true}) || !a.obey(nil) {
		t.Error("an answer that asks for what is allowed is an error")
	}
}

// TestChangesRoute: routes are looked up anew for headers that they match on.
func TestChangesRoute(t *testing.T) {
	by := (*names)(nil).with("x-route")
	for name, test := range map[string]struct {
		a    answer
		want bool
	}{
		"nothing":         {answer{}, false},
		"another":         {answer{set: []pair{{"x-a", "1"}}, remove: []string{"x-b"}}, false},
		"set":             {answer{set: []pair{{"X-Route", "1"}}}, true},
		"removed":         {answer{remove: []string{"x-route"}}, true},
		"query":           {answer{queryRemove: []string{"q"}}, true},
		"of the response": {answer{response: []change{{pair{"x-route", "1"}, setValue}}}, false},
	} {
		if got := test.a.changesRoute(by); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	if !(&answer{set: []pair{{"x-a", "1"}}}).changesRoute(nil) {
		t.Error("without a list a change of another header changes nothing")
	}
}
