package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"net/netip"
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
	var port uint32
	if name != httpProxyRoute {
		n, err := strconv.ParseUint(name, 10, 16)
		if err != nil {
			return Resource{}, false
		}
		port = uint32(n)
	}
	hosts := sidecarHosts(s, p, port)
	k := (&keyHash{}).str(s.Scope(p), name).num(s.Mesh.Rev)
	for i := range hosts {
		hosts[i].key(k, s, p)
	}
	return Resource{Name: name, Key: k.String(), build: func() proto.Message {
		return sidecarRoutes(s, p, name, hosts)
	}}, true
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
	if svc := s.Service(host, p.Namespace); svc != nil {
		k.num(svc.Rev)
		ns = svc.Namespace
	}
	if rule := s.Rule(host, ns, p.Namespace, p.Labels); rule != nil {
		k.num(rule.Rev)
	}
}

// speaksHTTP reports whether requests to a port are routed: ports whose protocol is detected
// count, since what arrives at a route is a request.
func speaksHTTP(p model.Port) bool { return p.Protocol.IsHTTP() || p.Protocol == model.ProtocolAuto }

// sidecarHosts returns the virtual hosts of the route configuration of a port, or of the
// explicit proxy (port 0), by name. Domains are unique: of two hosts that claim one, the
// first by name has it, for Envoy refuses a configuration that repeats one.
func sidecarHosts(s *model.Snapshot, p *model.Proxy, port uint32) []virtualHost {
	explicit := port == 0
	services := []*model.Service(nil)
	if explicit {
		services = s.VisibleServices(p.Namespace)
	} else {
		services = s.VisibleOnPort(p.Namespace, port)
	}
	var out []virtualHost
	for _, svc := range services {
		rules := s.MeshRule(svc.Host, p.Namespace)
		if rules != nil && len(rules.HTTP) == 0 {
			rules = nil
		}
		for _, sp := range svc.Ports {
			if !speaksHTTP(sp) || (!explicit && sp.Number != port) {
				continue
			}
			out = append(out, virtualHost{host: svc.Host, port: sp.Number, svc: svc, rules: rules, domains: serviceDomains(svc, p)})
		}
	}
	if explicit || port == 80 {
		// Hosts of virtual services that are no services are served on port 80.
		for _, host := range s.MeshRules.Keys() {
			if rules := s.MeshRule(host, p.Namespace); rules != nil && len(rules.HTTP) > 0 && !isService(s, p, host) {
				out = append(out, virtualHost{host: host, port: 80, rules: rules, domains: []string{host}})
			}
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].name() < out[j].name() })
	seen := map[string]bool{}
	kept := out[:0]
	for _, v := range out {
		domains := v.domains
		if explicit {
			domains = withPort(domains, v.port)
		}
		v.domains = nil
		for _, d := range domains {
			if !seen[d] {
				seen[d] = true
				v.domains = append(v.domains, d)
			}
		}
		if len(v.domains) > 0 {
			kept = append(kept, v)
		}
	}
	return kept
}

// isService reports whether a virtual service's host has virtual hosts as a service already:
// itself, or for a wildcard some service below it.
func isService(s *model.Snapshot, p *model.Proxy, host string) bool {
	if s.Service(host, p.Namespace) != nil {
		return true
	}
	suffix, wildcard := strings.CutPrefix(host, "*")
	if !wildcard {
		return false
	}
	for _, svc := range s.Services.Values() {
		if strings.HasSuffix(svc.Host, suffix) && svc.ExportTo.Visible(p.Namespace) {
			return true
		}
	}
	return false
}

// serviceDomains are the names by which clients call a service (D15): its FQDN, the shorter
// forms that resolve in the client's namespace, and its addresses.
func serviceDomains(svc *model.Service, p *model.Proxy) []string {
	out := []string{svc.Host}
	if svc.Mesh {
		if svc.Namespace == p.Namespace {
			out = append(out, svc.Name)
		}
		out = append(out, svc.Name+"."+svc.Namespace+".svc", svc.Name+"."+svc.Namespace)
	}
	for _, a := range svc.AddressesFor(p) {
		if ip, err := netip.ParseAddr(a); err == nil && ip.Is6() {
			a = "[" + a + "]"
		}
		out = append(out, a)
	}
	return out
}

// withPort gives the forms that a client of the explicit proxy uses: with the port, and for
// port 80 also without.
func withPort(domains []string, port uint32) []string {
	var out []string
	for _, d := range domains {
		if port == 80 {
			out = append(out, d)
		}
		if d != "*" {
			out = append(out, hostPort(d, port))
		}
	}
	return out
}

func sidecarRoutes(s *model.Snapshot, p *model.Proxy, name string, hosts []virtualHost) *routev3.RouteConfiguration {
	out := &routev3.RouteConfiguration{
		Name: name, ValidateClusters: boolean(false),
		MaxDirectResponseBodySizeBytes: u32(1 << 20),
		IgnorePortInHostMatching:       name != httpProxyRoute,
	}
	wildcard := false
	for i := range hosts {
		v := &hosts[i]
		rc := &routeContext{snap: s, proxy: p, gateway: model.MeshGateway, port: v.port}
		vh := &routev3.VirtualHost{Name: v.name(), Domains: v.domains, IncludeRequestAttemptCount: true}
		if v.rules != nil {
			vh.Routes = rc.httpRoutes(v.rules)
		}
		if len(vh.Routes) == 0 {
			// No rules, or none that concern this client.
			if v.svc == nil {
				continue
			}
			vh.Routes = []*routev3.Route{rc.defaultRoute(v.svc)}
		}
		// A client of a local listener (explicit interception) calls it by the proxy's own
		// address; with one service on the port that is who it means.
		if len(hosts) == 1 && name != httpProxyRoute && noOriginalDst(p) && !contains(vh.Domains, "*") {
			vh.Domains = append(vh.Domains[:len(vh.Domains):len(vh.Domains)], "*")
		}
		wildcard = wildcard || contains(vh.Domains, "*")
		out.VirtualHosts = append(out.VirtualHosts, vh)
	}
	if !wildcard {
		out.VirtualHosts = append(out.VirtualHosts, unknownHost(s.Mesh, p))
	}
	return out
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
		Timeout:          seconds(notimeout), RetryPolicy: rc.retryPolicy(nil), HashPolicy: rc.hashPolicy(d),
	}
	a.MaxGrpcTimeout = seconds(notimeout)
	r := &routev3.Route{
		Name: "default", Match: routeMatch(nil), Action: &routev3.Route_Route{Route: a}, Metadata: metadata(nil, svc.Origin),
	}
	r.Decorator = &routev3.Decorator{Operation: operation(r, "", rc.port)}
	return r
}

// unknownHost is the last virtual host: what is in no registry passes (ALLOW_ANY) or is
// refused with 502 (REGISTRY_ONLY).
func unknownHost(mesh *model.Mesh, p *model.Proxy) *routev3.VirtualHost {
	if mesh.RegistryOnly {
		return &routev3.VirtualHost{
			Name: "block_all", Domains: []string{"*"}, IncludeRequestAttemptCount: true,
			Routes: []*routev3.Route{{
				Name: "block_all", Match: routeMatch(nil),
				Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 502}},
			}},
		}
	}
	a := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: PassthroughCluster}, Timeout: seconds(notimeout)}
	a.MaxGrpcTimeout = seconds(notimeout)
	r := &routev3.Route{Name: "allow_any", Match: routeMatch(nil), Action: &routev3.Route_Route{Route: a}}
	if noOriginalDst(p) {
		r.RequestHeadersToAdd = []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: originalDstHeader, Value: "%REQ(:AUTHORITY)%"},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}}
	}
	return &routev3.VirtualHost{Name: "allow_any", Domains: []string{"*"}, IncludeRequestAttemptCount: true, Routes: []*routev3.Route{r}}
}
