package snapshot

import (
	"slices"

	"google.golang.org/protobuf/proto"
	security "istio.io/api/security/v1beta1"

	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/config/validate"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Issuer is what is known of an issuer of tokens that has to say itself where its keys are.
type Issuer struct {
	// KeysURI is "" while it has not said it.
	KeysURI string
	// Problem is why it could not be asked; "" when it could.
	Problem string
}

// SetIssuers replaces what is known of issuers. The policies that depend on it are derived again.
func (b *Builder) SetIssuers(known map[string]Issuer) (*model.Snapshot, *model.Change) {
	ch := &model.Change{From: b.snap.Version}
	before := b.issuers
	b.issuers = known
	b.applyAgain(func(k model.ObjectKey) bool {
		if k.Kind != schema.RequestAuthentication.Name {
			return false
		}
		a, ok := b.snap.RequestAuthentications.Get(k.Namespace + "/" + k.Name)
		return ok && slices.ContainsFunc(a.Rules, func(r model.TokenRule) bool {
			return r.Discovered && before[r.GetIssuer()] != known[r.GetIssuer()]
		})
	}, ch)
	return b.flush(ch)
}

// Issuers are those that have to say themselves where their keys are, each once and in order, and whether something is known of all of them.
func (b *Builder) Issuers() (issuers []string, known bool) {
	known = true
	for _, a := range b.snap.RequestAuthentications.Values() {
		for _, r := range a.Rules {
			if r.Discovered {
				issuers = append(issuers, r.GetIssuer())
				_, heard := b.issuers[r.GetIssuer()]
				known = known && heard
			}
		}
	}
	slices.Sort(issuers)
	return slices.Compact(issuers), known
}

// requestAuthentication converts a policy.
func (b *Builder) requestAuthentication(o object, a *security.RequestAuthentication, p *problems) *model.RequestAuthentication {
	out := &model.RequestAuthentication{
		Namespace: o.Namespace, Name: o.Name, Created: o.Created, Origin: o.origin(),
		Attachment: attachment(a.GetSelector().GetMatchLabels(), a.GetTargetRef(), a.GetTargetRefs(), p),
	}
	for i, r := range a.JwtRules {
		if r == nil {
			continue
		}
		r = proto.Clone(r).(*security.JWTRule)
		discovered := r.Jwks == "" && r.JwksUri == ""
		if discovered {
			is := b.issuers[r.Issuer]
			if r.JwksUri = is.KeysURI; r.JwksUri == "" && is.Problem != "" {
				p.add(indexed("spec.jwtRules", i)+".jwksUri", "missing, and the issuer does not say where its keys are: %s; so no token of %q is good. Set jwksUri or jwks", is.Problem, r.Issuer)
			}
		}
		if err := validate.KeySet(r.Jwks); r.Jwks != "" && err != nil {
			p.add(indexed("spec.jwtRules", i)+".jwks", "%v; no token of %q is good", err, r.Issuer)
			r.Jwks = ""
		}
		out.Rules = append(out.Rules, model.TokenRule{JWTRule: r, Discovered: discovered})
	}
	return out
}
