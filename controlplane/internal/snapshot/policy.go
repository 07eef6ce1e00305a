package snapshot

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/wrapperspb"
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
		al := model.AccessLogging{Mode: telemetryMode(l.Match.GetMode()), Filter: l.Filter.GetExpression()}
		for _, pr := range l.Providers {
			name := pr.GetName()
			if of := b.mesh.Provider(name); (of == nil || !of.Logs()) && name != "envoy" {
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
		if tr != nil {
			out.Traces = append(out.Traces, b.tracing(tr, indexed("spec.tracing", i), p))
		}
	}
	if len(t.Metrics) > 0 {
		p.add("spec.metrics", "is not supported yet; the standard metrics are kept as they are")
	}
	return out
}

func telemetryMode(m telemetry.WorkloadMode) model.TelemetryMode {
	switch m {
	case telemetry.WorkloadMode_CLIENT:
		return model.ClientMode
	case telemetry.WorkloadMode_SERVER:
		return model.ServerMode
	}
	return model.BothModes
}

func (b *Builder) tracing(in *telemetry.Tracing, field string, p *problems) model.Tracing {
	flag := func(v *wrapperspb.BoolValue) *bool {
		if v == nil {
			return nil
		}
		return ptr(v.Value)
	}
	out := model.Tracing{
		Mode: telemetryMode(in.Match.GetMode()), Disabled: flag(in.DisableSpanReporting), ByRequestID: flag(in.UseRequestIdForTraceSampling),
		IstioTags: flag(in.EnableIstioTags), NoContext: flag(in.DisableContextPropagation),
	}
	if v := in.RandomSamplingPercentage; v != nil {
		out.Sampling = ptr(v.Value)
	}
	if len(in.Providers) > 0 { // validation lets one pass
		name := in.Providers[0].GetName()
		if of := b.mesh.Provider(name); of == nil || !of.Traces() {
			p.add(field+".providers", "there is no provider %q that takes spans; trace headers are propagated, nothing is reported", name)
		}
		out.Provider = name
	}
	for _, name := range slices.Sorted(maps.Keys(in.CustomTags)) {
		t := model.TraceTag{Name: name}
		switch k := in.CustomTags[name].GetType().(type) {
		case *telemetry.Tracing_CustomTag_Literal:
			t.Literal = k.Literal.GetValue()
		case *telemetry.Tracing_CustomTag_Environment:
			t.Environment, t.Default = k.Environment.GetName(), k.Environment.GetDefaultValue()
		case *telemetry.Tracing_CustomTag_Header:
			t.Header, t.Default = k.Header.GetName(), k.Header.GetDefaultValue()
		case *telemetry.Tracing_CustomTag_Formatter:
			t.Format = k.Formatter.GetValue()
		}
		out.Tags = append(out.Tags, t)
	}
	return out
}
