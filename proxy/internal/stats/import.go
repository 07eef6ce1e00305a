package stats

import "context"

// Counters returns all counters that were ever written, by name.
func (s *Store) Counters(ctx context.Context) (map[string]uint64, error) {
	snap, err := s.Snapshot(ctx, Query{UsedOnly: true, Types: []Kind{KindCounter}})
	if err != nil {
		return nil, err
	}
	out := make(map[string]uint64, len(snap.refs))
	for _, r := range snap.refs {
		v, _ := snap.sum.value(r.slot())
		out[r.name()] = v
	}
	return out, nil
}

// Importer adds the counters of another process to a store's own, as they grow.
type Importer struct {
	s *Store
	// taken is how much of each counter has been added.
	taken map[string]uint64
}

// NewImporter returns an importer that has added nothing.
func (s *Store) NewImporter() *Importer { return &Importer{s: s, taken: map[string]uint64{}} }

// Add brings the store up to the other process's counters. Those that the store does not have yet
// are added by a later call, once it has.
func (i *Importer) Add(counters map[string]uint64) {
	s := i.s
	add := func(r ref) {
		if r.kind() != KindCounter {
			return
		}
		name := r.name()
		if d := counters[name] - i.taken[name]; counters[name] > i.taken[name] {
			i.taken[name] = counters[name]
			s.Main().Add(Counter(r.slot()), d)
		}
	}
	for _, e := range s.r.shown() {
		if e.set == nil {
			add(ref{e, -1})
			continue
		}
		for k := range e.set.items {
			add(ref{e, k})
		}
	}
}
