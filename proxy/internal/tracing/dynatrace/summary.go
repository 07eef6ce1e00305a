package dynatrace

import (
	"cmp"
	"slices"
)

const (
	// kinds is how many kinds of requests are told apart.
	kinds = 100
	// longestKind is how many bytes of a kind's name are kept. Paths that begin with the same so many are of one kind; Envoy keeps them whole.
	longestKind = 1 << 10
)

// counter is how often a kind of request has come.
type counter struct {
	kind  string
	count uint64
	at    int // its place
}

// summary counts the most frequent kinds of requests in bounded memory, by the algorithm "Space Saving": a kind that finds no place takes
// that of the rarest, with its count, since it may have come as often unseen.
//
// A. Metwally, D. Agrawal, A. El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams. 2005.
type summary struct {
	by     map[string]*counter
	ranked []*counter // most frequent first; of equals the one that came to its count first
}

func newSummary() *summary { return &summary{by: map[string]*counter{}} }

// offer counts a request of a kind.
func (s *summary) offer(kind []byte) {
	c := s.by[string(kind)]
	switch {
	case c != nil:
	case len(s.ranked) < kinds:
		c = &counter{kind: string(kind), at: len(s.ranked)}
		s.ranked = append(s.ranked, c)
		s.by[c.kind] = c
	default:
		c = s.ranked[kinds-1]
		delete(s.by, c.kind)
		c.kind = string(kind)
		s.by[c.kind] = c
	}
	// It goes before all that have its old count.
	for ; c.at > 0 && s.ranked[c.at-1].count == c.count; c.at-- {
		before := s.ranked[c.at-1]
		s.ranked[c.at], before.at = before, c.at
	}
	s.ranked[c.at] = c
	c.count++
}

// merge is the most frequent kinds of several summaries.
func merge(all []*summary) []counter {
	at := map[string]int{}
	var out []counter
	for _, s := range all {
		for _, c := range s.ranked {
			if i, ok := at[c.kind]; ok {
				out[i].count += c.count
				continue
			}
			at[c.kind] = len(out)
			out = append(out, counter{kind: c.kind, count: c.count})
		}
	}
	slices.SortStableFunc(out, func(a, b counter) int { return cmp.Compare(b.count, a.count) })
	return out[:min(len(out), kinds)]
}
