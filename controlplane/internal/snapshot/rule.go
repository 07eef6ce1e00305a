package snapshot

import (
	"maps"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// destinationRule converts a DestinationRule.
func (b *Builder) destinationRule(o object, d *networking.DestinationRule, p *problems) *model.DestinationRule {
	out := &model.DestinationRule{
		Namespace: o.Namespace, Name: o.Name, Host: b.host(d.Host, o.Namespace),
		ExportTo: exportTo(d.ExportTo, b.mesh.RuleExportTo, o.Namespace),
		Created:  o.Created, Origin: o.origin(),
		Policy: trafficPolicy(d.TrafficPolicy, "spec.trafficPolicy", p),
	}
	if d.WorkloadSelector != nil && len(d.WorkloadSelector.MatchLabels) > 0 {
		out.WorkloadSelector = cloneMap(d.WorkloadSelector.MatchLabels)
	}
	for i, s := range d.Subsets {
		if s == nil {
			continue
		}
		field := indexed("spec.subsets", i)
		if _, dup := out.Subset(s.Name); dup {
			p.add(field+".name", "subset %q is given twice; the first counts", s.Name)
			continue
		}
		out.Subsets = append(out.Subsets, model.Subset{Name: s.Name, Labels: cloneMap(s.Labels),
			Policy: trafficPolicy(s.TrafficPolicy, field+".trafficPolicy", p), Origin: o.at(field)})
	}
	if out.WorkloadSelector == nil && len(out.Credentials()) > 0 {
		p.add("spec.workloadSelector", "is missing: without it credentialName is for gateways alone, and sidecars connect without TLS")
	}
	return out
}

// mergeRules joins the rules of one namespace for one host, oldest first: those for the same
// workloads and shown to the same namespaces become one, with the traffic policy of the first
// that has one and all subsets, the first of a name counting. next gives a merged rule its
// revision.
func mergeRules(rules []*model.DestinationRule, next func() uint64) []*model.DestinationRule {
	var out []*model.DestinationRule
	own := map[*model.DestinationRule]bool{} // copies, which may be changed
	for _, r := range rules {
		i := slices.IndexFunc(out, func(m *model.DestinationRule) bool {
			return maps.Equal(m.WorkloadSelector, r.WorkloadSelector) && sameExport(m.ExportTo, r.ExportTo)
		})
		if i < 0 {
			out = append(out, r)
			continue
		}
		if !own[out[i]] {
			c := *out[i]
			c.Subsets, c.Rev = slices.Clone(c.Subsets), next()
			out[i], own[&c] = &c, true
		}
		m := out[i]
		if m.Policy == nil {
			m.Policy = r.Policy
		}
		for _, s := range r.Subsets {
			if _, dup := m.Subset(s.Name); !dup {
				m.Subsets = append(m.Subsets, s)
			}
		}
	}
	return out
}

func sameExport(a, b model.ExportTo) bool {
	return (a == nil) == (b == nil) && slices.Equal(a, b)
}

// opaquePolicy reports whether a rule says anything about connections of opaque bytes that
// listeners carry out; everything else is the clusters'.
func opaquePolicy(r *model.DestinationRule) bool {
	if r == nil {
		return false
	}
	for _, p := range r.Policies() {
		if p.Tunnel != nil || p.LoadBalancer != nil && p.LoadBalancer.Hash != nil && p.LoadBalancer.Hash.SourceIP {
			return true
		}
		if c := p.ConnectionPool; c != nil && (c.TCPIdleTimeout != nil || c.MaxConnectionDuration != nil) {
			return true
		}
	}
	return false
}

// ruleLabels are the labels of clients that a rule asks for.
func ruleLabels(r *model.DestinationRule) []string {
	if r == nil {
		return nil
	}
	set := map[string]bool{}
	for k := range r.WorkloadSelector {
		set[k] = true
	}
	for _, p := range r.Policies() {
		if p.LoadBalancer != nil {
			for _, k := range p.LoadBalancer.Locality.ClientLabels() {
				set[k] = true
			}
		}
	}
	return sortedKeys(set)
}
