package stats

import (
	"runtime"
	"sync/atomic"
)

// owner is who statistics belong to that may go away: a cluster, a filter chain. Statistics go when the last of
// their owners has closed, as Envoy's do with the last of their scopes; one of the same name that
// comes later begins at zero.
//
// Their numbers are another matter. Connections of what is gone may go on for long, and count by handles,
// which are indices: an index may be given to another statistic only when nobody has it any more. Whoever has
// handles has the view that they came from, so the collector tells when that is.
type owner struct {
	r       *registry
	entries map[*entry]struct{} // under registry.mu
	closed  bool                // likewise
}

// Owned returns a view for an owner that may go away. Close takes its statistics out of what is shown.
// Whoever keeps handles that were made through the view must keep the view, or a Scope of it, as long.
func (s *Store) Owned() *Store {
	o := &owner{r: s.r, entries: map[*entry]struct{}{}}
	v := &Store{r: s.r, own: o}
	runtime.AddCleanup(v, (*owner).abandoned, o)
	return v
}

// Close ends the ownership. Handles stay good, and what is registered later is not shown unless it is
// somebody else's as well. Of NewStore's own view it does nothing.
func (s *Store) Close() {
	if s.own == nil {
		return
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.own.close()
}

// close is under registry.mu.
func (o *owner) close() {
	if o.closed {
		return
	}
	o.closed = true
	for e := range o.entries {
		o.leave(e)
	}
}

func (o *owner) leave(e *entry) {
	if e.owners--; e.owners == 0 && !e.pinned {
		o.r.hide(e)
	}
}

// claim makes an entry one of an owner's; nil: of the process.
func (r *registry) claim(o *owner, e *entry) {
	if o == nil {
		e.pinned = true
		return
	}
	if _, has := o.entries[e]; has {
		return
	}
	o.entries[e] = struct{}{}
	e.owners++
	e.holders++
	if o.closed {
		o.leave(e)
	}
}

// abandoned is called by the collector when nobody has the owner's view any more.
func (o *owner) abandoned() {
	r := o.r
	r.mu.Lock()
	o.close()
	var free []*entry
	for e := range o.entries {
		if e.holders--; e.holders == 0 && !e.pinned {
			free = append(free, e)
		}
	}
	o.entries = nil
	posts := append([]func(func()) bool(nil), r.posts...)
	r.mu.Unlock()
	if len(free) == 0 {
		return
	}
	for _, post := range posts {
		if post == nil {
			return // that shard cannot be cleared: nobody knows when it is written
		}
	}
	var left atomic.Int32
	left.Store(int32(len(posts)) + 1)
	cleared := func() {
		if left.Add(-1) == 0 {
			r.release(free)
		}
	}
	for i, post := range posts {
		clear := func() {
			r.shards[i].clear(free)
			cleared()
		}
		if !post(clear) {
			clear()
		}
	}
	r.mainMu.Lock()
	r.main.clear(free)
	r.mainMu.Unlock()
	cleared()
}

// release lets the numbers of entries that no shard has any more be used again.
func (r *registry) release(free []*entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range free {
		switch {
		case e.set != nil:
			r.freeBlocks[e.set] = append(r.freeBlocks[e.set], e.span)
		case e.kind == KindHistogram:
			r.freeHists = append(r.freeHists, e.hist)
		default:
			r.freeSlots = append(r.freeSlots, e.slot)
		}
		for h := range e.histograms() {
			r.intervals.begin(e.hist + h)
		}
	}
}

// slots and histograms are how many of each an entry has.
func (e *entry) slots() uint32 {
	switch {
	case e.set != nil:
		return e.set.slots
	case e.kind == KindHistogram:
		return 0
	}
	return 1
}

func (e *entry) histograms() uint32 {
	switch {
	case e.set != nil:
		return e.set.hists
	case e.kind == KindHistogram:
		return 1
	}
	return 0
}

// clear makes the shard as if the entries had never been written.
func (s *Shard) clear(entries []*entry) {
	for _, e := range entries {
		for slot := e.slot; slot < e.slot+e.slots(); slot++ {
			if p := int(slot >> pageBits); p < len(s.pages) && s.pages[p] != nil {
				i := slot & (1<<pageBits - 1)
				s.pages[p].v[i] = 0
				s.pages[p].used &^= 1 << i
			}
		}
		for h := e.hist; h < e.hist+e.histograms(); h++ {
			if int(h) < len(s.hists) {
				s.hists[h] = nil
			}
		}
	}
}
