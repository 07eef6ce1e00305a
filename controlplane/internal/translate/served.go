package translate

import (
	"cmp"
	"sort"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// servedPort is a port of the proxy's own workload, with the services that it serves there;
// the first of them names routes and statistics.
type servedPort struct {
	target   uint32
	services []*model.Service
	port     model.Port // of the first service
	mode     model.MTLSMode
	// ingress is what a Sidecar says of the port; nil: the services do.
	ingress *model.IngressListener
}

// servedPorts returns what the proxy's workload serves, by port: what its Sidecar says, else the ports of its services.
func servedPorts(s *model.Snapshot, p *model.Proxy) []servedPort {
	byPort := portsOfServices(s, p)
	if ingress := s.ScopeOf(p).Ingress(); len(ingress) > 0 {
		byPort = portsOfSidecar(s, p, ingress, byPort)
	}
	out := make([]servedPort, 0, len(byPort))
	for _, sp := range byPort {
		out = append(out, *sp)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].target < out[j].target })
	return out
}

// portsOfServices are the ports at which services have the workload among their endpoints.
func portsOfServices(s *model.Snapshot, p *model.Proxy) map[uint32]*servedPort {
	byPort := map[uint32]*servedPort{}
	w := s.WorkloadOf(p)
	if w == nil {
		if leaving(p) {
			portsOfLabels(s, p, byPort)
		}
		return byPort
	}
	for _, t := range s.TargetsOf(w) {
		at := t.Instance.Port
		sp := byPort[at]
		if sp == nil {
			sp = &servedPort{target: at, port: t.Port, mode: s.MTLS(w.Namespace, w.Labels, at)}
			byPort[at] = sp
		}
		if len(sp.services) == 0 || sp.services[len(sp.services)-1] != t.Service {
			sp.services = append(sp.services, t.Service)
		}
	}
	return byPort
}

// leaving reports whether a proxy that no registry knows has listeners of its own all the same: it owns its workload's ports, and clients that have not heard yet
// that the workload has left, or that know of it already, go on to connect to them. With interception there is a listener for every port.
func leaving(p *model.Proxy) bool { return p.OwnsPorts && len(p.Inbound) > 0 }

// portsOfLabels are the ports at which services would have the workload among their endpoints, by what the proxy says of itself.
func portsOfLabels(s *model.Snapshot, p *model.Proxy, byPort map[uint32]*servedPort) {
	for _, svc := range s.Services.Values() {
		if svc.Namespace != p.Namespace {
			continue
		}
		for _, of := range svc.Definitions() {
			if len(of.Selector) == 0 || !model.LabelsMatch(of.Selector, p.Labels) {
				continue
			}
			for _, port := range of.Ports {
				n := port.TargetPort()
				if port.Named != "" || p.Inbound[n] == "" {
					continue
				}
				sp := byPort[n]
				if sp == nil {
					sp = &servedPort{target: n, port: port, mode: s.MTLS(p.Namespace, p.Labels, n)}
					byPort[n] = sp
				}
				if len(sp.services) == 0 || sp.services[len(sp.services)-1] != svc {
					sp.services = append(sp.services, svc)
				}
			}
		}
	}
}

// portsOfSidecar are those alone that a Sidecar lists. Services that have the workload at such a port name it, as without one.
func portsOfSidecar(s *model.Snapshot, p *model.Proxy, ingress []model.IngressListener, services map[uint32]*servedPort) map[uint32]*servedPort {
	labels := p.Labels
	if w := s.WorkloadOf(p); w != nil {
		labels = w.Labels
	}
	out := map[uint32]*servedPort{}
	for i := range ingress {
		in := &ingress[i]
		n := in.Port.Number
		if in.Port.Protocol == model.ProtocolUDP {
			continue
		}
		sp := &servedPort{target: n, port: model.Port{Number: n}, mode: s.MTLS(p.Namespace, labels, n)}
		if of := services[n]; of != nil {
			*sp = *of
		}
		sp.ingress, sp.port.Protocol = in, in.Port.Protocol
		out[n] = sp
	}
	return out
}

// cluster is the name of the cluster to the application, and of the route to it.
func (sp *servedPort) cluster() string {
	if len(sp.services) == 0 && sp.ingress == nil {
		return InboundPassthrough
	}
	return inboundName(sp.target)
}

// tls is the TLS that the sidecar ends with a certificate that is not the mesh's; nil for none. It is for clients outside the
// mesh, so the port must be one without the mesh's own TLS, as in Istio.
func (sp *servedPort) tls() *model.ServerTLS {
	if sp.ingress == nil || sp.mode != model.MTLSDisable {
		return nil
	}
	return sp.ingress.TLS
}

// protocol is what comes out of whatever TLS the sidecar ends.
func (sp *servedPort) protocol() model.Protocol {
	if sp.tls() != nil {
		if sp.port.Protocol == model.ProtocolHTTPS {
			return model.ProtocolHTTP
		}
		return model.ProtocolTCP
	}
	return sp.port.Protocol
}

// listener is the listener's own address; ok is false when connections come to the one for all redirected connections.
func (sp *servedPort) listener(p *model.Proxy) (ip string, ok bool) {
	if sp.ingress == nil {
		return p.IP, p.OwnsPorts
	}
	own := sp.ingress.Capture == model.CaptureNone || sp.ingress.Capture == model.CaptureDefault && p.OwnsPorts
	return cmp.Or(sp.ingress.Bind, p.IP), own
}

// bindsPort reports whether the port has a listener of its own.
func (sp *servedPort) bindsPort(p *model.Proxy) bool {
	_, own := sp.listener(p)
	return own
}

// origin is the object that the port is served for.
func (sp *servedPort) origin() model.Origin {
	switch {
	case sp.ingress != nil:
		return sp.ingress.Origin
	case len(sp.services) > 0:
		return sp.services[0].Origin
	}
	return model.Origin{}
}

// instanceAddress is the proxy's own address of a family; "" when it has none.
func instanceAddress(p *model.Proxy, ipv6 bool) string {
	for _, ip := range append([]string{p.IP}, p.IPs...) {
		if strings.Contains(ip, ":") == ipv6 {
			return ip
		}
	}
	return ""
}
