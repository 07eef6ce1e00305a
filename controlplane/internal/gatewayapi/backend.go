package gatewayapi

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

// reference is one side of a reference: a kind in a namespace.
type reference struct {
	kind      *schema.Kind
	namespace string
}

// granted reports whether an object may refer to one called name: its own namespace's always, another's when a ReferenceGrant there says so.
func (c *conversion) granted(from, to reference, name string) bool {
	if from.namespace == to.namespace {
		return true
	}
	for _, o := range c.set.List(schema.ReferenceGrant) {
		if o.Namespace != to.namespace {
			continue
		}
		grant := o.Spec.(*gatewayv1.ReferenceGrantSpec)
		who := slices.ContainsFunc(grant.From, func(f gatewayv1.ReferenceGrantFrom) bool {
			return string(f.Group) == from.kind.Group && string(f.Kind) == from.kind.Name && string(f.Namespace) == from.namespace
		})
		what := slices.ContainsFunc(grant.To, func(t gatewayv1.ReferenceGrantTo) bool {
			return string(t.Group) == to.kind.Group && string(t.Kind) == to.kind.Name && (t.Name == nil || *t.Name == "" || string(*t.Name) == name)
		})
		if who && what {
			return true
		}
	}
	return false
}

// refError is why a reference of a route leads nowhere.
type refError struct {
	reason gatewayv1.RouteConditionReason
	text   string
}

// hostnameKind is Istio's way to name any host of the mesh, that of a ServiceEntry for example.
const hostnameKind = "Hostname"

// backend finds where a reference of a route leads.
func (c *conversion) backend(o *config.Object, ref *gatewayv1.BackendObjectReference) (*networking.Destination, *refError) {
	fail := func(reason gatewayv1.RouteConditionReason, format string, args ...any) (*networking.Destination, *refError) {
		return nil, &refError{reason, fmt.Sprintf(format, args...)}
	}
	group, kind, name := value(ref.Group, ""), value(ref.Kind, "Service"), string(ref.Name)
	ns := string(value(ref.Namespace, gatewayv1.Namespace(o.Namespace)))
	if group == schema.NetworkingGroup && kind == hostnameKind {
		switch {
		case ref.Namespace != nil:
			return fail(gatewayv1.RouteReasonInvalidKind, "a backend of kind Hostname has no namespace")
		case ref.Port == nil:
			return fail(gatewayv1.RouteReasonUnsupportedProtocol, "backend %s has no port", name)
		}
		return &networking.Destination{Host: name, Port: &networking.PortSelector{Number: uint32(*ref.Port)}}, nil
	}
	if group != "" || kind != "Service" {
		return fail(gatewayv1.RouteReasonInvalidKind, "a backend of kind %s (group %q) is not supported; use Service", kind, group)
	}
	if !c.granted(reference{o.Kind, o.Namespace}, reference{schema.Service, ns}, name) {
		return fail(gatewayv1.RouteReasonRefNotPermitted, "no ReferenceGrant of namespace %s lets %ss of namespace %s refer to the Service %s", ns, o.Kind.Name, o.Namespace, name)
	}
	svc := c.set.Get(schema.Service, ns, name)
	if svc == nil {
		return fail(gatewayv1.RouteReasonBackendNotFound, "there is no Service %s/%s", ns, name)
	}
	port := value(ref.Port, 0)
	if !slices.ContainsFunc(svc.Spec.(*corev1.Service).Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port }) {
		return fail(gatewayv1.RouteReasonBackendNotFound, "Service %s/%s has no port %d", ns, name, port)
	}
	return &networking.Destination{Host: c.fqdn(ns, name), Port: &networking.PortSelector{Number: uint32(port)}}, nil
}
