package analyze

import (
	"cmp"
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/ingress"
	"github.com/lateen-mesh/lateen/config/schema"
)

// ingresses looks at Ingresses: whether anybody serves them, what they name that is not there, and which of them ask for the same.
func (a *analyzer) ingresses() {
	list := slices.Clone(a.set.List(schema.Ingress))
	if len(list) == 0 {
		return
	}
	slices.SortStableFunc(list, func(x, y *config.Object) int { // as the control plane has them: the older gets what two ask for
		return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(x.Name, y.Name), cmp.Compare(x.Namespace, y.Namespace))
	})
	settings := ingress.SettingsOf(a.mesh())
	c := claims{paths: map[string]string{}, hosts: map[string]string{}}
	gw := &networking.Gateway{Selector: settings.GatewaySelector()}
	for _, o := range list {
		if why := settings.Refuses(o, a.set); why != nil {
			severity := Warning
			if why.Elsewhere {
				severity = Info
			}
			a.add(o, NoEffect, severity, why.Field, "%s; the mesh does not serve this Ingress", why.Text)
			continue
		}
		spec := o.Spec.(*networkingv1.IngressSpec)
		for i := range spec.TLS {
			a.ingressTLS(o, gw, fmt.Sprintf("spec.tls[%d]", i), &spec.TLS[i], c)
		}
		for i := range spec.Rules {
			a.ingressRule(o, fmt.Sprintf("spec.rules[%d]", i), &spec.Rules[i], c)
		}
	}
}

// claims are what Ingresses have asked for so far, with the one that did.
type claims struct{ paths, hosts map[string]string }

// take notes a claim, and returns who has it already; "" for nobody.
func take(m map[string]string, what string, o *config.Object) string {
	if who, taken := m[what]; taken {
		return who
	}
	m[what] = o.Namespace + "/" + o.Name
	return ""
}

func (a *analyzer) ingressTLS(o *config.Object, gw *networking.Gateway, field string, t *networkingv1.IngressTLS, c claims) {
	if t.SecretName == "" {
		a.add(o, NoEffect, Warning, field, "has no secretName, so there is no certificate to show and nothing is served over TLS")
		return
	}
	at := field + ".secretName"
	if ns := a.gatewayNamespace(gw); a.set.Get(schema.Secret, ns, t.SecretName) == nil && ns != o.Namespace && a.set.Get(schema.Secret, o.Namespace, t.SecretName) != nil {
		a.add(o, InvalidCredential, Error, at, "there is no Secret %s/%s; as in Istio it has to be in the namespace of the gateway, and the one in namespace %s is not read", ns, t.SecretName, o.Namespace)
	} else {
		a.serverCertificate(o, gw, at, t.SecretName)
	}
	hosts := t.Hosts
	if len(hosts) == 0 {
		hosts = []string{"*"}
	}
	for i, h := range hosts {
		if who, taken := c.hosts[h]; taken {
			at := field
			if len(t.Hosts) > 0 {
				at = indexed(field+".hosts", i)
			}
			a.add(o, IngressConflict, Warning, at, "Ingress %s serves host %s over TLS as well; only the older certificate counts, and none of the hosts here is served with this one", who, h)
			return
		}
	}
	for _, h := range hosts {
		take(c.hosts, h, o)
	}
}

func (a *analyzer) ingressRule(o *config.Object, field string, r *networkingv1.IngressRule, c claims) {
	if r.HTTP == nil {
		a.add(o, NoEffect, Warning, field, "has no paths, so it has no effect; name some in http.paths")
		return
	}
	for i := range r.HTTP.Paths {
		p, at := &r.HTTP.Paths[i], fmt.Sprintf("%s.http.paths[%d]", field, i)
		typ := or(p.PathType, networkingv1.PathTypeImplementationSpecific)
		a.ingressBackend(o, at+".backend", p.Backend.Service)
		host := cmp.Or(r.Host, "*")
		if who := take(c.paths, fmt.Sprintf("%s %s %s", host, typ, p.Path), o); who != "" {
			a.add(o, IngressConflict, Warning, at+".path", "Ingress %s has path %s (%s) of host %s as well, and gets its requests", who, cmp.Or(p.Path, "/"), typ, host)
		}
	}
}

func (a *analyzer) ingressBackend(o *config.Object, field string, b *networkingv1.IngressServiceBackend) {
	if b == nil {
		return // a backend of another kind is reported by its field
	}
	svc := a.set.Get(schema.Service, o.Namespace, b.Name)
	lost := "so its requests fail"
	if b.Port.Number == 0 {
		lost = "so the path has no effect" // nobody knows the number
	}
	if svc == nil {
		a.add(o, NotFound, Warning, field+".service.name", "there is no Service %s/%s, %s%s", o.Namespace, b.Name, lost, hint(b.Name, a.serviceNames(o.Namespace)))
		return
	}
	ports := svc.Spec.(*corev1.Service).Spec.Ports
	if slices.ContainsFunc(ports, func(p corev1.ServicePort) bool {
		return p.Port == b.Port.Number || b.Port.Number == 0 && p.Name == b.Port.Name
	}) {
		return
	}
	var known []string
	for _, p := range ports {
		if b.Port.Number != 0 {
			known = append(known, fmt.Sprint(p.Port))
		} else if p.Name != "" {
			known = append(known, p.Name)
		}
	}
	if b.Port.Number != 0 {
		a.add(o, NotFound, Warning, field+".service.port.number", "Service %s/%s has no port %d, %s%s", o.Namespace, b.Name, b.Port.Number, lost, hint("", known))
		return
	}
	a.add(o, NotFound, Warning, field+".service.port.name", "Service %s/%s has no port named %s, %s%s", o.Namespace, b.Name, b.Port.Name, lost, hint(b.Port.Name, known))
}

// serviceNames are those of a namespace.
func (a *analyzer) serviceNames(namespace string) []string {
	var out []string
	for _, o := range a.set.List(schema.Service) {
		if o.Namespace == namespace {
			out = append(out, o.Name)
		}
	}
	return out
}
