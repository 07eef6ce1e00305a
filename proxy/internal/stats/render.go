package stats

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"
)

// Query selects what a snapshot shows.
type Query struct {
	Filter   *regexp.Regexp // matched anywhere in the name; nil: everything
	UsedOnly bool           // only what was ever written
	// Types restricts to kinds; empty: all.
	Types []Kind
}

// Snapshot is a copy of all shards, summed, at about one moment: each worker's part is
// consistent in itself.
type Snapshot struct {
	store *registry
	sum   Shard
	refs  []ref
	// intervals are the histograms of the last interval.
	intervals []*hist
}

// ref is one statistic: an entry, and the item when the entry is a block.
type ref struct {
	e    *entry
	item int // -1: single
}

func (r ref) kind() Kind {
	if r.item < 0 {
		return r.e.kind
	}
	return r.e.set.items[r.item].Kind
}

func (r ref) suffix() string {
	if r.item < 0 {
		return ""
	}
	return r.e.set.items[r.item].Name
}

func (r ref) name() string { return r.e.prefix + r.suffix() }

func (r ref) slot() uint32 {
	if r.item < 0 {
		return r.e.slot
	}
	return r.e.slot + r.e.set.off[r.item]
}

func (r ref) hist() uint32 {
	if r.item < 0 {
		return r.e.hist
	}
	return r.e.hist + r.e.set.off[r.item]
}

// Snapshot copies what all workers have counted. It waits for each attached worker to answer
// on its loop and returns ctx's error when one does not.
func (s *Store) Snapshot(ctx context.Context, q Query) (*Snapshot, error) {
	r := s.r
	snap := &Snapshot{store: r}
	if err := r.collect(ctx, &snap.sum, func(from, to *Shard) { from.addTo(to) }); err != nil {
		return nil, err
	}
	// What came meanwhile shows zeros. What went does not show: its numbers may be another's already.
	r.mu.Lock()
	entries := slices.Clone(r.entries)
	snap.intervals = slices.Clone(r.intervals.diff)
	r.mu.Unlock()
	for _, e := range entries {
		if e.set == nil {
			snap.add(ref{e, -1}, &q)
			continue
		}
		for i := range e.set.items {
			snap.add(ref{e, i}, &q)
		}
	}
	slices.SortFunc(snap.refs, compareNames)
	return snap, nil
}

// collect sums what all shards hold, each read by its own worker.
func (s *registry) collect(ctx context.Context, sum *Shard, add func(from, to *Shard)) error {
	s.mu.Lock()
	posts := slices.Clone(s.posts)
	s.mu.Unlock()
	parts := make(chan *Shard, len(posts))
	for i, post := range posts {
		shard := s.shards[i]
		read := func() {
			part := &Shard{}
			add(shard, part)
			parts <- part
		}
		if post == nil || !post(read) {
			read()
		}
	}
	for range posts {
		select {
		case part := <-parts:
			add(part, sum)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mainMu.Lock()
	defer s.mainMu.Unlock()
	add(&s.main, sum)
	return nil
}

func (p *Snapshot) add(r ref, q *Query) {
	if q.UsedOnly && !p.used(r) {
		return
	}
	if len(q.Types) > 0 && !slices.Contains(q.Types, r.kind()) {
		return
	}
	if m := p.store.matcher; m != nil && !m.shows(r.name()) {
		return
	}
	if q.Filter != nil && !q.Filter.MatchString(r.name()) {
		return
	}
	p.refs = append(p.refs, r)
}

func (p *Snapshot) used(r ref) bool {
	if r.kind() == KindHistogram {
		h := p.sum.histogram(r.hist())
		return h != nil && h.count > 0
	}
	_, used := p.sum.value(r.slot())
	return used
}

// compareNames orders by whole name without composing it for the common case, two items of
// one block.
func compareNames(a, b ref) int {
	if a.e == b.e {
		return strings.Compare(a.suffix(), b.suffix())
	}
	if a.item < 0 && b.item < 0 {
		return strings.Compare(a.e.prefix, b.e.prefix)
	}
	if n := min(len(a.e.prefix), len(b.e.prefix)); a.e.prefix[:n] != b.e.prefix[:n] {
		return strings.Compare(a.e.prefix[:n], b.e.prefix[:n])
	}
	return cmp.Compare(a.name(), b.name())
}

// Stat is one statistic of a snapshot.
type Stat struct {
	Name  string
	Kind  Kind
	Value int64 // counters and gauges
	Used  bool
	// Count and Sum are of histograms.
	Count, Sum uint64
	// Bare is the name without the values of tags.
	Bare string
	Tags []Tag
	// Recorded are the values of a histogram in the last interval: one that stands for a bin, and
	// how often.
	Recorded []Recorded
	// Interval is what a histogram had in the last interval.
	Interval Interval
}

// Interval is what a histogram had between two flushes. The zero value is nothing.
type Interval struct {
	h     *hist
	store *registry
	name  string
}

// Count is the number of values.
func (i Interval) Count() uint64 {
	if i.h == nil {
		return 0
	}
	return i.h.count
}

// Sum is the values' sum.
func (i Interval) Sum() uint64 {
	if i.h == nil {
		return 0
	}
	return i.h.sum
}

// Quantiles are the values at Quantiles, NaN where there are none.
func (i Interval) Quantiles() []float64 { return i.h.quantiles(Quantiles) }

// Buckets are the upper bounds of the histogram's buckets, and how many values were at most that large.
func (i Interval) Buckets() (bounds []float64, cumulative []uint64) {
	if i.store == nil {
		return nil, nil
	}
	bounds = i.store.bounds(i.name)
	return bounds, i.h.cumulative(bounds)
}

// Recorded is a bin of a histogram.
type Recorded struct {
	Value float64
	Count uint64
}

// Each calls f for every selected statistic, ordered by name.
func (p *Snapshot) Each(f func(Stat)) {
	for _, r := range p.refs {
		st := Stat{Name: r.name(), Kind: r.kind(), Used: p.used(r)}
		st.Bare, st.Tags = p.labels(r)
		if st.Kind == KindHistogram {
			if h := p.sum.histogram(r.hist()); h != nil {
				st.Count, st.Sum = h.count, h.sum
			}
			st.Interval = Interval{p.interval(r), p.store, st.Name}
			if h := st.Interval.h; h != nil {
				h.each(func(low, _ float64, _ uint64, n uint64) { st.Recorded = append(st.Recorded, Recorded{low, n}) })
			}
		} else {
			v, _ := p.sum.value(r.slot())
			st.Value = int64(v)
		}
		f(st)
	}
}

// Value returns a counter's or gauge's value by whole name.
func (p *Snapshot) Value(name string) (int64, bool) {
	for _, r := range p.refs {
		if r.kind() != KindHistogram && r.name() == name {
			v, _ := p.sum.value(r.slot())
			return int64(v), true
		}
	}
	return 0, false
}
