package model

import (
	"slices"
	"sort"
	"strings"
	"sync"
)

// SidecarScope is what a proxy sees of a snapshot: its services and, for each of its egress listeners, the services and virtual
// services that count there. It is immutable and shared by all proxies of a namespace with the same Sidecar. Without a Sidecar it
// holds nothing of its own and asks the snapshot.
type SidecarScope struct {
	snap      *Snapshot
	namespace string
	config    *SidecarConfig // nil: everything is seen
	egress    []*EgressScope
	services  []*Service // by host; only with a config
}

// EgressScope is what is seen at one egress listener.
type EgressScope struct {
	scope    *SidecarScope
	listener *EgressListener // nil: for everything
	services []*Service      // by host; only with a config
}

// everything is the egress listener of a Sidecar that has none.
var everything = EgressListener{Hosts: []SidecarHost{{"*", "*"}}}

// scopeMemo keeps the scopes of one snapshot.
type scopeMemo struct {
	mu     sync.Mutex
	scopes map[string]*SidecarScope
}

// RememberScopes makes the snapshot keep each scope from when it is first asked for. Whoever builds a snapshot out of another
// calls it before anybody sees the new one.
func (s *Snapshot) RememberScopes() { s.memo = &scopeMemo{scopes: map[string]*SidecarScope{}} }

// ScopeOf returns what the proxy sees.
func (s *Snapshot) ScopeOf(p *Proxy) *SidecarScope {
	config := s.SidecarFor(p)
	if config == nil || s.memo == nil {
		return newSidecarScope(s, p.Namespace, config)
	}
	key := p.Namespace + "|" + config.Key()
	s.memo.mu.Lock()
	defer s.memo.mu.Unlock()
	scope := s.memo.scopes[key]
	if scope == nil {
		scope = newSidecarScope(s, p.Namespace, config)
		s.memo.scopes[key] = scope
	}
	return scope
}

// ServiceFor returns the service that the proxy means by host; nil when it sees none.
func (s *Snapshot) ServiceFor(p *Proxy, host string) *Service {
	if s.SidecarFor(p) == nil {
		return s.Service(host, p.Namespace)
	}
	return s.ScopeOf(p).Service(host)
}

func newSidecarScope(s *Snapshot, ns string, config *SidecarConfig) *SidecarScope {
	sc := &SidecarScope{snap: s, namespace: ns, config: config}
	if config == nil {
		sc.egress = []*EgressScope{{scope: sc}}
		return sc
	}
	listeners := config.Egress
	if len(listeners) == 0 {
		listeners = []EgressListener{everything}
	}
	for i := range listeners {
		e := &EgressScope{scope: sc, listener: &listeners[i]}
		e.services = e.imported()
		sc.egress = append(sc.egress, e)
	}
	sc.collect()
	return sc
}

// Config is the Sidecar object in force; nil when there is none.
func (sc *SidecarScope) Config() *SidecarConfig { return sc.config }

// Egress are the egress listeners, at least one, in their order.
func (sc *SidecarScope) Egress() []*EgressScope { return sc.egress }

// Services returns all services that the proxy may call, by host. With a Sidecar they have only the ports that it lets through.
func (sc *SidecarScope) Services() []*Service {
	if sc.config == nil {
		return sc.snap.VisibleServices(sc.namespace)
	}
	return sc.services
}

// Service returns the service that the proxy means by host; nil when it sees none.
func (sc *SidecarScope) Service(host string) *Service {
	if sc.config == nil {
		return sc.snap.Service(host, sc.namespace)
	}
	return byHost(sc.services, host)
}

// byHost finds a host in services sorted by it.
func byHost(services []*Service, host string) *Service {
	i := sort.Search(len(services), func(i int) bool { return services[i].Host >= host })
	if i < len(services) && services[i].Host == host {
		return services[i]
	}
	return nil
}

// EgressFor returns the egress listener of a port; nil when no listener can have it. Port 0 is a listener's without one: that
// for everything, or for the Unix socket bind.
func (sc *SidecarScope) EgressFor(port uint32, bind string) *EgressScope {
	for _, e := range sc.egress {
		l := e.listener
		if l == nil || l.Port == nil || l.Port.Number == port && (port != 0 || l.Bind == bind) {
			return e
		}
	}
	return nil
}

// RegistryOnly reports whether nothing may be called but what is known.
func (sc *SidecarScope) RegistryOnly() bool {
	if sc.config != nil && sc.config.Outbound != nil {
		return sc.config.Outbound.RegistryOnly
	}
	return sc.snap.Mesh.RegistryOnly
}

// DynamicOutbound reports whether requests to what is not known go to the host that they name. A Sidecar's own outboundTrafficPolicy has no
// such mode.
func (sc *SidecarScope) DynamicOutbound() bool {
	return sc.snap.Mesh.DynamicOutbound && (sc.config == nil || sc.config.Outbound == nil)
}

// EgressProxy is where what is not known goes; nil: where it was going.
func (sc *SidecarScope) EgressProxy() *Destination {
	if sc.config == nil || sc.config.Outbound == nil {
		return nil
	}
	return sc.config.Outbound.Proxy
}

// Ingress are the ports that the Sidecar says the workload serves; none: those of its services.
func (sc *SidecarScope) Ingress() []IngressListener {
	if sc.config == nil {
		return nil
	}
	return sc.config.Ingress
}

// InboundPool is the Sidecar's connection pool for a port of the workload; nil when it has none.
func (sc *SidecarScope) InboundPool(port uint32) *ConnectionPool {
	if sc.config == nil {
		return nil
	}
	for i := range sc.config.Ingress {
		if in := &sc.config.Ingress[i]; in.Port.Number == port && in.Pool != nil {
			return in.Pool
		}
	}
	return sc.config.InboundPool
}

// Listener is the egress listener's own part; nil when there is no Sidecar.
func (e *EgressScope) Listener() *EgressListener { return e.listener }

// Services returns the services that are called through the listener, by host.
func (e *EgressScope) Services() []*Service {
	if e.listener == nil {
		return e.scope.snap.VisibleServices(e.scope.namespace)
	}
	return e.services
}

// ServicesOn is Services with only those that have the port.
func (e *EgressScope) ServicesOn(port uint32) []*Service {
	if e.listener == nil {
		return e.scope.snap.VisibleOnPort(e.scope.namespace, port)
	}
	var out []*Service
	for _, svc := range e.services {
		if _, ok := svc.Port(port); ok {
			out = append(out, svc)
		}
	}
	return out
}

// Service returns the service that is called by host through the listener; nil for none.
func (e *EgressScope) Service(host string) *Service {
	if e.listener == nil {
		return e.scope.snap.Service(host, e.scope.namespace)
	}
	return byHost(e.services, host)
}

// AliasesOf returns the ExternalName services that stand for a service and are seen at the listener.
func (e *EgressScope) AliasesOf(host string) []*Service {
	all := e.scope.snap.AliasesOf(host, e.scope.namespace)
	if e.listener == nil {
		return all
	}
	return slices.DeleteFunc(all, func(svc *Service) bool { return e.Service(svc.Host) == nil })
}

// RulesFor returns the virtual services that count for a host at the listener, in order (Snapshot.MeshRulesFor).
func (e *EgressScope) RulesFor(host string) []*VirtualService {
	var found []*VirtualService
	patterns(host, func(pattern string) bool {
		found = e.RulesAt(pattern)
		return len(found) > 0
	})
	return found
}

// RulesAt is RulesFor a host or wildcard as virtual services name it.
func (e *EgressScope) RulesAt(pattern string) []*VirtualService {
	return e.seen(e.scope.snap.MeshRulesAt(pattern, e.scope.namespace))
}

// OpaqueRulesFor returns the virtual services with rules for opaque bytes to a host (Snapshot.OpaqueRulesFor).
func (e *EgressScope) OpaqueRulesFor(host string) []*VirtualService {
	return e.seen(e.scope.snap.OpaqueRulesFor(host, e.scope.namespace))
}

func (e *EgressScope) seen(list []*VirtualService) []*VirtualService {
	if e.listener == nil {
		return list
	}
	return slices.DeleteFunc(list, func(v *VirtualService) bool { return !e.importsRule(v) })
}

// importsRule reports whether some host of a virtual service overlaps with one that is imported from its namespace.
func (e *EgressScope) importsRule(v *VirtualService) bool {
	for _, host := range v.Hosts {
		in := func(h SidecarHost) bool {
			return e.of(h, v.Namespace) && (within(host, h.Host) || within(h.Host, host))
		}
		out := func(h SidecarHost) bool { return e.of(h, v.Namespace) && within(host, h.Host) }
		if slices.ContainsFunc(e.listener.Hosts, in) && !slices.ContainsFunc(e.listener.Excluded, out) {
			return true
		}
	}
	return false
}

// of reports whether a host is meant in a namespace.
func (e *EgressScope) of(h SidecarHost, ns string) bool {
	return h.Namespace == "*" || h.Namespace == ns || h.Namespace == "." && ns == e.scope.namespace
}

// within reports whether every name that host stands for is one of pattern's.
func within(host, pattern string) bool {
	if host == pattern || pattern == "*" {
		return true
	}
	suffix, wildcard := strings.CutPrefix(pattern, "*")
	return wildcard && len(host) > len(suffix) && strings.HasSuffix(host, suffix)
}

// imported are the services of the listener's hosts: of a host that several namespaces define the preferred one among those that
// are imported, and where the listener has a port, with that port alone.
func (e *EgressScope) imported() []*Service {
	s, ns := e.scope.snap, e.scope.namespace
	var out []*Service
	all := s.Services.Values()
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].Host == all[i].Host {
			j++
		}
		var candidates []*Service
		for _, svc := range all[i:j] {
			if trimmed := e.onListenerPort(svc); trimmed != nil && e.imports(svc) {
				candidates = append(candidates, trimmed)
			}
		}
		if svc := preferred(candidates, ns); svc != nil {
			out = append(out, svc)
		}
		i = j
	}
	return out
}

func (e *EgressScope) imports(svc *Service) bool {
	meant := func(h SidecarHost) bool { return e.of(h, svc.Namespace) && within(svc.Host, h.Host) }
	return slices.ContainsFunc(e.listener.Hosts, meant) && !slices.ContainsFunc(e.listener.Excluded, meant)
}

// hasPort reports whether only services with the listener's port are called through it. Listeners without a port, those for
// explicit proxies and Unix sockets take all.
func (e *EgressScope) hasPort() bool {
	p := e.listener.Port
	return p != nil && p.Number != 0 && !p.HTTPProxy
}

// onListenerPort is the service with the listener's port alone, where it has one; nil when the service lacks that.
func (e *EgressScope) onListenerPort(svc *Service) *Service {
	if !e.hasPort() {
		return svc
	}
	return withPorts(svc, []uint32{e.listener.Port.Number})
}

// withPorts is the service with some of its ports; nil when it has none of them.
func withPorts(svc *Service, numbers []uint32) *Service {
	kept := slices.DeleteFunc(slices.Clone(svc.Ports), func(p Port) bool { return !slices.Contains(numbers, p.Number) })
	switch len(kept) {
	case 0:
		return nil
	case len(svc.Ports):
		return svc
	}
	out := *svc
	out.Ports = kept
	return &out
}

// collect gathers the services of all listeners, and the destinations of the virtual services that these import: where rules lead
// clusters are needed, imported or not.
func (sc *SidecarScope) collect() {
	found := map[string]*Service{}
	add := func(svc *Service) {
		if svc == nil {
			return
		}
		had := found[svc.Host]
		switch {
		case had == nil:
			found[svc.Host] = svc
		case had.Namespace == svc.Namespace:
			found[svc.Host] = joinPorts(had, svc)
		}
	}
	for _, e := range sc.egress {
		for _, svc := range e.services {
			add(svc)
		}
		for _, v := range sc.snap.VirtualServices.Values() {
			if !v.HasGateway(MeshGateway) || exportRank(v, sc.namespace) > 2 || !e.importsRule(v) {
				continue
			}
			for _, d := range v.Destinations() {
				svc := sc.snap.Service(d.Host, sc.namespace)
				switch {
				case svc == nil:
				case e.hasPort():
					add(e.onListenerPort(svc))
				case d.Port != 0:
					add(withPorts(svc, []uint32{d.Port}))
				default:
					add(svc)
				}
			}
		}
	}
	for _, svc := range found {
		sc.services = append(sc.services, svc)
	}
	sort.Slice(sc.services, func(i, j int) bool { return sc.services[i].Host < sc.services[j].Host })
}

// joinPorts is the service with the ports of both forms of it, in the order of numbers.
func joinPorts(a, b *Service) *Service {
	var more []Port
	for _, p := range b.Ports {
		if _, has := a.Port(p.Number); !has {
			more = append(more, p)
		}
	}
	if len(more) == 0 {
		return a
	}
	if len(more)+len(a.Ports) == len(b.Ports) {
		return b
	}
	out := *a
	out.Ports = append(slices.Clone(a.Ports), more...)
	slices.SortFunc(out.Ports, func(x, y Port) int { return int(x.Number) - int(y.Number) })
	return &out
}
