package route

import (
	"fmt"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Mutations are compiled header mutations, applied one after the other.
type Mutations []mutation

type mutation struct {
	remove *xdsresource.StringMatch // nil: ops
	ops    Ops
}

// CompileMutations compiles mutations; the error says which one is bad.
func CompileMutations(in []xdsresource.HeaderMutation) (Mutations, error) {
	var out Mutations
	for i := range in {
		m := mutation{remove: in[i].RemoveMatching}
		var err error
		if m.ops, err = CompileOps(&in[i].Change); err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		out = append(out, m)
	}
	return out, nil
}

// Apply changes h. Values are formatted from c.
func (ms Mutations) Apply(h *header.Map, c *format.Context) {
	for i := range ms {
		if ms[i].remove == nil {
			ms[i].ops.Apply(h, c)
			continue
		}
		removeMatching(h, ms[i].remove)
	}
}

// removeMatching drops the headers whose name matches, but for those that a message needs.
func removeMatching(h *header.Map, m *xdsresource.StringMatch) {
	for i := 0; i < h.Len(); {
		id, name, _ := h.At(i)
		if !id.Pseudo() && id != header.Authority && matchString(m, name) {
			h.RemoveAt(i)
			continue
		}
		i++
	}
}
