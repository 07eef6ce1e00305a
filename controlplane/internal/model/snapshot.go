package model

import (
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Snapshot is the whole mesh at one version. It is immutable and may be read from any
// goroutine. Parts that a change did not touch are shared with the snapshot before it, and
// every part has a Rev that changes exactly when its content does: a derived result is
// identified by the Revs of what it read.
type Snapshot struct {
	Version uint64
	Mesh    *Mesh

	Services            Table[*Service]         // by Service.Key: host/namespace
	Endpoints           Table[*EndpointSet]     // by Service.Key
	Workloads           Table[*Workload]        // by namespace/name
	VirtualServices     Table[*VirtualService]  // by namespace/name
	DestinationRules    Table[*DestinationRule] // by namespace/name
	Gateways            Table[*Gateway]         // by namespace/name
	Credentials         Table[*Credential]      // by namespace/name
	PeerAuthentications Table[*PeerAuthentication]
	// RequestAuthentications and AuthorizationPolicies are by namespace/name.
	RequestAuthentications Table[*RequestAuthentication]
	AuthorizationPolicies  Table[*AuthorizationPolicy]
	Telemetries            Table[*Telemetry]
	Sidecars               Table[*SidecarConfig] // by namespace/name
	EnvoyFilters           Table[*EnvoyFilter]   // by namespace/name
	WorkloadGroups         Table[*WorkloadGroup] // by namespace/name
	ProxyConfigs           Table[*ProxyConfig]   // by namespace/name
	Networks               *Networks             // nil: one network
	Trust                  *TrustBundle          // nil: nothing is told of roots

	// Indexes, derived by the builder.

	// MergedRules holds destination rules by namespace/host, oldest first; those of them for
	// the same workloads and clients are merged. Hosts may be wildcards.
	MergedRules Table[[]*DestinationRule]
	// MeshRules holds virtual services bound to sidecars by host, oldest first.
	MeshRules Table[[]*VirtualService]
	// GatewayRules holds virtual services by gateway ("namespace/name"), oldest first.
	GatewayRules Table[[]*VirtualService]
	// ServicesByPort holds services by port number in decimal, by key.
	ServicesByPort Table[[]*Service]
	// Aliases holds ExternalName services by the host that they stand for, by key.
	Aliases Table[[]*Service]
	// ServicesOf holds the keys of the services that have instances of a workload
	// ("namespace/name"), sorted.
	ServicesOf Table[[]string]
	// AutoPassthrough: some gateway has a server of mode AUTO_PASSTHROUGH.
	AutoPassthrough bool
	// TrimGateways: gateways get clusters of services that their rules lead to and of no others. It does not change.
	TrimGateways bool
	// KeysRefresh is how long proxies use the keys of issuers before they fetch them again; 0: the default. It does not change.
	KeysRefresh time.Duration
	// RuleLabels are the label names that some rule asks of a client, sorted.
	RuleLabels []string

	memo *scopeMemo // of ScopeOf; nil: nothing is remembered
}

// TrustBundle are the roots that the mesh's certificates are checked with, each one PEM.
type TrustBundle struct {
	Roots []string
	// Bundles are what SPIFFE bundle endpoints have answered, by URL, each root one PEM.
	Bundles map[string][]string
	Rev     uint64
}

// ObjectKey identifies an input object.
type ObjectKey struct{ Kind, Namespace, Name string }

// Change says what differs between two consecutive snapshots, in the terms in which derived
// resources depend on it. Nil and empty mean untouched.
type Change struct {
	From, To uint64 // snapshot versions
	// Objects are the inputs that caused it.
	Objects []ObjectKey
	// All: the mesh configuration (or what everything reads) changed.
	All bool
	// Hosts whose service, destination rule or identities changed: their clusters, and routes
	// to them. A wildcard stands for all hosts below it.
	Hosts map[string]bool
	// ListenerHosts are hosts for which listeners may differ: whose service changed, or whose
	// rules for opaque bytes did. Rules for requests alone, which change most, are not.
	ListenerHosts map[string]bool
	// EndpointHosts are hosts whose endpoints changed.
	EndpointHosts map[string]bool
	// RouteHosts are hosts of changed virtual services, old and new.
	RouteHosts map[string]bool
	// Gateways is set when Gateway objects or rules bound to one changed.
	Gateways map[string]bool
	// Trust: the roots of the mesh changed, which agents alone are told.
	Trust bool
	// Passthrough: a Gateway with a server of mode AUTO_PASSTHROUGH changed, came or went.
	Passthrough bool
	// Credentials are the Secrets ("namespace/name") whose certificates changed.
	Credentials map[string]bool
	// Policies is set when a PeerAuthentication, RequestAuthentication, AuthorizationPolicy or Telemetry changed: the namespaces
	// concerned ("" for the whole mesh).
	Policies map[string]bool
	// Sidecars is set when a Sidecar changed: the namespaces concerned ("" for the whole mesh).
	Sidecars map[string]bool
	// Workloads whose own services or ports changed (namespace/name).
	Workloads map[string]bool
	// Patches: EnvoyFilters changed, by the namespace concerned ("" for the whole mesh), and what they patch.
	Patches map[string]PatchTargets
}

// PatchTargets are the kinds of resources that some patches are for.
type PatchTargets struct{ Listeners, Routes, Clusters bool }

// Or is what either has.
func (t PatchTargets) Or(o PatchTargets) PatchTargets {
	return PatchTargets{t.Listeners || o.Listeners, t.Routes || o.Routes, t.Clusters || o.Clusters}
}

// Empty reports whether nothing changed.
func (c *Change) Empty() bool {
	return !c.All && !c.Trust && len(c.Hosts) == 0 && len(c.ListenerHosts) == 0 && len(c.EndpointHosts) == 0 && len(c.RouteHosts) == 0 &&
		len(c.Gateways) == 0 && len(c.Credentials) == 0 && len(c.Policies) == 0 && len(c.Sidecars) == 0 && len(c.Workloads) == 0 && len(c.Patches) == 0
}

// Merge adds what o touched to c; o follows c.
func (c *Change) Merge(o *Change) {
	c.To = o.To
	c.All, c.Trust = c.All || o.All, c.Trust || o.Trust
	c.Passthrough = c.Passthrough || o.Passthrough
	c.Objects = append(c.Objects[:len(c.Objects):len(c.Objects)], o.Objects...)
	if len(o.Patches) > 0 {
		m := make(map[string]PatchTargets, len(c.Patches)+len(o.Patches))
		maps.Copy(m, c.Patches)
		for ns, t := range o.Patches {
			m[ns] = m[ns].Or(t)
		}
		c.Patches = m
	}
	for _, p := range []struct {
		dst *map[string]bool
		src map[string]bool
	}{
		{&c.Hosts, o.Hosts}, {&c.ListenerHosts, o.ListenerHosts}, {&c.EndpointHosts, o.EndpointHosts}, {&c.RouteHosts, o.RouteHosts},
		{&c.Gateways, o.Gateways}, {&c.Credentials, o.Credentials}, {&c.Policies, o.Policies}, {&c.Sidecars, o.Sidecars}, {&c.Workloads, o.Workloads},
	} {
		if len(p.src) == 0 {
			continue
		}
		m := make(map[string]bool, len(*p.dst)+len(p.src))
		for k := range *p.dst {
			m[k] = true
		}
		for k := range p.src {
			m[k] = true
		}
		*p.dst = m
	}
}

// older orders objects by creation; equal times by key, so that order never depends on
// arrival.
func older(a time.Time, ak string, b time.Time, bk string) bool {
	if !a.Equal(b) {
		return a.Before(b)
	}
	return ak < bk
}

// SortVirtualServices orders by creation, then name.
func SortVirtualServices(v []*VirtualService) {
	sort.SliceStable(v, func(i, j int) bool { return older(v[i].Created, v[i].Key(), v[j].Created, v[j].Key()) })
}

// SortDestinationRules orders by creation, then name.
func SortDestinationRules(v []*DestinationRule) {
	sort.SliceStable(v, func(i, j int) bool { return older(v[i].Created, v[i].Key(), v[j].Created, v[j].Key()) })
}

// Service returns the service that a proxy in namespace ns means by host. Where several
// objects define the host: the namespace's own first, then the mesh's registries, then the
// oldest.
func (s *Snapshot) Service(host, ns string) *Service {
	return preferred(s.Services.Prefix(host+"/"), ns)
}

// Concrete returns the service that an ExternalName service stands for, as a proxy in namespace
// ns sees it; nil when it stands for none, or for itself. Aliases of aliases are followed.
func (s *Snapshot) Concrete(svc *Service, ns string) *Service {
	const mostHops = 8
	at := svc
	for hops := 0; at.Alias != ""; hops++ {
		next := s.Service(at.Alias, ns)
		if next == nil {
			break
		}
		if next == svc || hops == mostHops {
			return nil
		}
		at = next
	}
	if at == svc {
		return nil
	}
	return at
}

// AliasesOf returns the ExternalName services that stand for a service, directly or by way of
// each other, as a proxy in namespace ns sees them.
func (s *Snapshot) AliasesOf(host, ns string) []*Service {
	var out []*Service
	hosts := []string{host}
	for i := 0; i < len(hosts); i++ {
		list, _ := s.Aliases.Get(hosts[i])
		for _, svc := range list {
			if slices.Contains(out, svc) || s.Service(svc.Host, ns) != svc {
				continue
			}
			if c := s.Concrete(svc, ns); c != nil && c.Host == host {
				out, hosts = append(out, svc), append(hosts, svc.Host)
			}
		}
	}
	return out
}

func preferred(all []*Service, ns string) *Service {
	var best *Service
	for _, svc := range all {
		if !svc.ExportTo.Visible(ns) {
			continue
		}
		if best == nil || betterService(svc, best, ns) {
			best = svc
		}
	}
	return best
}

func betterService(a, b *Service, ns string) bool {
	if (a.Namespace == ns) != (b.Namespace == ns) {
		return a.Namespace == ns
	}
	if a.Mesh != b.Mesh {
		return a.Mesh
	}
	return older(a.Created, a.Key(), b.Created, b.Key())
}

// VisibleServices returns the services that proxies of namespace ns see, one for a host, by
// host.
func (s *Snapshot) VisibleServices(ns string) []*Service { return visible(s.Services.Values(), s, ns) }

// VisibleOnPort is VisibleServices with only those that have the port.
func (s *Snapshot) VisibleOnPort(ns string, port uint32) []*Service {
	all, _ := s.ServicesByPort.Get(strconv.FormatUint(uint64(port), 10))
	return visible(all, s, ns)
}

// visible drops what ns does not see and all but the preferred service of each host. Services
// come sorted by key, so those of one host are neighbours; the preferred one is chosen among
// all services of the host, not only those given.
func visible(in []*Service, s *Snapshot, ns string) []*Service {
	out := make([]*Service, 0, len(in))
	for i, svc := range in {
		alone := (i == 0 || in[i-1].Host != svc.Host) && len(s.Services.Prefix(svc.Host+"/")) == 1
		if alone {
			if svc.ExportTo.Visible(ns) {
				out = append(out, svc)
			}
			continue
		}
		if s.Service(svc.Host, ns) == svc {
			out = append(out, svc)
		}
	}
	return out
}

// MeshRulesFor returns the virtual services of sidecars of namespace ns for a host, in the
// order in which they count: those for its most specific name alone, be it the host itself or
// a wildcard; among them first the namespace's own private ones, then those exported to it by
// name, then public ones, each oldest first. The first of them that has routes for a client is
// in force, as in Istio.
func (s *Snapshot) MeshRulesFor(host, ns string) []*VirtualService {
	var found []*VirtualService
	patterns(host, func(pattern string) bool {
		found = s.MeshRulesAt(pattern, ns)
		return len(found) > 0
	})
	return found
}

// MeshRulesAt is MeshRulesFor a host or wildcard as virtual services name it.
func (s *Snapshot) MeshRulesAt(pattern, ns string) []*VirtualService {
	var found []*VirtualService
	list, _ := s.MeshRules.Get(pattern)
	for rank := range 3 {
		for _, v := range list {
			if exportRank(v, ns) == rank {
				found = append(found, v)
			}
		}
	}
	return found
}

// OpaqueRulesFor returns the virtual services of sidecars of namespace ns with rules for
// opaque connections to a host. Unlike those for requests, rules for wildcards count beside those
// for the host itself, as in Istio: what decides is who exported them, then their age. For a
// host that is a wildcard, rules for hosts below it count as well: they tell server names apart.
func (s *Snapshot) OpaqueRulesFor(host, ns string) []*VirtualService {
	var found []*VirtualService
	add := func(list []*VirtualService) {
		for _, v := range list {
			if len(v.TCP)+len(v.TLS) > 0 && !slices.Contains(found, v) {
				found = append(found, v)
			}
		}
	}
	patterns(host, func(pattern string) bool {
		add(s.MeshRulesAt(pattern, ns))
		return false
	})
	if suffix, wildcard := strings.CutPrefix(host, "*"); wildcard {
		for _, h := range s.MeshRules.Keys() {
			if strings.HasSuffix(h, suffix) {
				add(s.MeshRulesAt(h, ns))
			}
		}
	}
	slices.SortStableFunc(found, func(a, b *VirtualService) int {
		if d := exportRank(a, ns) - exportRank(b, ns); d != 0 {
			return d
		}
		if older(a.Created, a.Key(), b.Created, b.Key()) {
			return -1
		}
		return 1
	})
	return found
}

func exportRank(v *VirtualService, ns string) int {
	switch {
	case v.ExportTo.Public():
		return 2
	case len(v.ExportTo) == 1 && v.ExportTo[0] == ns && v.Namespace == ns:
		return 0
	case v.ExportTo.Visible(ns):
		return 1
	}
	return 3
}

// RulesForGateway returns the virtual services of a gateway ("namespace/name") that its
// namespace sees, oldest first.
func (s *Snapshot) RulesForGateway(gateway, ns string) []*VirtualService {
	all, _ := s.GatewayRules.Get(gateway)
	out := make([]*VirtualService, 0, len(all))
	for _, v := range all {
		if v.ExportTo.Visible(ns) || v.Namespace == ns {
			out = append(out, v)
		}
	}
	return out
}

// MTLS returns the mTLS mode that a workload's port is served with: the workload's policy for
// the port, then for itself, then its namespace's, then the mesh's; PERMISSIVE when none
// speaks. The oldest of several equal policies wins.
func (s *Snapshot) MTLS(ns string, labels map[string]string, port uint32) MTLSMode {
	mode := MTLSUnset
	workload, namespace, mesh := s.peerAuth(ns, labels)
	if workload != nil {
		if m, ok := workload.Ports[port]; ok && m != MTLSUnset {
			return m
		}
		mode = workload.Mode
	}
	if mode == MTLSUnset && namespace != nil {
		mode = namespace.Mode
	}
	if mode == MTLSUnset && mesh != nil {
		mode = mesh.Mode
	}
	if mode == MTLSUnset {
		mode = MTLSPermissive
	}
	return mode
}

func (s *Snapshot) peerAuth(ns string, labels map[string]string) (workload, namespace, mesh *PeerAuthentication) {
	pick := func(cur *PeerAuthentication, p *PeerAuthentication) *PeerAuthentication {
		if cur == nil || older(p.Created, p.Name, cur.Created, cur.Name) {
			return p
		}
		return cur
	}
	for _, p := range s.PeerAuthentications.Prefix(ns + "/") {
		switch {
		case p.Selector == nil && ns != s.Mesh.RootNamespace:
			namespace = pick(namespace, p)
		case p.Selector != nil && LabelsMatch(p.Selector, labels):
			workload = pick(workload, p)
		}
	}
	for _, p := range s.PeerAuthentications.Prefix(s.Mesh.RootNamespace + "/") {
		if p.Selector == nil {
			mesh = pick(mesh, p)
		}
	}
	return workload, namespace, mesh
}

// Telemetry returns the telemetries that concern a workload, mesh first, then namespace, then
// workload; at most one each, the oldest.
func (s *Snapshot) Telemetry(ns string, labels map[string]string) []*Telemetry {
	var level [3]*Telemetry
	pick := func(i int, t *Telemetry) {
		if level[i] == nil || older(t.Created, t.Name, level[i].Created, level[i].Name) {
			level[i] = t
		}
	}
	for _, t := range s.Telemetries.Prefix(s.Mesh.RootNamespace + "/") {
		if t.Selector == nil {
			pick(0, t)
		}
	}
	for _, t := range s.Telemetries.Prefix(ns + "/") {
		switch {
		case t.Selector != nil && LabelsMatch(t.Selector, labels):
			pick(2, t)
		case t.Selector == nil && ns != s.Mesh.RootNamespace:
			pick(1, t)
		}
	}
	out := make([]*Telemetry, 0, 3)
	for _, t := range level {
		if t != nil {
			out = append(out, t)
		}
	}
	return out
}

// WorkloadOf finds the workload that a proxy stands in front of: the one that it has registered, else by namespace and name, among workloads and then
// among the instances that registries have given, else by address. Nil when it is not registered.
func (s *Snapshot) WorkloadOf(p *Proxy) *Workload {
	if p.Entry != "" {
		w, _ := s.Workloads.Get(p.Namespace + "/" + p.Entry)
		return w
	}
	if w, ok := s.Workloads.Get(p.Namespace + "/" + p.Name); ok {
		return w
	}
	if w := s.registered(p); w != nil {
		return w
	}
	for _, w := range s.Workloads.Prefix(p.Namespace + "/") {
		for _, ip := range p.IPs {
			if w.Address == ip {
				return w
			}
		}
	}
	return nil
}

// Target is a port of a workload's own at which a service has the workload among its endpoints.
type Target struct {
	Service  *Service
	Port     Port // the service's
	Instance *Instance
}

// TargetsOf returns what a workload serves for services, in the order of their keys and of their endpoints.
func (s *Snapshot) TargetsOf(w *Workload) []Target {
	var out []Target
	keys, _ := s.ServicesOf.Get(w.Key())
	for _, key := range keys {
		svc, ok := s.Services.Get(key)
		set, ok2 := s.Endpoints.Get(key)
		if !ok || !ok2 {
			continue
		}
		for i := range set.Instances {
			in := &set.Instances[i]
			if in.Workload != w.Name || in.Namespace != w.Namespace || in.Port == 0 {
				continue
			}
			port, _ := svc.Port(in.ServicePort)
			out = append(out, Target{svc, port, in})
		}
	}
	return out
}

// registered makes a workload of the registry's instance that has the proxy's name.
func (s *Snapshot) registered(p *Proxy) *Workload {
	keys, _ := s.ServicesOf.Get(p.Namespace + "/" + p.Name)
	for _, key := range keys {
		set, ok := s.Endpoints.Get(key)
		if !ok {
			continue
		}
		for i := range set.Instances {
			in := &set.Instances[i]
			if in.Workload == p.Name && in.Namespace == p.Namespace {
				return &Workload{
					Namespace: in.Namespace, Name: in.Workload, Address: in.Address, Labels: in.Labels, ServiceAccount: in.ServiceAccount,
					Locality: in.Locality, Weight: in.Weight, TLS: in.TLS, Origin: in.Origin,
				}
			}
		}
	}
	return nil
}
