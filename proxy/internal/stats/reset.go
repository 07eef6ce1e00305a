package stats

// ResetCounters sets every counter to zero, on each worker's own loop; gauges and histograms
// stay. It does not wait for the workers.
func (s *Store) ResetCounters() {
	s.mu.Lock()
	var slots []uint32
	for _, e := range s.entries {
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
	posts := append([]func(func()) bool(nil), s.posts...)
	s.mu.Unlock()
	for i, post := range posts {
		shard := s.shards[i]
		if post == nil || !post(func() { shard.zero(slots) }) {
			shard.zero(slots)
		}
	}
	s.mainMu.Lock()
	s.main.zero(slots)
	s.mainMu.Unlock()
}

// zero clears counters; the handle of a slot that was never touched has no page.
func (s *Shard) zero(slots []uint32) {
	for _, slot := range slots {
		if p := int(slot >> pageBits); p < len(s.pages) && s.pages[p] != nil {
			s.pages[p].v[slot&(1<<pageBits-1)] = 0
		}
	}
}
