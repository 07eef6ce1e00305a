package envoyfilter

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Context is whose traffic a resource carries.
type Context = networking.EnvoyFilter_PatchContext

// Contexts.
const (
	Inbound  = networking.EnvoyFilter_SIDECAR_INBOUND
	Outbound = networking.EnvoyFilter_SIDECAR_OUTBOUND
	Gateway  = networking.EnvoyFilter_GATEWAY
)

// The operations, by short names.
const (
	opAdd              = networking.EnvoyFilter_Patch_ADD
	opRemove           = networking.EnvoyFilter_Patch_REMOVE
	opMerge            = networking.EnvoyFilter_Patch_MERGE
	opMergeReplaceList = networking.EnvoyFilter_Patch_MERGE_AND_REPLACE_LIST
	opReplace          = networking.EnvoyFilter_Patch_REPLACE
	opInsertFirst      = networking.EnvoyFilter_Patch_INSERT_FIRST
	opInsertBefore     = networking.EnvoyFilter_Patch_INSERT_BEFORE
	opInsertAfter      = networking.EnvoyFilter_Patch_INSERT_AFTER
)

// Patches are those for one proxy, in the order in which they apply. The nil *Patches has none, and applying it costs nothing.
type Patches struct {
	by      map[networking.EnvoyFilter_ApplyTo][]*patch
	applied func(e *model.EnvoyPatch, resource string)
}

// patch is one of an EnvoyFilter.
type patch struct {
	*model.EnvoyPatch
	rev   uint64 // of the EnvoyFilter
	index int    // among its patches
}

// For returns the patches for a proxy, nil when there are none.
func For(s *model.Snapshot, p *model.Proxy) *Patches {
	var out *Patches
	for _, f := range s.EnvoyFiltersFor(p) {
		for i, e := range f.Patches {
			if !e.Concerns(p) {
				continue
			}
			if out == nil {
				out = &Patches{by: map[networking.EnvoyFilter_ApplyTo][]*patch{}}
			}
			out.by[e.ApplyTo] = append(out.by[e.ApplyTo], &patch{e, f.Rev, i})
		}
	}
	return out
}

// Observe returns the same patches, which tell of each time that one of them applies, with the name of the resource.
func (ps *Patches) Observe(applied func(e *model.EnvoyPatch, resource string)) *Patches {
	if ps == nil {
		return nil
	}
	return &Patches{by: ps.by, applied: applied}
}

// note tells that a patch applies.
func (ps *Patches) note(e *patch, resource string) {
	if ps.applied != nil {
		ps.applied(e.EnvoyPatch, resource)
	}
}

// in reports whether a patch is for a context.
func (e *patch) in(c Context) bool {
	return e.Match.GetContext() == c || e.Match.GetContext() == networking.EnvoyFilter_ANY
}

// adds reports whether a patch adds a whole listener or cluster in a context. One that names no context adds it once: to what goes out of a
// sidecar, or to a gateway.
func (e *patch) adds(c Context) bool {
	if e.Operation != opAdd || !e.in(c) {
		return false
	}
	return e.Match.GetContext() != networking.EnvoyFilter_ANY || c == Outbound || c == Gateway
}

func (e *patch) merges() bool { return e.Operation == opMerge || e.Operation == opMergeReplaceList }
