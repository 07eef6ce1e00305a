package cluster

import (
	"math"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// subsets are the host sets of lb_subset_config, one for each combination of values that the
// hosts have for the keys of a selector. Immutable, shared by the workers.
type subsets struct {
	cfg      *xdsresource.Subset
	byKey    map[string]*hostSet                    // by xdsresource.MetadataMatch.Key
	selector map[string]*xdsresource.SubsetSelector // by joined keys, for their fallbacks
	any, def *hostSet
	// duplicates counts hosts that found their single_host_per_subset taken.
	duplicates int
}

// buildSubsets groups all hosts of a set. main is the set of all of them.
func buildSubsets(o *setOptions, main *hostSet) *subsets {
	cfg := o.cfg.LB.Subset
	s := &subsets{cfg: cfg, byKey: map[string]*hostSet{}, selector: map[string]*xdsresource.SubsetSelector{}}
	groups := map[string][]*Host{}
	single := map[string]bool{}
	for i := range cfg.Selectors {
		// As in Envoy a selector whose keys begin those of an earlier one has no fallback of its
		// own: only the first one to come to a key decides there.
		sel := &cfg.Selectors[i]
		if !slices.ContainsFunc(cfg.Selectors[:i], func(x xdsresource.SubsetSelector) bool { return hasPrefix(x.Keys, sel.Keys) }) {
			s.selector[joinKeys(sel.Keys)] = sel
		}
	}
	for _, h := range main.hosts {
		md := h.Info().Metadata["envoy.lb"]
		in := map[string]bool{} // two selectors may have the same keys
		for i := range cfg.Selectors {
			sel := &cfg.Selectors[i]
			for _, m := range combinations(sel.Keys, md, cfg.ListAsAny) {
				k := m.Key
				if in[k] {
					continue
				}
				in[k] = true
				if groups[k] == nil {
					single[k] = sel.SingleHost
				}
				groups[k] = append(groups[k], h)
			}
		}
	}
	for k, hosts := range groups {
		if single[k] {
			s.duplicates += len(hosts) - 1
			first := slices.MinFunc(hosts, func(a, b *Host) int { return int(a.Info().Priority) - int(b.Info().Priority) })
			s.byKey[k] = &hostSet{hosts: []*Host{first}, single: true}
			continue
		}
		s.byKey[k] = subsetOf(o, main, hosts)
	}
	needs := func(f xdsresource.SubsetFallback) bool {
		return cfg.Fallback == f || slices.ContainsFunc(cfg.Selectors, func(x xdsresource.SubsetSelector) bool { return x.Fallback == f })
	}
	if needs(xdsresource.SubsetAnyEndpoint) || cfg.PanicModeAny {
		s.any = subsetOf(o, main, main.hosts)
	}
	if needs(xdsresource.SubsetDefault) {
		var hosts []*Host
		for _, h := range main.hosts {
			if cfg.Default.Matches(h.Info().Metadata["envoy.lb"], cfg.ListAsAny) {
				hosts = append(hosts, h)
			}
		}
		s.def = subsetOf(o, main, hosts)
	}
	return s
}

func hasPrefix(keys, prefix []string) bool {
	return len(keys) >= len(prefix) && slices.Equal(keys[:len(prefix)], prefix)
}

func joinKeys(keys []string) string { return strings.Join(keys, "\x00") }

// combinations are the metadata that a host offers under some keys: one, more where lists
// count as each of their elements, none where a key is missing.
func combinations(keys []string, md map[string]any, listAsAny bool) []*xdsresource.MetadataMatch {
	all := []map[string]any{{}}
	for _, k := range keys {
		v, ok := md[k]
		if !ok {
			return nil
		}
		values := []any{v}
		if list, is := v.([]any); is && listAsAny {
			values = list
		}
		var next []map[string]any
		for _, base := range all {
			for _, v := range values {
				m := map[string]any{k: v}
				for bk, bv := range base {
					m[bk] = bv
				}
				next = append(next, m)
			}
		}
		all = next
	}
	out := make([]*xdsresource.MetadataMatch, len(all))
	for i, m := range all {
		out[i] = xdsresource.NewMetadataMatch(m)
	}
	return out
}

// subsetOf is a host set of some of the hosts. Localities have weights in it only where that
// is asked for; scaled, they go down with the share of their hosts that are in it.
func subsetOf(o *setOptions, main *hostSet, hosts []*Host) *hostSet {
	sub := *o
	switch cfg := o.cfg.LB.Subset; {
	case !cfg.LocalityWeightAware:
		sub.weights = nil
	case cfg.ScaleLocalityWeight:
		sub.weights = make(map[localityKey]uint32, len(o.weights))
		here, all := countLocalities(hosts), countLocalities(main.hosts)
		for k, w := range o.weights {
			if n := all[k]; n > 0 {
				sub.weights[k] = uint32(math.Round(float64(w) * float64(here[k]) / float64(n)))
			}
		}
	}
	return buildHostSet(&sub, hosts)
}

func countLocalities(hosts []*Host) map[localityKey]int {
	n := make(map[localityKey]int)
	for _, h := range hosts {
		n[localityKey{h.Info().Priority, h.Info().Locality}]++
	}
	return n
}

// resolution is where requests with certain metadata go; the same for one version of the
// cluster, so that a worker works it out once.
type resolution struct {
	set      *hostSet // nil: nowhere
	selected bool     // the subset that was asked for
	fallback bool     // the cluster's own fallback
}

// resolve finds the subset for what a request wants, else what the selector with the same
// keys falls back to, else what the cluster does. m may be nil.
func (s *subsets) resolve(m *xdsresource.MetadataMatch) resolution {
	if m != nil && s.cfg.AllowRedundantKeys {
		for i := range s.cfg.Selectors {
			keys := s.cfg.Selectors[i].Keys
			if only := m.Only(keys); len(only.Pairs) == len(keys) {
				m = only
				break
			}
		}
	}
	if m != nil && len(m.Pairs) > 0 {
		if set := s.byKey[m.Key]; set != nil {
			return resolution{set: set, selected: true}
		}
		if sel := s.selector[joinKeys(m.Keys())]; sel != nil {
			switch sel.Fallback {
			case xdsresource.SubsetNoFallback:
				return resolution{}
			case xdsresource.SubsetAnyEndpoint:
				return resolution{set: s.any}
			case xdsresource.SubsetDefault:
				return resolution{set: s.def}
			case xdsresource.SubsetKeys:
				// Each step has fewer keys than the one before, so this ends.
				return s.resolve(m.Only(sel.FallbackKeys))
			}
		}
	}
	switch s.cfg.Fallback {
	case xdsresource.SubsetAnyEndpoint:
		return resolution{set: s.any, fallback: true}
	case xdsresource.SubsetDefault:
		return resolution{set: s.def, fallback: true}
	}
	return resolution{}
}

// maxResolutions bounds what a worker remembers; requests can bring metadata of their own.
const maxResolutions = 4096

// pickSubset picks from the subset that a request asks for.
func (l *Local) pickSubset(s *subsets, c *lb.Context) *LocalHost {
	m := c.Subset
	if !s.cfg.FallbackList || m == nil || m.Plain == nil {
		return l.pickResolved(s, m, c)
	}
	if len(m.Fallback) == 0 {
		return l.pickResolved(s, m.Plain, c)
	}
	for _, f := range m.Fallback {
		if h := l.pickResolved(s, f, c); h != nil {
			return h
		}
	}
	return nil
}

func (l *Local) pickResolved(s *subsets, m *xdsresource.MetadataMatch, c *lb.Context) *LocalHost {
	key := ""
	if m != nil {
		key = m.Key
	}
	r, ok := l.resolved[key]
	if !ok {
		r = s.resolve(m)
		if len(l.resolved) < maxResolutions {
			if l.resolved == nil {
				l.resolved = make(map[string]resolution)
			}
			l.resolved[key] = r
		}
	}
	if r.selected {
		l.Inc(LBSubsetsSelected)
	}
	h := l.pickSet(r.set, c)
	if !r.fallback {
		return h
	}
	if h != nil {
		l.Inc(LBSubsetsFallback)
		return h
	}
	if s.cfg.PanicModeAny {
		if h = l.pickSet(s.any, c); h != nil {
			l.Inc(LBSubsetsFallbackPanic)
		}
	}
	return h
}

// pickSet picks from one subset; a worker makes its balancers when it is first asked for.
func (l *Local) pickSet(set *hostSet, c *lb.Context) *LocalHost {
	switch {
	case set == nil:
		return nil
	case set.single:
		return l.hosts[set.hosts[0]]
	}
	ls := l.sets[set]
	if ls == nil {
		ls = l.localSet(set)
		if l.sets == nil {
			l.sets = make(map[*hostSet]*localSet)
		}
		l.sets[set] = ls
	}
	return l.pickFrom(ls, c)
}
