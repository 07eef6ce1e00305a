package stats

// Item is one statistic of a Set.
type Item struct {
	Name string // without prefix: "upstream_rq_total"
	Kind Kind
}

// Set describes the statistics that every object of one sort has. Make it once, as a package
// variable, and register it for each object with Scope.Block.
type Set struct {
	items []Item
	off   []uint32 // index of an item among the slots, or among the histograms
	slots uint32
	hists uint32
}

// NewSet returns a set of items. Block.Counter(i) and friends address them by position.
func NewSet(items ...Item) *Set {
	s := &Set{items: items, off: make([]uint32, len(items))}
	for i, it := range items {
		if it.Kind == KindHistogram {
			s.off[i] = s.hists
			s.hists++
		} else {
			s.off[i] = s.slots
			s.slots++
		}
	}
	return s
}

// Block is the statistics of one object: a Set under a prefix.
type Block struct {
	set        *Set
	slot, hist uint32
}

// Counter returns the handle of item i of the set. The zero Block returns zero handles.
func (b Block) Counter(i int) Counter {
	if b.set == nil {
		return 0
	}
	return Counter(b.slot + b.set.off[i])
}

// Gauge returns the handle of item i of the set.
func (b Block) Gauge(i int) Gauge { return Gauge(b.Counter(i)) }

// Histogram returns the handle of item i of the set.
func (b Block) Histogram(i int) Histogram {
	if b.set == nil {
		return 0
	}
	return Histogram(b.hist + b.set.off[i])
}
