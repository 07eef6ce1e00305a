package translate

import (
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// What is written before a root's PEM for agents that know it (agent/trust.go): the trust domains that it is for, and that it is a root of others.
const (
	domainsLine = "lateen.io/trust-domains: "
	peersLine   = "lateen.io/peers-only"
)

// trustAnchors are the roots that an agent is told, each one PEM: those of the mesh's own authority, and those that the mesh's settings name. Once one of these is for
// certain trust domains alone, every root says which it is for: of the mesh's own authority the mesh's domains, of others without a list all that are known. Istio's
// agents trust each root for whatever it signs, as they do under Istio.
func trustAnchors(s *model.Snapshot, p *model.Proxy) []string {
	var own []string
	var bundles map[string][]string
	if s.Trust != nil {
		own, bundles = s.Trust.Roots, s.Trust.Bundles
	}
	if len(s.Mesh.Anchors) == 0 {
		return own
	}
	byDomain, _ := p.Metadata["LATEEN_TRUST_BY_DOMAIN"].(string)
	var ofMesh, all []string // trust domains; none: it does not matter
	if slices.ContainsFunc(s.Mesh.Anchors, func(a model.TrustAnchor) bool { return a.Domains != nil }) {
		ofMesh = s.Mesh.TrustDomains()
		all = slices.Clone(ofMesh)
		for _, a := range s.Mesh.Anchors {
			all = append(all, a.Domains...)
		}
		slices.Sort(all)
		all = slices.Compact(all)
	}
	said := func(root string, domains []string, others bool) string {
		if byDomain != "true" {
			return root
		}
		head := ""
		if len(domains) > 0 {
			head = domainsLine + strings.Join(domains, ",") + "\n"
		}
		if others {
			head += peersLine + "\n"
		}
		return head + root
	}
	var out []string
	for _, root := range own {
		out = append(out, said(root, ofMesh, false))
	}
	for _, a := range s.Mesh.Anchors {
		roots := bundles[a.URL]
		if a.PEM != "" {
			roots = []string{a.PEM}
		}
		domains := a.Domains
		if domains == nil {
			domains = all
		}
		for _, root := range roots {
			out = append(out, said(root, domains, true))
		}
	}
	return out
}
