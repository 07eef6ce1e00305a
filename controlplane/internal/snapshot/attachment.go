package snapshot

import (
	typev1beta1 "istio.io/api/type/v1beta1"

	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// attachment reads which proxies an object is for. What can be meant by nobody here is named in p; the object is for none of the others on that account.
func attachment(labels map[string]string, one *typev1beta1.PolicyTargetReference, many []*typev1beta1.PolicyTargetReference, p *problems) model.Attachment {
	out := model.Attachment{Targeted: one != nil || len(many) > 0}
	if len(labels) > 0 {
		out.Selector = cloneMap(labels)
	}
	target := func(field string, ref *typev1beta1.PolicyTargetReference) {
		if ref.GetKind() == schema.K8sGateway.Name && ref.GetGroup() == schema.K8sGateway.Group {
			out.Gateways = append(out.Gateways, ref.GetName())
			return
		}
		p.add(field, "only Gateways of gateway.networking.k8s.io can be meant: there are no waypoints; it has no effect")
	}
	if one != nil {
		target("spec.targetRef", one)
	}
	for i, ref := range many {
		target(indexed("spec.targetRefs", i), ref)
	}
	return out
}
