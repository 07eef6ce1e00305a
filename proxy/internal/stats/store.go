package stats

import "strings"

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

// Store is a view of all statistics of the process: what is registered through it belongs to its
// owner. NewStore's own view is the process's, whose statistics stay; Owned makes others.
type Store struct {
	r   *registry
	own *owner // nil: the process
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
	r := &registry{
		singles: map[string]*entry{}, blocks: map[blockKey]*entry{}, slots: 1, hists: 1, freeBlocks: map[*Set][]span{},
		rules: o.Tags, noDefaults: o.NoDefaultTags, matcher: o.Matcher, buckets: o.Buckets,
	}
	for range o.Workers {
		r.shards = append(r.shards, &Shard{})
		r.posts = append(r.posts, nil)
	}
	return &Store{r: r}
}

// Shard returns the shard of a worker. Only that worker may write to it.
func (s *Store) Shard(worker int) *Shard { return s.r.shards[worker] }

// Attach tells how to run a function on a worker, so that its shard can be read while the
// worker runs; false means that the worker has stopped. Before Attach, and after the worker
// has stopped, the shard is read in place.
func (s *Store) Attach(worker int, post func(func()) bool) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.r.posts[worker] = post
}

// Counter returns the counter of that whole name, made when it is new.
func (s *Store) Counter(name string, tags ...Tag) Counter {
	return Counter(s.r.single(s.own, name, name, tags, KindCounter, false))
}

// Gauge returns the gauge of that whole name, made when it is new.
func (s *Store) Gauge(name string, tags ...Tag) Gauge {
	return Gauge(s.r.single(s.own, name, name, tags, KindGauge, false))
}

// Histogram returns the histogram of that whole name, made when it is new.
func (s *Store) Histogram(name string, tags ...Tag) Histogram {
	return Histogram(s.r.single(s.own, name, name, tags, KindHistogram, false))
}

// CustomCounter returns a counter that Prometheus sees under its own name with exactly these
// tags, in this order: Istio's standard metrics. In text it shows as Istio shows it,
// "istiocustom.<name>.<tag>.<value>...".
func (s *Store) CustomCounter(name string, tags []Tag) Counter {
	return Counter(s.r.single(s.own, customName(name, tags), name, tags, KindCounter, true))
}

// CustomHistogram is CustomCounter for a histogram.
func (s *Store) CustomHistogram(name string, tags []Tag) Histogram {
	return Histogram(s.r.single(s.own, customName(name, tags), name, tags, KindHistogram, true))
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

// Main is the shard for everything that is no worker. Its methods may be called from any
// goroutine.
type Main struct{ s *Store }

// Main returns the store's main shard.
func (s *Store) Main() Main { return Main{s} }

// Add adds to a counter.
func (m Main) Add(c Counter, n uint64) {
	m.s.r.mainMu.Lock()
	m.s.r.main.Add(c, n)
	m.s.r.mainMu.Unlock()
}

// Inc adds one to a counter.
func (m Main) Inc(c Counter) { m.Add(c, 1) }

// GaugeAdd changes a gauge.
func (m Main) GaugeAdd(g Gauge, d int64) {
	m.s.r.mainMu.Lock()
	m.s.r.main.GaugeAdd(g, d)
	m.s.r.mainMu.Unlock()
}

// GaugeSet sets a gauge that only the main shard writes.
func (m Main) GaugeSet(g Gauge, v int64) {
	m.s.r.mainMu.Lock()
	m.s.r.main.GaugeSet(g, v)
	m.s.r.mainMu.Unlock()
}

// Record adds a value to a histogram.
func (m Main) Record(h Histogram, v uint64) {
	m.s.r.mainMu.Lock()
	m.s.r.main.Record(h, v)
	m.s.r.mainMu.Unlock()
}
