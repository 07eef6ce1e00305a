package snapshot

import (
	"strconv"

	"google.golang.org/protobuf/proto"
	security "istio.io/api/security/v1beta1"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// dryRunAnnotation has a policy decide nothing.
// https://istio.io/latest/docs/tasks/security/authorization/authz-dry-run/
const dryRunAnnotation = "istio.io/dry-run"

// authorizationPolicy converts a policy.
func (b *Builder) authorizationPolicy(o object, a *security.AuthorizationPolicy, p *problems) *model.AuthorizationPolicy {
	out := &model.AuthorizationPolicy{
		Namespace: o.Namespace, Name: o.Name, Action: a.Action, Created: o.Created, Origin: o.origin(),
		Attachment: attachment(a.GetSelector().GetMatchLabels(), a.GetTargetRef(), a.GetTargetRefs(), p),
	}
	if a.Action == security.AuthorizationPolicy_CUSTOM {
		out.Provider = a.GetProvider().GetName()
		if pr := b.mesh.Provider(out.Provider); pr == nil || pr.Authorizer == nil {
			p.add("spec.provider.name", "the mesh's settings define no authorizer %q (extensionProviders: envoyExtAuthzHttp or envoyExtAuthzGrpc), so what the policy matches is refused", out.Provider)
		}
	}
	for _, r := range a.Rules {
		if r == nil {
			r = &security.Rule{}
		}
		out.Rules = append(out.Rules, proto.Clone(r).(*security.Rule))
	}
	if v, ok := o.Annotations[dryRunAnnotation]; ok {
		dry, err := strconv.ParseBool(v)
		switch {
		case err != nil:
			p.add("metadata.annotations["+dryRunAnnotation+"]", "%q is neither true nor false; the policy is in force", v)
		case dry && a.Action != security.AuthorizationPolicy_ALLOW && a.Action != security.AuthorizationPolicy_DENY:
			p.add("metadata.annotations["+dryRunAnnotation+"]", "has no effect on action %v, as in Istio", a.Action)
		default:
			out.DryRun = dry
		}
	}
	return out
}
