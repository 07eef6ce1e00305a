package snapshot

import (
	"net/netip"
	"slices"
	"sort"
	"strconv"
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
		out.Resolution, out.Alias = model.ResolutionDNS, strings.TrimSuffix(strings.ToLower(s.Spec.ExternalName), ".")
		if out.Alias == "" {
			p.add("spec.externalName", "is empty; the service has no endpoints")
		} else {
			out.Inline = []model.Instance{{Address: out.Alias, Namespace: o.Namespace, Origin: o.at("spec.externalName")}}
		}
	case s.Spec.ClusterIP == corev1.ClusterIPNone:
		out.Headless = true
	default:
		out.Addresses, _ = addresses(append([]string{s.Spec.ClusterIP}, s.Spec.ClusterIPs...))
		out.AutoAllocate = len(out.Addresses) == 0 && !strings.EqualFold(o.Labels[autoAllocateLabel], "false")
	}
	if d := s.Spec.TrafficDistribution; d != nil {
		out.PreferClose = preferClose(*d)
	}
	if a := o.Annotations[trafficDistribution]; a != "" {
		out.PreferClose = preferClose(a)
	}
	if network := o.Labels[model.NetworkLabel]; network != "" && out.Alias == "" {
		out.Gateway, out.GatewayPort = network, gatewayPort(o, p)
		out.ExternalAddresses, out.ExternalNames = externalAddresses(s)
	}
	if len(s.Spec.Selector) > 0 && out.Alias == "" {
		out.Selector = cloneMap(s.Spec.Selector)
	}
	out.PublishNotReady = s.Spec.PublishNotReadyAddresses
	return out
}

// gatewayPort is the port at which a network's gateways take connections of others.
func gatewayPort(o object, p *problems) uint32 {
	text := o.Labels[model.GatewayPortLabel]
	if text == "" {
		return model.GatewayPort
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		p.add("metadata.labels", "%s: %q is no port; it is %d", model.GatewayPortLabel, text, model.GatewayPort)
		return model.GatewayPort
	}
	return uint32(n)
}

// externalAddresses are those, and the names, by which a service is reached from outside of its network.
func externalAddresses(s *corev1.Service) (out, names []string) {
	list := slices.Clone(s.Spec.ExternalIPs)
	for _, in := range s.Status.LoadBalancer.Ingress {
		list = append(list, in.IP)
		if in.IP == "" && in.Hostname != "" {
			names = append(names, in.Hostname)
		}
	}
	out, _ = addresses(list)
	return out, names
}

// addresses sorts virtual addresses into single ones and subnets, each once. What is neither is
// left out; validation names it.
func addresses(list []string) (single []string, subnets []netip.Prefix) {
	for _, a := range list {
		ip, err := netip.ParseAddr(a)
		if err != nil {
			subnet, err := netip.ParsePrefix(a)
			switch {
			case err != nil:
				continue
			case !subnet.IsSingleIP():
				if subnet = subnet.Masked(); !slices.Contains(subnets, subnet) {
					subnets = append(subnets, subnet)
				}
				continue
			}
			ip = subnet.Addr()
		}
		if !slices.Contains(single, ip.String()) {
			single = append(single, ip.String())
		}
	}
	return single, subnets
}

// serviceEntry converts a ServiceEntry: one service for each host.
func (b *Builder) serviceEntry(o object, s *networking.ServiceEntry, p *problems) []*model.Service {
	base := model.Service{
		Namespace: o.Namespace,
		External:  s.Location == networking.ServiceEntry_MESH_EXTERNAL,
		ExportTo:  exportTo(s.ExportTo, b.mesh.ServiceExportTo, o.Namespace),
		SANs:      slices.Clone(s.SubjectAltNames), PreferClose: preferClose(o.Annotations[trafficDistribution]),
		Created: o.Created, Origin: o.origin(),
	}
	if to, said := b.visibility(o.Namespace); said {
		base.ExportTo = to
	}
	base.Addresses, base.Ranges = addresses(s.Addresses)
	switch s.Resolution {
	case networking.ServiceEntry_NONE:
		base.Resolution = model.ResolutionPassthrough
	case networking.ServiceEntry_STATIC:
		base.Resolution = model.ResolutionStatic
	case networking.ServiceEntry_DNS:
		base.Resolution = model.ResolutionDNS
	case networking.ServiceEntry_DNS_ROUND_ROBIN:
		base.Resolution = model.ResolutionDNSRR
	case networking.ServiceEntry_DYNAMIC_DNS:
		base.Resolution = model.ResolutionDynamic
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
		if base.Resolution == model.ResolutionDynamic && !port.Protocol.IsHTTP() && port.Protocol != model.ProtocolTLS {
			p.add(indexed("spec.ports", i)+".protocol", "DYNAMIC_DNS serves HTTP, HTTP2, GRPC and TLS, whose clients name the host; the port is left out")
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
		if e == nil || e.Address == "" && (e.Network == "" || base.Resolution != model.ResolutionStatic) {
			continue // the entry's own host, for DNS; validation names it otherwise
		}
		w := b.workload(o, e, e.Labels)
		base.Inline = append(base.Inline, model.Instance{
			Address: w.Address, Labels: w.Labels, ServiceAccount: w.ServiceAccount, Namespace: o.Namespace,
			Locality: w.Locality, Network: w.Network, Weight: w.Weight, TLS: w.TLS, Ports: w.Ports,
			Origin: o.at(indexed("spec.endpoints", i)),
		})
	}
	// Without resolution the address is where the client was going, so that it must be real.
	allocates := base.Resolution != model.ResolutionPassthrough && len(s.Addresses) == 0 &&
		!strings.EqualFold(o.Labels[autoAllocateLabel], "false")
	dns := base.Resolution == model.ResolutionDNS || base.Resolution == model.ResolutionDNSRR
	if base.Resolution == model.ResolutionStatic && len(base.Inline) == 0 && base.Selector == nil {
		p.add("spec.endpoints", "are missing: with resolution STATIC nothing answers")
	}
	var out []*model.Service
	for _, host := range s.Hosts {
		svc := base
		svc.Host, svc.Name = strings.ToLower(host), strings.ToLower(host)
		svc.AutoAllocate = allocates && !strings.HasPrefix(host, "*")
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

// joinServices makes one service of several definitions of a host in a namespace, as Istio
// does: the mesh's own registry before ServiceEntries, then the oldest, with the ports and
// the endpoints of all. What a foreign registry has found counts only where nobody has
// written anything.
func joinServices(all []*model.Service) *model.Service {
	found := func(s *model.Service) bool { return s.Registry != "" }
	if all = slices.Clone(all); !found(all[0]) {
		all = slices.DeleteFunc(all, found)
	}
	if len(all) == 1 {
		return all[0]
	}
	slices.SortStableFunc(all, func(a, b *model.Service) int { return count(b.Mesh) - count(a.Mesh) })
	out := *all[0]
	out.Ports, out.Parts = slices.Clone(out.Ports), all
	for _, m := range all[1:] {
		for _, p := range m.Ports {
			if _, dup := out.Port(p.Number); !dup {
				out.Ports = append(out.Ports, p)
			}
		}
	}
	return &out
}

// Labels and annotations that say something about an object.
const (
	tlsModeLabel        = "security.istio.io/tlsMode" // whether a workload's proxy terminates mTLS
	localityLabel       = "istio-locality"            // "region.zone.subzone", where no locality is given
	trafficDistribution = "networking.istio.io/traffic-distribution"
	autoAllocateLabel   = "networking.istio.io/enable-autoallocate-ip"
)

// preferClose reads a trafficDistribution; PreferSameZone is Kubernetes' newer name.
func preferClose(value string) bool { return value == "PreferClose" || value == "PreferSameZone" }

// workload converts a WorkloadEntry, or an endpoint of a ServiceEntry.
func (b *Builder) workload(o object, e *networking.WorkloadEntry, labels map[string]string) *model.Workload {
	w := &model.Workload{
		Namespace: o.Namespace, Name: o.Name, Address: e.Address, ServiceAccount: e.ServiceAccount,
		Labels: cloneMap(labels), Ports: cloneMap(e.Ports), Network: e.Network, Weight: e.Weight, Origin: o.origin(),
	}
	switch {
	case e.Locality != "":
		w.Locality = model.ParseLocality(e.Locality)
	case labels[localityLabel] != "":
		// Dots where no slash is: a label's value has none.
		w.Locality = model.ParseLocality(strings.ReplaceAll(labels[localityLabel], ".", "/"))
	}
	if w.Network == "" {
		w.Network = labels[model.NetworkLabel]
	}
	// A workload with an identity has a proxy, unless it says otherwise.
	if mode, said := labels[tlsModeLabel]; mode == "istio" || !said && e.ServiceAccount != "" {
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
