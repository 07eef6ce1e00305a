package stats

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

// Tagged returns the scope of names whose first word is the value of a tag: Prometheus does not have the word.
func (s *Store) Tagged(tag, value string) Scope {
	return Scope{store: s}.Tagged(tag, value)
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

// Marked returns a scope below sc that has one name in names and another without the value of a tag, as
// "worker_0" and "worker": sc.Marked("worker_0", "worker", TagWorker, "0").
func (sc Scope) Marked(name, bare, tag, value string) Scope {
	sc.prefix += name + "."
	sc.bare += bare + "."
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
	return Counter(sc.store.r.single(sc.store.own, sc.prefix+name, sc.bare+name, sc.tags, KindCounter, false))
}

// Gauge returns the gauge of that name in the scope.
func (sc Scope) Gauge(name string) Gauge {
	if sc.store == nil {
		return 0
	}
	return Gauge(sc.store.r.single(sc.store.own, sc.prefix+name, sc.bare+name, sc.tags, KindGauge, false))
}

// Histogram returns the histogram of that name in the scope.
func (sc Scope) Histogram(name string) Histogram {
	if sc.store == nil {
		return 0
	}
	return Histogram(sc.store.r.single(sc.store.own, sc.prefix+name, sc.bare+name, sc.tags, KindHistogram, false))
}

// Block registers a set under the scope's prefix; the same prefix and set give the same block.
func (sc Scope) Block(set *Set) Block {
	if sc.store == nil {
		return Block{}
	}
	return sc.store.r.block(sc, set)
}
