package debug

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/translate"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdsserver"
)

// patchEffect is a resource of a proxy that a patch has changed.
type patchEffect struct {
	patch             *model.EnvoyPatch
	typeURL, resource string
}

// patchReport says which patches of EnvoyFilters change nothing of any connected proxy, which is how such patches rot, and which have changed a resource
// that a proxy refuses. It makes anew what a proxy could have, which costs what a new proxy costs: once for a snapshot and once for proxies
// that cannot differ, however often it is asked.
type patchReport struct {
	mu      sync.Mutex
	snap    *model.Snapshot
	keys    map[*model.Proxy]string
	effects map[string][]patchEffect // by the key of a proxy
}

// of reports on the proxies that are connected. Without any nothing can be said.
func (r *patchReport) of(snap *model.Snapshot, proxies []xdsserver.ProxyStatus) []noEffectJSON {
	if snap.EnvoyFilters.Len() == 0 || len(proxies) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.snap != snap {
		r.snap, r.keys, r.effects = snap, map[*model.Proxy]string{}, map[string][]patchEffect{}
	}
	idle := map[*model.EnvoyPatch]bool{}
	for _, f := range snap.EnvoyFilters.Values() {
		for _, e := range f.Patches {
			idle[e] = true
		}
	}
	refused := map[noEffectJSON]bool{}
	connected := make(map[*model.Proxy]string, len(proxies))
	for i := range proxies {
		p := &proxies[i]
		if !refuses(p) && !mayHave(snap, p.Proxy, idle) {
			continue
		}
		effects := r.effectsOf(snap, p.Proxy, connected)
		for _, e := range effects {
			delete(idle, e.patch)
			if text := p.Type(e.typeURL).Refusal; text != "" && strings.Contains(text, e.resource) {
				refused[noEffectJSON{e.patch.Origin.String(), e.patch.Origin.Field,
					fmt.Sprintf("proxy %s refuses %s, which the patch has changed: %s", proxyName(*p), e.resource, text)}] = true
			}
		}
	}
	r.keys = connected // those that have gone are forgotten
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

// effectsOf returns what the patches change of a proxy.
func (r *patchReport) effectsOf(snap *model.Snapshot, p *model.Proxy, connected map[*model.Proxy]string) []patchEffect {
	key, known := r.keys[p]
	if !known {
		key = translate.PatchKey(snap, p)
	}
	connected[p] = key
	effects, known := r.effects[key]
	if !known {
		seen := map[patchEffect]bool{}
		translate.PatchEffects(snap, p, func(e *model.EnvoyPatch, typeURL, resource string) { seen[patchEffect{e, typeURL, resource}] = true })
		effects = slices.Collect(maps.Keys(seen))
		r.effects[key] = effects
	}
	return effects
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
