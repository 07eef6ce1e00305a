package rbac

import "github.com/lateen-mesh/lateen/proxy/internal/xdsresource"

// index finds the policies that may match without asking all of them. Most policies of a mesh
// name exactly who may call, by certificate or by token, or which path, or how it begins: such a policy is
// looked up by that. The others are asked one by one.
type index struct {
	byName   map[string][]int // by a name in the client's certificate
	byPath   map[string][]int
	byPrefix prefixes
	byClaim  []claims
	rest     []int
}

// newIndex looks at the policies. Values of metadata get their numbers of c.
func newIndex(cfg *xdsresource.RBAC, c *compiler) index {
	common := frequencies(cfg)
	x := index{byName: map[string][]int{}, byPath: map[string][]int{}}
	byPrefix := map[string][]int{}
	for i := range cfg.Policies {
		p := &cfg.Policies[i]
		if k, ok := anyNeeds(p.Principals, xdsresource.RBACAuthenticated); ok && len(k.prefixes) == 0 {
			add(x.byName, k.exact, i)
		} else if k, ok := anyNeeds(p.Permissions, xdsresource.RBACPath); ok {
			add(x.byPath, k.exact, i)
			add(byPrefix, k.prefixes, i)
		} else if m := rarest(p.Principals, common); m != nil {
			x.addClaim(m, c, i)
		} else {
			x.rest = append(x.rest, i)
		}
	}
	x.byPrefix = newPrefixes(byPrefix)
	return x
}

func add(m map[string][]int, keys []string, policy int) {
	for _, k := range keys {
		if l := m[k]; len(l) == 0 || l[len(l)-1] != policy {
			m[k] = append(l, policy)
		}
	}
}

// keys are texts of which one is needed for a rule to match: whole, or at the beginning.
type keys struct{ exact, prefixes []string }

// anyNeeds returns what is needed for any of the rules to match, when there is such.
func anyNeeds(rules []xdsresource.RBACRule, kind xdsresource.RBACKind) (out keys, ok bool) {
	for i := range rules {
		k, ok := needs(&rules[i], kind)
		if !ok {
			return keys{}, false
		}
		out.exact, out.prefixes = append(out.exact, k.exact...), append(out.prefixes, k.prefixes...)
	}
	return out, len(rules) > 0
}

func needs(r *xdsresource.RBACRule, kind xdsresource.RBACKind) (keys, bool) {
	switch {
	case r.Kind == kind && r.String != nil && !r.String.IgnoreCase:
		switch r.String.Kind {
		case xdsresource.StringExact:
			return keys{exact: []string{r.String.Value}}, true
		case xdsresource.StringPrefix:
			return keys{prefixes: []string{r.String.Value}}, r.String.Value != ""
		}
	case r.Kind == xdsresource.RBACOr:
		return anyNeeds(r.Rules, kind)
	case r.Kind == xdsresource.RBACAnd:
		for i := range r.Rules {
			if k, ok := needs(&r.Rules[i], kind); ok {
				return k, true
			}
		}
	}
	return keys{}, false
}

// first returns the first policy that matches, -1 for none.
func (e *Engine) first(in *Input) int {
	best := e.try(in, e.index.rest, len(e.policies))
	if len(e.index.byPath)+len(e.index.byPrefix) > 0 {
		if p, ok := in.urlPath(); ok {
			best = e.try(in, e.index.byPath[string(p)], best)
			for i := e.index.byPrefix.longest(p); i >= 0; i = e.index.byPrefix[i].shorter {
				best = e.try(in, e.index.byPrefix[i].policies, best)
			}
		}
	}
	for i := range e.index.byClaim {
		c := &e.index.byClaim[i]
		if v, ok := in.value(c.at, c.slot); ok {
			if text, ok := v.(string); ok {
				best = e.try(in, c.list[text], best)
			}
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
		if e.policies[i].match(in) {
			return i
		}
	}
	return before
}
