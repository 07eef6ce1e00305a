package snapshot

import (
	"net/netip"
	"slices"
	"sort"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// exportTo resolves an export list: "." is the object's namespace, "~" nobody; def applies
// when nothing was given.
func exportTo(list, def []string, ns string) model.ExportTo {
	if len(list) == 0 {
		list = def
	}
	if len(list) == 0 {
		return nil
	}
	out := model.ExportTo{}
	for _, n := range list {
		switch n = strings.TrimSpace(n); n {
		case "*":
			return nil
		case ".":
			out = append(out, ns)
		case "~", "":
		default:
			out = append(out, n)
		}
	}
	sort.Strings(out)
	return slices.Compact(out)
}

// service converts a core/v1 Service.
func (b *Builder) service(o object, s *corev1.Service, p *problems) *model.Service {
	out := &model.Service{
		Host:      o.Name + "." + o.Namespace + ".svc." + b.mesh.Domain,
		Namespace: o.Namespace, Name: o.Name, Mesh: true,
		ExportTo: exportTo(splitList(o.Annotations["networking.istio.io/exportTo"]), b.mesh.ServiceExportTo, o.Namespace),
		Created:  o.Created, Origin: o.origin(),
	}
	for i, sp := range s.Spec.Ports {
		field := indexed("spec.ports", i)
		app := ""
		if sp.AppProtocol != nil {
			app = *sp.AppProtocol
		}
		port := model.Port{Name: sp.Name, Number: uint32(sp.Port)}
		port.Protocol = model.SelectProtocol(app, sp.Name, string(sp.Protocol), port.Number)
		if sp.Port < 1 || sp.Port > 65535 {
			p.add(field+".port", "%d is no port; the port is left out", sp.Port)
			continue
		}
		if port.Protocol == model.ProtocolUDP {
			p.add(field+".protocol", "UDP is not proxied; the port is left out")
			continue
		}
		if slices.ContainsFunc(out.Ports, func(q model.Port) bool { return q.Number == port.Number }) {
			p.add(field+".port", "%d is given twice; the first counts", port.Number)
			continue
		}
		switch sp.TargetPort.Type {
		case intstr.String:
			port.Named = sp.TargetPort.StrVal
		default:
			if v := sp.TargetPort.IntVal; v > 0 && v <= 65535 {
				port.Target = uint32(v)
			}
		}
		out.Ports = append(out.Ports, port)
	}
	switch {
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		out.Resolution, out.Alias = model.ResolutionDNS, s.Spec.ExternalName
		if out.Alias == "" {
			p.add("spec.externalName", "is empty; the service has no endpoints")
		} else {
			out.Inline = []model.Instance{{Address: out.Alias, Namespace: o.Namespace, Origin: o.at("spec.externalName")}}
		}
	case s.Spec.ClusterIP == corev1.ClusterIPNone:
		out.Headless = true
	default:
		out.Addresses, _ = addresses(append([]string{s.Spec.ClusterIP}, s.Spec.ClusterIPs...))
	}
	if len(s.Spec.Selector) > 0 && out.Alias == "" {
		out.Selector = cloneMap(s.Spec.Selector)
	}
	return out
}

// addresses keeps the virtual addresses that are single, each once; what else was given is
// returned apart.
func addresses(list []string) (single, others []string) {
	for _, a := range list {
		ip, err := netip.ParseAddr(a)
		if err != nil {
			if pfx, perr := netip.ParsePrefix(a); perr == nil && pfx.IsSingleIP() {
				ip, err = pfx.Addr(), nil
			}
		}
		switch {
		case err != nil && a != "":
			others = append(others, a)
		case err == nil && !slices.Contains(single, ip.String()):
			single = append(single, ip.String())
		}
	}
	return single, others
}

// serviceEntry converts a ServiceEntry: one service for each host.
func (b *Builder) serviceEntry(o object, s *networking.ServiceEntry, p *problems) []*model.Service {
	base := model.Service{
		Namespace: o.Namespace,
		External:  s.Location == networking.ServiceEntry_MESH_EXTERNAL,
		ExportTo:  exportTo(s.ExportTo, b.mesh.ServiceExportTo, o.Namespace),
		SANs:      slices.Clone(s.SubjectAltNames),
		Created:   o.Created, Origin: o.origin(),
	}
	var ranges []string
	base.Addresses, ranges = addresses(s.Addresses)
	for _, r := range ranges {
		p.add("spec.addresses", "the range %s has no effect yet; connections to it go by host name or pass as unknown", r)
	}
	switch s.Resolution {
	case networking.ServiceEntry_NONE:
		base.Resolution = model.ResolutionPassthrough
	case networking.ServiceEntry_STATIC:
		base.Resolution = model.ResolutionStatic
	case networking.ServiceEntry_DNS:
		base.Resolution = model.ResolutionDNS
	case networking.ServiceEntry_DNS_ROUND_ROBIN:
		base.Resolution = model.ResolutionDNSRR
	default:
		p.add("spec.resolution", "%s is not supported; the entry is treated as NONE", s.Resolution)
		base.Resolution = model.ResolutionPassthrough
	}
	for i, sp := range s.Ports {
		if sp == nil || sp.Number == 0 || sp.Number > 65535 {
			p.add(indexed("spec.ports", i)+".number", "is no port; the port is left out")
			continue
		}
		port := model.Port{Name: sp.Name, Number: sp.Number, Target: sp.TargetPort}
		if pr, ok := model.ParseProtocol(sp.Protocol); ok {
			port.Protocol = pr
		} else {
			port.Protocol = model.SelectProtocol("", sp.Name, "", sp.Number)
		}
		if port.Protocol == model.ProtocolUDP {
			p.add(indexed("spec.ports", i)+".protocol", "UDP is not proxied; the port is left out")
			continue
		}
		if slices.ContainsFunc(base.Ports, func(q model.Port) bool { return q.Number == port.Number }) {
			p.add(indexed("spec.ports", i)+".number", "%d is given twice; the first counts", port.Number)
			continue
		}
		base.Ports = append(base.Ports, port)
	}
	if s.WorkloadSelector != nil && len(s.WorkloadSelector.Labels) > 0 {
		base.Selector = cloneMap(s.WorkloadSelector.Labels)
	}
	for i, e := range s.Endpoints {
		if e == nil || e.Address == "" {
			continue // the entry's own host, for DNS; validation names it otherwise
		}
		w := b.workload(o, e, e.Labels)
		base.Inline = append(base.Inline, model.Instance{
			Address: w.Address, Labels: w.Labels, ServiceAccount: w.ServiceAccount, Namespace: o.Namespace,
			Locality: w.Locality, Network: w.Network, Weight: w.Weight, TLS: w.TLS, Ports: w.Ports,
			Origin: o.at(indexed("spec.endpoints", i)),
		})
	}
	dns := base.Resolution == model.ResolutionDNS || base.Resolution == model.ResolutionDNSRR
	var out []*model.Service
	for _, host := range s.Hosts {
		svc := base
		svc.Host, svc.Name = strings.ToLower(host), strings.ToLower(host)
		if dns && len(base.Inline) == 0 && base.Selector == nil {
			if strings.HasPrefix(host, "*") {
				p.add("spec.hosts", "%q cannot be resolved: a wildcard with resolution DNS needs endpoints", host)
				continue
			}
			svc.Inline = []model.Instance{{Address: svc.Host, Namespace: o.Namespace, Origin: o.at("spec.hosts")}}
		}
		out = append(out, &svc)
	}
	return out
}

// tlsModeLabel is the label by which a workload says that its proxy terminates mTLS.
const tlsModeLabel = "security.istio.io/tlsMode"

// workload converts a WorkloadEntry, or an endpoint of a ServiceEntry.
func (b *Builder) workload(o object, e *networking.WorkloadEntry, labels map[string]string) *model.Workload {
	w := &model.Workload{
		Namespace: o.Namespace, Name: o.Name, Address: e.Address, ServiceAccount: e.ServiceAccount,
		Labels: cloneMap(labels), Ports: cloneMap(e.Ports), Network: e.Network, Weight: e.Weight, Origin: o.origin(),
	}
	if l := e.Locality; l != "" {
		w.Locality = model.ParseLocality(l)
	}
	if labels[tlsModeLabel] == "istio" {
		w.TLS = model.TLSModeIstio
	}
	return w
}

// workloadLabels joins an object's own labels with those of the spec, which win.
func workloadLabels(o object, e *networking.WorkloadEntry) map[string]string {
	if len(o.Labels) == 0 {
		return e.Labels
	}
	out := cloneMap(o.Labels)
	for k, v := range e.Labels {
		out[k] = v
	}
	return out
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	if len(m) == 0 {
		return nil
	}
	out := make(map[K]V, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func splitList(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
