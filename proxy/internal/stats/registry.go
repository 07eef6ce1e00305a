package stats

import (
	"slices"
	"sync"
)

// registry is what all views of a store share: the names, and who has the numbers.
type registry struct {
	mu      sync.Mutex
	entries []*entry // those that are shown, in no order
	singles map[string]*entry
	blocks  map[blockKey]*entry
	slots   uint32 // how many were ever handed out, and of histograms
	hists   uint32
	shards  []*Shard
	posts   []func(func()) bool

	// Free slots and histograms, cleared in all shards.
	freeSlots, freeHists []uint32
	freeBlocks           map[*Set][]span

	rules      []TagRule
	noDefaults bool
	matcher    *Matcher
	buckets    []BucketRule
	intervals  intervals

	mainMu sync.Mutex
	main   Shard
}

// entry is what the registry keeps of a single statistic or of a block.
type entry struct {
	prefix string // of a block: "cluster.web."; of a single one its whole name
	bare   string // prefix or name without tag values: "cluster."
	tags   []Tag
	set    *Set // nil: a single statistic
	span
	kind   Kind // of a single statistic
	custom bool // exported to Prometheus under its bare name, without "envoy_"
	pinned bool // the process owns it: it stays

	at      int // in registry.entries; -1: it is not shown any more
	owners  int // that have not closed
	holders int // owners whose handles somebody may still have
}

// span is where a statistic's or block's numbers begin.
type span struct{ slot, hist uint32 }

// blockKey tells the blocks of two sets under one prefix apart.
type blockKey struct {
	prefix string
	set    *Set
}

// index is the handle of a single statistic.
func (e *entry) index() uint32 {
	if e.kind == KindHistogram {
		return e.hist
	}
	return e.slot
}

// single returns the handle of a single statistic.
func (r *registry) single(o *owner, name, bare string, tags []Tag, k Kind, custom bool) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.singles[name]
	switch {
	case e != nil && e.kind != k:
		panic("BUG: stats: " + name + " registered as two kinds of statistic")
	case e == nil:
		e = &entry{prefix: name, bare: bare, tags: tags, kind: k, custom: custom}
		if k == KindHistogram {
			e.hist = take(&r.freeHists, &r.hists)
		} else {
			e.slot = take(&r.freeSlots, &r.slots)
		}
		r.singles[name] = e
		r.show(e)
	}
	r.claim(o, e)
	return e.index()
}

// take returns a free slot, else a new one.
func take(free *[]uint32, next *uint32) uint32 {
	if n := len(*free); n > 0 {
		slot := (*free)[n-1]
		*free = (*free)[:n-1]
		return slot
	}
	*next++
	return *next - 1
}

// block returns the block of a set under a scope's prefix.
func (r *registry) block(sc Scope, set *Set) Block {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := blockKey{sc.prefix, set}
	e := r.blocks[key]
	if e == nil {
		e = &entry{prefix: sc.prefix, bare: sc.bare, tags: sc.tags, set: set}
		if free := r.freeBlocks[set]; len(free) > 0 {
			e.span = free[len(free)-1]
			r.freeBlocks[set] = free[:len(free)-1]
		} else {
			e.span = span{r.slots, r.hists}
			r.slots += set.slots
			r.hists += set.hists
		}
		r.blocks[key] = e
		r.show(e)
	}
	r.claim(sc.store.own, e)
	return Block{set: set, slot: e.slot, hist: e.hist}
}

func (r *registry) show(e *entry) {
	e.at = len(r.entries)
	r.entries = append(r.entries, e)
}

// hide takes an entry out of what is shown. Its name is free for another one; its numbers are not.
func (r *registry) hide(e *entry) {
	last := len(r.entries) - 1
	r.entries[e.at] = r.entries[last]
	r.entries[e.at].at = e.at
	r.entries[last] = nil
	r.entries = r.entries[:last]
	e.at = -1
	if e.set == nil {
		delete(r.singles, e.prefix)
	} else {
		delete(r.blocks, blockKey{e.prefix, e.set})
	}
}

// shown returns the entries that are shown now.
func (r *registry) shown() []*entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.entries)
}
