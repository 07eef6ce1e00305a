package snapshot

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

func (b *Builder) gateway(o object, g *networking.Gateway, p *problems) *model.Gateway {
	out := &model.Gateway{Namespace: o.Namespace, Name: o.Name, Selector: cloneMap(g.Selector), Created: o.Created, Origin: o.origin()}
	for i, s := range g.Servers {
		field := indexed("spec.servers", i)
		if s == nil || s.Port == nil || s.Port.Number == 0 || s.Port.Number > 65535 {
			p.add(field+".port", "is missing; the server is left out")
			continue
		}
		srv := model.Server{Port: s.Port.Number, PortName: s.Port.Name, Bind: s.Bind, Name: s.Name, Origin: o.at(field)}
		proto, ok := model.ParseProtocol(s.Port.Protocol)
		if !ok || proto == model.ProtocolUDP {
			p.add(field+".port.protocol", "%q is not supported; the server is left out", s.Port.Protocol)
			continue
		}
		srv.Protocol = proto
		for _, h := range s.Hosts {
			srv.Hosts = append(srv.Hosts, gatewayHost(h, o.Namespace))
		}
		if t := s.Tls; t != nil {
			srv.HTTPSRedirect = t.HttpsRedirect
			if s.Port.Protocol != "" && !proto.IsHTTP() {
				srv.TLS = &model.ServerTLS{
					Mode: t.Mode.String(), Certificate: t.ServerCertificate, PrivateKey: t.PrivateKey, CACertificates: t.CaCertificates,
					CredentialName: t.CredentialName, SANs: slices.Clone(t.SubjectAltNames), Ciphers: slices.Clone(t.CipherSuites),
					MinVersion: tlsVersion(t.MinProtocolVersion), MaxVersion: tlsVersion(t.MaxProtocolVersion),
				}
				if t.CredentialName != "" || len(t.CredentialNames) > 0 {
					p.add(field+".tls.credentialName", "is not supported yet; give files instead")
				}
			}
		}
		if proto.IsTLS() && srv.TLS == nil {
			p.add(field+".tls", "is missing for protocol %s; the server is left out", s.Port.Protocol)
			continue
		}
		out.Servers = append(out.Servers, srv)
	}
	return out
}

func tlsVersion(v networking.ServerTLSSettings_TLSProtocol) string {
	if v == networking.ServerTLSSettings_TLS_AUTO {
		return ""
	}
	return v.String()
}

// gatewayHost gives "namespace/host" with "*" for any namespace.
func gatewayHost(h, ns string) string {
	n, host, ok := strings.Cut(h, "/")
	if !ok {
		return "*/" + strings.ToLower(h)
	}
	if n == "." {
		n = ns
	}
	return n + "/" + strings.ToLower(host)
}

func peerAuthentication(o object, a *security.PeerAuthentication) *model.PeerAuthentication {
	out := &model.PeerAuthentication{Namespace: o.Namespace, Name: o.Name, Mode: model.MTLSMode(a.Mtls.GetMode()), Created: o.Created, Origin: o.origin()}
	if len(a.Selector.GetMatchLabels()) > 0 {
		out.Selector = cloneMap(a.Selector.MatchLabels)
		for port, m := range a.PortLevelMtls {
			if out.Ports == nil {
				out.Ports = map[uint32]model.MTLSMode{}
			}
			out.Ports[port] = model.MTLSMode(m.GetMode())
		}
	}
	return out
}

func (b *Builder) telemetry(o object, t *telemetry.Telemetry, p *problems) *model.Telemetry {
	out := &model.Telemetry{Namespace: o.Namespace, Name: o.Name, Created: o.Created, Origin: o.origin()}
	if len(t.Selector.GetMatchLabels()) > 0 {
		out.Selector = cloneMap(t.Selector.MatchLabels)
	}
	if t.TargetRef != nil || len(t.TargetRefs) > 0 {
		p.add("spec.targetRefs", "is not supported yet; the object concerns its whole namespace")
	}
	for i, l := range t.AccessLogging {
		if l == nil {
			continue
		}
		field := indexed("spec.accessLogging", i)
		al := model.AccessLogging{}
		switch l.Match.GetMode() {
		case telemetry.WorkloadMode_CLIENT:
			al.Mode = model.LogClient
		case telemetry.WorkloadMode_SERVER:
			al.Mode = model.LogServer
		}
		if l.Filter.GetExpression() != "" {
			p.add(field+".filter", "is not supported yet; everything is logged")
		}
		for _, pr := range l.Providers {
			name := pr.GetName()
			if _, ok := b.mesh.Providers[name]; !ok && name != "envoy" {
				p.add(field+".providers", "there is no access log provider %q; it has no effect", name)
			}
			al.Providers = append(al.Providers, name)
		}
		if l.Disabled != nil {
			al.Disabled = ptr(l.Disabled.Value)
		}
		out.Logs = append(out.Logs, al)
	}
	for i, tr := range t.Tracing {
		if tr.GetRandomSamplingPercentage() != nil {
			out.TraceSampling = ptr(tr.RandomSamplingPercentage.Value)
		}
		if tr.GetDisableSpanReporting() != nil {
			out.TraceDisabled = ptr(tr.DisableSpanReporting.Value)
		}
		if len(tr.GetProviders()) > 0 {
			p.add(indexed("spec.tracing", i)+".providers", "is not supported yet; trace headers are propagated, nothing is reported")
		}
	}
	if len(t.Metrics) > 0 {
		p.add("spec.metrics", "is not supported yet; the standard metrics are kept as they are")
	}
	return out
}
