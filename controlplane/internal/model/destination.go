package model

import "time"

// DestinationRule is what happens to traffic for a host after routing. Rules of one namespace
// for one host are merged into one.
type DestinationRule struct {
	Namespace        string
	Name             string
	Host             string // FQDN or wildcard
	Policy           *TrafficPolicy
	Subsets          []Subset
	ExportTo         ExportTo
	WorkloadSelector map[string]string // nil: all workloads
	Created          time.Time
	Origin           Origin
	Rev              uint64
}

// Key is the key of a destination rule in Snapshot.DestinationRules.
func (d *DestinationRule) Key() string { return d.Namespace + "/" + d.Name }

// Subset is a named part of a service's endpoints.
type Subset struct {
	Name   string
	Labels map[string]string
	Policy *TrafficPolicy // nil: the rule's; otherwise its parts override the rule's
	Origin Origin
}

// Subset returns the named subset.
func (d *DestinationRule) Subset(name string) (Subset, bool) {
	for _, s := range d.Subsets {
		if s.Name == name {
			return s, true
		}
	}
	return Subset{}, false
}

// PolicyFor returns the policy in force for a port of the host, or of one of its subsets; nil
// when there is none. The caller must not change it.
//
// Port-level settings replace the policy that they stand in as a whole: what they leave out is
// a default, not inherited. A subset's policy overrides the rule's part by part, and one for
// the port overrides all of its parts.
func (d *DestinationRule) PolicyFor(subset *Subset, port uint32) *TrafficPolicy {
	base, _ := d.Policy.forPort(port)
	if subset == nil || subset.Policy == nil {
		return base
	}
	own, whole := subset.Policy.forPort(port)
	if base == nil {
		return own
	}
	out := *base
	if own.LoadBalancer != nil || whole {
		out.LoadBalancer = own.LoadBalancer
	}
	if own.ConnectionPool != nil || whole {
		out.ConnectionPool = own.ConnectionPool
	}
	if own.Outlier != nil || whole {
		out.Outlier = own.Outlier
	}
	if own.TLS != nil || whole {
		out.TLS = own.TLS
	}
	if own.ProxyProtocol != ProxyProtocolNone {
		out.ProxyProtocol = own.ProxyProtocol
	}
	if own.RetryBudget != nil {
		out.RetryBudget = own.RetryBudget
	}
	return &out
}

// Policies are all policies of the rule, those of subsets and for ports included.
func (d *DestinationRule) Policies() []*TrafficPolicy {
	var out []*TrafficPolicy
	add := func(p *TrafficPolicy) {
		if p == nil {
			return
		}
		out = append(out, p)
		for i := range p.Ports {
			out = append(out, &p.Ports[i].Policy)
		}
	}
	add(d.Policy)
	for i := range d.Subsets {
		add(d.Subsets[i].Policy)
	}
	return out
}

// Credentials are the names of the secret resources that the rule refers to.
func (d *DestinationRule) Credentials() []string {
	var out []string
	for _, p := range d.Policies() {
		out = append(out, p.TLS.Credentials()...)
	}
	return out
}

// MayUseCredentials reports whether the proxy is one that the rule may give credentials to: a
// gateway, or a sidecar of the rule's own namespace that its selector names. Other sidecars
// have none, as in Istio: each of them would have to read the secret.
func (d *DestinationRule) MayUseCredentials(p *Proxy) bool {
	if d.WorkloadSelector != nil {
		return d.Namespace == p.Namespace && LabelsMatch(d.WorkloadSelector, p.Labels)
	}
	return p.Type == Router && (d.Namespace == p.Namespace || d.ExportTo.Visible(p.Namespace))
}

// TunnelFor returns how connections to the host, or to one of its subsets, are tunnelled; nil
// when they are not. A subset does not inherit the rule's tunnel, and port-level settings have
// none.
func (d *DestinationRule) TunnelFor(subset *Subset) *Tunnel {
	p := d.Policy
	if subset != nil {
		p = subset.Policy
	}
	if p == nil {
		return nil
	}
	return p.Tunnel
}
