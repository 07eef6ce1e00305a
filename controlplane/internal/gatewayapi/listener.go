package gatewayapi

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/config/schema"
)

// listener is one listener of a Gateway.
type listener struct {
	gateway  *gateway
	spec     *gatewayv1.Listener
	internal string // name of the Gateway that is made of it
	host     string // "*" for any
	kinds    []gatewayv1.Kind
	status   gatewayv1.ListenerStatus
	serves   bool // it opens its port and takes requests
	refused  bool // no route may be attached
	attached int
}

func (c *conversion) newListener(g *gateway, spec *gatewayv1.Listener) *listener {
	l := &listener{gateway: g, spec: spec, internal: g.object.Name + generated + "-" + string(spec.Name), host: string(value(spec.Hostname, ""))}
	if l.host == "" || spec.Protocol == gatewayv1.TCPProtocolType {
		l.host = "*"
	}
	l.status.Name = spec.Name
	l.condition(gatewayv1.ListenerConditionAccepted, true, gatewayv1.ListenerReasonAccepted, "No errors found")
	l.condition(gatewayv1.ListenerConditionConflicted, false, gatewayv1.ListenerReasonNoConflicts, "No errors found")
	l.condition(gatewayv1.ListenerConditionResolvedRefs, true, gatewayv1.ListenerReasonResolvedRefs, "No errors found")
	return l
}

func (l *listener) protocol() gatewayv1.ProtocolType { return l.spec.Protocol }

func (l *listener) passthrough() bool {
	return l.spec.TLS != nil && value(l.spec.TLS.Mode, gatewayv1.TLSModeTerminate) == gatewayv1.TLSModePassthrough
}

func (l *listener) condition(typ gatewayv1.ListenerConditionType, holds bool, reason gatewayv1.ListenerConditionReason, format string, args ...any) {
	setCondition(&l.status.Conditions, l.gateway.object, string(typ), holds, string(reason), format, args...)
}

// refuse says why a listener is not accepted.
func (l *listener) refuse(reason gatewayv1.ListenerConditionReason, format string, args ...any) {
	l.refused = true
	l.condition(gatewayv1.ListenerConditionAccepted, false, reason, format, args...)
}

// layer is what bytes on a socket are read as: listeners of different layers cannot share a port.
func layer(p gatewayv1.ProtocolType) string {
	switch p {
	case gatewayv1.HTTPSProtocolType, gatewayv1.TLSProtocolType:
		return "TLS"
	}
	return string(p)
}

// findConflicts marks listeners of one Gateway that cannot be told apart: all of them, as the specification wants it, so that none is chosen
// by chance.
func (g *gateway) findConflicts() {
	for i, a := range g.listeners {
		for _, b := range g.listeners[i+1:] {
			if a.spec.Port != b.spec.Port {
				continue
			}
			reason := gatewayv1.ListenerReasonHostnameConflict
			text := fmt.Sprintf("listeners %s and %s have the same port and hostname", a.spec.Name, b.spec.Name)
			if la, lb := layer(a.protocol()), layer(b.protocol()); la != lb || la == string(gatewayv1.TCPProtocolType) {
				reason = gatewayv1.ListenerReasonProtocolConflict
				text = fmt.Sprintf("listeners %s (%s) and %s (%s) cannot share port %d", a.spec.Name, a.protocol(), b.spec.Name, b.protocol(), a.spec.Port)
			} else if a.host != b.host {
				continue
			}
			for _, l := range []*listener{a, b} {
				l.refused = true
				l.condition(gatewayv1.ListenerConditionConflicted, true, reason, "%s", text)
				l.condition(gatewayv1.ListenerConditionAccepted, false, reason, "%s", text)
			}
		}
	}
}

// admittedKinds are the kinds of routes that a listener of a protocol can take.
func (l *listener) admittedKinds() []gatewayv1.Kind {
	switch l.protocol() {
	case gatewayv1.HTTPProtocolType, gatewayv1.HTTPSProtocolType:
		return []gatewayv1.Kind{"HTTPRoute", "GRPCRoute"}
	case gatewayv1.TCPProtocolType:
		return []gatewayv1.Kind{"TCPRoute"}
	case gatewayv1.TLSProtocolType:
		if l.passthrough() {
			return []gatewayv1.Kind{"TLSRoute"}
		}
		return []gatewayv1.Kind{"TCPRoute", "TLSRoute"}
	}
	return nil
}

// listener judges a listener, and has it served if that can be done.
func (c *conversion) listener(l *listener) {
	can := l.admittedKinds()
	if can == nil {
		l.refuse(gatewayv1.ListenerReasonUnsupportedProtocol, "protocol %s is not supported; use HTTP, HTTPS, TLS or TCP", l.protocol())
	}
	l.chooseKinds(can)
	tls, resolved := c.serverTLS(l)
	roots := c.clientRoots(l, tls)
	if s := l.gateway.service; s != nil && !l.refused && resolved {
		if other := c.sockets[l.socket()]; other != nil && (layer(other.protocol()) != layer(l.protocol()) || l.protocol() == gatewayv1.TCPProtocolType) {
			l.refuse(gatewayv1.ListenerReasonPortUnavailable, "port %d of Service %s/%s is taken by Gateway %s for %s",
				l.spec.Port, s.Namespace, s.Name, other.gateway.object.Namespace+"/"+other.gateway.object.Name, other.protocol())
		} else if other == nil {
			c.sockets[l.socket()] = l
		}
	}
	if l.gateway.service != nil && !l.refused && resolved && layer(l.protocol()) == "TLS" {
		// Which of two certificates a client would see must not depend on anything but age.
		name := l.socket() + "/" + l.host
		if other := c.sockets[name]; other != nil {
			l.refuse(gatewayv1.ListenerReasonPortUnavailable, "port %d is taken for hostname %s by Gateway %s", l.spec.Port, l.host, other.gateway.object.Namespace+"/"+other.gateway.object.Name)
		} else {
			c.sockets[name] = l
		}
	}
	l.serves = l.gateway.service != nil && !l.refused && resolved
	switch {
	case l.serves:
		l.condition(gatewayv1.ListenerConditionProgrammed, true, gatewayv1.ListenerReasonProgrammed, "No errors found")
		c.emitListener(l, tls)
		if roots != nil {
			c.emit(schema.Secret, roots.Namespace, roots.Name, l.gateway.object, roots)
		}
	case l.refused || !resolved:
		l.condition(gatewayv1.ListenerConditionProgrammed, false, gatewayv1.ListenerReasonInvalid, "The listener cannot be served; see the other conditions")
	default:
		l.condition(gatewayv1.ListenerConditionProgrammed, false, gatewayv1.ListenerReasonPending, "Nobody serves the Gateway; see its conditions")
	}
}

// socket names a port of the proxies that serve the Gateway.
func (l *listener) socket() string {
	s := l.gateway.service
	return fmt.Sprintf("%s/%s:%d", s.Namespace, s.Name, l.spec.Port)
}

// chooseKinds reads allowedRoutes.kinds.
func (l *listener) chooseKinds(can []gatewayv1.Kind) {
	l.kinds = can
	group := gatewayv1.Group(gatewayv1.GroupName)
	if a := l.spec.AllowedRoutes; a != nil && len(a.Kinds) > 0 {
		l.kinds = nil
		for _, k := range a.Kinds {
			if value(k.Group, group) != group || !slices.Contains(can, k.Kind) {
				l.condition(gatewayv1.ListenerConditionResolvedRefs, false, gatewayv1.ListenerReasonInvalidRouteKinds,
					"allowedRoutes.kinds: %s cannot be attached to a listener for %s", k.Kind, l.protocol())
				continue
			}
			l.kinds = append(l.kinds, k.Kind)
		}
	}
	l.status.SupportedKinds = []gatewayv1.RouteGroupKind{}
	for _, k := range l.kinds {
		l.status.SupportedKinds = append(l.status.SupportedKinds, gatewayv1.RouteGroupKind{Group: &group, Kind: k})
	}
}

// admitsNamespace reads allowedRoutes.namespaces.
func (c *conversion) admitsNamespace(l *listener, ns string) bool {
	own := l.gateway.object.Namespace
	if l.spec.AllowedRoutes == nil || l.spec.AllowedRoutes.Namespaces == nil {
		return ns == own
	}
	n := l.spec.AllowedRoutes.Namespaces
	switch value(n.From, gatewayv1.NamespacesFromSame) {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return ns == own
	case gatewayv1.NamespacesFromSelector:
		selector, err := metav1.LabelSelectorAsSelector(n.Selector)
		return err == nil && selector.Matches(c.namespaceLabels(ns))
	}
	return false
}

// namespaceLabels are those of a namespace, which need not have an object; each has its own name as a label, as on Kubernetes.
func (c *conversion) namespaceLabels(ns string) labels.Set {
	out := labels.Set{}
	if o := c.set.Get(schema.Namespace, "", ns); o != nil {
		for k, v := range o.Labels {
			out[k] = v
		}
	}
	out["kubernetes.io/metadata.name"] = ns
	return out
}

// covers reports whether every name of narrow is one of wide. "*.example.com" has all names below example.com, at any depth.
func covers(wide, narrow string) bool {
	if wide == "*" || wide == narrow {
		return true
	}
	suffix, wild := strings.CutPrefix(wide, "*")
	return wild && strings.HasSuffix(narrow, suffix) && len(strings.TrimPrefix(narrow, "*")) >= len(suffix)
}

// intersect returns the names that a listener and a route have in common, which are those of the narrower of the two.
func intersect(listener, route string) (string, bool) {
	switch {
	case covers(listener, route):
		return route, true
	case covers(route, listener):
		return listener, true
	}
	return "", false
}
