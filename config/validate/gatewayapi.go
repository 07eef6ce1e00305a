package validate

import (
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

// The rules of the Gateway API's CustomResourceDefinitions (https://gateway-api.sigs.k8s.io/reference/spec/), which an API server
// enforces. What depends on other objects is said in conditions of the objects' status.
const (
	maxListeners = 64
	maxParents   = 32
	maxRules     = 128
	maxMatches   = 128 // of a rule; of a route all the same
	maxBackends  = 16
	maxHostnames = 16
	maxFilters   = 16
	maxWeight    = 1_000_000
)

// gatewayDuration is the form of GEP-2257: up to four units, h, m, s and ms.
var gatewayDuration = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

func (c *checker) count(p *field.Path, n, most int) {
	if n > most {
		c.add(p, "has %d elements, more than %d", n, most)
	}
}

// hostname checks a name that may begin with a wildcard label; addresses are not names here.
func (c *checker) hostname(p *field.Path, h string, wildcard bool) {
	name := h
	if wildcard {
		name = strings.TrimPrefix(h, "*.")
	}
	if len(h) == 0 || len(h) > 253 || !subdomain.MatchString(name) {
		example := "catalog.example.com"
		if wildcard {
			example += " or *.example.com"
		}
		c.add(p, "%q is not a hostname in lower case; use one such as %s", h, example)
		return
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	if strings.Trim(last, "0123456789") == "" {
		c.add(p, "%q is an address, not a hostname", h)
	}
}

func gatewayClass(c *checker, p *field.Path, spec any) {
	s := spec.(*gatewayv1.GatewayClassSpec)
	if _, path, ok := strings.Cut(string(s.ControllerName), "/"); !ok || path == "" {
		c.add(p.Child("controllerName"), "%q is not the name of a controller; use one such as istio.io/gateway-controller", s.ControllerName)
	}
}

func k8sGateway(c *checker, p *field.Path, spec any) {
	s := spec.(*gatewayv1.GatewaySpec)
	if s.GatewayClassName == "" {
		c.add(p.Child("gatewayClassName"), "missing; use istio")
	}
	list := p.Child("listeners")
	if len(s.Listeners) == 0 {
		c.add(list, "missing; name at least one listener")
	}
	c.count(list, len(s.Listeners), maxListeners)
	names := map[gatewayv1.SectionName]int{}
	for i := range s.Listeners {
		l, at := &s.Listeners[i], list.Index(i)
		if !subdomain.MatchString(string(l.Name)) || len(l.Name) > 253 {
			c.add(at.Child("name"), "%q is not a listener's name: lower-case letters, digits, '-' and '.'", l.Name)
		} else if first, dup := names[l.Name]; dup {
			c.add(at.Child("name"), "%q is the name of listeners[%d] as well; rename one", l.Name, first)
		}
		names[l.Name] = i
		c.port(at.Child("port"), int64(l.Port), false)
		if l.Hostname != nil && *l.Hostname != "" {
			c.hostname(at.Child("hostname"), string(*l.Hostname), true)
		}
		c.listenerTLS(at, l)
		if a := l.AllowedRoutes; a != nil && a.Namespaces != nil {
			c.fromNamespaces(at.Child("allowedRoutes", "namespaces"), a.Namespaces)
		}
	}
	for i, a := range s.Addresses {
		if a.Value == "" {
			c.add(p.Child("addresses").Index(i).Child("value"), "missing")
		}
	}
}

func (c *checker) listenerTLS(at *field.Path, l *gatewayv1.Listener) {
	tls := at.Child("tls")
	terminates := l.TLS != nil && (l.TLS.Mode == nil || *l.TLS.Mode == gatewayv1.TLSModeTerminate)
	if l.TLS != nil && l.TLS.Mode != nil && *l.TLS.Mode != gatewayv1.TLSModeTerminate && *l.TLS.Mode != gatewayv1.TLSModePassthrough {
		c.add(tls.Child("mode"), "%q is not a mode; use Terminate or Passthrough", *l.TLS.Mode)
	}
	switch l.Protocol {
	case "":
		c.add(at.Child("protocol"), "missing; use HTTP, HTTPS, TLS or TCP")
	case gatewayv1.HTTPProtocolType, gatewayv1.TCPProtocolType, gatewayv1.UDPProtocolType:
		if l.TLS != nil {
			c.add(tls, "is for protocols HTTPS and TLS; take it out or change the protocol")
		}
		if l.Protocol != gatewayv1.HTTPProtocolType && l.Hostname != nil && *l.Hostname != "" {
			c.add(at.Child("hostname"), "means nothing for protocol %s; take it out", l.Protocol)
		}
	case gatewayv1.HTTPSProtocolType:
		if l.TLS != nil && !terminates {
			c.add(tls.Child("mode"), "must be Terminate for protocol HTTPS; use protocol TLS for Passthrough")
		}
	case gatewayv1.TLSProtocolType:
		if l.TLS == nil {
			c.add(tls, "missing for protocol TLS; set mode, Terminate or Passthrough")
		}
	}
	if terminates && len(l.TLS.CertificateRefs) == 0 && len(l.TLS.Options) == 0 {
		c.add(tls.Child("certificateRefs"), "missing; name the Secret with the certificate")
	}
}

func (c *checker) fromNamespaces(at *field.Path, n *gatewayv1.RouteNamespaces) {
	from := gatewayv1.NamespacesFromSame
	if n.From != nil {
		from = *n.From
	}
	switch from {
	case gatewayv1.NamespacesFromAll, gatewayv1.NamespacesFromSame, gatewayv1.NamespacesFromNone:
	case gatewayv1.NamespacesFromSelector:
		if n.Selector == nil {
			c.add(at.Child("selector"), "missing with from: Selector")
		}
	default:
		c.add(at.Child("from"), "%q means nothing; use All, Selector, Same or None", from)
	}
	if n.Selector != nil {
		if _, err := metav1.LabelSelectorAsSelector(n.Selector); err != nil {
			c.add(at.Child("selector"), "%v", err)
		}
	}
}

// routeParents checks what routes of all kinds have in common.
func (c *checker) routeParents(p *field.Path, s *gatewayv1.CommonRouteSpec) {
	list := p.Child("parentRefs")
	c.count(list, len(s.ParentRefs), maxParents)
	type id struct {
		group     gatewayv1.Group
		kind      gatewayv1.Kind
		namespace gatewayv1.Namespace
		name      gatewayv1.ObjectName
		section   gatewayv1.SectionName
		port      gatewayv1.PortNumber
	}
	seen := map[id]int{}
	for i, ref := range s.ParentRefs {
		at := list.Index(i)
		if ref.Name == "" {
			c.add(at.Child("name"), "missing; name the Gateway or the Service")
		}
		if ref.Port != nil {
			c.port(at.Child("port"), int64(*ref.Port), false)
		}
		key := id{name: ref.Name, namespace: value(ref.Namespace), section: value(ref.SectionName), port: value(ref.Port), group: value(ref.Group), kind: value(ref.Kind)}
		if first, dup := seen[key]; dup {
			c.add(at, "is parentRefs[%d] as well; remove one, or tell them apart by sectionName or port", first)
		}
		seen[key] = i
	}
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func (c *checker) hostnames(p *field.Path, list []gatewayv1.Hostname) {
	c.count(p, len(list), maxHostnames)
	for i, h := range list {
		c.hostname(p.Index(i), string(h), true)
	}
}

func (c *checker) backendRef(p *field.Path, ref *gatewayv1.BackendRef) {
	c.backendObject(p, &ref.BackendObjectReference)
	if w := ref.Weight; w != nil && (*w < 0 || *w > maxWeight) {
		c.add(p.Child("weight"), "%d is not a weight; use 0 to %d", *w, maxWeight)
	}
}

func (c *checker) backendObject(p *field.Path, ref *gatewayv1.BackendObjectReference) {
	if ref.Name == "" {
		c.add(p.Child("name"), "missing; name the Service")
	}
	core := (ref.Group == nil || *ref.Group == "") && (ref.Kind == nil || *ref.Kind == "Service")
	switch {
	case ref.Port != nil:
		c.port(p.Child("port"), int64(*ref.Port), false)
	case core:
		c.add(p.Child("port"), "missing; a Service needs the port that is meant")
	}
}

func grpcRoute(c *checker, p *field.Path, spec any) {
	s := spec.(*gatewayv1.GRPCRouteSpec)
	c.routeParents(p, &s.CommonRouteSpec)
	c.hostnames(p.Child("hostnames"), s.Hostnames)
	c.count(p.Child("rules"), len(s.Rules), maxRules)
	for i, r := range s.Rules {
		at := p.Child("rules").Index(i)
		c.count(at.Child("matches"), len(r.Matches), maxMatches)
		for j, m := range r.Matches {
			mt := at.Child("matches").Index(j)
			if method := m.Method; method != nil {
				regular := value(method.Type) == gatewayv1.GRPCMethodMatchRegularExpression
				if method.Type != nil && !regular && *method.Type != gatewayv1.GRPCMethodMatchExact {
					c.add(mt.Child("method", "type"), "%q is not a type; use Exact or RegularExpression", *method.Type)
				}
				if value(method.Service) == "" && value(method.Method) == "" {
					c.add(mt.Child("method"), "names neither service nor method")
				}
				for name, v := range map[string]*string{"service": method.Service, "method": method.Method} {
					switch {
					case v == nil:
					case regular:
						c.regex(mt.Child("method", name), *v)
					case strings.Contains(*v, "/"):
						c.add(mt.Child("method", name), "%q has a slash; name service and method apart", *v)
					}
				}
			}
			for k, h := range m.Headers {
				c.namedMatch(mt.Child("headers").Index(k), string(h.Name), h.Value, string(value(h.Type)))
			}
		}
		for j, f := range r.Filters {
			c.grpcFilter(at.Child("filters").Index(j), &f)
		}
		c.count(at.Child("backendRefs"), len(r.BackendRefs), maxBackends)
		for j := range r.BackendRefs {
			ref := at.Child("backendRefs").Index(j)
			c.backendRef(ref, &r.BackendRefs[j].BackendRef)
			for k, f := range r.BackendRefs[j].Filters {
				c.grpcFilter(ref.Child("filters").Index(k), &f)
			}
		}
	}
}

// grpcFilter checks that a filter has what its type says, and nothing else.
func (c *checker) grpcFilter(p *field.Path, f *gatewayv1.GRPCRouteFilter) {
	c.httpFilter(p, &gatewayv1.HTTPRouteFilter{
		Type: gatewayv1.HTTPRouteFilterType(f.Type), RequestHeaderModifier: f.RequestHeaderModifier, ResponseHeaderModifier: f.ResponseHeaderModifier,
		RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef,
	}, nil)
}

func k8sTLSRoute(c *checker, p *field.Path, spec any) {
	s := spec.(*gatewayv1.TLSRouteSpec)
	c.routeParents(p, &s.CommonRouteSpec)
	c.hostnames(p.Child("hostnames"), s.Hostnames)
	if len(s.Rules) != 1 {
		c.add(p.Child("rules"), "there are %d; a TLSRoute has one", len(s.Rules))
	}
	for i, r := range s.Rules {
		c.l4Backends(p.Child("rules").Index(i).Child("backendRefs"), r.BackendRefs)
	}
}

func k8sTCPRoute(c *checker, p *field.Path, spec any) {
	s := spec.(*gatewayv1.TCPRouteSpec)
	c.routeParents(p, &s.CommonRouteSpec)
	if len(s.Rules) != 1 {
		c.add(p.Child("rules"), "there are %d; a TCPRoute has one", len(s.Rules))
	}
	for i, r := range s.Rules {
		c.l4Backends(p.Child("rules").Index(i).Child("backendRefs"), r.BackendRefs)
	}
}

func (c *checker) l4Backends(p *field.Path, list []gatewayv1.BackendRef) {
	if len(list) == 0 {
		c.add(p, "missing; name at least one Service")
	}
	c.count(p, len(list), maxBackends)
	for i := range list {
		c.backendRef(p.Index(i), &list[i])
	}
}

func referenceGrant(c *checker, p *field.Path, spec any) {
	s := spec.(*gatewayv1.ReferenceGrantSpec)
	if len(s.From) == 0 {
		c.add(p.Child("from"), "missing; say who may refer")
	}
	if len(s.To) == 0 {
		c.add(p.Child("to"), "missing; say to what")
	}
	for i, f := range s.From {
		if f.Kind == "" || f.Namespace == "" {
			c.add(p.Child("from").Index(i), "needs group, kind and namespace")
		}
	}
	for i, t := range s.To {
		if t.Kind == "" {
			c.add(p.Child("to").Index(i), "needs group and kind")
		}
	}
}
