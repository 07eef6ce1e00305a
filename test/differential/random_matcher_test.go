package differential

// typed is an extension's configuration.
func typed(kind string, fields object) object {
	fields["@type"] = "type.googleapis.com/" + kind
	return object{"name": "x", "typed_config": fields}
}

// matcher makes a matcher of a virtual host, at most so many of them within each other.
func (g *generator) matcher(route func() object, depth int) object {
	m := object{}
	switch g.r.IntN(3) {
	case 0:
		m["matcher_tree"] = object{"input": g.matcherInput(), "exact_match_map": object{"map": g.matcherMap(route, depth, g.value)}}
	case 1:
		m["matcher_tree"] = object{"input": g.matcherInput(), "prefix_match_map": object{"map": g.matcherMap(route, depth, func() string {
			return pick(g, "a", "ab", "A", "/", "/a", "/a/", "/v", "/v1", "G", "1")
		})}}
	default:
		var list []any
		for range 1 + g.r.IntN(4) {
			list = append(list, object{"predicate": g.matcherPredicate(2), "on_match": g.matcherResult(route, depth)})
		}
		m["matcher_list"] = object{"matchers": list}
	}
	if g.chance(60) {
		m["on_no_match"] = g.matcherResult(route, depth)
	}
	return m
}

func (g *generator) matcherMap(route func() object, depth int, key func() string) object {
	out := object{}
	for range 1 + g.r.IntN(5) {
		if k := key(); k != "" {
			out[k] = g.matcherResult(route, depth)
		}
	}
	if len(out) == 0 {
		out["a"] = g.matcherResult(route, depth)
	}
	return out
}

func (g *generator) matcherResult(route func() object, depth int) object {
	if depth > 0 && g.chance(35) {
		return object{"matcher": g.matcher(route, depth-1)}
	}
	out := object{}
	if g.chance(50) {
		out["action"] = typed("envoy.config.route.v3.Route", route())
	} else {
		var list []any
		for range 1 + g.r.IntN(4) {
			list = append(list, route())
		}
		out["action"] = typed("envoy.config.route.v3.RouteList", object{"routes": list})
	}
	return out
}

func (g *generator) matcherInput() object {
	return typed("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", object{"header_name": pick(g, "x-a", "x-b", ":path", ":method", "user-agent", "x-missing")})
}

func (g *generator) matcherPredicate(depth int) object {
	if depth > 0 {
		two := func() object {
			return object{"predicate": []any{g.matcherPredicate(depth - 1), g.matcherPredicate(depth - 1)}}
		}
		switch g.r.IntN(8) {
		case 0:
			return object{"and_matcher": two()}
		case 1:
			return object{"or_matcher": two()}
		case 2:
			return object{"not_matcher": g.matcherPredicate(depth - 1)}
		}
	}
	match := g.stringMatch()
	if re, ok := match["safe_regex"].(object); ok {
		re["google_re2"] = object{}
	}
	return object{"single_predicate": object{"input": g.matcherInput(), "value_match": match}}
}
