package translate

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"sort"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/envoyfilter"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/pkg/nametable"
)

// Type URLs of the resources.
const (
	ListenerType  = "type.googleapis.com/envoy.config.listener.v3.Listener"
	ClusterType   = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	RouteType     = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	EndpointType  = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	SecretType    = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	ExtensionType = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	AgentType     = "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig"
	BootstrapType = "type.googleapis.com/envoy.config.bootstrap.v3.Bootstrap"
	RuntimeType   = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
	NameType      = nametable.TypeURL
)

// Resource is one resource that a proxy should have. It is cheap: the message is made by
// Build, once for all proxies that have a resource of the same type, name and key.
type Resource struct {
	Name string
	// Key names everything that the message was derived from, by revision: resources of
	// one type with equal Name and Key have equal bytes, whichever proxy or snapshot (of one
	// builder) they were asked for. The reverse need not hold. Empty for resources that are not
	// asked for by many (listeners but virtualInbound): they are compared by their bytes.
	Key   string
	build func() proto.Message
	// Reads, of a virtual host that is asked for by name: what it was derived from, in the terms of HostReads.
	Reads []string
	// patched: an EnvoyFilter is for it, and Key says which.
	patched bool
}

// Build makes the message. It may be called from any goroutine, and more than once.
func (r Resource) Build() proto.Message { return r.build() }

// What each type depends on:
//
//	Listeners  services with TCP ports; gateways that select the proxy; policies of its
//	           namespace; the mesh configuration; of the proxy its Scope and OutboundKey, and
//	           for inbound listeners its workload and services
//	Clusters   the service, its destination rule, its endpoints' identities (DNS: its
//	           endpoints), the mesh configuration; of the proxy its Scope, and for inbound
//	           clusters its workload, the destination rules of its services and its Sidecar
//	Routes     services on the port, virtual services for them, destinations' services and
//	           destination rules; of the proxy its Scope
//	Endpoints  the service's endpoints, its destination rule (subset labels, outlier
//	           detection); of the proxy its Scope
//	Clusters   of a gateway with model.Snapshot.TrimGateways also where its rules lead
//	all        the EnvoyFilters for the proxy; keys name those for the resource
//	Secrets    the Secret, gateways that select the proxy, and destination rules
//	Agents     the proxy's WorkloadGroup
//	Names      the service, of headless ones its endpoints; of the proxy its Scope

// Clusters returns all clusters of a proxy, in a stable order.
func Clusters(s *model.Snapshot, p *model.Proxy) []Resource {
	return append(OutboundClusters(s, p), InboundClusters(s, p)...)
}

// OutboundClusters returns the clusters for all hosts that the proxy sees.
func OutboundClusters(s *model.Snapshot, p *model.Proxy) []Resource {
	ps := envoyfilter.For(s, p)
	var out []Resource
	t := trimOf(s, p)
	for _, svc := range t.services(s, p) {
		out = append(out, patchClusters(ps, outboundContext(p), t.clusters(s, p, svc), nil)...)
	}
	return out
}

// ClustersOf returns the clusters for one host: those that Clusters has for it, none when the
// host is not visible. Together with Affected it makes the cost of a change independent of
// the number of services.
func ClustersOf(s *model.Snapshot, p *model.Proxy, host string) []Resource {
	svc := s.ServiceFor(p, host)
	if svc == nil {
		return nil
	}
	return patchClusters(envoyfilter.For(s, p), outboundContext(p), trimOf(s, p).clusters(s, p, svc), nil)
}

// InboundClusters returns the clusters for the proxy's own workload, those that every proxy
// has, and those that EnvoyFilters add.
func InboundClusters(s *model.Snapshot, p *model.Proxy) []Resource {
	return ownClusters(s, p, envoyfilter.For(s, p))
}

// Endpoints returns the load assignments with these names (EDS cluster names), in their order.
// A name whose service is gone has an empty assignment, as Envoy keeps a cluster warming
// without one.
func Endpoints(s *model.Snapshot, p *model.Proxy, names []string) []Resource {
	out := make([]Resource, 0, len(names))
	for _, n := range names {
		if r, ok := endpoints(s, p, n); ok {
			out = append(out, r)
		}
	}
	return out
}

// EndpointNames returns the names of all load assignments that the proxy's clusters refer to.
func EndpointNames(s *model.Snapshot, p *model.Proxy) []string {
	var out []string
	for _, svc := range trimOf(s, p).services(s, p) {
		out = append(out, edsNames(s, p, svc)...)
	}
	return out
}

// Routes returns the route configurations with these names, in their order. A name that the
// proxy's listeners do not refer to is left out.
func Routes(s *model.Snapshot, p *model.Proxy, names []string) []Resource {
	ps := envoyfilter.For(s, p)
	out := make([]Resource, 0, len(names))
	for _, n := range names {
		if r, ok := routeConfig(s, p, n); ok {
			out = append(out, patchRoutes(s, p, ps, r))
		}
	}
	return out
}

// RouteNames returns the names of all route configurations that the proxy's listeners refer
// to, sorted.
func RouteNames(s *model.Snapshot, p *model.Proxy) []string {
	set := map[string]bool{}
	if p.Type == model.Router {
		for _, l := range gatewayListeners(s, p) {
			for _, n := range l.routeNames() {
				set[n] = true
			}
		}
	} else {
		for _, l := range sidecarOutbound(s, p) {
			if l.route != "" {
				set[l.route] = true
			}
		}
	}
	out := make([]string, 0, len(set))
	for n := range set {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

// Affected is what a proxy has to look at again after a change.
type Affected struct {
	// Listeners: OutboundListeners.
	Listeners bool
	// Routes: all route configurations of the proxy. Their keys tell which really differ.
	Routes bool
	// AllClusters and AllEndpoints: every one; otherwise those of the hosts.
	AllClusters, AllEndpoints bool
	ClusterHosts              []string // sorted; ask ClustersOf, and remove what is gone
	EndpointHosts             []string // sorted; EDS names end with "|" and the host
	// Inbound: InboundClusters and InboundListeners.
	Inbound bool
}

// None reports whether the change does not concern the proxy.
func (a Affected) None() bool {
	return !a.Listeners && !a.Routes && !a.AllClusters && !a.AllEndpoints && !a.Inbound && len(a.ClusterHosts)+len(a.EndpointHosts) == 0
}

// Cluster reports whether the outbound cluster of that name is concerned.
func (a Affected) Cluster(name string) bool {
	if a.AllClusters {
		return true
	}
	host := ClusterHost(name)
	i := sort.SearchStrings(a.ClusterHosts, host)
	return i < len(a.ClusterHosts) && a.ClusterHosts[i] == host
}

// Endpoint reports whether the load assignment of that name is concerned.
func (a Affected) Endpoint(name string) bool {
	if a.AllEndpoints {
		return true
	}
	host := ClusterHost(name)
	i := sort.SearchStrings(a.EndpointHosts, host)
	return i < len(a.EndpointHosts) && a.EndpointHosts[i] == host
}

// Affects says what of a proxy a change may concern. It may say too much, never too little.
func Affects(c *model.Change, s *model.Snapshot, p *model.Proxy) Affected {
	var a Affected
	if c.All || p.Type == model.Sidecar && (c.Sidecars[p.Namespace] || c.Sidecars[""]) {
		return Affected{Listeners: true, Routes: true, AllClusters: true, AllEndpoints: true, Inbound: true}
	}
	router := p.Type == model.Router
	w := p.Namespace + "/" + p.Name
	own := c.Workloads[w]
	if _, known := s.Workloads.Get(w); known {
		// found by its name
	} else if _, registered := s.ServicesOf.Get(w); registered {
		own = own || ownHosts(c.EndpointHosts, s, w) // a registry's instance, whose labels and ports are those of its endpoints
	} else {
		// The proxy's workload is found by address (model.Snapshot.WorkloadOf): any of the
		// namespace may be it, or have been.
		for k := range c.Workloads {
			own = own || strings.HasPrefix(k, p.Namespace+"/")
		}
		if wl := s.WorkloadOf(p); wl != nil {
			w = wl.Key()
		} else if leaving(p) {
			own = own || len(c.Hosts) > 0 // its services are those of its labels
		}
	}
	if len(c.Hosts) > 0 {
		a.Routes = true
		for h := range c.Hosts {
			if strings.HasPrefix(h, "*") {
				a.AllClusters, a.AllEndpoints = true, true
			}
			a.ClusterHosts = append(a.ClusterHosts, h)
		}
		own = own || ownHosts(c.Hosts, s, w)
	}
	for h := range c.EndpointHosts {
		a.EndpointHosts = append(a.EndpointHosts, h)
	}
	for h := range c.Hosts { // subsets and outlier detection come from destination rules
		if !c.EndpointHosts[h] {
			a.EndpointHosts = append(a.EndpointHosts, h)
		}
	}
	a.Listeners = len(c.ListenerHosts) > 0
	a.Routes = a.Routes || (len(c.RouteHosts) > 0 && !router)
	if len(c.RouteHosts) > 0 && s.SidecarFor(p) != nil {
		a.AllClusters, a.AllEndpoints = true, true // services are imported where virtual services lead
	}
	if len(c.Gateways) > 0 && router {
		a.Routes, a.Listeners = true, true
	}
	if router && (c.Passthrough || trims(s, p) && leadsElsewhere(c, s)) {
		a.AllClusters, a.AllEndpoints = true, true
	}
	if router && s.AutoPassthrough && len(c.Hosts) > 0 {
		a.Listeners = true // a chain for each cluster
	}
	if c.Policies[p.Namespace] || c.Policies[""] {
		a.Listeners, a.Inbound = true, true
	}
	// What logs and traces are sent to: a workload's listeners name it, and whether there is a cluster for the mesh's tracer depends on it.
	if len(c.ListenerHosts) > 0 && sendsTo(s, c.ListenerHosts) {
		a.Inbound = true
	}
	if servesSecrets(s, c.Hosts) || servesSecrets(s, c.ListenerHosts) {
		a.AllClusters = true // clusters name the one by which they get their certificates
	}
	if len(c.ListenerHosts) > 0 && fetchesFrom(s, c.ListenerHosts) {
		a.Inbound, a.Listeners = true, true
	}
	if own && s.Networks != nil { // it may have moved to another network
		a.AllClusters, a.AllEndpoints = true, true
	}
	if own {
		a.Inbound = true
		// Without interception a workload's own ports are not to be had for services.
		a.Listeners = a.Listeners || router || p.Interception == model.InterceptNone
	}
	if t := c.Patches[p.Namespace].Or(c.Patches[""]); t != (model.PatchTargets{}) {
		a.Listeners, a.Routes = a.Listeners || t.Listeners, a.Routes || t.Routes
		a.AllClusters, a.Inbound = a.AllClusters || t.Clusters, a.Inbound || t.Clusters || t.Listeners
	}
	sort.Strings(a.ClusterHosts)
	sort.Strings(a.EndpointHosts)
	return a
}

// leadsElsewhere reports whether a change may concern to which services routes lead: with aliases any service may be one that is led to by way of others. The
// services that an alias itself stood for are among the hosts of its change.
func leadsElsewhere(c *model.Change, s *model.Snapshot) bool {
	return len(c.RouteHosts)+len(c.Gateways) > 0 || len(c.Hosts) > 0 && s.Aliases.Len() > 0
}

// ForScope is a change without what cannot concern the scope of a proxy (model.Snapshot.Scope): Sidecars other than the one that is the scope's. A proxy for
// which another has begun or ceased to count has changed its scope; what it has of its own is to be derived from the change as it is.
func ForScope(c *model.Change, s *model.Snapshot, p *model.Proxy) *model.Change {
	if len(c.Sidecars) == 0 || c.All {
		return c
	}
	if own := s.SidecarFor(p); own != nil && slices.Contains(c.Objects, model.ObjectKey{Kind: "Sidecar", Namespace: own.Namespace, Name: own.Name}) {
		return c
	}
	less := *c
	less.Sidecars = nil
	return &less
}

// sendsTo reports whether logs or traces go to one of the hosts, or would if it were there, or may go there by an alias.
func sendsTo(s *model.Snapshot, hosts map[string]bool) bool {
	return slices.ContainsFunc(s.Mesh.CollectorHosts(), func(h string) bool { return hosts[h] || s.Aliases.Len() > 0 })
}

// ownHosts reports whether some of the hosts, which may be wildcards, are of services that the workload serves.
func ownHosts(hosts map[string]bool, s *model.Snapshot, workload string) bool {
	keys, _ := s.ServicesOf.Get(workload)
	for _, k := range keys {
		host, _, _ := strings.Cut(k, "/")
		if hosts[host] {
			return true
		}
		for h := range hosts {
			if strings.HasPrefix(h, "*") && covers(h, host) {
				return true
			}
		}
	}
	return false
}

// keyHash gathers the inputs of a resource into a key.
type keyHash struct{ buf []byte }

func (k *keyHash) num(vs ...uint64) *keyHash {
	for _, v := range vs {
		k.buf = binary.LittleEndian.AppendUint64(k.buf, v)
	}
	return k
}

func (k *keyHash) str(ss ...string) *keyHash {
	for _, s := range ss {
		k.buf = binary.LittleEndian.AppendUint32(k.buf, uint32(len(s)))
		k.buf = append(k.buf, s...)
	}
	return k
}

func (k *keyHash) flag(vs ...bool) *keyHash {
	for _, v := range vs {
		b := byte(0)
		if v {
			b = 1
		}
		k.buf = append(k.buf, b)
	}
	return k
}

func (k *keyHash) String() string {
	sum := sha256.Sum256(k.buf)
	return hex.EncodeToString(sum[:16])
}
