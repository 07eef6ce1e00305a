package model

import (
	"net/url"
	"time"

	security "istio.io/api/security/v1beta1"
)

// RequestAuthentication says which tokens of requests a workload takes for good.
// https://istio.io/latest/docs/reference/config/security/request_authentication/
type RequestAuthentication struct {
	Namespace string
	Name      string
	Attachment
	Rules   []TokenRule
	Created time.Time
	Origin  Origin
	Rev     uint64
}

// TokenRule says of one issuer which of its tokens are good. The message is as the object has it and must not be changed, but for keys: at most one of
// Jwks and JwksUri is set, and with neither no token is good.
type TokenRule struct {
	*security.JWTRule
	// Discovered: JwksUri is what the issuer itself says, "" while it has not said it.
	Discovered bool
}

// RequestAuthenticationsFor returns the policies of a workload: the mesh's, those of its namespace, and those that select it, by namespace and name.
func (s *Snapshot) RequestAuthenticationsFor(ns string, labels map[string]string) []*RequestAuthentication {
	return policiesFor(s, s.RequestAuthentications, ns, labels, func(p *RequestAuthentication) (*Attachment, string, string) {
		return &p.Attachment, p.Namespace, p.Name
	})
}

// KeyServers are the hosts of whom a policy fetches keys.
func (r *RequestAuthentication) KeyServers() []string {
	var out []string
	for _, rule := range r.Rules {
		if u, err := url.Parse(rule.GetJwksUri()); err == nil && u.Hostname() != "" && rule.GetJwks() == "" {
			out = append(out, u.Hostname())
		}
	}
	return out
}
