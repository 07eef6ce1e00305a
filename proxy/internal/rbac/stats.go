package rbac

import (
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// HTTPScope is where the HTTP filter counts: below scope, which is "http.<prefix>.rbac.", with the configured prefix of its rules or shadow rules, if any.
func HTTPScope(scope stats.Scope, prefix string) stats.Scope {
	if prefix = strings.TrimSuffix(prefix, "."); prefix == "" {
		return scope
	}
	return scope.Tagged(stats.TagRBACHTTPPrefix, prefix)
}

// PolicyScope is where a policy's verdicts are counted, below an HTTPScope: the policy's name is a label in Prometheus, whatever characters it has.
func PolicyScope(scope stats.Scope, policy string) stats.Scope {
	return scope.Scope("policy").Tagged(stats.TagRBACPolicy, policy)
}

// NetworkScope is where the network filter counts, "<prefix>.rbac.". Envoy's extractors of tags take both words of Istio's "tcp.rbac." for values, and so does this: its dashboards
// know envoy_denied{envoy_rbac_prefix="tcp",envoy_tcp_prefix="rbac"}.
func NetworkScope(s *stats.Store, prefix string) stats.Scope {
	prefix = strings.TrimSuffix(prefix, ".")
	scope := s.Tagged(stats.TagRBACPrefix, prefix)
	if prefix == "tcp" {
		return scope.Tagged(stats.TagTCPPrefix, "rbac")
	}
	return scope.Scope("rbac")
}

// ShadowPrefix is what stands before the network filter's counters of shadow rules.
func ShadowPrefix(prefix string) string {
	if prefix = strings.TrimSuffix(prefix, "."); prefix == "" {
		return ""
	}
	return prefix + "."
}
