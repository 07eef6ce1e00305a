package differential

import "fmt"

// This file makes what routes do with a request: fixed answers, redirects, and all that changes a
// request on its way to one of several hosts. The origins say in their answers what reached them.

// answers gives every route its own name in a fixed answer.
func (g *generator) answers() object {
	return object{"direct_response": object{"status": 200}}
}

// action is anything that a route may do.
func (g *generator) action() object {
	switch g.r.IntN(10) {
	case 0:
		return object{"direct_response": object{"status": pick(g, 200, 404, 503), "body": object{"inline_string": "said"}}}
	case 1, 2, 3:
		return object{"redirect": g.redirect()}
	}
	out := object{"route": g.forward()}
	if g.chance(20) {
		out["request_headers_to_remove"] = []any{pick(g, "x-a", "cookie", "x-missing")}
	}
	return out
}

func (g *generator) redirect() object {
	out := object{}
	switch g.r.IntN(5) {
	case 0:
		out["path_redirect"] = pick(g, "/new", "/new?own=1", "/")
	case 1:
		out["prefix_rewrite"] = pick(g, "/new", "/new/", "/", "/n?x=")
	case 2:
		out["regex_rewrite"] = g.rewrite()
	}
	switch g.r.IntN(4) {
	case 0:
		out["https_redirect"] = g.chance(80)
	case 1:
		out["scheme_redirect"] = pick(g, "https", "http", "ftp")
	}
	if g.chance(40) {
		out["host_redirect"] = pick(g, "new.example", "new.example:81", "[::1]")
	}
	if g.chance(30) {
		out["port_redirect"] = pick(g, 80, 443, 8443)
	}
	if g.chance(50) {
		out["response_code"] = pick(g, "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT")
	}
	if g.chance(30) {
		out["strip_query"] = true
	}
	return out
}

// rewrite is a pattern and what takes its place.
func (g *generator) rewrite() object {
	r := pick(g, [2]string{"/a", "/b"}, [2]string{"^/([^/]+)/(.*)$", `/\2/\1`}, [2]string{"[0-9]+", "N"}, [2]string{"^/", "/pre/"},
		[2]string{"(a)(b)?", `<\1\2>`}, [2]string{"/v[12]", ""}, [2]string{".*", "/all"}, [2]string{"x*", "-"}, [2]string{"$", "/end"})
	return object{"pattern": object{"regex": r[0]}, "substitution": r[1]}
}

func (g *generator) forward() object {
	out := object{}
	switch g.r.IntN(6) {
	case 0:
		out["cluster_header"] = "x-cluster"
	case 1:
		weights := []any{object{"name": "ring", "weight": 0}, object{"name": pick(g, "maglev", "missing"), "weight": 100}}
		if g.chance(40) {
			weights[1].(object)["host_rewrite_literal"] = "weighted.example"
		}
		if g.chance(50) {
			weights[0], weights[1] = weights[1], weights[0]
		}
		out["weighted_clusters"] = object{"clusters": weights}
	default:
		out["cluster"] = pick(g, "ring", "maglev", "murmur", "weighted-ring", "weighted-maglev", "missing")
	}
	switch g.r.IntN(4) {
	case 0:
		out["prefix_rewrite"] = pick(g, "/new", "/new/", "/", "/n%20w")
	case 1:
		out["regex_rewrite"] = g.rewrite()
	}
	switch g.r.IntN(6) {
	case 0:
		out["host_rewrite_literal"] = "literal.example"
	case 1:
		out["host_rewrite_header"] = pick(g, "x-a", "x-host")
	case 2:
		r := pick(g, [2]string{"^/([a-z]+).*$", `\1.path.example`}, [2]string{"/.*", "path.example"}, [2]string{"^/(.)", `\1`})
		out["host_rewrite_path_regex"] = object{"pattern": object{"regex": r[0]}, "substitution": r[1]}
	}
	if g.chance(30) {
		out["append_x_forwarded_host"] = true
	}
	if g.chance(10) {
		out["cluster_not_found_response_code"] = "NOT_FOUND"
	}
	out["hash_policy"] = g.hashPolicy()
	return out
}

// hashPolicy always ends with something that every request has: else the host is chosen by chance.
func (g *generator) hashPolicy() []any {
	var out []any
	for range g.r.IntN(3) {
		var p object
		switch g.r.IntN(5) {
		case 0:
			p = object{"header": object{"header_name": pick(g, "x-a", "x-b", "user-agent", "x-missing", ":path")}}
		case 1:
			p = object{"header": object{"header_name": pick(g, "x-a", "x-n", ":authority"), "regex_rewrite": g.rewrite()}}
		case 2:
			p = object{"cookie": object{"name": pick(g, "k", "session")}}
		case 3:
			p = object{"query_parameter": object{"name": pick(g, "q", "r", "Q", "a b")}}
		case 4:
			p = object{"connection_properties": object{"source_ip": true}}
		}
		if g.chance(20) {
			p["terminal"] = true
		}
		out = append(out, p)
	}
	return append(out, object{"header": object{"header_name": ":method"}})
}

// clusters are the hosts that routes lead to, the same by their keys on both sides.
func (g *generator) clusters() []any {
	hosts := func(weighted bool) object {
		var list []any
		for i, name := range []string{"show-a", "show-b", "show-c", "show-d"} {
			h := object{
				"endpoint": object{"address": object{"socket_address": object{"address": "127.0.0.1", "port_value": "${origin:" + name + "}"}}},
				"metadata": object{"filter_metadata": object{"envoy.lb": object{"hash_key": name}}},
			}
			if weighted {
				h["load_balancing_weight"] = 1 + 3*i
			}
			list = append(list, h)
		}
		return object{"cluster_name": "x", "endpoints": []any{object{"lb_endpoints": list}}}
	}
	ring, maglev := object{"minimum_ring_size": 128}, object{"table_size": 1021}
	return []any{
		object{"name": "ring", "lb_policy": "RING_HASH", "ring_hash_lb_config": ring, "load_assignment": hosts(false)},
		object{"name": "weighted-ring", "lb_policy": "RING_HASH", "ring_hash_lb_config": ring, "load_assignment": hosts(true)},
		object{"name": "murmur", "lb_policy": "RING_HASH", "ring_hash_lb_config": object{"minimum_ring_size": 128, "hash_function": "MURMUR_HASH_2"}, "load_assignment": hosts(false)},
		object{"name": "maglev", "lb_policy": "MAGLEV", "maglev_lb_config": maglev, "load_assignment": hosts(false)},
		object{"name": "weighted-maglev", "lb_policy": "MAGLEV", "maglev_lb_config": maglev, "load_assignment": hosts(true)},
	}
}

// manager is a connection manager's options that change what is routed.
func (g *generator) manager() object {
	out := object{
		"normalize_path": g.chance(30), "merge_slashes": g.chance(20), "use_remote_address": g.chance(50), "access_log": []any{},
		"path_with_escaped_slashes_action": pick(g, "KEEP_UNCHANGED", "KEEP_UNCHANGED", "REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD"),
	}
	switch g.r.IntN(4) {
	case 0:
		out["strip_any_host_port"] = true
	case 1:
		out["strip_matching_host_port"] = true
	}
	if g.chance(30) {
		out["strip_trailing_host_dot"] = true
	}
	return out
}

// saw is what an origin whose name begins with "show-" tells of a request.
func saw(m *message) string {
	text := m.line
	for _, name := range []string{"host", "x-envoy-original-path", "x-forwarded-host", "x-a", "cookie"} {
		text += fmt.Sprintf(" %s=%q", name, m.header(name))
	}
	return text
}
