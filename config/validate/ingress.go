package validate

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

// The rules of Ingress and IngressClass are those that an API server enforces for networking.k8s.io/v1
// (https://kubernetes.io/docs/reference/kubernetes-api/service-resources/ingress-v1/).

// maxController is how long the name of an IngressClass's controller may be.
const maxController = 250

func ingressClass(c *checker, p *field.Path, spec any) {
	s := spec.(*networkingv1.IngressClassSpec)
	domain, path, ok := strings.Cut(s.Controller, "/")
	switch at := p.Child("controller"); {
	case len(s.Controller) > maxController:
		c.add(at, "has %d characters, more than %d", len(s.Controller), maxController)
	case !ok || path == "" || !subdomain.MatchString(domain) || strings.ContainsFunc(path, notOfPath):
		c.add(at, "%q is not the name of a controller; use one such as istio.io/ingress-controller", s.Controller)
	}
	if r := s.Parameters; r != nil {
		at := p.Child("parameters")
		if r.Kind == "" {
			c.add(at.Child("kind"), "missing")
		}
		if r.Name == "" {
			c.add(at.Child("name"), "missing")
		}
	}
}

// notOfPath says of a letter that the path of a controller's name does not have it: what it may have is what URLs have there (RFC 3986, pchar).
func notOfPath(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"<>\\^`{|}#?[]", r)
}

func ingress(c *checker, p *field.Path, spec any) {
	s := spec.(*networkingv1.IngressSpec)
	if name := s.IngressClassName; name != nil {
		c.objectName(p.Child("ingressClassName"), *name)
	}
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		c.add(p.Child("rules"), "missing; name at least one rule")
	}
	if s.DefaultBackend != nil {
		c.ingressBackend(p.Child("defaultBackend"), s.DefaultBackend)
	}
	for i := range s.TLS {
		at := p.Child("tls").Index(i)
		for j, h := range s.TLS[i].Hosts {
			c.hostname(at.Child("hosts").Index(j), h, true)
		}
		if name := s.TLS[i].SecretName; name != "" {
			c.objectName(at.Child("secretName"), name)
		}
	}
	for i := range s.Rules {
		r, at := &s.Rules[i], p.Child("rules").Index(i)
		if r.Host != "" {
			c.hostname(at.Child("host"), r.Host, true)
		}
		if r.HTTP == nil {
			continue // analysis says that the rule has no effect
		}
		paths := at.Child("http", "paths")
		if len(r.HTTP.Paths) == 0 {
			c.add(paths, "missing; name at least one path")
		}
		for j := range r.HTTP.Paths {
			c.ingressPath(paths.Index(j), &r.HTTP.Paths[j])
		}
	}
}

// objectName checks the name of another object.
func (c *checker) objectName(p *field.Path, name string) {
	if len(name) > 253 || !subdomain.MatchString(name) {
		c.add(p, "%q is not a name: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit", name)
	}
}

func (c *checker) ingressPath(at *field.Path, h *networkingv1.HTTPIngressPath) {
	switch typ := at.Child("pathType"); {
	case h.PathType == nil:
		c.add(typ, "missing; use Exact, Prefix or ImplementationSpecific")
	case *h.PathType == networkingv1.PathTypeExact, *h.PathType == networkingv1.PathTypePrefix:
		c.absolutePath(at.Child("path"), h.Path)
	case *h.PathType == networkingv1.PathTypeImplementationSpecific:
		if h.Path != "" && !strings.HasPrefix(h.Path, "/") {
			c.add(at.Child("path"), "%q does not begin with a slash", h.Path)
		}
	default:
		c.add(typ, "%q is not a type of a path; use Exact, Prefix or ImplementationSpecific", *h.PathType)
	}
	c.ingressBackend(at.Child("backend"), &h.Backend)
}

func (c *checker) ingressBackend(at *field.Path, b *networkingv1.IngressBackend) {
	switch {
	case b.Service != nil && b.Resource != nil:
		c.add(at, "names a service and a resource; name one")
	case b.Resource != nil:
		ref := at.Child("resource")
		if b.Resource.Kind == "" {
			c.add(ref.Child("kind"), "missing")
		}
		if b.Resource.Name == "" {
			c.add(ref.Child("name"), "missing")
		}
	case b.Service == nil:
		c.add(at.Child("service"), "missing; name a Service")
	default:
		svc := at.Child("service")
		if name := b.Service.Name; len(name) > 63 || !label1035.MatchString(name) {
			c.add(svc.Child("name"), "%q is not a name of a Service: lower-case letters, digits and '-', at most 63, beginning with a letter", name)
		}
		port := svc.Child("port")
		switch {
		case b.Service.Port.Name != "" && b.Service.Port.Number != 0:
			c.add(port, "has a name and a number; give one")
		case b.Service.Port.Name != "":
			if name := b.Service.Port.Name; len(name) > 15 || !label1123.MatchString(name) {
				c.add(port.Child("name"), "%q is not a port's name: lower-case letters, digits and '-', at most 15", name)
			}
		case b.Service.Port.Number == 0:
			c.add(port, "missing; give the number or the name of a port")
		default:
			c.port(port.Child("number"), int64(b.Service.Port.Number), false)
		}
	}
}
