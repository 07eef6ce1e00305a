package snapshot

import (
	"net"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// sidecar converts a Sidecar. What validation refuses is not looked at again.
func (b *Builder) sidecar(o object, s *networking.Sidecar, p *problems) *model.SidecarConfig {
	out := &model.SidecarConfig{
		Namespace: o.Namespace, Name: o.Name, Created: o.Created, Origin: o.origin(),
		InboundPool: inboundPool(s.InboundConnectionPool, "spec.inboundConnectionPool", p),
	}
	if len(s.WorkloadSelector.GetLabels()) > 0 {
		out.Selector = cloneMap(s.WorkloadSelector.Labels)
	}
	for i, e := range s.Egress {
		if e != nil {
			out.Egress = append(out.Egress, egressListener(o, e, indexed("spec.egress", i), p))
		}
	}
	for i, in := range s.Ingress {
		if in != nil && in.Port != nil {
			out.Ingress = append(out.Ingress, ingressListener(o, in, indexed("spec.ingress", i), p))
		}
	}
	if t := s.OutboundTrafficPolicy; t != nil {
		out.Outbound = &model.OutboundPolicy{RegistryOnly: t.Mode == networking.OutboundTrafficPolicy_REGISTRY_ONLY}
		if d := t.EgressProxy; d != nil {
			out.Outbound.Proxy = &model.Destination{Host: b.host(d.Host, o.Namespace), Subset: d.Subset, Port: d.Port.GetNumber()}
		}
	}
	return out
}

func egressListener(o object, e *networking.IstioEgressListener, field string, p *problems) model.EgressListener {
	out := model.EgressListener{Bind: e.Bind, Capture: model.Capture(e.CaptureMode), Origin: o.at(field)}
	if e.Port != nil {
		port := sidecarPort(e.Port)
		out.Port = &port
		if port.Protocol == model.ProtocolUDP {
			p.add(field+".port.protocol", "UDP is not proxied; the listener gets no connections")
		}
	}
	for _, h := range e.Hosts {
		ns, host, _ := strings.Cut(h, "/")
		list := &out.Hosts
		switch rest, excluded := strings.CutPrefix(ns, "~"); {
		case excluded && rest == "":
			ns, list = "*", &out.Excluded
		case excluded:
			ns, list = rest, &out.Excluded
		}
		*list = append(*list, model.SidecarHost{Namespace: ns, Host: strings.ToLower(host)})
	}
	return out
}

func sidecarPort(s *networking.SidecarPort) model.SidecarPort {
	out := model.SidecarPort{Number: s.Number, HTTPProxy: strings.EqualFold(s.Protocol, "HTTP_PROXY")}
	out.Protocol, _ = model.ParseProtocol(s.Protocol)
	if out.HTTPProxy {
		out.Protocol = model.ProtocolHTTP
	}
	return out
}

func ingressListener(o object, in *networking.IstioIngressListener, field string, p *problems) model.IngressListener {
	out := model.IngressListener{
		Port: sidecarPort(in.Port), Bind: in.Bind, Capture: model.Capture(in.CaptureMode),
		Endpoint: ingressEndpoint(in.DefaultEndpoint), Pool: inboundPool(in.ConnectionPool, field+".connectionPool", p), Origin: o.at(field),
	}
	if out.Port.Protocol == model.ProtocolUDP {
		p.add(field+".port.protocol", "UDP is not proxied; the listener gets no connections")
	}
	if in.Tls != nil {
		if tls, ok := serverTLS(o, in.Tls, field+".tls", p); ok && !tls.Mode.Passthrough() {
			out.TLS = tls
		}
	}
	if h := in.ConnectionPool.GetHttp(); h != nil && !out.Port.Protocol.IsHTTP() && out.Port.Protocol != model.ProtocolAuto && out.TLS == nil {
		p.add(field+".connectionPool.http", "has no effect on a port of protocol %s", in.Port.Protocol)
	}
	return out
}

// inboundPool is a connection pool towards the workload, whose version of HTTP the port says.
func inboundPool(c *networking.ConnectionPoolSettings, field string, p *problems) *model.ConnectionPool {
	if h := c.GetHttp(); h != nil {
		if h.H2UpgradePolicy != networking.ConnectionPoolSettings_HTTPSettings_DEFAULT {
			p.add(field+".http.h2UpgradePolicy", "has no effect on a workload's own ports, whose protocol says it")
		}
		if h.UseClientProtocol {
			p.add(field+".http.useClientProtocol", "has no effect on a workload's own ports, whose protocol says it")
		}
	}
	return connectionPool(c)
}

// ingressEndpoint reads "unix://path" or "address:port". The address says which of the workload's is meant, and an empty one where the client was going.
func ingressEndpoint(s string) model.IngressEndpoint {
	if path, ok := strings.CutPrefix(s, "unix://"); ok {
		return model.IngressEndpoint{Socket: path}
	}
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || host == "" {
		return model.IngressEndpoint{}
	}
	return model.IngressEndpoint{Port: uint32(n), Instance: host == "0.0.0.0" || host == "::", IPv6: strings.Contains(host, ":")}
}
