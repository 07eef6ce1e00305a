package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// originalDstHeader tells an ORIGINAL_DST cluster with use_http_header where to connect.
const originalDstHeader = "x-envoy-original-dst-host"

// virtualHost is what one virtual host of a sidecar is made of.
type virtualHost struct {
	host    string
	port    uint32
	svc     *model.Service        // nil for a virtual service's host that is no service
	rules   *model.VirtualService // nil: the default route
	domains []string
}

func (v *virtualHost) name() string { return hostPort(v.host, v.port) }

// routeConfig makes the route configuration of that name, if the proxy may have it.
func routeConfig(s *model.Snapshot, p *model.Proxy, name string) (Resource, bool) {
	if p.Type == model.Router {
		return gatewayRouteConfig(s, p, name)
	}
	scope := s.ScopeOf(p)
	if p.OnDemand {
		if _, ok := routesOf(scope, name); !ok {
			return Resource{}, false
		}
		k := (&keyHash{}).str("on demand", name)
		return Resource{Name: name, Key: k.String(), build: func() proto.Message { return onDemandRoutes(name) }}, true
	}
	r, ok := routedHosts(s, p, scope, name)
	if !ok {
		return Resource{}, false
	}
	k := (&keyHash{}).str(s.Scope(p), name).num(s.Mesh.Rev)
	if c := scope.Config(); c != nil {
		k.num(c.Rev)
	}
	for i := range r.hosts {
		r.hosts[i].key(k, s, p)
	}
	return Resource{Name: name, Key: k.String(), build: func() proto.Message {
		return r.build(s, p, name)
	}}, true
}

// routed is what a route configuration of a sidecar is made of.
type routed struct {
	hosts    []virtualHost
	egress   *model.EgressScope
	explicit bool // clients name the port in requests
}

// routedHosts returns the virtual hosts of the route configuration of that name.
func routedHosts(s *model.Snapshot, p *model.Proxy, scope *model.SidecarScope, name string) (routed, bool) {
	of, ok := routesOf(scope, name)
	if !ok {
		return routed{}, false
	}
	return of.hosts(s, p), true
}

// hosts are the virtual hosts of the route configuration.
func (of routes) hosts(s *model.Snapshot, p *model.Proxy) routed {
	r := routed{egress: of.egress, explicit: of.explicit}
	if of.svc == nil {
		r.hosts = sidecarHosts(s, p, of.egress, of.port)
		return r
	}
	rc := &routeContext{snap: s, proxy: p, gateway: model.MeshGateway, port: of.port}
	r.hosts = []virtualHost{{host: of.svc.Host, port: of.port, svc: of.svc, rules: rc.inForce(of.egress.RulesFor(of.svc.Host)), domains: []string{"*"}}}
	return r
}

// routes is what the name of a route configuration of a sidecar says: of a port ("80"), of one
// service that has a listener of its own ("catalog.shop.svc.cluster.local:8080"), of a Unix socket
// ("unix:///path"), or of the explicit proxy.
type routes struct {
	egress   *model.EgressScope
	explicit bool           // clients name the port in requests
	svc      *model.Service // nil: any
	port     uint32         // 0: any
}

// routesOf reads the name of a route configuration. False: the proxy has none of that name.
func routesOf(scope *model.SidecarScope, name string) (routes, bool) {
	if name == httpProxyRoute || isSocket(name) {
		egress := scope.EgressFor(0, name)
		return routes{egress: egress, explicit: true}, egress != nil
	}
	host, text := "", name
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		host, text = name[:i], name[i+1:]
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return routes{}, false
	}
	r := routes{egress: scope.EgressFor(uint32(n), ""), port: uint32(n)}
	if r.egress == nil {
		return routes{}, false
	}
	if host == "" {
		if l := r.egress.Listener(); l != nil && l.Port != nil && l.Port.HTTPProxy {
			r.explicit, r.port = true, 0
		}
		return r, true
	}
	if r.svc = r.egress.Service(host); r.svc == nil {
		return routes{}, false
	}
	sp, ok := r.svc.Port(r.port)
	return r, ok && sp.Protocol == model.ProtocolAuto
}

// key adds everything that a virtual host's routes are derived from.
func (v *virtualHost) key(k *keyHash, s *model.Snapshot, p *model.Proxy) {
	k.str(v.host).num(uint64(v.port))
	k.str(v.domains...)
	if v.svc != nil {
		k.num(v.svc.Rev)
		destinationKey(k, s, p, v.svc.Host)
	}
	if v.rules != nil {
		rulesKey(k, s, p, v.rules)
	}
}

// rulesKey adds a virtual service and what its destinations mean.
func rulesKey(k *keyHash, s *model.Snapshot, p *model.Proxy, v *model.VirtualService) {
	k.num(v.Rev)
	for i := range v.HTTP {
		for j := range v.HTTP[i].Destinations {
			destinationKey(k, s, p, v.HTTP[i].Destinations[j].Host)
		}
		for j := range v.HTTP[i].Mirrors {
			destinationKey(k, s, p, v.HTTP[i].Mirrors[j].Host)
		}
	}
}

func destinationKey(k *keyHash, s *model.Snapshot, p *model.Proxy, host string) {
	ns := ""
	if svc := s.ServiceFor(p, host); svc != nil {
		k.num(svc.Rev)
		ns = svc.Namespace
		if concrete := s.Concrete(svc, p.Namespace); concrete != nil {
			k.str(concrete.Host)
		}
	}
	if rule := s.Rule(host, ns, p.Namespace, p.Labels); rule != nil {
		k.num(rule.Rev)
	}
}

// speaksHTTP reports whether requests to a port are routed: ports whose protocol is detected
// count, since what arrives at a route is a request.
func speaksHTTP(p model.Port) bool { return p.Protocol.IsHTTP() || p.Protocol == model.ProtocolAuto }

// sidecarHosts returns the virtual hosts of the route configuration of a port, or of the
// explicit proxy (port 0), by name, as the egress listener lets them be seen. Domains are unique: of two hosts that claim one, the
// first by name has it, for Envoy refuses a configuration that repeats one.
func sidecarHosts(s *model.Snapshot, p *model.Proxy, egress *model.EgressScope, port uint32) []virtualHost {
	explicit := port == 0
	services := []*model.Service(nil)
	if explicit {
		services = egress.Services()
	} else {
		services = egress.ServicesOn(port)
	}
	var out []virtualHost
	for _, svc := range services {
		all := egress.RulesFor(svc.Host)
		alias := s.Concrete(svc, p.Namespace) != nil
		for _, sp := range svc.Ports {
			if !speaksHTTP(sp) || (!explicit && sp.Number != port) {
				continue
			}
			rc := &routeContext{snap: s, proxy: p, gateway: model.MeshGateway, port: sp.Number}
			rules := rc.inForce(all)
			if alias && rules == nil {
				continue // its names are among those of the service that it stands for
			}
			out = append(out, virtualHost{host: svc.Host, port: sp.Number, svc: svc, rules: rules, domains: serviceDomains(egress, svc, p)})
		}
	}
	for _, host := range s.MeshRules.Keys() {
		if len(covered(host, services)) > 0 {
			continue // its services have virtual hosts
		}
		for _, n := range rulePorts(egress, host, services, port) {
			rc := &routeContext{snap: s, proxy: p, gateway: model.MeshGateway, port: n}
			if rules := rc.inForce(egress.RulesAt(host)); rules != nil {
				out = append(out, virtualHost{host: host, port: n, rules: rules, domains: []string{host}})
			}
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].name() < out[j].name() })
	// An alias with rules of its own has its names before the service that it stands for.
	owner := map[string]*virtualHost{}
	claim := func(v *virtualHost) {
		for _, d := range v.domains {
			if explicit {
				d = hostPort(d, v.port)
			}
			if owner[d] == nil {
				owner[d] = v
			}
		}
	}
	for i := range out {
		if v := &out[i]; v.svc != nil && v.svc.Alias != "" {
			claim(v)
		}
	}
	for i := range out {
		claim(&out[i])
	}
	kept := make([]virtualHost, 0, len(out))
	for i := range out {
		v := out[i]
		domains := v.domains
		v.domains = nil
		for _, d := range domains {
			if !explicit && owner[d] == &out[i] {
				v.domains = append(v.domains, d)
			}
			if explicit && owner[hostPort(d, v.port)] == &out[i] {
				v.domains = append(v.domains, withPort(d, v.port)...)
			}
		}
		if len(v.domains) > 0 {
			kept = append(kept, v)
		}
	}
	return kept
}

// inForce is the first of some virtual services that has routes for the client; nil for none.
func (rc *routeContext) inForce(list []*model.VirtualService) *model.VirtualService {
	for _, v := range list {
		if rc.concerns(v) {
			return v
		}
	}
	return nil
}

// concerns reports whether a virtual service has routes for the client.
func (rc *routeContext) concerns(v *model.VirtualService) bool {
	for i := range v.HTTP {
		rule := &v.HTTP[i]
		if len(rule.Destinations) == 0 && rule.Redirect == nil && rule.Direct == nil {
			continue
		}
		if len(rule.Matches) == 0 {
			return true
		}
		for j := range rule.Matches {
			if rc.applies(&rule.Matches[j]) {
				return true
			}
		}
	}
	return false
}

// rulePorts are the ports on which a virtual service's host that is no service is served: 80,
// and those of the services that the same virtual services are for. port limits them; 0 does
// not.
func rulePorts(egress *model.EgressScope, host string, services []*model.Service, port uint32) []uint32 {
	var out []uint32
	add := func(n uint32) {
		if (port == 0 || n == port) && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	add(80)
	for _, v := range egress.RulesAt(host) {
		if len(v.Hosts) == 1 {
			continue
		}
		for _, h := range v.Hosts {
			for _, svc := range covered(h, services) {
				for _, sp := range svc.Ports {
					if speaksHTTP(sp) {
						add(sp.Number)
					}
				}
			}
		}
	}
	return out
}

// covered are those of some services, sorted by host, that a virtual service's host names.
func covered(host string, services []*model.Service) []*model.Service {
	if strings.HasPrefix(host, "*") {
		var out []*model.Service
		for _, svc := range services {
			if covers(host, svc.Host) {
				out = append(out, svc)
			}
		}
		return out
	}
	i := sort.Search(len(services), func(i int) bool { return services[i].Host >= host })
	if i < len(services) && services[i].Host == host {
		return services[i : i+1]
	}
	return nil
}

// serviceDomains are the names by which clients call a service (D15): its FQDN, the shorter
// forms that resolve in the client's namespace, those of its aliases, and its addresses. Pods of
// a headless service have names below it.
func serviceDomains(egress *model.EgressScope, svc *model.Service, p *model.Proxy) []string {
	out := nameForms(svc, p)
	for _, alias := range egress.AliasesOf(svc.Host) {
		out = append(out, nameForms(alias, p)...)
	}
	if svc.Headless {
		for _, d := range slices.Clone(out) {
			out = append(out, "*."+d)
		}
	}
	for _, a := range svc.AddressesFor(p) {
		if ip, err := netip.ParseAddr(a); err == nil && ip.Is6() {
			a = "[" + a + "]"
		}
		out = append(out, a)
	}
	return out
}

// nameForms are a service's names as a client in the proxy's namespace may write them.
func nameForms(svc *model.Service, p *model.Proxy) []string {
	out := []string{svc.Host}
	if svc.Mesh {
		if svc.Namespace == p.Namespace {
			out = append(out, svc.Name)
		}
		out = append(out, svc.Name+"."+svc.Namespace+".svc", svc.Name+"."+svc.Namespace)
	}
	return out
}

// withPort gives the forms that a client of the explicit proxy uses: with the port, and for
// port 80 also without.
func withPort(domain string, port uint32) []string {
	var out []string
	if port == 80 {
		out = append(out, domain)
	}
	if domain != "*" {
		out = append(out, hostPort(domain, port))
	}
	return out
}

func (r *routed) build(s *model.Snapshot, p *model.Proxy, name string) *routev3.RouteConfiguration {
	out := &routev3.RouteConfiguration{
		Name: name, ValidateClusters: boolean(false),
		MaxDirectResponseBodySizeBytes: u32(1 << 20),
		IgnorePortInHostMatching:       !r.explicit,
	}
	wildcard := false
	for i := range r.hosts {
		vh := r.hosts[i].build(s, p)
		if vh == nil {
			continue
		}
		if r.servesAll(p) && !contains(vh.Domains, "*") {
			vh.Domains = append(vh.Domains[:len(vh.Domains):len(vh.Domains)], "*")
		}
		wildcard = wildcard || contains(vh.Domains, "*")
		out.VirtualHosts = append(out.VirtualHosts, vh)
	}
	if !wildcard {
		out.VirtualHosts = append(out.VirtualHosts, unknownHost(s, p, r.egress))
	}
	return out
}

// servesAll reports whether the virtual hosts are one that serves all hosts. A client of a local
// listener (explicit interception) calls it by the proxy's own address; with one service on the
// port that is who it means.
func (r *routed) servesAll(p *model.Proxy) bool {
	return len(r.hosts) == 1 && !r.explicit && noOriginalDst(p)
}

// build makes the virtual host; nil when it has no routes for the client.
func (v *virtualHost) build(s *model.Snapshot, p *model.Proxy) *routev3.VirtualHost {
	rc := &routeContext{snap: s, proxy: p, gateway: model.MeshGateway, port: v.port}
	vh := &routev3.VirtualHost{Name: v.name(), Domains: v.domains, IncludeRequestAttemptCount: countsAttempts(s, p)}
	if v.rules != nil {
		vh.Routes = rc.httpRoutes(v.rules)
	}
	if len(vh.Routes) == 0 {
		// No rules, or none that concern this client.
		if v.svc == nil {
			return nil
		}
		vh.Routes = []*routev3.Route{rc.defaultRoute(v.svc)}
	}
	return vh
}

// unknownCluster is where what is known to nobody goes: on to where it was going, to an egress
// proxy, or nowhere (D20, D21).
func unknownCluster(s *model.Snapshot, p *model.Proxy, scope *model.SidecarScope) string {
	if scope.RegistryOnly() {
		return BlackHoleCluster
	}
	if to := scope.EgressProxy(); to != nil {
		rc := &routeContext{snap: s, proxy: p, gateway: model.MeshGateway}
		return rc.cluster(*to)
	}
	return PassthroughCluster
}

func contains(list []string, v string) bool {
	for _, s := range list {
		if s == v {
			return true
		}
	}
	return false
}

// defaultRoute goes to a service without rules (D18).
func (rc *routeContext) defaultRoute(svc *model.Service) *routev3.Route {
	d := model.Destination{Host: svc.Host, Port: rc.port}
	a := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: rc.cluster(d)},
		Timeout:          seconds(notimeout), RetryPolicy: rc.retryPolicy(nil, false), HashPolicy: rc.hashPolicy(d),
	}
	a.MaxGrpcTimeout = seconds(notimeout)
	r := &routev3.Route{
		Name: "default", Match: routeMatch(nil), Action: &routev3.Route_Route{Route: a}, Metadata: metadata(nil, svc.Origin),
	}
	r.Decorator = &routev3.Decorator{Operation: operation(r, "", rc.port)}
	return r
}

// unknownHost is the last virtual host: what is in no registry passes (ALLOW_ANY), to an egress
// proxy if there is one, or is refused with 502 (REGISTRY_ONLY). Where the application itself
// has called the listener there is no other place that it was going.
func unknownHost(s *model.Snapshot, p *model.Proxy, egress *model.EgressScope) *routev3.VirtualHost {
	scope := s.ScopeOf(p)
	to, l := scope.EgressProxy(), egress.Listener()
	nowhere := to == nil && l != nil && l.BindsPort(p) && !noOriginalDst(p)
	if scope.RegistryOnly() || nowhere {
		return &routev3.VirtualHost{
			Name: "block_all", Domains: []string{"*"}, IncludeRequestAttemptCount: countsAttempts(s, p),
			Routes: []*routev3.Route{{
				Name: "block_all", Match: routeMatch(nil),
				Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 502}},
			}},
		}
	}
	name := unknownCluster(s, p, scope)
	if name == PassthroughCluster && scope.DynamicOutbound() {
		name = AnyHostCluster
	}
	a := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name}, Timeout: seconds(notimeout)}
	a.MaxGrpcTimeout = seconds(notimeout)
	r := &routev3.Route{Name: "allow_any", Match: routeMatch(nil), Action: &routev3.Route_Route{Route: a}}
	if noOriginalDst(p) && name == PassthroughCluster {
		r.RequestHeadersToAdd = []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: originalDstHeader, Value: "%REQ(:AUTHORITY)%"},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}}
	}
	return &routev3.VirtualHost{Name: "allow_any", Domains: []string{"*"}, IncludeRequestAttemptCount: countsAttempts(s, p), Routes: []*routev3.Route{r}}
}
