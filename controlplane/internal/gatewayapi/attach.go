package gatewayapi

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

// route is a route of any kind, with its rules converted.
type route struct {
	object    *config.Object
	parents   []gatewayv1.ParentReference
	hostnames []string // empty: any
	// One of these is set, by kind.
	http     []httpEntry
	backends []*networking.RouteDestination // of a TCPRoute or TLSRoute
	// unresolved is the first reference that leads nowhere. Unsupported is the first rule that asks for what is not supported; served says
	// whether another one is left.
	unresolved  *refError
	unsupported *refError
	served      bool
}

// route converts a route and binds it to each of its parents.
func (c *conversion) route(o *config.Object) {
	r := &route{object: o}
	switch spec := o.Spec.(type) {
	case *gatewayv1.HTTPRouteSpec:
		r.parents, r.hostnames = spec.ParentRefs, names(spec.Hostnames)
		c.httpRules(r, spec)
	case *gatewayv1.GRPCRouteSpec:
		r.parents, r.hostnames = spec.ParentRefs, names(spec.Hostnames)
		c.grpcRules(r, spec)
	case *gatewayv1.TLSRouteSpec:
		r.parents, r.hostnames, r.served = spec.ParentRefs, names(spec.Hostnames), true
		for _, rule := range spec.Rules {
			r.backends = append(r.backends, c.l4Backends(r, rule.BackendRefs)...)
		}
	case *gatewayv1.TCPRouteSpec:
		r.parents, r.served = spec.ParentRefs, true
		for _, rule := range spec.Rules {
			r.backends = append(r.backends, c.l4Backends(r, rule.BackendRefs)...)
		}
	}
	c.routes++ // they come oldest first
	for i := range r.http {
		r.http[i].age = c.routes
	}
	status := gatewayv1.RouteStatus{Parents: []gatewayv1.RouteParentStatus{}}
	for _, ref := range r.parents {
		group, kind := value(ref.Group, gatewayv1.GroupName), value(ref.Kind, "Gateway")
		switch {
		case group == gatewayv1.GroupName && kind == "Gateway":
			ns := string(value(ref.Namespace, gatewayv1.Namespace(o.Namespace)))
			g := c.gateways[ns+"/"+string(ref.Name)]
			if g == nil {
				continue // another controller's, or none's: not ours to speak of
			}
			status.Parents = append(status.Parents, r.status(ref, GatewayController, c.attach(r, g, ref)))
		case group == "" && kind == "Service":
			status.Parents = append(status.Parents, r.status(ref, MeshController, c.attachToService(r, ref)))
		}
	}
	c.setStatus(o, status)
}

func names(list []gatewayv1.Hostname) []string {
	var out []string
	for _, h := range list {
		out = append(out, string(h))
	}
	return out
}

// status says how the route is bound to one parent.
func (r *route) status(ref gatewayv1.ParentReference, controller gatewayv1.GatewayController, refused *refError) gatewayv1.RouteParentStatus {
	out := gatewayv1.RouteParentStatus{ParentRef: ref, ControllerName: controller}
	set := func(typ gatewayv1.RouteConditionType, holds bool, reason gatewayv1.RouteConditionReason, text string) {
		setCondition(&out.Conditions, r.object, string(typ), holds, string(reason), "%s", text)
	}
	switch {
	case refused != nil:
		set(gatewayv1.RouteConditionAccepted, false, refused.reason, refused.text)
	case r.unsupported != nil && !r.served:
		set(gatewayv1.RouteConditionAccepted, false, r.unsupported.reason, r.unsupported.text)
	default:
		set(gatewayv1.RouteConditionAccepted, true, gatewayv1.RouteReasonAccepted, "Route was valid")
	}
	if r.unsupported != nil && r.served {
		set(gatewayv1.RouteConditionPartiallyInvalid, true, r.unsupported.reason, "Dropped Rule "+r.unsupported.text)
	}
	if r.unresolved != nil {
		set(gatewayv1.RouteConditionResolvedRefs, false, r.unresolved.reason, r.unresolved.text)
	} else {
		set(gatewayv1.RouteConditionResolvedRefs, true, gatewayv1.RouteReasonResolvedRefs, "All references resolved")
	}
	return out
}

// attach binds a route to the listeners of a Gateway that a reference means; the error says why there is none.
func (c *conversion) attach(r *route, g *gateway, ref gatewayv1.ParentReference) *refError {
	o := r.object
	failed := &refError{gatewayv1.RouteReasonNoMatchingParent, "Gateway " + g.object.Namespace + "/" + g.object.Name + " has no such listener"}
	attached := false
	for _, l := range g.listeners {
		if ref.SectionName != nil && *ref.SectionName != l.spec.Name || ref.Port != nil && *ref.Port != l.spec.Port {
			continue
		}
		if l.refused || !slices.Contains(l.kinds, gatewayv1.Kind(o.Kind.Name)) || !c.admitsNamespace(l, o.Namespace) {
			if failed.reason == gatewayv1.RouteReasonNoMatchingParent {
				text := "listener " + string(l.spec.Name) + " takes no " + o.Kind.Name + " of namespace " + o.Namespace
				if l.refused {
					text = "listener " + string(l.spec.Name) + " is not accepted; see the status of the Gateway"
				}
				failed = &refError{gatewayv1.RouteReasonNotAllowedByListeners, text}
			}
			continue
		}
		hosts := l.hosts(r.hostnames)
		if len(hosts) == 0 {
			failed = &refError{gatewayv1.RouteReasonNoMatchingListenerHostname, "none of the hostnames is one of listener " + string(l.spec.Name) + " (" + l.host + ")"}
			continue
		}
		attached = true
		l.attached++
		if l.serves {
			c.bind(r, l, hosts)
		}
	}
	if attached {
		return nil
	}
	return failed
}

// boundHost is a name under which a route's rules are served. The more specific the route's own hostname is, the sooner they are tried among those
// of other routes of that name.
type boundHost struct {
	name        string
	specificity int
}

// hosts are the names that the listener and a route's hostnames have in common, each once.
func (l *listener) hosts(hostnames []string) []boundHost {
	if len(hostnames) == 0 || l.protocol() == gatewayv1.TCPProtocolType {
		return []boundHost{{name: l.host}}
	}
	var out []boundHost
	for _, h := range hostnames {
		both, ok := intersect(l.host, h)
		if !ok {
			continue
		}
		next := boundHost{both, specificity(h)}
		if i := slices.IndexFunc(out, func(b boundHost) bool { return b.name == both }); i >= 0 {
			out[i].specificity = max(out[i].specificity, next.specificity)
		} else {
			out = append(out, next)
		}
	}
	return out
}

// specificity orders hostnames: those without a wildcard first, then by their length.
func specificity(h string) int {
	if strings.HasPrefix(h, "*") {
		return len(h)
	}
	return 1000 + len(h) // names have 253 characters at most
}

// bind adds a route's rules to a listener's.
func (c *conversion) bind(r *route, l *listener, hosts []boundHost) {
	for _, host := range hosts {
		rules := c.rules(hostKey{gateway: l.internal, namespace: l.gateway.object.Namespace, host: host.name}, r.object)
		switch {
		case r.object.Kind == schema.HTTPRoute || r.object.Kind == schema.GRPCRoute:
			for _, e := range r.http {
				e.host = host.specificity
				rules.http = append(rules.http, e)
			}
		case len(r.backends) == 0:
		case l.passthrough():
			rules.tls = append(rules.tls, &networking.TLSRoute{Match: []*networking.TLSMatchAttributes{{SniHosts: []string{host.name}}}, Route: r.backends})
		default:
			rules.tcp = append(rules.tcp, &networking.TCPRoute{Route: r.backends})
		}
	}
}

// attachToService has a route apply to requests in the mesh to a Service: those of all clients where it stands in the Service's namespace,
// else those of its own namespace (https://gateway-api.sigs.k8s.io/mesh/).
func (c *conversion) attachToService(r *route, ref gatewayv1.ParentReference) *refError {
	o := r.object
	ns := string(value(ref.Namespace, gatewayv1.Namespace(o.Namespace)))
	if c.set.Get(schema.Service, ns, string(ref.Name)) == nil {
		return &refError{gatewayv1.RouteReasonNoMatchingParent, "there is no Service " + ns + "/" + string(ref.Name)}
	}
	if o.Kind == schema.TLSRoute {
		return &refError{gatewayv1.RouteReasonUnsupportedValue, "a TLSRoute cannot be attached to a Service, only to a Gateway"}
	}
	rules := c.rules(hostKey{namespace: o.Namespace, host: c.fqdn(ns, string(ref.Name)), private: ns != o.Namespace}, o)
	port := uint32(value(ref.Port, 0))
	for _, e := range r.http {
		if port != 0 {
			e.route = proto.Clone(e.route).(*networking.HTTPRoute)
			if len(e.route.Match) == 0 {
				e.route.Match = []*networking.HTTPMatchRequest{{}}
			}
			e.route.Match[0].Port = port
		}
		rules.http = append(rules.http, e)
	}
	if len(r.backends) > 0 {
		t := &networking.TCPRoute{Route: r.backends}
		if port != 0 {
			t.Match = []*networking.L4MatchAttributes{{Port: port}}
		}
		rules.tcp = append(rules.tcp, t)
	}
	return nil
}
