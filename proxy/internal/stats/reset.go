package stats

// ResetCounters sets every counter to zero, on each worker's own loop; gauges and histograms
// stay. It does not wait for the workers.
func (s *Store) ResetCounters() {
	r := s.r
	r.mu.Lock()
	var slots []uint32
	for _, e := range r.entries {
		if e.set == nil {
			if e.kind == KindCounter {
				slots = append(slots, e.slot)
			}
			continue
		}
		for i, it := range e.set.items {
			if it.Kind == KindCounter {
				slots = append(slots, e.slot+e.set.off[i])
			}
		}
	}
	posts := append([]func(func()) bool(nil), r.posts...)
	r.mu.Unlock()
	for i, post := range posts {
		shard := r.shards[i]
		if post == nil || !post(func() { shard.zero(slots) }) {
			shard.zero(slots)
		}
	}
	r.mainMu.Lock()
	r.main.zero(slots)
	r.mainMu.Unlock()
}

// zero clears counters; the handle of a slot that was never touched has no page.
func (s *Shard) zero(slots []uint32) {
	for _, slot := range slots {
		if p := int(slot >> pageBits); p < len(s.pages) && s.pages[p] != nil {
			s.pages[p].v[slot&(1<<pageBits-1)] = 0
		}
	}
}
