package analyze

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

// gatewayController is whose GatewayClasses the control plane serves, beside the classes istio and lateen.
const gatewayController = "istio.io/gateway-controller"

// gatewayAPI looks at the objects of the Gateway API: who serves them, and what they name that is not there. What the control plane has
// decided of them stands in their status.
func (a *analyzer) gatewayAPI() {
	for _, o := range a.set.List(schema.K8sGateway) {
		a.gatewayClass(o)
		for i, l := range o.Spec.(*gatewayv1.GatewaySpec).Listeners {
			if l.TLS == nil {
				continue
			}
			for j, ref := range l.TLS.CertificateRefs {
				if ref.Kind != nil && *ref.Kind != "Secret" || ref.Group != nil && *ref.Group != "" {
					continue
				}
				ns := or(ref.Namespace, gatewayv1.Namespace(o.Namespace))
				if a.set.Get(schema.Secret, string(ns), string(ref.Name)) == nil {
					a.add(o, NotFound, Warning, fmt.Sprintf("spec.listeners[%d].tls.certificateRefs[%d].name", i, j), "there is no Secret %s/%s, so the listener is not served", ns, ref.Name)
				}
			}
		}
	}
	for _, k := range []*schema.Kind{schema.HTTPRoute, schema.GRPCRoute, schema.TLSRoute, schema.TCPRoute} {
		for _, o := range a.set.List(k) {
			parents, backends := routeRefs(o.Spec)
			for i, ref := range parents {
				a.parentRef(o, fmt.Sprintf("spec.parentRefs[%d]", i), ref)
			}
			for _, b := range backends {
				a.backendRef(o, b.field, b.ref)
			}
		}
	}
}

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func (a *analyzer) gatewayClass(o *config.Object) {
	name := string(o.Spec.(*gatewayv1.GatewaySpec).GatewayClassName)
	class := a.set.Get(schema.K8sGatewayClass, "", name)
	switch {
	case class == nil && name != "istio" && name != "lateen":
		a.add(o, NotFound, Warning, "spec.gatewayClassName", "there is no GatewayClass %s, so nobody serves the Gateway; use istio", name)
	case class != nil && class.Spec.(*gatewayv1.GatewayClassSpec).ControllerName != gatewayController:
		a.add(o, NoEffect, Warning, "spec.gatewayClassName", "GatewayClass %s is served by %s, not by this mesh; use istio, or a class of %s",
			name, class.Spec.(*gatewayv1.GatewayClassSpec).ControllerName, gatewayController)
	}
}

// namedBackend is a reference with its path.
type namedBackend struct {
	field string
	ref   gatewayv1.BackendObjectReference
}

// routeRefs collects what a route of any kind refers to.
func routeRefs(spec any) (parents []gatewayv1.ParentReference, backends []namedBackend) {
	add := func(rule, i int, ref gatewayv1.BackendObjectReference) {
		backends = append(backends, namedBackend{fmt.Sprintf("spec.rules[%d].backendRefs[%d]", rule, i), ref})
	}
	mirror := func(rule, i int, m *gatewayv1.HTTPRequestMirrorFilter) {
		if m != nil {
			backends = append(backends, namedBackend{fmt.Sprintf("spec.rules[%d].filters[%d].requestMirror.backendRef", rule, i), m.BackendRef})
		}
	}
	switch s := spec.(type) {
	case *gatewayv1.HTTPRouteSpec:
		parents = s.ParentRefs
		for i, r := range s.Rules {
			for j, b := range r.BackendRefs {
				add(i, j, b.BackendObjectReference)
			}
			for j, f := range r.Filters {
				mirror(i, j, f.RequestMirror)
			}
		}
	case *gatewayv1.GRPCRouteSpec:
		parents = s.ParentRefs
		for i, r := range s.Rules {
			for j, b := range r.BackendRefs {
				add(i, j, b.BackendObjectReference)
			}
			for j, f := range r.Filters {
				mirror(i, j, f.RequestMirror)
			}
		}
	case *gatewayv1.TLSRouteSpec:
		parents = s.ParentRefs
		for i, r := range s.Rules {
			for j, b := range r.BackendRefs {
				add(i, j, b.BackendObjectReference)
			}
		}
	case *gatewayv1.TCPRouteSpec:
		parents = s.ParentRefs
		for i, r := range s.Rules {
			for j, b := range r.BackendRefs {
				add(i, j, b.BackendObjectReference)
			}
		}
	}
	return parents, backends
}

func (a *analyzer) parentRef(o *config.Object, field string, ref gatewayv1.ParentReference) {
	ns, name := string(or(ref.Namespace, gatewayv1.Namespace(o.Namespace))), string(ref.Name)
	group, kind := or(ref.Group, gatewayv1.GroupName), or(ref.Kind, "Gateway")
	switch {
	case group == gatewayv1.GroupName && kind == "Gateway":
		g := a.set.Get(schema.K8sGateway, ns, name)
		if g == nil {
			var others []string
			for _, other := range a.set.List(schema.K8sGateway) {
				others = append(others, other.Namespace+"/"+other.Name)
			}
			a.add(o, NotFound, Warning, field+".name", "there is no Gateway %s/%s of the Gateway API, so no request reaches the route through it%s", ns, name, hint(ns+"/"+name, others))
			return
		}
		named := func(l gatewayv1.Listener) bool { return ref.SectionName == nil || l.Name == *ref.SectionName }
		if list := g.Spec.(*gatewayv1.GatewaySpec).Listeners; !slices.ContainsFunc(list, named) {
			var names []string
			for _, l := range list {
				names = append(names, string(l.Name))
			}
			a.add(o, NotFound, Warning, field+".sectionName", "Gateway %s/%s has no listener %s%s", ns, name, *ref.SectionName, hint(string(*ref.SectionName), names))
		}
	case group == "" && kind == "Service":
		if a.set.Get(schema.Service, ns, name) == nil {
			a.add(o, NotFound, Warning, field+".name", "there is no Service %s/%s, so the route has no effect on it", ns, name)
		}
	default:
		a.add(o, NoEffect, Warning, field+".kind", "parents of kind %s (group %q) are not supported; use a Gateway or a Service", kind, group)
	}
}

func (a *analyzer) backendRef(o *config.Object, field string, ref gatewayv1.BackendObjectReference) {
	if or(ref.Group, "") != "" || or(ref.Kind, "Service") != "Service" {
		return // the route's status says what becomes of it
	}
	ns, name := string(or(ref.Namespace, gatewayv1.Namespace(o.Namespace))), string(ref.Name)
	svc := a.set.Get(schema.Service, ns, name)
	if svc == nil {
		a.add(o, NotFound, Warning, field+".name", "there is no Service %s/%s, so its requests fail%s", ns, name, hint(name, a.serviceNames(ns)))
		return
	}
	port := or(ref.Port, 0)
	ports := svc.Spec.(*corev1.Service).Spec.Ports
	if !slices.ContainsFunc(ports, func(p corev1.ServicePort) bool { return p.Port == port }) {
		var numbers []string
		for _, p := range ports {
			numbers = append(numbers, fmt.Sprint(p.Port))
		}
		a.add(o, NotFound, Warning, field+".port", "Service %s/%s has no port %d%s", ns, name, port, hint("", numbers))
	}
}
