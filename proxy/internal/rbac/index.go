package rbac

import "github.com/lateen-mesh/lateen/proxy/internal/xdsresource"

// index finds the policies that may match without asking all of them. Most policies of a mesh
// name exactly who may call, or exactly which path: such a policy is looked up by that name. The
// others are asked one by one.
type index struct {
	byName map[string][]int // by a name in the client's certificate
	byPath map[string][]int
	rest   []int
}

func newIndex(cfg *xdsresource.RBAC) index {
	x := index{byName: map[string][]int{}, byPath: map[string][]int{}}
	for i := range cfg.Policies {
		p := &cfg.Policies[i]
		if names, ok := oneOfExact(p.Principals, xdsresource.RBACAuthenticated); ok {
			add(x.byName, names, i)
		} else if paths, ok := oneOfExact(p.Permissions, xdsresource.RBACPath); ok {
			add(x.byPath, paths, i)
		} else {
			x.rest = append(x.rest, i)
		}
	}
	return x
}

func add(m map[string][]int, keys []string, policy int) {
	for _, k := range keys {
		if l := m[k]; len(l) == 0 || l[len(l)-1] != policy {
			m[k] = append(l, policy)
		}
	}
}

// oneOfExact returns the texts of which one is needed for any of the rules to match, when there
// are such.
func oneOfExact(rules []xdsresource.RBACRule, kind xdsresource.RBACKind) (out []string, ok bool) {
	for i := range rules {
		keys, ok := needed(&rules[i], kind)
		if !ok {
			return nil, false
		}
		out = append(out, keys...)
	}
	return out, len(rules) > 0
}

func needed(r *xdsresource.RBACRule, kind xdsresource.RBACKind) ([]string, bool) {
	switch {
	case r.Kind == kind && r.String != nil && r.String.Kind == xdsresource.StringExact && !r.String.IgnoreCase:
		return []string{r.String.Value}, true
	case r.Kind == xdsresource.RBACOr:
		return oneOfExact(r.Rules, kind)
	case r.Kind == xdsresource.RBACAnd:
		for i := range r.Rules {
			if keys, ok := needed(&r.Rules[i], kind); ok {
				return keys, true
			}
		}
	}
	return nil, false
}

// first returns the first policy that matches, -1 for none.
func (e *Engine) first(in *Input) int {
	best := e.try(in, e.index.rest, len(e.policies))
	if len(e.index.byPath) > 0 {
		if p, ok := in.urlPath(); ok {
			best = e.try(in, e.index.byPath[string(p)], best)
		}
	}
	if len(e.index.byName) > 0 && in.Conn.TLS != nil {
		names := in.Conn.PeerNames()
		for _, n := range names {
			best = e.try(in, e.index.byName[n], best)
		}
		if len(names) == 0 {
			best = e.try(in, e.index.byName[""], best)
		}
	}
	if best == len(e.policies) {
		return -1
	}
	return best
}

// try returns the first policy of a list that matches and stands before another one, else that.
func (e *Engine) try(in *Input, list []int, before int) int {
	for _, i := range list {
		if i >= before {
			break
		}
		if p := &e.policies[i]; p.permissions.match(in) && p.principals.match(in) {
			return i
		}
	}
	return before
}
