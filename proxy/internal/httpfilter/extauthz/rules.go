package extauthz

import (
	"regexp"
	"slices"
	"strings"

	rulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// mutationRules is mutation_rules.v3.HeaderMutationRules: which headers of a request a service may change.
type mutationRules struct {
	routing, envoy      bool // allow_all_routing, allow_envoy
	noSystem, none      bool // disallow_system, disallow_all
	allowed, disallowed *regexp.Regexp
	fails               bool // disallow_is_error: an answer that asks for more is invalid; else its rest counts
}

func (r reader) mutationRules(path string, m *rulesv3.HeaderMutationRules) *mutationRules {
	return &mutationRules{
		routing: m.GetAllowAllRouting().GetValue(), envoy: m.GetAllowEnvoy().GetValue(),
		noSystem: m.GetDisallowSystem().GetValue(), none: m.GetDisallowAll().GetValue(), fails: m.GetDisallowIsError().GetValue(),
		allowed:    r.wholeRegex(path+".allow_expression", m.GetAllowExpression()),
		disallowed: r.wholeRegex(path+".disallow_expression", m.GetDisallowExpression()),
	}
}

// wholeRegex compiles an expression that must match a whole name; nil for none.
func (r reader) wholeRegex(path string, m *matcherv3.RegexMatcher) *regexp.Regexp {
	if m == nil {
		return nil
	}
	sm := r.StringMatch(path, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: m}})
	return sm.Regex
}

// allow reports whether a header may be changed. The order is Envoy's: the expressions come before all else.
func (m *mutationRules) allow(name string) bool {
	name = strings.ToLower(name)
	switch {
	case m.disallowed != nil && m.disallowed.MatchString(name):
		return false
	case m.allowed != nil && m.allowed.MatchString(name):
		return true
	case m.none, m.noSystem && strings.HasPrefix(name, ":"):
		return false
	case name == ":authority", name == "host", name == ":scheme", name == ":method":
		return m.routing
	}
	return m.envoy || !strings.HasPrefix(name, "x-envoy")
}

// obey takes out of the answer what the rules do not allow of the request's headers. False: that makes the answer invalid.
func (a *answer) obey(m *mutationRules) bool {
	if m == nil {
		return true
	}
	ok := true
	bad := func(name string) bool {
		if m.allow(name) {
			return false
		}
		ok = false
		return true
	}
	for _, list := range []*[]pair{&a.set, &a.add, &a.join} {
		*list = slices.DeleteFunc(*list, func(p pair) bool { return bad(p.name) })
	}
	a.remove = slices.DeleteFunc(slices.Clone(a.remove), bad)
	return ok || !m.fails
}

func lower(list []string) []string {
	out := make([]string, 0, len(list))
	for _, name := range list {
		out = append(out, strings.ToLower(name))
	}
	return out
}
