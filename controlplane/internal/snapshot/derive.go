package snapshot

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// flush settles the collections and derives what depends on what changed.
func (b *Builder) flush(ch *model.Change) (*model.Snapshot, *model.Change) {
	b.convertRoots()
	old := b.snap
	s := *old
	s.Mesh, s.Trust = b.mesh, b.trust

	var services []diff[model.Service]
	var workloads []diff[model.Workload]
	var routes []diff[model.VirtualService]
	var rules []diff[model.DestinationRule]
	var gateways []diff[model.Gateway]
	var credentials []diff[model.Credential]
	var peerAuths []diff[model.PeerAuthentication]
	var tokens []diff[model.RequestAuthentication]
	var authorized []diff[model.AuthorizationPolicy]
	var telemetries []diff[model.Telemetry]
	var sidecars []diff[model.SidecarConfig]
	var patches []diff[model.EnvoyFilter]
	b.allocate()
	// A service that is only marked dirty because the mesh changed has no diff, but its
	// endpoints may differ all the same.
	again := map[string]bool{}
	if ch.All {
		for k := range b.services.dirty {
			again[k] = true
		}
	}
	s.Services, services = b.services.flush(s.Services, b.next)
	s.Workloads, workloads = b.workloads.flush(s.Workloads, b.next)
	s.VirtualServices, routes = b.routes.flush(s.VirtualServices, b.next)
	s.DestinationRules, rules = b.rules.flush(s.DestinationRules, b.next)
	s.Gateways, gateways = b.gateways.flush(s.Gateways, b.next)
	s.Credentials, credentials = b.credentials.flush(s.Credentials, b.next)
	s.PeerAuthentications, peerAuths = b.peerAuths.flush(s.PeerAuthentications, b.next)
	s.RequestAuthentications, tokens = b.tokens.flush(s.RequestAuthentications, b.next)
	s.AuthorizationPolicies, authorized = b.authorized.flush(s.AuthorizationPolicies, b.next)
	s.Telemetries, telemetries = b.telemetries.flush(s.Telemetries, b.next)
	s.Sidecars, sidecars = b.sidecars.flush(s.Sidecars, b.next)
	s.EnvoyFilters, patches = b.patches.flush(s.EnvoyFilters, b.next)
	var groups []diff[model.WorkloadGroup] // their agents and the registration read them, no resource of a proxy does
	s.WorkloadGroups, groups = b.groups.flush(s.WorkloadGroups, b.next)
	var configs []diff[model.ProxyConfig] // as of groups
	s.ProxyConfigs, configs = b.configs.flush(s.ProxyConfigs, b.next)

	for _, d := range services {
		b.labels.service(d)
		again[d.key] = true
		if d.new != nil && d.new.Gateway != "" {
			b.networkGateways[d.key] = true
		} else {
			delete(b.networkGateways, d.key)
		}
		if endpointsOnly(d) {
			continue // deriveEndpoints says whom that concerns
		}
		mark(&ch.Hosts, hostOf(d.key))
		mark(&ch.ListenerHosts, hostOf(d.key))
	}
	b.registered.settle(again)
	b.affectedByWorkloads(&s, workloads, again)
	b.affectedByPolicies(&s, peerAuths, again)
	b.deriveEndpoints(&s, old, again, ch)
	b.indexPorts(&s, services)
	b.indexAliases(&s, services, ch)
	b.indexRules(&s, rules, ch)
	b.indexRoutes(&s, routes, ch)
	for _, d := range gateways {
		mark(&ch.Gateways, d.key)
		was, is := d.old != nil && d.old.AutoPassthrough(), d.new != nil && d.new.AutoPassthrough()
		b.passthroughs += count(is) - count(was)
		ch.Passthrough = ch.Passthrough || was || is
	}
	for _, d := range credentials {
		mark(&ch.Credentials, d.key)
	}
	for _, d := range peerAuths {
		mark(&ch.Policies, policyScope(d.key, b.mesh))
	}
	for _, d := range tokens {
		mark(&ch.Policies, policyScope(d.key, b.mesh))
	}
	for _, d := range authorized {
		mark(&ch.Policies, policyScope(d.key, b.mesh))
	}
	for _, d := range telemetries {
		mark(&ch.Policies, policyScope(d.key, b.mesh))
	}
	for _, d := range sidecars {
		mark(&ch.Sidecars, policyScope(d.key, b.mesh))
	}
	for _, d := range patches {
		if ch.Patches == nil {
			ch.Patches = map[string]model.PatchTargets{}
		}
		ns := policyScope(d.key, b.mesh)
		ch.Patches[ns] = ch.Patches[ns].Or(patchTargets(d))
	}
	for _, d := range workloads {
		mark(&ch.Workloads, d.key)
	}
	b.deriveNetworks(&s, old)
	ch.All = ch.All || s.Networks != old.Networks
	s.AutoPassthrough = b.passthroughs > 0
	s.RuleLabels = sortedKeys(b.ruleLabels)
	for _, label := range b.mesh.Locality.ClientLabels() {
		if _, asked := b.ruleLabels[label]; !asked {
			s.RuleLabels = append(s.RuleLabels, label)
		}
	}
	slices.Sort(s.RuleLabels)
	if slices.Equal(s.RuleLabels, old.RuleLabels) {
		s.RuleLabels = old.RuleLabels
	}

	differs := len(services)+len(workloads)+len(routes)+len(rules)+len(gateways)+len(credentials)+len(peerAuths)+len(telemetries)+len(sidecars)+len(patches)+len(groups)+len(configs) > 0
	if ch.Empty() && !differs {
		ch.To, ch.Objects = old.Version, nil
		return old, ch
	}
	s.Version = b.next()
	s.RememberScopes()
	ch.To = s.Version
	b.snap = &s
	return b.snap, ch
}

// allocate settles which of the services that may have changed have addresses of the mesh's
// giving. One that comes or goes can move others.
func (b *Builder) allocate() {
	for _, key := range sortedKeys(b.services.dirty) {
		host, ns := hostOf(key), namespaceOf(key)
		v := b.services.winner(key)
		wanted := v != nil && v.AutoAllocate
		var created time.Time
		if wanted {
			created = v.Created
		}
		for _, moved := range b.vips.set(ns+"/"+host, created, wanted) {
			ns, host, _ := strings.Cut(moved, "/")
			b.services.dirty[host+"/"+ns] = true
		}
	}
}

func mark(set *map[string]bool, key string) {
	if *set == nil {
		*set = map[string]bool{}
	}
	(*set)[key] = true
}

func hostOf(serviceKey string) string {
	return serviceKey[:strings.LastIndexByte(serviceKey, '/')]
}

func namespaceOf(serviceKey string) string {
	return serviceKey[strings.LastIndexByte(serviceKey, '/')+1:]
}

// policyScope is the namespace that a policy concerns, "" for the mesh.
func policyScope(key string, mesh *model.Mesh) string {
	ns, _, _ := strings.Cut(key, "/")
	if ns == mesh.RootNamespace {
		return ""
	}
	return ns
}

// affectedByWorkloads marks the services whose endpoints a changed workload is or was.
func (b *Builder) affectedByWorkloads(s *model.Snapshot, diffs []diff[model.Workload], again map[string]bool) {
	for _, d := range diffs {
		b.labels.workload(d)
		was, _ := s.ServicesOf.Get(d.key)
		for _, key := range was {
			again[key] = true
		}
		if d.new != nil {
			b.labels.choosing(d.new, func(key string) { again[key] = true })
		}
	}
}

// affectedByPolicies marks services whose endpoints' TLS mode may differ: those of the
// policy's namespace, or all for the root namespace.
func (b *Builder) affectedByPolicies(s *model.Snapshot, diffs []diff[model.PeerAuthentication], again map[string]bool) {
	for _, d := range diffs {
		ns := policyScope(d.key, b.mesh)
		if ns == "" {
			for _, key := range s.Services.Keys() {
				again[key] = true
			}
			return
		}
		for key := range b.services.byNamespace[ns] {
			again[key] = true
		}
	}
}

// deriveEndpoints builds the endpoint sets of the services named in again and keeps the index
// from workloads to services.
func (b *Builder) deriveEndpoints(s, old *model.Snapshot, again map[string]bool, ch *model.Change) {
	var edits []model.Edit[*model.EndpointSet]
	members := map[string]map[string]bool{} // workload to services, of those touched
	member := func(workload string) map[string]bool {
		m, ok := members[workload]
		if !ok {
			m = map[string]bool{}
			keys, _ := old.ServicesOf.Get(workload)
			for _, k := range keys {
				m[k] = true
			}
			members[workload] = m
		}
		return m
	}
	for _, key := range sortedKeys(again) {
		prev, had := old.Endpoints.Get(key)
		var set *model.EndpointSet
		if svc, ok := s.Services.Get(key); ok {
			set = b.endpoints(s, svc)
		}
		if had {
			for i := range prev.Instances {
				if in := &prev.Instances[i]; in.Workload != "" {
					delete(member(in.Namespace+"/"+in.Workload), key)
				}
			}
		}
		if set != nil {
			for i := range set.Instances {
				if in := &set.Instances[i]; in.Workload != "" {
					member(in.Namespace + "/" + in.Workload)[key] = true
				}
			}
		}
		switch {
		case set == nil && !had:
		case set == nil:
			edits = append(edits, model.Edit[*model.EndpointSet]{Key: key, Delete: true})
			mark(&ch.EndpointHosts, hostOf(key))
		default:
			if had {
				set.Rev = prev.Rev
				if reflect.DeepEqual(set, prev) {
					continue
				}
				// Clients pin the identities that a service's endpoints may have: a new
				// one changes the cluster.
				if !slices.Equal(set.Accounts, prev.Accounts) || set.Mutual != prev.Mutual {
					mark(&ch.Hosts, hostOf(key))
				}
			}
			set.Rev = b.next()
			edits = append(edits, model.Edit[*model.EndpointSet]{Key: key, Value: set})
			mark(&ch.EndpointHosts, hostOf(key))
			if svc, _ := s.Services.Get(key); svc.Resolution == model.ResolutionDNS || svc.Resolution == model.ResolutionDNSRR {
				mark(&ch.Hosts, hostOf(key)) // DNS clusters carry their endpoints
			} else if svc.CalledByPod() {
				mark(&ch.ListenerHosts, hostOf(key)) // each endpoint has a listener
			}
		}
	}
	s.Endpoints = s.Endpoints.Apply(edits)

	var index []model.Edit[[]string]
	for workload, keys := range members {
		sorted := sortedKeys(keys)
		prev, had := old.ServicesOf.Get(workload)
		if slices.Equal(prev, sorted) {
			continue
		}
		mark(&ch.Workloads, workload)
		if len(sorted) == 0 {
			if had {
				index = append(index, model.Edit[[]string]{Key: workload, Delete: true})
			}
			continue
		}
		index = append(index, model.Edit[[]string]{Key: workload, Value: sorted})
	}
	s.ServicesOf = s.ServicesOf.Apply(index)
}

// endpoints builds a service's endpoint set: inline endpoints, then registered ones, then selected workloads by name.
func (b *Builder) endpoints(s *model.Snapshot, svc *model.Service) *model.EndpointSet {
	set := &model.EndpointSet{Key: svc.Key()}
	accounts := map[string]bool{}
	put := func(e model.Instance) {
		if e.TLS == model.TLSModeIstio {
			accounts[model.SPIFFE(b.mesh.TrustDomain, e.Namespace, e.ServiceAccount)] = true
		}
		if e.TLS == model.TLSModeIstio && s.MTLS(e.Namespace, e.Labels, e.Port) == model.MTLSDisable {
			e.TLS = model.TLSModeDisabled
		}
		set.Instances = append(set.Instances, e)
	}
	add := func(of *model.Service, in model.Instance, ports, named map[string]uint32) {
		for _, p := range of.Ports {
			e := in
			e.Ports, e.ServicePort, e.Port = nil, p.Number, targetPort(p, ports, named)
			if e.Port == 0 {
				continue // a named target port that the workload does not have
			}
			if strings.HasPrefix(e.Address, "unix://") {
				e.Port = 0
			}
			put(e)
		}
	}
	b.registered.instances(svc, put)
	for _, of := range svc.Definitions() {
		for _, in := range of.Inline {
			add(of, in, in.Ports, in.Ports)
		}
		for _, w := range b.labels.chosen(s, of) {
			if w.Address == "" && w.Network == "" {
				continue // with a network the gateways of that may know where it is
			}
			add(of, model.Instance{
				Address: w.Address, Labels: w.Labels, ServiceAccount: w.ServiceAccount, Namespace: w.Namespace,
				Workload: w.Name, Locality: w.Locality, Network: w.Network, Weight: w.Weight, TLS: w.TLS, Unhealthy: w.Unhealthy && !of.PublishNotReady, Origin: w.Origin,
			}, w.Ports, w.PortNames())
		}
	}
	if len(accounts) > 0 {
		set.Accounts = sortedKeys(accounts)
	}
	set.Mutual = len(set.Instances) > 0 && !slices.ContainsFunc(set.Instances, func(e model.Instance) bool { return e.TLS != model.TLSModeIstio })
	return set
}

// targetPort is the port at the workload: the workload's own map by the service port's name first, then what is named as its target.
func targetPort(p model.Port, ports, named map[string]uint32) uint32 {
	if n, ok := ports[p.Name]; ok && p.Name != "" {
		return n
	}
	if p.Named != "" {
		return named[p.Named]
	}
	return p.TargetPort()
}

// indexPorts keeps the services of each port number.
func (b *Builder) indexPorts(s *model.Snapshot, diffs []diff[model.Service]) {
	touched := map[string]map[string]*model.Service{} // port to key to new value (nil: gone)
	for _, d := range diffs {
		if d.old != nil {
			for _, p := range d.old.Ports {
				at(touched, port(p))[d.key] = nil
			}
		}
		if d.new != nil {
			for _, p := range d.new.Ports {
				at(touched, port(p))[d.key] = d.new
			}
		}
	}
	s.ServicesByPort = regroup(s.ServicesByPort, touched)
}

// regroup returns an index of services with those that changed, by group and by their keys; nil: gone. Groups are in
// the order of keys.
func regroup(index model.Table[[]*model.Service], touched map[string]map[string]*model.Service) model.Table[[]*model.Service] {
	var edits []model.Edit[[]*model.Service]
	for group, changed := range touched {
		prev, _ := index.Get(group)
		next := make([]*model.Service, 0, len(prev)+len(changed))
		for _, svc := range prev {
			if _, ok := changed[svc.Key()]; !ok {
				next = append(next, svc)
			}
		}
		for _, svc := range changed {
			if svc != nil {
				next = append(next, svc)
			}
		}
		slices.SortFunc(next, func(a, c *model.Service) int { return strings.Compare(a.Key(), c.Key()) })
		edits = append(edits, model.Edit[[]*model.Service]{Key: group, Value: next, Delete: len(next) == 0})
	}
	return index.Apply(edits)
}

func port(p model.Port) string { return strconv.FormatUint(uint64(p.Number), 10) }

func at[V any](m map[string]map[string]V, key string) map[string]V {
	if m[key] == nil {
		m[key] = map[string]V{}
	}
	return m[key]
}

// indexRules keeps destination rules merged by namespace and host.
func (b *Builder) indexRules(s *model.Snapshot, diffs []diff[model.DestinationRule], ch *model.Change) {
	touched := map[string]bool{}
	before := b.opaqueRules
	for _, d := range diffs {
		b.opaqueRules += count(opaquePolicy(d.new)) - count(opaquePolicy(d.old))
	}
	if before+b.opaqueRules > 0 {
		for _, d := range diffs {
			for _, r := range []*model.DestinationRule{d.old, d.new} {
				if r != nil {
					mark(&ch.ListenerHosts, r.Host)
				}
			}
		}
	}
	for _, d := range diffs {
		for i, r := range []*model.DestinationRule{d.old, d.new} {
			if r == nil {
				continue
			}
			key := ruleKey(r)
			touched[key] = true
			if i == 0 {
				delete(b.rulesOf[key], d.key)
			} else {
				at(b.rulesOf, key)[d.key] = r
			}
			mark(&ch.Hosts, r.Host)
		}
		b.countLabels(ruleLabels(d.old), ruleLabels(d.new))
	}
	var edits []model.Edit[[]*model.DestinationRule]
	for key := range touched {
		if len(b.rulesOf[key]) == 0 {
			delete(b.rulesOf, key)
		}
		rules := slices.Collect(maps.Values(b.rulesOf[key]))
		model.SortDestinationRules(rules)
		edits = append(edits, model.Edit[[]*model.DestinationRule]{Key: key, Value: mergeRules(rules, b.next), Delete: len(rules) == 0})
	}
	s.MergedRules = s.MergedRules.Apply(edits)
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// endpointsOnly says that a service differs in nothing but the endpoints that its object lists, which change most often of all.
func endpointsOnly(d diff[model.Service]) bool {
	if d.old == nil || d.new == nil || d.old.Parts != nil || d.new.Parts != nil {
		return false
	}
	was, is := *d.old, *d.new
	was.Inline, is.Inline = nil, nil
	was.Rev = is.Rev
	return reflect.DeepEqual(&was, &is)
}

// ruleKey is a rule's key in Snapshot.MergedRules.
func ruleKey(r *model.DestinationRule) string { return r.Namespace + "/" + r.Host }

// indexRoutes keeps virtual services by host (for sidecars) and by gateway.
func (b *Builder) indexRoutes(s *model.Snapshot, diffs []diff[model.VirtualService], ch *model.Change) {
	hosts := map[string]map[string]*model.VirtualService{}
	gateways := map[string]map[string]*model.VirtualService{}
	has := func(v *model.VirtualService) bool { return v != nil && len(v.TCP)+len(v.TLS) > 0 }
	opaque := b.opaqueRoutes > 0
	for _, d := range diffs {
		b.opaqueRoutes += count(has(d.new)) - count(has(d.old))
	}
	opaque = opaque || b.opaqueRoutes > 0
	for _, d := range diffs {
		for i, v := range []*model.VirtualService{d.old, d.new} {
			if v == nil {
				continue
			}
			var put *model.VirtualService
			if i == 1 {
				put = v
			}
			for _, g := range v.Gateways {
				if g != model.MeshGateway {
					at(gateways, g)[d.key] = put
					mark(&ch.Gateways, g)
				}
			}
			if !v.HasGateway(model.MeshGateway) {
				continue
			}
			for _, h := range v.Hosts {
				at(hosts, h)[d.key] = put
				mark(&ch.RouteHosts, h)
				if opaque {
					mark(&ch.ListenerHosts, h)
				}
			}
		}
		b.countLabels(routeLabels(d.old), routeLabels(d.new))
	}
	s.MeshRules = s.MeshRules.Apply(routeEdits(s.MeshRules, hosts))
	s.GatewayRules = s.GatewayRules.Apply(routeEdits(s.GatewayRules, gateways))
}

func routeEdits(t model.Table[[]*model.VirtualService], touched map[string]map[string]*model.VirtualService) []model.Edit[[]*model.VirtualService] {
	var edits []model.Edit[[]*model.VirtualService]
	for key, changed := range touched {
		prev, _ := t.Get(key)
		next := make([]*model.VirtualService, 0, len(prev)+len(changed))
		for _, v := range prev {
			if _, ok := changed[v.Key()]; !ok {
				next = append(next, v)
			}
		}
		for _, v := range changed {
			if v != nil {
				next = append(next, v)
			}
		}
		model.SortVirtualServices(next)
		edits = append(edits, model.Edit[[]*model.VirtualService]{Key: key, Value: next, Delete: len(next) == 0})
	}
	return edits
}

func routeLabels(v *model.VirtualService) []string {
	if v == nil {
		return nil
	}
	set := map[string]bool{}
	for _, r := range v.HTTP {
		for _, m := range r.Matches {
			for k := range m.SourceLabels {
				set[k] = true
			}
		}
	}
	for _, r := range v.TCP {
		for _, m := range r.Matches {
			for k := range m.SourceLabels {
				set[k] = true
			}
		}
	}
	for _, r := range v.TLS {
		for _, m := range r.Matches {
			for k := range m.SourceLabels {
				set[k] = true
			}
		}
	}
	return sortedKeys(set)
}

// countLabels keeps how many rules ask for each label.
func (b *Builder) countLabels(old, new []string) {
	for _, l := range old {
		if b.ruleLabels[l]--; b.ruleLabels[l] == 0 {
			delete(b.ruleLabels, l)
		}
	}
	for _, l := range new {
		b.ruleLabels[l]++
	}
}
