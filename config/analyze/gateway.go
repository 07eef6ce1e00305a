package analyze

import (
	"fmt"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

func (a *analyzer) gateway(o *config.Object) {
	gw := o.Spec.(*networking.Gateway)
	a.gatewaySelector(o, gw)
	for i, s := range gw.Servers {
		f := indexed("spec.servers", i)
		name := s.Tls.GetCredentialName()
		if name == "" || strings.Contains(name, "://") {
			continue
		}
		// The secret has to be in the namespace of the gateway's workload, which is where its
		// Service is.
		namespaces := []string{"istio-system"}
		for _, svc := range a.gatewayServices(gw) {
			namespaces = append(namespaces, svc.Namespace)
		}
		found := false
		for _, ns := range namespaces {
			found = found || a.set.Get(schema.Secret, ns, name) != nil
		}
		if !found {
			a.add(o, InvalidCredential, Error, f+".tls.credentialName", "there is no Secret %s/%s; this server cannot take connections", namespaces[len(namespaces)-1], name)
		}
	}
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

// gatewayConflicts finds servers that cannot share a port: plain TCP beside anything else, HTTP
// beside TLS, or the same host twice.
func (a *analyzer) gatewayConflicts() {
	type taken struct {
		object *config.Object
		index  int
		server *networking.Server
	}
	ports := map[string][]taken{}
	for _, o := range a.set.List(schema.Gateway) {
		gw := o.Spec.(*networking.Gateway)
		for i, s := range gw.Servers {
			if s.Port == nil {
				continue
			}
			key := fmt.Sprintf("%s %s %d", schema.LabelString(gw.Selector), s.Bind, s.Port.Number)
			for _, t := range ports[key] {
				if text := conflict(s, t.server, o.Namespace, t.object.Namespace); text != "" {
					a.add(o, ConflictingGateways, Error, indexed("spec.servers", i), "port %d of the same gateway is used by Gateway %s/%s (servers[%d]) as well: %s",
						s.Port.Number, t.object.Namespace, t.object.Name, t.index, text)
					break
				}
			}
			ports[key] = append(ports[key], taken{o, i, s})
		}
	}
}

// conflict says why two servers cannot share a port; empty if they can.
func conflict(a, b *networking.Server, nsA, nsB string) string {
	x, y := transport(a), transport(b)
	if x != y {
		return fmt.Sprintf("%s and %s cannot share a port; use another port for one", a.Port.Protocol, b.Port.Protocol)
	}
	if x == "tcp" {
		return "plain TCP connections carry no host name to tell the two apart; use another port for one"
	}
	for _, h := range a.Hosts {
		for _, g := range b.Hosts {
			if hostOf(h) == hostOf(g) && sharesNamespace(h, g, nsA, nsB) {
				return fmt.Sprintf("both serve host %s; only the older one counts", hostOf(h))
			}
		}
	}
	return ""
}

func hostOf(h string) string {
	if _, host, ok := strings.Cut(h, "/"); ok {
		return strings.ToLower(host)
	}
	return strings.ToLower(h)
}

func sharesNamespace(h, g, nsA, nsB string) bool {
	part := func(s, own string) string {
		ns, _, ok := strings.Cut(s, "/")
		if !ok {
			return "*"
		}
		if ns == "." {
			return own
		}
		return ns
	}
	x, y := part(h, nsA), part(g, nsB)
	return x == "*" || y == "*" || x == y
}

// transport names what is told apart on a port: tls servers by SNI, http servers by Host, tcp
// ones not at all.
func transport(s *networking.Server) string {
	switch strings.ToUpper(s.Port.Protocol) {
	case "HTTPS", "TLS":
		return "tls"
	case "HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY":
		return "http"
	}
	if s.Tls != nil && !s.Tls.HttpsRedirect {
		return "tls"
	}
	return "tcp"
}
