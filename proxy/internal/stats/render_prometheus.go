package stats

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// AppendPrometheus appends the snapshot in Prometheus' text exposition format, as Envoy's
// /stats/prometheus: names are prefixed with "envoy_" but for custom ones (Istio's), tags are
// labels, families are sorted by name and headed by their type.
func (p *Snapshot) AppendPrometheus(dst []byte) []byte {
	families := make(map[string][]ref)
	// The items of one set have the same family under every prefix with the same bare form.
	type setKey struct {
		set  *Set
		bare string
		item int
	}
	cache := make(map[setKey]string)
	for _, r := range p.refs {
		key := setKey{r.e.set, r.e.bare, r.item}
		if r.item >= 0 && len(p.store.rules) == 0 {
			if fam, ok := cache[key]; ok {
				families[fam] = append(families[fam], r)
				continue
			}
		}
		bare, _ := p.labels(r)
		fam := familyName(bare, r.e.custom)
		if r.item >= 0 {
			cache[key] = fam
		}
		families[fam] = append(families[fam], r)
	}
	names := make([]string, 0, len(families))
	for n := range families {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		refs := families[n]
		dst = append(dst, "# TYPE "...)
		dst = append(dst, n...)
		switch refs[0].kind() {
		case KindCounter:
			dst = append(dst, " counter\n"...)
		case KindGauge:
			dst = append(dst, " gauge\n"...)
		default:
			dst = append(dst, " histogram\n"...)
		}
		for _, r := range refs {
			if r.kind() != refs[0].kind() {
				continue // two kinds cannot share a family; Envoy drops the second as well
			}
			_, tags := p.labels(r)
			if r.kind() == KindHistogram {
				dst = p.appendHistogram(dst, n, tags, r)
				continue
			}
			v, _ := p.sum.value(r.slot())
			dst = append(dst, n...)
			dst = appendLabels(dst, tags, "")
			dst = append(dst, ' ')
			if r.kind() == KindGauge {
				dst = appendGauge(dst, v)
			} else {
				dst = strconv.AppendUint(dst, v, 10)
			}
			dst = append(dst, '\n')
		}
	}
	return dst
}

// labels returns the name without tag values, and the tags.
func (p *Snapshot) labels(r ref) (string, []Tag) {
	if r.e.custom {
		return r.e.bare, r.e.tags
	}
	name, tags := r.e.bare+r.suffix(), r.e.tags
	if len(p.store.rules) > 0 {
		// Rules see the name as it is shown; what they cut out of a tagged prefix has been
		// taken out of the bare name already.
		ruled, more := p.store.applyRules(r.name(), nil)
		if len(tags) == 0 {
			name = ruled
		}
		tags = mergeTags(more, tags)
	}
	if p.store.noDefaults {
		return name, tags
	}
	name, tags = extract(name, tags)
	if len(p.store.rules) > 0 {
		tags = p.store.inOrder(tags)
	}
	return name, tags
}

// inOrder puts the labels of configured tags where Envoy has them: fixed ones behind the response code, extracted ones
// behind all others.
func (s *registry) inOrder(tags []Tag) []Tag {
	at := func(t Tag) int {
		n := rank(t.Name)
		if n > 1 && slices.ContainsFunc(s.rules, func(r TagRule) bool { return r.Regex == nil && r.Name == t.Name }) {
			return 1
		}
		return n
	}
	tags = slices.Clone(tags)
	slices.SortStableFunc(tags, func(a, b Tag) int { return cmp.Compare(at(a), at(b)) })
	return tags
}

// mergeTags appends the tags of b that a does not have under the same name or value: Istio's
// "cluster_name" rule replaces "envoy.cluster_name".
func mergeTags(a, b []Tag) []Tag {
	for _, t := range b {
		if !slices.ContainsFunc(a, func(x Tag) bool { return "envoy."+x.Name == t.Name || x.Name == t.Name }) {
			a = append(a, t)
		}
	}
	return a
}

func familyName(bare string, custom bool) string {
	if custom {
		return sanitize(bare)
	}
	return "envoy_" + sanitize(bare)
}

func sanitize(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
			return r
		}
		return '_'
	}, name)
}

// appendLabels appends {a="b",le="..."}, nothing when there are none. Values are escaped as
// the exposition format asks: backslash, double quote and line feed.
func appendLabels(dst []byte, tags []Tag, le string) []byte {
	if len(tags) == 0 && le == "" {
		return append(dst, "{}"...)
	}
	dst = append(dst, '{')
	for i, t := range tags {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, sanitize(t.Name)...)
		dst = append(dst, `="`...)
		for _, c := range []byte(t.Value) {
			switch c {
			case '\\', '"':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			default:
				dst = append(dst, c)
			}
		}
		dst = append(dst, '"')
	}
	if le != "" {
		if len(tags) > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `le="`...)
		dst = append(dst, le...)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

func (p *Snapshot) appendHistogram(dst []byte, name string, tags []Tag, r ref) []byte {
	h := p.sum.histogram(r.hist())
	var count, sum uint64
	if h != nil {
		count, sum = h.count, h.sum
	}
	line := func(suffix, le string, v uint64) {
		dst = append(dst, name...)
		dst = append(dst, suffix...)
		dst = appendLabels(dst, tags, le)
		dst = append(dst, ' ')
		dst = strconv.AppendUint(dst, v, 10)
		dst = append(dst, '\n')
	}
	bounds := p.store.bounds(r.name())
	for i, n := range h.cumulative(bounds) {
		line("_bucket", strconv.FormatFloat(bounds[i], 'f', -1, 64), n)
	}
	line("_bucket", "+Inf", count)
	line("_sum", "", sum)
	line("_count", "", count)
	return dst
}
