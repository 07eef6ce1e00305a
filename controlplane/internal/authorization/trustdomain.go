package authorization

import (
	"slices"
	"strings"
)

// localDomain stands in policies for the mesh's trust domains, whatever they are called.
const localDomain = "cluster.local"

// aliases are the principals that one stands for. One of the mesh, TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT, stands for the same account in all of the mesh's trust
// domains. One of another form, or for any domain, and one of a domain that is not the mesh's, stands for itself. As in Istio (pilot/pkg/security/trustdomain).
func (g *generator) aliases(principal string) []string {
	domain, rest, _ := strings.Cut(principal, "/")
	if domain == "*" || strings.Count(rest, "/") != 3 {
		return []string{principal}
	}
	var out []string
	for _, d := range g.sameDomains(domain) {
		out = append(out, d+"/"+rest)
	}
	return out
}

// sameDomains are the trust domains that one stands for: all of the mesh's for one of them. A value with a star at its beginning covers some of them already, and is
// kept for those.
func (g *generator) sameDomains(domain string) []string {
	suffix, star := strings.CutPrefix(domain, "*")
	covered := func(d string) bool { return d == domain || star && strings.HasSuffix(d, suffix) }
	if domain == "*" || domain != localDomain && !slices.ContainsFunc(g.trustDomains, covered) {
		return []string{domain}
	}
	var out []string
	for _, d := range g.trustDomains {
		if covered(d) {
			d = domain
		}
		if !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}
