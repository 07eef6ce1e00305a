package stats

import "context"

// intervals are what histograms had at the last two flushes, of which the difference is the
// interval that /stats shows first in each pair.
type intervals struct {
	last []*hist // sums at the last flush
	diff []*hist // what came between the last two
	// running: a flush is reading the shards. begun are histograms that were cleared meanwhile.
	running bool
	begun   []uint32
}

// begin forgets what stood in the place of a histogram.
func (v *intervals) begin(h uint32) {
	if v.running {
		v.begun = append(v.begun, h)
	}
	v.forget(h)
}

func (v *intervals) forget(h uint32) {
	for _, list := range [][]*hist{v.last, v.diff} {
		if int(h) < len(list) {
			list[h] = nil
		}
	}
}

// Flush ends an interval. It waits for the workers as Snapshot does.
func (s *Store) Flush(ctx context.Context) error {
	sum := Shard{}
	r := s.r
	r.mu.Lock()
	r.intervals.running = true
	r.mu.Unlock()
	err := r.collect(ctx, &sum, func(from, to *Shard) { from.addHistogramsTo(to) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.intervals.running, r.intervals.begun = false, nil
		return err
	}
	next := intervals{last: sum.hists, diff: make([]*hist, len(sum.hists))}
	for i, h := range sum.hists {
		var before *hist
		if i < len(r.intervals.last) {
			before = r.intervals.last[i]
		}
		next.diff[i] = h.since(before)
	}
	for _, h := range r.intervals.begun {
		next.forget(h) // it was cleared after it was read, or before
	}
	r.intervals = next
	return nil
}

// since returns what was recorded after an earlier state of the same histogram; nil: nothing.
func (h *hist) since(before *hist) *hist {
	if h == nil || before != nil && h.count == before.count {
		return nil
	}
	out := &hist{}
	h.addTo(out)
	if before == nil {
		return out
	}
	out.count -= before.count
	out.sum -= before.sum
	out.zero -= before.zero
	if before.small != nil {
		for i, n := range before.small {
			out.small[i] -= n
		}
	}
	for d, bins := range before.decades {
		if bins == nil {
			continue
		}
		for i, n := range bins {
			out.decades[d][i] -= n
		}
	}
	return out
}

// addHistogramsTo sums the shard's histograms into another one.
func (s *Shard) addHistogramsTo(t *Shard) {
	if len(t.hists) < len(s.hists) {
		t.hists = append(t.hists, make([]*hist, len(s.hists)-len(t.hists))...)
	}
	for i, h := range s.hists {
		if h == nil {
			continue
		}
		if t.hists[i] == nil {
			t.hists[i] = &hist{}
		}
		h.addTo(t.hists[i])
	}
}

// interval returns the histogram of the last interval; nil: nothing was recorded.
func (p *Snapshot) interval(r ref) *hist {
	if i := int(r.hist()); i < len(p.intervals) {
		return p.intervals[i]
	}
	return nil
}
