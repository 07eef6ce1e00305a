package snapshot

import (
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

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
