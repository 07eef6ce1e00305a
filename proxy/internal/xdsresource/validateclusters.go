package xdsresource

import (
	"fmt"
	"maps"
	"slices"
)

// CheckClusters is UnknownClusters as an error, an *Error; nil: all are known.
func (rc *RouteConfig) CheckClusters(known func(name string) bool, def bool) error {
	if problems := rc.UnknownClusters(known, def); len(problems) > 0 {
		return &Error{Type: "route configuration", Name: rc.Name, Problems: problems}
	}
	return nil
}

// UnknownClusters holds the clusters that routes lead to by name, mirrors included, against those that are known, where
// validate_clusters says so, or def where that is not set. Paths begin at the route configuration.
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route.proto
func (rc *RouteConfig) UnknownClusters(known func(name string) bool, def bool) []Problem {
	if v := rc.ValidateClusters; v != nil && !*v || v == nil && !def {
		return nil
	}
	c := clusterCheck{known: known}
	c.mirrors("request_mirror_policies", rc.Mirrors)
	for i, v := range rc.VirtualHosts {
		host := at("virtual_hosts", i)
		for j, r := range v.Routes {
			c.route(at(join(host, "routes"), j), r)
		}
		if v.Matcher != nil {
			c.matcher(join(host, "matcher"), v.Matcher)
		}
	}
	return c.problems
}

// UnknownClusters is the same of every route configuration that stands in a listener, where clusters are held against
// those that are known unless it says otherwise. Paths begin at the listener.
func (l *Listener) UnknownClusters(known func(name string) bool) []Problem {
	var out []Problem
	chain := func(path string, c *FilterChain) {
		for i, f := range c.Filters {
			if m, ok := f.Config.(*HTTPConnectionManager); ok {
				out = append(out, m.unknownClusters(join(at(join(path, "filters"), i), "typed_config"), known)...)
			}
		}
	}
	for i := range l.FilterChains {
		chain(at("filter_chains", i), l.FilterChains[i])
	}
	if l.Default != nil {
		chain("default_filter_chain", l.Default)
	}
	return out
}

func (m *HTTPConnectionManager) unknownClusters(path string, known func(name string) bool) (out []Problem) {
	below := func(path string, rc *RouteConfig) {
		for _, p := range rc.UnknownClusters(known, true) {
			out = append(out, Problem{Path: join(path, p.Path), Reason: p.Reason})
		}
	}
	if m.Routes != nil {
		below(join(path, "route_config"), m.Routes)
	}
	if m.Scopes != nil {
		for i := range m.Scopes.Scopes {
			if rc := m.Scopes.Scopes[i].Routes; rc != nil {
				below(join(at(join(path, "scoped_routes.scoped_route_configurations_list.scoped_route_configurations"), i), "route_configuration"), rc)
			}
		}
	}
	return out
}

// clusterCheck collects what leads to clusters that nobody knows.
type clusterCheck struct {
	known    func(name string) bool
	problems []Problem
}

func (c *clusterCheck) name(path, name string) {
	if name != "" && !c.known(name) {
		c.problems = append(c.problems, Problem{Path: path, Reason: fmt.Sprintf("unknown cluster %q; add it, or set validate_clusters: false", name)})
	}
}

func (c *clusterCheck) mirrors(path string, list []MirrorPolicy) {
	for i := range list {
		c.name(join(at(path, i), "cluster"), list[i].Cluster)
	}
}

func (c *clusterCheck) route(path string, r *Route) {
	if r.Forward == nil {
		return
	}
	here := join(path, "route")
	c.name(join(here, "cluster"), r.Forward.Cluster)
	for i := range r.Forward.Weighted {
		c.name(join(at(join(here, "weighted_clusters.clusters"), i), "name"), r.Forward.Weighted[i].Name)
	}
	c.mirrors(join(here, "request_mirror_policies"), r.Forward.Mirrors)
}

func (c *clusterCheck) matcher(path string, m *Matcher) {
	for i := range m.Branches {
		c.result(join(at(join(path, "matcher_list.matchers"), i), "on_match"), &m.Branches[i].Then)
	}
	for _, tree := range []struct {
		field string
		leafs map[string]*MatcherResult
	}{{"exact_match_map", m.Exact}, {"prefix_match_map", m.Prefix}} {
		for _, key := range slices.Sorted(maps.Keys(tree.leafs)) {
			c.result(join(path, fmt.Sprintf("matcher_tree.%s.map[%q]", tree.field, key)), tree.leafs[key])
		}
	}
	if m.NoMatch != nil {
		c.result(join(path, "on_no_match"), m.NoMatch)
	}
}

func (c *clusterCheck) result(path string, r *MatcherResult) {
	if r.Matcher != nil {
		c.matcher(join(path, "matcher"), r.Matcher)
	}
	for _, route := range r.Routes {
		c.route(join(path, "action"), route)
	}
}
