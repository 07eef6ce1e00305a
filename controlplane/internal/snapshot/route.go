package snapshot

//lint:file-ignore SA1019 Istio still serves its deprecated fields, so they are read as well.

import (
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

func indexed(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// host resolves a short name in the object's namespace. Istio resolves only names without a
// dot; "catalog.shop" stays as it is. "localhost" is no short name: it means this machine wherever
// it is said (RFC 6761, 6.3), and a gateway on a laptop is asked for by it.
func (b *Builder) host(name, ns string) string {
	name = strings.ToLower(name)
	if name == "" || name == "*" || name == "localhost" || strings.Contains(name, ".") {
		return name
	}
	return name + "." + ns + ".svc." + b.mesh.Domain
}

// gatewayNames resolves gateway references to "namespace/name"; none means the mesh.
func gatewayNames(list []string, ns string) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, 0, len(list))
	for _, g := range list {
		switch {
		case g == model.MeshGateway:
			out = append(out, g)
		case strings.HasPrefix(g, "./"):
			out = append(out, ns+g[1:])
		case strings.Contains(g, "/"):
			out = append(out, g)
		case strings.Contains(g, "."):
			// The deprecated form "name.namespace" or an FQDN: first two labels.
			parts := strings.SplitN(g, ".", 3)
			out = append(out, parts[1]+"/"+parts[0])
		default:
			out = append(out, ns+"/"+g)
		}
	}
	return out
}

// virtualService converts a VirtualService; nil for a delegate, which is part of those that
// refer to it.
func (b *Builder) virtualService(o object, v *networking.VirtualService, p *problems) *model.VirtualService {
	if isDelegate(v) {
		return nil
	}
	out := &model.VirtualService{
		Namespace: o.Namespace, Name: o.Name, Gateways: gatewayNames(v.Gateways, o.Namespace),
		ExportTo: exportTo(v.ExportTo, b.mesh.VirtualServiceExportTo, o.Namespace),
		Created:  o.Created, Origin: o.origin(),
	}
	if out.Gateways == nil {
		out.Gateways = []string{model.MeshGateway}
	}
	for _, h := range v.Hosts {
		host := b.host(h, o.Namespace)
		if written := strings.ToLower(h); written != host {
			out.ShortHosts = append(out.ShortHosts, written)
		}
		out.Hosts = append(out.Hosts, host)
	}
	for i, r := range v.Http {
		field := indexed("spec.http", i)
		switch {
		case r == nil:
		case r.Delegate != nil:
			out.HTTP = append(out.HTTP, b.delegated(o, r, field, p)...)
		default:
			out.HTTP = append(out.HTTP, b.httpRoute(o, r, field, p))
		}
	}
	for i, r := range v.Tls {
		if r != nil {
			out.TLS = append(out.TLS, b.tlsRoute(o, r, indexed("spec.tls", i)))
		}
	}
	for i, r := range v.Tcp {
		if r != nil {
			out.TCP = append(out.TCP, b.tcpRoute(o, r, indexed("spec.tcp", i), p))
		}
	}
	return out
}

func (b *Builder) destination(d *networking.Destination, ns string) model.Destination {
	if d == nil {
		return model.Destination{}
	}
	return model.Destination{Host: b.host(d.Host, ns), Subset: d.Subset, Port: d.Port.GetNumber()}
}
