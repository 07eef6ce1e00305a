package debug

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/translate"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdsserver"
)

// patches says which patches of EnvoyFilters change nothing of any connected proxy, which is how such patches rot, and which have changed a
// resource that a proxy refuses. Without proxies nothing can be said. It makes anew what a proxy could have, of as few proxies as it takes:
// a patch that one of them has is not looked for in others.
func (s *Server) patches() []noEffectJSON {
	snap, proxies := s.opts.View().Snapshot(), s.opts.XDS.Status()
	if snap.EnvoyFilters.Len() == 0 || len(proxies) == 0 {
		return nil
	}
	idle := map[*model.EnvoyPatch]bool{}
	for _, f := range snap.EnvoyFilters.Values() {
		for _, e := range f.Patches {
			idle[e] = true
		}
	}
	refused := map[noEffectJSON]bool{}
	for i := range proxies {
		p := &proxies[i]
		if !refuses(p) && !mayHave(snap, p.Proxy, idle) {
			continue
		}
		translate.PatchEffects(snap, p.Proxy, func(e *model.EnvoyPatch, typeURL, resource string) {
			delete(idle, e)
			if text := p.Type(typeURL).Refusal; text != "" && strings.Contains(text, resource) {
				refused[noEffectJSON{e.Origin.String(), e.Origin.Field, fmt.Sprintf("proxy %s refuses %s, which the patch has changed: %s", proxyName(*p), resource, text)}] = true
			}
		})
	}
	out := slices.Collect(maps.Keys(refused))
	for e := range idle {
		out = append(out, noEffectJSON{e.Origin.String(), e.Origin.Field,
			fmt.Sprintf("matches nothing of any of the %d connected proxies; correct its match, or remove it", len(proxies))})
	}
	slices.SortFunc(out, func(a, b noEffectJSON) int {
		return strings.Compare(a.Object+"\x00"+a.Field+"\x00"+a.Text, b.Object+"\x00"+b.Field+"\x00"+b.Text)
	})
	return out
}

func refuses(p *xdsserver.ProxyStatus) bool {
	return slices.ContainsFunc(p.Types, func(t xdsserver.TypeStatus) bool { return t.Refusal != "" })
}

// mayHave reports whether some of the patches are for a proxy.
func mayHave(snap *model.Snapshot, p *model.Proxy, patches map[*model.EnvoyPatch]bool) bool {
	if len(patches) == 0 {
		return false
	}
	for _, f := range snap.EnvoyFiltersFor(p) {
		if slices.ContainsFunc(f.Patches, func(e *model.EnvoyPatch) bool { return patches[e] && e.Concerns(p) }) {
			return true
		}
	}
	return false
}
