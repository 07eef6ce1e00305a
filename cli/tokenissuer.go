package cli

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	securityapi "istio.io/api/security/v1beta1"

	"github.com/lateen-mesh/lateen/controlplane"
)

// jwtRuleVariable is Istio's name for the rule by which tokens of another issuer prove who asks for a certificate.
const jwtRuleVariable = "JWT_RULE"

// parseTokenIssuer reads a JWTRule in JSON, as Istio's JWT_RULE: issuer, audiences, jwks and jwksUri have a meaning for certificates, and other fields are
// refused.
func parseTokenIssuer(text string) (controlplane.TokenIssuer, error) {
	var rule securityapi.JWTRule
	if err := protojson.Unmarshal([]byte(text), &rule); err != nil {
		return controlplane.TokenIssuer{}, fmt.Errorf("rule for tokens: %w", err)
	}
	read := &securityapi.JWTRule{Issuer: rule.GetIssuer(), Audiences: rule.GetAudiences(), Jwks: rule.GetJwks(), JwksUri: rule.GetJwksUri()}
	if !proto.Equal(read, &rule) {
		return controlplane.TokenIssuer{}, fmt.Errorf("rule for tokens of %q: only issuer, audiences, jwks and jwksUri have a meaning for certificates", rule.GetIssuer())
	}
	return controlplane.TokenIssuer{Issuer: rule.GetIssuer(), Audiences: rule.GetAudiences(), JWKS: rule.GetJwks(), JWKSURI: rule.GetJwksUri()}, nil
}
