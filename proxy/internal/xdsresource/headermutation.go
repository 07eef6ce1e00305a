package xdsresource

import (
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// HeaderMutation is mutation_rules.v3.HeaderMutation: the headers whose name RemoveMatching matches go, or Change is applied.
type HeaderMutation struct {
	RemoveMatching *StringMatch // nil: Change
	Change         HeaderOps
}

func (p *parser) headerMutations(path string, in []*mutationv3.HeaderMutation) []HeaderMutation {
	var out []HeaderMutation
	for i, m := range in {
		here := at(path, i)
		switch x := m.GetAction().(type) {
		case *mutationv3.HeaderMutation_Remove:
			out = append(out, HeaderMutation{Change: HeaderOps{Remove: []string{x.Remove}}})
		case *mutationv3.HeaderMutation_Append:
			out = append(out, HeaderMutation{Change: HeaderOps{Add: p.headersToAdd(join(here, "append"), []*corev3.HeaderValueOption{x.Append})}})
		case *mutationv3.HeaderMutation_RemoveOnMatch_:
			sm := p.stringMatch(join(here, "remove_on_match.key_matcher"), x.RemoveOnMatch.GetKeyMatcher())
			out = append(out, HeaderMutation{RemoveMatching: &sm})
		}
	}
	return out
}

// HeaderMutations converts a list of mutations.
func (r *FilterReader) HeaderMutations(path string, in []*mutationv3.HeaderMutation) []HeaderMutation {
	return r.p.headerMutations(path, in)
}
