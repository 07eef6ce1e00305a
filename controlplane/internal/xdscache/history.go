package xdscache

// history holds what a scope has by name, at its newest version and as it was at some versions before, for streams that still carry an older
// view through. A version costs what the change before it touched. It is for one goroutine at a time.
type history[V any] struct {
	now map[string]*dated[V]
	// readers are the names of now by what their values were derived from.
	readers map[string]map[string]bool
	past    map[string][]*dated[V] // oldest first
	ended   []ending               // of past, oldest first
	newest  uint64
	lost    bool // names were dropped for their number since the newest version
}

// dated is a value with the versions at which it holds: from one until, but not at, another.
type dated[V any] struct {
	value       V
	from, until uint64 // until: 0 while it holds
	reads       []string
}

type ending struct {
	name  string
	until uint64
}

func newHistory[V any](version uint64) *history[V] {
	return &history[V]{now: map[string]*dated[V]{}, readers: map[string]map[string]bool{}, past: map[string][]*dated[V]{}, newest: version}
}

// get returns the value of a name at a version; false when it is not known.
func (h *history[V]) get(name string, version uint64) (V, bool) {
	if d := h.now[name]; d != nil && d.from <= version {
		return d.value, true
	}
	for _, d := range h.past[name] {
		if d.from <= version && version < d.until {
			return d.value, true
		}
	}
	var none V
	return none, false
}

// before returns the last value of a name that holds no more; false for none.
func (h *history[V]) before(name string) (V, bool) {
	if past := h.past[name]; len(past) > 0 {
		return past[len(past)-1].value, true
	}
	var none V
	return none, false
}

// put notes a value at the newest version, which holds until something of what it was derived from is touched.
func (h *history[V]) put(name string, value V, reads []string) {
	if len(h.now) >= maxNames {
		clear(h.now)
		clear(h.readers)
		h.lost = true
	}
	if old := h.now[name]; old != nil {
		h.unread(name, old)
	}
	h.now[name] = &dated[V]{value: value, from: h.newest, reads: reads}
	for _, key := range reads {
		names := h.readers[key]
		if names == nil {
			names = map[string]bool{}
			h.readers[key] = names
		}
		names[name] = true
	}
}

func (h *history[V]) unread(name string, d *dated[V]) {
	for _, key := range d.reads {
		delete(h.readers[key], name)
		if len(h.readers[key]) == 0 {
			delete(h.readers, key)
		}
	}
}

// advance goes on to a version at which what was derived from the touched no longer holds, and returns the names of that; false: it may be others as
// well. Versions before oldest are forgotten.
func (h *history[V]) advance(version, oldest uint64, touched []string) (names []string, exact bool) {
	exact = !h.lost
	h.newest, h.lost = version, false
	for _, key := range touched {
		for name := range h.readers[key] {
			names = append(names, name)
			d := h.now[name]
			delete(h.now, name)
			h.unread(name, d)
			d.until = version
			h.past[name] = append(h.past[name], d)
			h.ended = append(h.ended, ending{name, version})
		}
	}
	for len(h.ended) > 0 && h.ended[0].until <= oldest {
		name := h.ended[0].name
		if h.past[name] = h.past[name][1:]; len(h.past[name]) == 0 {
			delete(h.past, name)
		}
		h.ended = h.ended[1:]
	}
	return names, exact
}

// maxNames bounds what a history keeps at one version: clients choose the names. Beyond it all is made anew as it is asked for.
const maxNames = 1 << 16

// resource returns a resource of a name at a version, made unless it is there. What is made again with the same content keeps its pointer.
func resource(h *history[*Resource], version uint64, name string, make func() (*Resource, []string)) *Resource {
	if r, ok := h.get(name, version); ok {
		return r
	}
	r, reads := make()
	if h.newest != version {
		return r // an older version is asked again
	}
	if old, _ := h.before(name); old != nil && r != nil && old.Version == r.Version {
		r = old
	}
	h.put(name, r, reads)
	return r
}
