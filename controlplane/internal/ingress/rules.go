package ingress

import (
	"cmp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/ingress"
	"github.com/lateen-mesh/lateen/config/schema"
)

// anyHost stands for an Ingress's rule without a host.
const anyHost = "*"

// host are the rules of all Ingresses for one host.
type host struct {
	first    *config.Object // the oldest Ingress: its namespace has the VirtualService
	gateways []string       // of its Ingresses, each once
	entries  []entry
}

// entry is a path of a rule, with what decides between it and others.
type entry struct {
	route  *networking.HTTPRoute
	length int // of the path, in bytes, as Istio counts it
	exact  bool
}

// rules adds those of an Ingress to its hosts. They come oldest first.
func (c *conversion) rules(o *config.Object, spec *networkingv1.IngressSpec) {
	for i := range spec.Rules {
		rule := &spec.Rules[i]
		if rule.HTTP == nil {
			continue
		}
		name := cmp.Or(rule.Host, anyHost)
		h := c.hosts[name]
		if h == nil {
			h = &host{first: o}
			c.hosts[name] = h
		}
		if gateway := ingress.Namespace + "/" + gatewayName(o) + generated; !slices.Contains(h.gateways, gateway) {
			h.gateways = append(h.gateways, gateway)
		}
		for j := range rule.HTTP.Paths {
			if e, ok := c.entry(o, &rule.HTTP.Paths[j]); ok {
				h.entries = append(h.entries, e)
			}
		}
	}
}

// virtualServices makes one object of all rules for a host. The longest path is tried first, of equally long ones an exact one, then the oldest
// Ingress's: https://kubernetes.io/docs/concepts/services-networking/ingress/#multiple-matches. Unlike Istio's it is bound to the Gateways of all its
// Ingresses, so that a host of which a younger one brings the certificate is served over TLS too.
func (c *conversion) virtualServices() {
	for name, h := range c.hosts {
		slices.SortStableFunc(h.entries, func(a, b entry) int {
			return cmp.Or(-cmp.Compare(a.length, b.length), -cmp.Compare(number(a.exact), number(b.exact)))
		})
		vs := &networking.VirtualService{Hosts: []string{name}, Gateways: h.gateways}
		for _, e := range h.entries {
			vs.Http = append(vs.Http, e.route)
		}
		if len(vs.Http) > 0 {
			c.emit(schema.VirtualService, h.first.Namespace, name+"~"+h.first.Name, h.first, vs)
		}
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// entry converts a path; false for one that leads nowhere, which is as good as not there.
func (c *conversion) entry(o *config.Object, p *networkingv1.HTTPIngressPath) (entry, bool) {
	to := c.destination(o.Namespace, &p.Backend)
	if to == nil {
		return entry{}, false
	}
	e := entry{route: &networking.HTTPRoute{Route: []*networking.HTTPRouteDestination{{Destination: to, Weight: 100}}}}
	path, exact := pathOf(p)
	if path == "" {
		return e, true // every request
	}
	e.length, e.exact = len(path), exact
	uri := &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: path}}
	if !exact {
		// A prefix is one of whole elements, so its last slash says nothing; the snapshot knows from where the rule comes.
		if path = strings.TrimSuffix(path, "/"); path == "" {
			path = "/"
		}
		uri = &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: path}}
	}
	e.route.Match = []*networking.HTTPMatchRequest{{Uri: uri}}
	return e, true
}

// pathOf reads a path; "" stands for all. What is left to implementations is Istio's older form: PATH.* and PATH/* are prefixes, anything else is an exact path.
func pathOf(p *networkingv1.HTTPIngressPath) (path string, exact bool) {
	if p.PathType != nil {
		switch *p.PathType {
		case networkingv1.PathTypeExact:
			return p.Path, true
		case networkingv1.PathTypePrefix:
			return p.Path, false
		}
	}
	switch p.Path {
	case "", "*", "/*", ".*":
		return "", false
	}
	for _, wild := range []string{".*", "/*"} {
		if prefix, ok := strings.CutSuffix(p.Path, wild); ok {
			return prefix, false
		}
	}
	return p.Path, true
}

// destination is where a backend leads: a Service of the Ingress's namespace; nil for one that is no Service, and for a port that is named and not
// there. One by number need not be there: requests for it are answered with 503.
func (c *conversion) destination(namespace string, b *networkingv1.IngressBackend) *networking.Destination {
	if b.Service == nil {
		return nil
	}
	port := b.Service.Port.Number
	if port == 0 {
		svc := c.set.Get(schema.Service, namespace, b.Service.Name)
		if svc == nil {
			return nil
		}
		ports := svc.Spec.(*corev1.Service).Spec.Ports
		i := slices.IndexFunc(ports, func(p corev1.ServicePort) bool { return p.Name == b.Service.Port.Name })
		if i < 0 {
			return nil
		}
		port = ports[i].Port
	}
	return &networking.Destination{Host: c.fqdn(namespace, b.Service.Name), Port: &networking.PortSelector{Number: uint32(port)}}
}
