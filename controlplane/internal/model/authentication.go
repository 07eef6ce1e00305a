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
	Selector  map[string]string // nil: the namespace; in the root namespace: the mesh
	// Rules are as the object has them and must not be changed.
	Rules   []*security.JWTRule
	Created time.Time
	Origin  Origin
	Rev     uint64
}

// RequestAuthenticationsFor returns the policies of a workload: the mesh's, those of its namespace, and those that select it, by namespace and name.
func (s *Snapshot) RequestAuthenticationsFor(ns string, labels map[string]string) []*RequestAuthentication {
	return policiesFor(s, s.RequestAuthentications, ns, labels, func(p *RequestAuthentication) (map[string]string, string) {
		return p.Selector, p.Namespace + "/" + p.Name
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
