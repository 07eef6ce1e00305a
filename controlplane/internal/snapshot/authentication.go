package snapshot

import (
	"google.golang.org/protobuf/proto"
	security "istio.io/api/security/v1beta1"

	"github.com/lateen-mesh/lateen/config/validate"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// requestAuthentication converts a policy; nil when it concerns no workload here, which p says.
func requestAuthentication(o object, a *security.RequestAuthentication, p *problems) *model.RequestAuthentication {
	if a.TargetRef != nil || len(a.TargetRefs) > 0 {
		p.add("spec.targetRefs", "is not supported yet; the policy concerns no workload. Use selector")
		return nil
	}
	out := &model.RequestAuthentication{Namespace: o.Namespace, Name: o.Name, Created: o.Created, Origin: o.origin()}
	if len(a.Selector.GetMatchLabels()) > 0 {
		out.Selector = cloneMap(a.Selector.MatchLabels)
	}
	for i, r := range a.JwtRules {
		if r == nil {
			continue
		}
		if r.Jwks == "" && r.JwksUri == "" {
			p.add(indexed("spec.jwtRules", i)+".jwksUri", "missing; the issuer is not asked where its keys are, so no token of %q is good. Set jwksUri or jwks", r.Issuer)
		}
		r = proto.Clone(r).(*security.JWTRule)
		if err := validate.KeySet(r.Jwks); r.Jwks != "" && err != nil {
			p.add(indexed("spec.jwtRules", i)+".jwks", "%v; no token of %q is good", err, r.Issuer)
			r.Jwks = ""
		}
		out.Rules = append(out.Rules, r)
	}
	return out
}
