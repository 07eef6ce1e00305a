package stats

import (
	"strings"
	"sync"
)

// Counter, Gauge and Histogram are handles of a statistic. They are plain indices, valid in
// every shard of the store that made them. The zero handle is valid and goes nowhere.
type (
	Counter   uint32
	Gauge     uint32
	Histogram uint32
)

// Kind says how a statistic behaves.
type Kind uint8

// Kinds of statistics.
const (
	KindCounter Kind = iota
	KindGauge
	KindHistogram
)

// Tag is a dimension of a statistic, named as in Envoy ("envoy.cluster_name").
type Tag struct{ Name, Value string }

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

// entry is what the registry keeps of a single statistic or of a block.
type entry struct {
	prefix string // of a block: "cluster.web."; of a single one its whole name
	bare   string // prefix or name without tag values: "cluster."
	tags   []Tag
	set    *Set // nil: a single statistic
	slot   uint32
	hist   uint32
	kind   Kind // of a single statistic
	custom bool // exported to Prometheus under its bare name, without "envoy_"
	hidden bool
}

// Store is the registry of names and the owner of the shards.
type Store struct {
	mu      sync.Mutex
	entries []*entry
	byName  map[string]*entry
	slots   uint32
	hists   uint32
	shards  []*Shard
	posts   []func(func()) bool

	rules      []TagRule
	noDefaults bool
	matcher    *Matcher
	buckets    []BucketRule
	intervals  intervals // under mu

	mainMu sync.Mutex
	main   Shard
}

// Options configure a Store; the zero value is Envoy's default.
type Options struct {
	// Workers is the number of worker shards.
	Workers int
	// Tags are stats_config.stats_tags: fixed tags, and tags extracted from names.
	Tags []TagRule
	// NoDefaultTags is the opposite of stats_config.use_all_default_tags.
	NoDefaultTags bool
	// Matcher says which statistics are shown; nil: all.
	Matcher *Matcher
	// Buckets give some histograms other buckets than Bounds; the first that matches counts.
	Buckets []BucketRule
}

// NewStore returns a store with a shard for each worker.
func NewStore(o Options) *Store {
	s := &Store{byName: make(map[string]*entry), slots: 1, hists: 1, rules: o.Tags, noDefaults: o.NoDefaultTags, matcher: o.Matcher, buckets: o.Buckets}
	for range o.Workers {
		s.shards = append(s.shards, &Shard{})
		s.posts = append(s.posts, nil)
	}
	return s
}

// Shard returns the shard of a worker. Only that worker may write to it.
func (s *Store) Shard(worker int) *Shard { return s.shards[worker] }

// Attach tells how to run a function on a worker, so that its shard can be read while the
// worker runs; false means that the worker has stopped. Before Attach, and after the worker
// has stopped, the shard is read in place.
func (s *Store) Attach(worker int, post func(func()) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts[worker] = post
}

// Counter returns the counter of that whole name, made when it is new.
func (s *Store) Counter(name string, tags ...Tag) Counter {
	return Counter(s.single(name, name, tags, KindCounter, false))
}

// Gauge returns the gauge of that whole name, made when it is new.
func (s *Store) Gauge(name string, tags ...Tag) Gauge {
	return Gauge(s.single(name, name, tags, KindGauge, false))
}

// Histogram returns the histogram of that whole name, made when it is new.
func (s *Store) Histogram(name string, tags ...Tag) Histogram {
	return Histogram(s.single(name, name, tags, KindHistogram, false))
}

// CustomCounter returns a counter that Prometheus sees under its own name with exactly these
// tags, in this order: Istio's standard metrics. In text it shows as Istio shows it,
// "istiocustom.<name>.<tag>.<value>...".
func (s *Store) CustomCounter(name string, tags []Tag) Counter {
	return Counter(s.single(customName(name, tags), name, tags, KindCounter, true))
}

// CustomHistogram is CustomCounter for a histogram.
func (s *Store) CustomHistogram(name string, tags []Tag) Histogram {
	return Histogram(s.single(customName(name, tags), name, tags, KindHistogram, true))
}

func customName(name string, tags []Tag) string {
	var b strings.Builder
	b.WriteString("istiocustom.")
	b.WriteString(name)
	for _, t := range tags {
		b.WriteByte('.')
		b.WriteString(t.Name)
		b.WriteByte('.')
		b.WriteString(t.Value)
	}
	return b.String()
}

func (s *Store) single(name, bare string, tags []Tag, k Kind, custom bool) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byName[name]; e != nil {
		if e.set != nil || e.kind != k {
			panic("BUG: stats: " + name + " registered as two kinds of statistic")
		}
		e.hidden = false
		return e.index()
	}
	e := &entry{prefix: name, bare: bare, tags: tags, kind: k, custom: custom}
	if k == KindHistogram {
		e.hist = s.hists
		s.hists++
	} else {
		e.slot = s.slots
		s.slots++
	}
	s.entries = append(s.entries, e)
	s.byName[name] = e
	return e.index()
}

func (e *entry) index() uint32 {
	if e.kind == KindHistogram {
		return e.hist
	}
	return e.slot
}

// Scope is a prefix of names with the tags that belong to it.
type Scope struct {
	store  *Store
	prefix string
	bare   string
	tags   []Tag
}

// Scope returns the scope of names that begin with name and a dot.
func (s *Store) Scope(name string) Scope {
	return Scope{store: s, prefix: name + ".", bare: name + "."}
}

// Scope returns a scope below sc.
func (sc Scope) Scope(name string) Scope {
	sc.prefix += name + "."
	sc.bare += name + "."
	return sc
}

// Tagged returns a scope below sc whose name is the value of a tag: names show the value,
// Prometheus shows it as a label. store.Scope("cluster").Tagged("envoy.cluster_name", "web").
func (sc Scope) Tagged(tag, value string) Scope {
	sc.prefix += value + "."
	sc.tags = append(sc.tags[:len(sc.tags):len(sc.tags)], Tag{tag, value})
	return sc
}

// Prefix returns the names' prefix, ending in a dot.
func (sc Scope) Prefix() string { return sc.prefix }

// Store returns the store.
func (sc Scope) Store() *Store { return sc.store }

// Counter returns the counter of that name in the scope. A scope without store (the zero
// Scope) returns handles that go nowhere.
func (sc Scope) Counter(name string) Counter {
	if sc.store == nil {
		return 0
	}
	return Counter(sc.store.single(sc.prefix+name, sc.bare+name, sc.tags, KindCounter, false))
}

// Gauge returns the gauge of that name in the scope.
func (sc Scope) Gauge(name string) Gauge {
	if sc.store == nil {
		return 0
	}
	return Gauge(sc.store.single(sc.prefix+name, sc.bare+name, sc.tags, KindGauge, false))
}

// Histogram returns the histogram of that name in the scope.
func (sc Scope) Histogram(name string) Histogram {
	if sc.store == nil {
		return 0
	}
	return Histogram(sc.store.single(sc.prefix+name, sc.bare+name, sc.tags, KindHistogram, false))
}

// Block registers a set under the scope's prefix; the same prefix and set give the same block.
func (sc Scope) Block(set *Set) Block {
	s := sc.store
	if s == nil {
		return Block{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Singles are keyed by their name, which never ends in a dot, so keys do not clash. Two
	// sets may share a prefix.
	e := s.byName[sc.prefix]
	for e != nil && e.set != set {
		e = s.nextBlock(e, set)
	}
	if e == nil {
		e = &entry{prefix: sc.prefix, bare: sc.bare, tags: sc.tags, set: set, slot: s.slots, hist: s.hists}
		s.slots += set.slots
		s.hists += set.hists
		s.entries = append(s.entries, e)
		if s.byName[sc.prefix] == nil {
			s.byName[sc.prefix] = e
		}
	}
	e.hidden = false
	return Block{set: set, slot: e.slot, hist: e.hist}
}

// nextBlock finds the block of another set under the same prefix; rare, so it scans.
func (s *Store) nextBlock(first *entry, set *Set) *entry {
	for _, e := range s.entries {
		if e != first && e.set == set && e.prefix == first.prefix {
			return e
		}
	}
	return nil
}

// Hide takes every statistic of the scope out of what is shown: its object is gone. When the
// object comes back (Block or Counter of the same name) the counts go on where they were.
func (sc Scope) Hide() {
	if sc.store == nil {
		return
	}
	sc.store.mu.Lock()
	defer sc.store.mu.Unlock()
	for _, e := range sc.store.entries {
		if strings.HasPrefix(e.prefix, sc.prefix) {
			e.hidden = true
		}
	}
}

// Main is the shard for everything that is no worker. Its methods may be called from any
// goroutine.
type Main struct{ s *Store }

// Main returns the store's main shard.
func (s *Store) Main() Main { return Main{s} }

// Add adds to a counter.
func (m Main) Add(c Counter, n uint64) {
	m.s.mainMu.Lock()
	m.s.main.Add(c, n)
	m.s.mainMu.Unlock()
}

// Inc adds one to a counter.
func (m Main) Inc(c Counter) { m.Add(c, 1) }

// GaugeAdd changes a gauge.
func (m Main) GaugeAdd(g Gauge, d int64) {
	m.s.mainMu.Lock()
	m.s.main.GaugeAdd(g, d)
	m.s.mainMu.Unlock()
}

// GaugeSet sets a gauge that only the main shard writes.
func (m Main) GaugeSet(g Gauge, v int64) {
	m.s.mainMu.Lock()
	m.s.main.GaugeSet(g, v)
	m.s.mainMu.Unlock()
}

// Record adds a value to a histogram.
func (m Main) Record(h Histogram, v uint64) {
	m.s.mainMu.Lock()
	m.s.main.Record(h, v)
	m.s.mainMu.Unlock()
}
