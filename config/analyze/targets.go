package analyze

import (
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

// targets looks at the Gateways that policies are for. A policy for a Gateway without proxies of its own is for nobody: proxies know it by their label
// gateway.networking.k8s.io/gateway-name.
func (a *analyzer) targets() {
	for _, o := range a.set.List(schema.AuthorizationPolicy) {
		p := o.Spec.(*security.AuthorizationPolicy)
		a.targetRefs(o, p.TargetRef, p.TargetRefs)
	}
	for _, o := range a.set.List(schema.RequestAuthentication) {
		p := o.Spec.(*security.RequestAuthentication)
		a.targetRefs(o, p.TargetRef, p.TargetRefs)
	}
	for _, o := range a.set.List(schema.EnvoyFilter) {
		a.targetRefs(o, nil, o.Spec.(*networking.EnvoyFilter).TargetRefs)
	}
}

func (a *analyzer) targetRefs(o *config.Object, one *typev1beta1.PolicyTargetReference, many []*typev1beta1.PolicyTargetReference) {
	if one != nil {
		a.targetRef(o, "spec.targetRef", one)
	}
	for i, ref := range many {
		a.targetRef(o, indexed("spec.targetRefs", i), ref)
	}
}

func (a *analyzer) targetRef(o *config.Object, field string, ref *typev1beta1.PolicyTargetReference) {
	if ref.GetKind() != schema.K8sGateway.Name || ref.GetGroup() != schema.K8sGateway.Group {
		a.add(o, NoEffect, Warning, field, "only Gateways of %s can be meant: there are no waypoints; select the workloads by selector", schema.K8sGateway.Group)
		return
	}
	target := a.set.Get(schema.K8sGateway, o.Namespace, ref.GetName())
	if target == nil {
		a.add(o, NotFound, Warning, field+".name", "there is no Gateway %s/%s, so it is for nobody", o.Namespace, ref.GetName())
		return
	}
	spec := target.Spec.(*gatewayv1.GatewaySpec)
	own := ref.GetName() + "-" + string(spec.GatewayClassName)
	if len(spec.Addresses) == 0 && a.set.Get(schema.Service, o.Namespace, own) == nil {
		a.add(o, NoEffect, Warning, field, "Gateway %s/%s has no proxies of its own (there is no Service %s), so it is for nobody; select the proxies that serve it by selector, in their namespace",
			o.Namespace, ref.GetName(), own)
	}
}
