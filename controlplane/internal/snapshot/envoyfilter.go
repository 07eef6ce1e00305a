package snapshot

import (
	"regexp"

	bootstrappb "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/config/envoypatch"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// envoyFilter converts an EnvoyFilter. A patch that cannot do anything is left out, by name: validation lets those pass that Istio lets pass.
func envoyFilter(o object, spec *networking.EnvoyFilter, p *problems) *model.EnvoyFilter {
	out := &model.EnvoyFilter{
		Namespace: o.Namespace, Name: o.Name, Priority: spec.GetPriority(), Created: o.Created, Origin: o.origin(),
		Attachment: attachment(spec.GetWorkloadSelector().GetLabels(), nil, spec.GetTargetRefs(), p),
	}
	for i, cp := range spec.GetConfigPatches() {
		field := indexed("spec.configPatches", i)
		if e := envoyPatch(o, field, cp, p); e != nil {
			out.Patches = append(out.Patches, e)
		}
	}
	return out
}

func envoyPatch(o object, field string, cp *networking.EnvoyFilter_EnvoyConfigObjectPatch, p *problems) *model.EnvoyPatch {
	op, ok := envoypatch.Operation(cp.GetApplyTo(), cp.GetPatch().GetOperation())
	if !ok {
		p.add(field+".patch.operation", "%s does nothing to a %s; the patch has no effect", cp.GetPatch().GetOperation(), cp.GetApplyTo())
		return nil
	}
	e := &model.EnvoyPatch{ApplyTo: cp.GetApplyTo(), Operation: op, Match: cp.GetMatch(), Origin: o.at(field)}
	if e.Match == nil {
		e.Match = &networking.EnvoyFilter_EnvoyConfigObjectMatch{}
	}
	if text := e.Match.GetProxy().GetProxyVersion(); text != "" {
		re, err := regexp.Compile(text)
		if err != nil {
			p.add(field+".match.proxy.proxyVersion", "%v; the patch has no effect", err)
			return nil
		}
		e.Version = re
	}
	if op == networking.EnvoyFilter_Patch_REMOVE {
		return e
	}
	var err error
	if e.Value, err = envoypatch.Value(cp.GetApplyTo(), cp.GetPatch().GetValue()); err != nil {
		p.add(field+".patch.value", "%v; the patch has no effect", err)
		return nil
	}
	if e.Value == nil {
		p.add(field+".patch.value", "is missing; the patch has no effect")
		return nil
	}
	if b, ok := e.Value.(*bootstrappb.Bootstrap); ok && b.GetNode() != nil {
		p.add(field+".patch.value.node", "has no effect: who a proxy is its agent says, and its certificate; write ISTIO_META_ variables in a ProxyConfig")
		b.Node = nil
	}
	return e
}

// patchTargets are what the patches of an object's old and new form are for.
func patchTargets(d diff[model.EnvoyFilter]) model.PatchTargets {
	var t model.PatchTargets
	for _, f := range []*model.EnvoyFilter{d.old, d.new} {
		if f == nil {
			continue
		}
		for _, e := range f.Patches {
			switch e.ApplyTo {
			case networking.EnvoyFilter_CLUSTER:
				t.Clusters = true
			case networking.EnvoyFilter_BOOTSTRAP: // agents ask when they start
			case networking.EnvoyFilter_ROUTE_CONFIGURATION, networking.EnvoyFilter_VIRTUAL_HOST, networking.EnvoyFilter_HTTP_ROUTE:
				t.Routes, t.Listeners = true, true // a sidecar's inbound listeners hold their routes
			default:
				t.Listeners = true
			}
		}
	}
	return t
}
