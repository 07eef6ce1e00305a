package stats

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// TagRule is one entry of Envoy's stats_config.stats_tags.
type TagRule struct {
	Name string
	// Fixed is a tag on every statistic; used when Regex is nil.
	Fixed string
	// Regex is matched against the whole name. Its first group is cut out of the name, its
	// second (or else the first) is the value.
	Regex *regexp.Regexp
}

// Names of tags that Envoy extracts by default.
const (
	TagCluster      = "envoy.cluster_name"
	TagHTTPPrefix   = "envoy.http_conn_manager_prefix"
	TagTCPPrefix    = "envoy.tcp_prefix"
	TagListener     = "envoy.listener_address"
	TagResponseCode = "envoy.response_code"
	TagCodeClass    = "envoy.response_code_class"
	TagRouteConfig  = "envoy.rds_route_config"
	TagVirtualHost  = "envoy.virtual_host"
	// Both below that of a virtual host.
	TagVirtualCluster = "envoy.virtual_cluster"
	TagRoute          = "envoy.route"
	TagWorker         = "envoy.worker_id"
	// Of the HTTP filter for role-based access control: the policy, and the prefix of its rules; and the prefix of the network filter.
	TagRBACPolicy     = "envoy.rbac_policy_name"
	TagRBACHTTPPrefix = "envoy.rbac_http_prefix"
	TagRBACPrefix     = "envoy.rbac_prefix"
)

// prefixTags are names whose second element is a tag's value. These values hold no dots:
// what may, is registered through Scope.Tagged.
var prefixTags = []struct{ prefix, tag string }{
	{"cluster.", TagCluster},
	{"http.", TagHTTPPrefix},
	{"tcp.", TagTCPPrefix},
	{"vhost.", TagVirtualHost},
}

// extract takes a name apart as Envoy's default tag extractors do. Names that came with tags
// of their own keep them; only the response code is looked for.
func extract(name string, tags []Tag) (bare string, out []Tag) {
	bare, out = name, tags
	if len(tags) == 0 {
		bare, out = extractPrefix(name)
	}
	// "_rq(_(\d{3}))$" and "_rq_((\d))xx$"
	n := len(bare)
	switch {
	case n > 7 && bare[n-7:n-3] == "_rq_" && digits(bare[n-3:]):
		out = append(out[:len(out):len(out)], Tag{TagResponseCode, bare[n-3:]})
		bare = bare[:n-4]
	case n > 7 && bare[n-7:n-3] == "_rq_" && digits(bare[n-3:n-2]) && bare[n-2:] == "xx":
		out = append(out[:len(out):len(out)], Tag{TagCodeClass, bare[n-3 : n-2]})
		bare = bare[:n-3] + "xx"
	}
	if len(out) > 1 {
		out = slices.Clone(out)
		slices.SortStableFunc(out, func(a, b Tag) int { return cmp.Compare(rank(a.Name), rank(b.Name)) })
	}
	return bare, out
}

// tagOrder are tags in the order in which Envoy's extractors take them out of a name, which is that of labels.
var tagOrder = []string{
	TagResponseCode, TagCodeClass, "envoy.grpc_bridge_method", TagVirtualCluster, "envoy.grpc_bridge_service", TagRBACPolicy, TagRBACHTTPPrefix, TagRBACPrefix, TagTCPPrefix, TagCluster,
	TagHTTPPrefix, TagListener, TagVirtualHost, TagRoute,
}

// rank is a tag's place in that order; others come last, in the order that they have.
func rank(tag string) int {
	if i := slices.Index(tagOrder, tag); i >= 0 {
		return i
	}
	return len(tagOrder)
}

func extractPrefix(name string) (string, []Tag) {
	for _, p := range prefixTags {
		rest, ok := strings.CutPrefix(name, p.prefix)
		if !ok {
			continue
		}
		value, tail, ok := strings.Cut(rest, ".")
		if !ok {
			return name, nil
		}
		return p.prefix + tail, []Tag{{p.tag, value}}
	}
	if rest, ok := strings.CutPrefix(name, "listener."); ok {
		// listener.<ip>_<port>.name: the address holds dots, so it ends after the port.
		if i := strings.IndexByte(rest, '_'); i > 0 {
			if j := strings.IndexByte(rest[i:], '.'); j > 0 && digits(rest[i+1:i+j]) {
				return "listener." + rest[i+j+1:], []Tag{{TagListener, rest[:i+j]}}
			}
		}
	}
	return name, nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// applyRules adds the configured tags to a name and cuts them out of it.
func (s *registry) applyRules(name string, out []Tag) (string, []Tag) {
	for _, r := range s.rules {
		if r.Regex == nil {
			out = append(out[:len(out):len(out)], Tag{r.Name, r.Fixed})
			continue
		}
		m := r.Regex.FindStringSubmatchIndex(name)
		if len(m) < 4 || m[2] < 0 {
			continue
		}
		v0, v1 := m[2], m[3]
		if len(m) >= 6 && m[4] >= 0 {
			v0, v1 = m[4], m[5]
		}
		out = append(out[:len(out):len(out)], Tag{r.Name, name[v0:v1]})
		name = name[:m[2]] + name[m[3]:]
	}
	return name, out
}
