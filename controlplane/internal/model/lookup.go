package model

import "strings"

// patterns calls f with host, then with the wildcards that cover it, most specific first,
// until f returns true.
func patterns(host string, f func(string) bool) {
	if f(host) {
		return
	}
	rest := strings.TrimPrefix(host, "*.")
	if rest != host && f("*."+rest) {
		return
	}
	for {
		_, tail, ok := strings.Cut(rest, ".")
		if !ok {
			break
		}
		rest = tail
		if f("*." + rest) {
			return
		}
	}
	f("*")
}

// Rule returns the destination rule in force for a service as seen by a proxy: of the proxy's
// namespace, else of the service's, else of the root namespace; in each those with the most
// specific host. Among these a rule that selects the proxy comes before those for all
// workloads, and of the latter the newest counts. Nil when there is none.
// https://istio.io/latest/docs/ops/best-practices/traffic-management/#cross-namespace-configuration
func (s *Snapshot) Rule(host, serviceNS, proxyNS string, labels map[string]string) *DestinationRule {
	root := s.Mesh.RootNamespace
	private := func(r *DestinationRule) bool {
		return r.ExportTo != nil && (len(r.ExportTo) == 0 || len(r.ExportTo) == 1 && r.ExportTo[0] == r.Namespace)
	}
	// A proxy's own rules come first, except in the root namespace, whose rules are defaults
	// unless they are for that namespace alone.
	own := func(r *DestinationRule) bool { return proxyNS != root || private(r) }
	if list := s.mostSpecific(proxyNS, host, own); list != nil {
		return choose(list, proxyNS, labels)
	}
	// Of another namespace's rules the most specific counts, even if it is not shown to the
	// proxy; rules that are never shown do not.
	for _, ns := range []string{serviceNS, root} {
		if ns == "" {
			continue
		}
		list := s.mostSpecific(ns, host, func(r *DestinationRule) bool { return !private(r) })
		var visible []*DestinationRule
		for _, r := range list {
			if r.ExportTo.Visible(proxyNS) {
				visible = append(visible, r)
			}
		}
		if visible != nil {
			return choose(visible, proxyNS, labels)
		}
	}
	return nil
}

// mostSpecific returns the rules of a namespace that may count, for the most specific host
// that has any.
func (s *Snapshot) mostSpecific(ns, host string, may func(*DestinationRule) bool) []*DestinationRule {
	var found []*DestinationRule
	patterns(host, func(pattern string) bool {
		list, _ := s.MergedRules.Get(ns + "/" + pattern)
		for _, r := range list {
			if may(r) {
				found = append(found, r)
			}
		}
		return found != nil
	})
	return found
}

// choose returns the rule for a proxy. Selectors count in the rule's own namespace alone.
func choose(list []*DestinationRule, proxyNS string, labels map[string]string) *DestinationRule {
	var all *DestinationRule
	for _, r := range list {
		if r.WorkloadSelector == nil {
			all = r
		} else if r.Namespace == proxyNS && LabelsMatch(r.WorkloadSelector, labels) {
			return r
		}
	}
	return all
}
