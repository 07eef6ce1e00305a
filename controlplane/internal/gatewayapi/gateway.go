package gatewayapi

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

// gateway is a Gateway of one of our classes.
type gateway struct {
	object    *config.Object
	spec      *gatewayv1.GatewaySpec
	status    gatewayv1.GatewayStatus
	service   *config.Object // of the proxies that serve it; nil: nobody does
	listeners []*listener
}

func (g *gateway) condition(typ gatewayv1.GatewayConditionType, holds bool, reason gatewayv1.GatewayConditionReason, format string, args ...any) {
	setCondition(&g.status.Conditions, g.object, string(typ), holds, string(reason), format, args...)
}

// classes says of the GatewayClasses which are served here.
func (c *conversion) classes() {
	for _, o := range c.set.List(schema.K8sGatewayClass) {
		spec := o.Spec.(*gatewayv1.GatewayClassSpec)
		if spec.ControllerName != GatewayController {
			continue
		}
		var st gatewayv1.GatewayClassStatus
		if spec.ParametersRef != nil {
			setCondition(&st.Conditions, o, string(gatewayv1.GatewayClassConditionStatusAccepted), false, string(gatewayv1.GatewayClassReasonInvalidParameters),
				"spec.parametersRef is not supported; take it out")
		} else {
			setCondition(&st.Conditions, o, string(gatewayv1.GatewayClassConditionStatusAccepted), true, string(gatewayv1.GatewayClassReasonAccepted), "Handled by this control plane")
		}
		c.setStatus(o, st)
	}
}

// ours reports whether a class is served here: Istio's own, ours, and those that name the controller.
func (c *conversion) ours(class gatewayv1.ObjectName) bool {
	if o := c.set.Get(schema.K8sGatewayClass, "", string(class)); o != nil {
		spec := o.Spec.(*gatewayv1.GatewayClassSpec)
		return spec.ControllerName == GatewayController && spec.ParametersRef == nil
	}
	return class == "istio" || class == "lateen"
}

// gateway reads a Gateway and makes a Gateway of Istio's for each of its listeners that can be served. Its status is written by finish, once
// routes are attached.
func (c *conversion) gateway(o *config.Object) {
	spec := o.Spec.(*gatewayv1.GatewaySpec)
	if !c.ours(spec.GatewayClassName) {
		return
	}
	g := &gateway{object: o, spec: spec}
	c.gateways[o.Namespace+"/"+o.Name] = g
	var why error
	var reason gatewayv1.GatewayConditionReason
	if g.service, reason, why = c.serviceOf(g); why != nil {
		g.condition(gatewayv1.GatewayConditionProgrammed, false, reason, "%s", why)
	}
	for i := range spec.Listeners {
		g.listeners = append(g.listeners, c.newListener(g, &spec.Listeners[i]))
	}
	g.findConflicts()
	for _, l := range g.listeners {
		c.listener(l)
	}
}

// serviceOf finds the Service of the proxies that serve a Gateway: the one that spec.addresses names, the one that was made for the
// Gateway, or the shared one.
func (c *conversion) serviceOf(g *gateway) (*config.Object, gatewayv1.GatewayConditionReason, error) {
	o := g.object
	if len(g.spec.Addresses) > 0 {
		a := g.spec.Addresses[0]
		if len(g.spec.Addresses) > 1 {
			return nil, gatewayv1.GatewayReasonAddressNotUsable, errors.New("spec.addresses: one address is supported: the Service of the gateway's proxies")
		}
		if typ := value(a.Type, gatewayv1.IPAddressType); typ != gatewayv1.HostnameAddressType {
			return nil, gatewayv1.GatewayReasonAddressNotUsable, fmt.Errorf("spec.addresses[0]: type %s is not supported: name the Service of the gateway's proxies with type Hostname", typ)
		}
		ns, name, ok := c.serviceName(a.Value, o.Namespace)
		if svc := c.set.Get(schema.Service, ns, name); ok && svc != nil {
			return svc, "", nil
		}
		return nil, gatewayv1.GatewayReasonAddressNotUsable, fmt.Errorf("spec.addresses[0]: there is no Service %s", a.Value)
	}
	own := o.Name + "-" + string(g.spec.GatewayClassName)
	if svc := c.set.Get(schema.Service, o.Namespace, own); svc != nil {
		return svc, "", nil
	}
	if ns, name, ok := strings.Cut(c.shared, "/"); ok {
		if svc := c.set.Get(schema.Service, ns, name); svc != nil {
			return svc, "", nil
		}
	}
	return nil, gatewayv1.GatewayReasonAddressNotAssigned, fmt.Errorf("there is no Service %s/%s of proxies that would serve the Gateway", o.Namespace, own)
}

// serviceName reads NAME, NAME.NAMESPACE or NAME.NAMESPACE.svc.DOMAIN.
func (c *conversion) serviceName(host, namespace string) (ns, name string, ok bool) {
	host = strings.TrimSuffix(strings.TrimSuffix(host, ".svc."+c.domain), ".svc")
	name, ns, qualified := strings.Cut(host, ".")
	if !qualified {
		ns = namespace
	}
	return ns, name, name != "" && ns != "" && !strings.Contains(ns, ".")
}

func (c *conversion) fqdn(namespace, name string) string {
	return name + "." + namespace + ".svc." + c.domain
}

// emitListener makes the Gateway with which a listener is served.
func (c *conversion) emitListener(l *listener, tls *networking.ServerTLSSettings) {
	o := l.gateway.object
	selector := maps.Clone(l.gateway.service.Spec.(*corev1.Service).Spec.Selector)
	c.emit(schema.Gateway, o.Namespace, l.internal, o, &networking.Gateway{
		Selector: selector,
		Servers: []*networking.Server{{
			Port: &networking.Port{Number: uint32(l.spec.Port), Name: string(l.spec.Name), Protocol: string(l.spec.Protocol)},
			// The rules for it are made in its own namespace; nobody else's get in.
			Hosts: []string{o.Namespace + "/" + l.host}, Tls: tls,
		}},
	})
	// The Service's selector is for its own namespace: what has the same labels elsewhere is not the gateway, and gets none of its certificates.
	made := c.out.Objects[len(c.out.Objects)-1]
	made.Annotations[config.GatewayServiceAnnotation] = c.fqdn(l.gateway.service.Namespace, l.gateway.service.Name)
}

// finish writes a Gateway's status.
func (c *conversion) finish(g *gateway) {
	good, bad := 0, ""
	for _, l := range g.listeners {
		if l.serves {
			good++
		} else if bad == "" {
			bad = string(l.spec.Name)
		}
		l.status.AttachedRoutes = int32(l.attached)
		g.status.Listeners = append(g.status.Listeners, l.status)
	}
	switch {
	case len(g.status.Conditions) > 0 && g.service == nil && len(g.spec.Addresses) > 0 && value(g.spec.Addresses[0].Type, gatewayv1.IPAddressType) != gatewayv1.HostnameAddressType:
		g.condition(gatewayv1.GatewayConditionAccepted, false, gatewayv1.GatewayReasonUnsupportedAddress, "%s", g.status.Conditions[0].Message)
	case good == 0 && g.service != nil:
		g.condition(gatewayv1.GatewayConditionAccepted, false, gatewayv1.GatewayReasonListenersNotValid, "No listener can be served; see status.listeners")
	case bad != "" && g.service != nil:
		g.condition(gatewayv1.GatewayConditionAccepted, true, gatewayv1.GatewayReasonListenersNotValid, "Listener %s cannot be served; see status.listeners", bad)
	default:
		g.condition(gatewayv1.GatewayConditionAccepted, true, gatewayv1.GatewayReasonAccepted, "Resource accepted")
	}
	if g.service != nil {
		host := c.fqdn(g.service.Namespace, g.service.Name)
		typ := gatewayv1.HostnameAddressType
		g.status.Addresses = []gatewayv1.GatewayStatusAddress{{Type: &typ, Value: host}}
		if good > 0 {
			g.condition(gatewayv1.GatewayConditionProgrammed, true, gatewayv1.GatewayReasonProgrammed, "Resource programmed, served by Service %s", host)
		} else {
			g.condition(gatewayv1.GatewayConditionProgrammed, false, gatewayv1.GatewayReasonInvalid, "No listener can be served; see status.listeners")
		}
	}
	c.setStatus(g.object, g.status)
}
