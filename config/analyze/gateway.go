package analyze

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/credential"
	"github.com/lateen-mesh/lateen/config/schema"
)

func (a *analyzer) gateway(o *config.Object) {
	gw := o.Spec.(*networking.Gateway)
	a.gatewaySelector(o, gw)
	for i, s := range gw.Servers {
		a.serverCredentials(o, gw, indexed("spec.servers", i)+".tls", s.Tls)
	}
}

// serverCredentials finds Secrets that a server needs and that are not there, or of no use.
func (a *analyzer) serverCredentials(o *config.Object, gw *networking.Gateway, field string, t *networking.ServerTLSSettings) {
	checks := t.GetMode() == networking.ServerTLSSettings_MUTUAL || t.GetMode() == networking.ServerTLSSettings_OPTIONAL_MUTUAL
	if t == nil || !checks && t.Mode != networking.ServerTLSSettings_SIMPLE {
		return
	}
	names, at := t.CredentialNames, func(i int) string { return indexed(field+".credentialNames", i) }
	if len(names) == 0 && t.CredentialName != "" {
		names, at = []string{t.CredentialName}, func(int) string { return field + ".credentialName" }
	}
	for i, name := range names {
		a.serverCertificate(o, gw, at(i), name)
	}
	if !checks {
		return
	}
	roots, rootsAt := t.CaCertCredentialName, field+".caCertCredentialName"
	if roots == "" && len(names) > 0 {
		roots, rootsAt = names[0], at(0)
	}
	if roots == "" || strings.Contains(roots, "://") {
		if t.CaCertCredentialName != "" {
			a.secretProvider(o, rootsAt, roots, "no client gets in")
		}
		return
	}
	c, where, err := a.credential(gw, roots+credential.CASuffix)
	if where == "" {
		c, where, err = a.credential(gw, roots)
	}
	switch {
	case where == "" && rootsAt == field+".caCertCredentialName":
		a.add(o, InvalidCredential, Error, rootsAt, "there is no Secret %s/%s; no client gets in", a.gatewayNamespace(gw), roots)
	case where != "" && len(c.CA) == 0:
		a.add(o, InvalidCredential, Error, rootsAt, "Secret %s has no roots for clients' certificates%s, so none gets in; it needs ca.crt or cacert", where, because(err))
	}
}

// serverCertificate looks at the Secret of a certificate that a server shows, or at the provider. Another name with a scheme is neither.
func (a *analyzer) serverCertificate(o *config.Object, gw *networking.Gateway, field, name string) {
	if strings.Contains(name, "://") {
		a.secretProvider(o, field, name, "this server cannot take connections")
		return
	}
	c, where, err := a.credential(gw, name)
	switch {
	case where == "":
		a.add(o, InvalidCredential, Error, field, "there is no Secret %s/%s; this server cannot take connections", a.gatewayNamespace(gw), name)
	case len(c.Certificate) == 0:
		a.add(o, InvalidCredential, Error, field, "Secret %s has no certificate that can be used%s; it needs tls.crt and tls.key, or cert and key", where, because(err))
	default:
		if text := c.Expired(a.opts.Now); text != "" {
			a.add(o, ExpiredCredential, Warning, field, "Secret %s: %s; clients will refuse it", where, text)
		}
	}
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}

// credential reads a Secret where a gateway's proxies look for it: in their own namespace. where names it; empty when there is none.
func (a *analyzer) credential(gw *networking.Gateway, name string) (c credential.Credential, where string, err error) {
	o := a.set.Get(schema.Secret, a.gatewayNamespace(gw), name)
	if o == nil {
		return c, "", nil
	}
	c, err = credential.Parse(o.Spec.(*corev1.Secret))
	return c, o.Namespace + "/" + o.Name, err
}

// gatewayNamespace is where a gateway's proxies are, which is where its Service is.
func (a *analyzer) gatewayNamespace(gw *networking.Gateway) string {
	if services := a.gatewayServices(gw); len(services) > 0 {
		return services[0].Namespace
	}
	return "istio-system"
}

// gatewayServices returns the Services whose workloads the gateway selects.
func (a *analyzer) gatewayServices(gw *networking.Gateway) []*config.Object {
	var out []*config.Object
	for _, o := range a.set.List(schema.Service) {
		sel := o.Spec.(*corev1.Service).Spec.Selector
		if len(sel) > 0 && len(gw.Selector) > 0 && selects(gw.Selector, sel) {
			out = append(out, o)
		}
	}
	return out
}

func (a *analyzer) gatewaySelector(o *config.Object, gw *networking.Gateway) {
	if len(gw.Selector) == 0 {
		return
	}
	services := a.gatewayServices(gw)
	if len(services) == 0 {
		// Without any gateway in the set nothing can be said; with one, the selector is wrong.
		for key, want := range gw.Selector {
			for _, svc := range a.set.List(schema.Service) {
				if got, ok := svc.Spec.(*corev1.Service).Spec.Selector[key]; ok && got != want && key == "istio" {
					a.add(o, NotFound, Error, "spec.selector", "no gateway has the label %s=%s, so nothing serves this; %s/%s has %s=%s", key, want, svc.Namespace, svc.Name, key, got)
					return
				}
			}
		}
		return
	}
	for i, s := range gw.Servers {
		open := false
		for _, svc := range services {
			for _, p := range svc.Spec.(*corev1.Service).Spec.Ports {
				open = open || uint32(p.Port) == s.Port.GetNumber() || uint32(p.TargetPort.IntVal) == s.Port.GetNumber()
			}
		}
		if !open {
			a.add(o, GatewayPortNotOpen, Warning, indexed("spec.servers", i)+".port.number", "Service %s/%s has no port %d, so clients cannot reach this server through it; add the port to the Service",
				services[0].Namespace, services[0].Name, s.Port.GetNumber())
		}
	}
}
