package watch

import (
	"cmp"
	"maps"
	"slices"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// book holds what is known of the services, and what has changed since it was last told. It starts nothing and waits for nothing.
type book struct {
	listed map[string]bool   // names in the last list
	known  map[string]*entry // by name: listed, or kept for a while
	// holding says that nothing is taken away: servers that began anew know their services only when these have registered again.
	holding bool
	changed map[string]*model.Registration // by key of the service
	removed map[string]bool
}

// entry is a service that is followed.
type entry struct {
	heard bool
	// now is the last registration, given the one that was delivered; they differ while a removal is held.
	now, given *model.Registration
}

func newBook() *book {
	return &book{listed: map[string]bool{}, known: map[string]*entry{}, changed: map[string]*model.Registration{}, removed: map[string]bool{}}
}

// list takes a list of names and says which services to follow from now on, and which no longer.
func (b *book) list(names []string) (follow, leave []string) {
	b.listed = make(map[string]bool, len(names))
	for _, name := range names {
		b.listed[name] = true
		if b.known[name] == nil {
			b.known[name] = &entry{}
			follow = append(follow, name)
		}
	}
	return follow, b.drop()
}

// drop forgets what is no longer listed, unless removals are held.
func (b *book) drop() []string {
	if b.holding {
		return nil
	}
	var left []string
	for name, e := range b.known {
		if !b.listed[name] {
			e.now = nil
			b.settle(e)
			delete(b.known, name)
			left = append(left, name)
		}
	}
	slices.Sort(left)
	return left
}

// hear takes what a service is now, nil for nothing that could be called. What is not followed any more is not heard.
func (b *book) hear(name string, r *model.Registration) {
	e := b.known[name]
	if e == nil {
		return
	}
	e.heard, e.now = true, r
	b.settle(e)
}

// settle notes the difference between what a service is and what was told of it.
func (b *book) settle(e *entry) {
	if e.now == nil && (e.given == nil || b.holding) {
		return
	}
	if e.given != nil && (e.now == nil || e.now.Key() != e.given.Key()) {
		b.removed[e.given.Key()] = true
		delete(b.changed, e.given.Key())
	}
	if e.now != nil {
		b.changed[e.now.Key()] = e.now
		delete(b.removed, e.now.Key())
	}
	e.given = e.now
}

// hold keeps everything until release, which says which services to leave.
func (b *book) hold() { b.holding = true }

func (b *book) release() (leave []string) {
	b.holding = false
	for _, e := range b.known {
		if e.heard && e.now == nil {
			b.settle(e)
		}
	}
	return b.drop()
}

// complete says whether every listed service has been heard.
func (b *book) complete() bool {
	for name := range b.listed {
		if !b.known[name].heard {
			return false
		}
	}
	return true
}

// take returns what has changed since the last call.
func (b *book) take() Delta {
	var d Delta
	for _, key := range slices.Sorted(maps.Keys(b.changed)) {
		d.Changed = append(d.Changed, b.changed[key])
	}
	d.Removed = slices.SortedFunc(maps.Keys(b.removed), cmp.Compare[string])
	clear(b.changed)
	clear(b.removed)
	return d
}

// counts are of what has been given.
func (b *book) counts() (services, endpoints int) {
	for _, e := range b.known {
		if e.given != nil {
			services++
			endpoints += len(e.given.Instances)
		}
	}
	return services, endpoints
}
