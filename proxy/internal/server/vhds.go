package server

import (
	"container/list"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// vhds keeps the virtual hosts that come one by one, and puts them into the tables of the route
// configurations of RDS that ask for such. A source is asked for what it thinks the proxy needs, and for the
// hosts of requests that found none (hostsondemand.go). The control loop owns it.
type vhds struct {
	s       *Server
	sources map[xdsresource.ConfigSource]*hostSource
	groups  map[resource]*hostGroup // by source, and by name of the route configuration
	tables  map[resource]*hostTable // by route configuration
	held    int                     // requests that wait
	// sweeping: a sweep will come.
	sweeping bool
}

// hostSource is a stream that virtual hosts come from.
type hostSource struct {
	tables   int
	answered bool // it has spoken, or its time for that is over
}

// hostGroup is what one source has brought for the route configurations of one name, of which there is
// mostly one.
type hostGroup struct {
	key     resource
	tables  map[resource]*hostTable
	hosts   map[string]*heldHost  // by resource name
	asked   map[string]*askedHost // by the name that was subscribed to
	absent  list.List             // of *askedHost, the longest absent first
	waiting int                   // of asked, those that have not been answered
	found   int                   // of asked, those that are there
}

// heldHost is a virtual host as it came.
type heldHost struct {
	update xdsclient.Update
	base   bool // nobody had asked for it
	asked  int  // how many names that were asked for have led to it
}

// hostTable is a route configuration with virtual hosts of its group.
type hostTable struct {
	of       resource
	group    *hostGroup
	table    *route.Table
	compiled map[string]*route.VirtualHost // by resource name
	stats    *hostStats
	version  string // of the last change of a virtual host; empty: none yet
	updated  time.Time
	refused  *Refusal // of the last response; nil: it was good
}

func newVHDS(s *Server) *vhds {
	return &vhds{
		s: s, sources: map[xdsresource.ConfigSource]*hostSource{}, groups: map[resource]*hostGroup{}, tables: map[resource]*hostTable{},
	}
}

// canAsk says what is wrong with a source of virtual hosts, if anything is.
func (v *vhds) canAsk(src xdsresource.ConfigSource) error {
	if err := v.s.reachable(src, "vhds.config_source"); err != nil {
		return err
	}
	if src.ADS() && !v.s.boot.ADS.Delta {
		return fmt.Errorf("vhds.config_source names ads, which is not incremental: dynamic_resources.ads_config.api_type must be DELTA_GRPC")
	}
	return nil
}

// update takes a new version of a route configuration that a listener uses, and returns its table with the
// virtual hosts that are there. On an error everything stays as it was.
func (v *vhds) update(need routeNeed, base *route.Table) (*route.Table, error) {
	src := base.Config.VHDS
	if src == nil {
		v.release(need.resource)
		return base, nil
	}
	if err := v.canAsk(*src); err != nil {
		return nil, err
	}
	key := resource{*src, base.Config.Name}
	old := v.tables[need.resource]
	next := &hostTable{of: need.resource, table: base, compiled: map[string]*route.VirtualHost{}}
	if g := v.groups[key]; g != nil {
		e := base.Edit()
		for _, name := range slices.Sorted(maps.Keys(g.hosts)) {
			h, err := base.CompileHost(g.hosts[name].update.Value.(*xdsresource.VirtualHost))
			if err == nil {
				err = e.Add(h)
			}
			if err != nil {
				return nil, fmt.Errorf("with %q, which VHDS has brought: %w", name, err)
			}
			next.compiled[name] = h
		}
		next.table = e.Table()
	}
	switch {
	case old != nil && old.group.key == key:
		next.group, next.stats, next.version, next.updated, next.refused = old.group, old.stats, old.version, old.updated, old.refused
	default:
		if old != nil {
			v.release(need.resource)
		}
		next.group = v.group(key)
		next.stats = newHostStats(v.s.stats.Owned(), need, *src)
		v.use(next, base.Config.VHDSFetchTimeout)
	}
	next.group.tables[need.resource] = next
	v.tables[need.resource] = next
	return next.table, nil
}

// renewed is told that a new version of a route configuration is in use: it may serve whom it did not.
func (v *vhds) renewed(r resource) {
	if t := v.tables[r]; t != nil {
		v.wakeServed(t.group)
	}
}

func (v *vhds) group(key resource) *hostGroup {
	g := v.groups[key]
	if g == nil {
		g = &hostGroup{key: key, tables: map[resource]*hostTable{}, hosts: map[string]*heldHost{}, asked: map[string]*askedHost{}}
		v.groups[key] = g
	}
	return g
}

// use subscribes to the source of a new table, which waits as long as that for the first answer, 0: without end.
func (v *vhds) use(t *hostTable, patience time.Duration) {
	src := t.group.key.source
	t.stats.begin()
	if hs := v.sources[src]; hs != nil {
		hs.tables++
		return
	}
	hs := &hostSource{tables: 1}
	v.sources[src] = hs
	if err := v.s.sources.subscribeAll(src, xdsresource.TypeVirtualHost); err != nil {
		v.s.logger("config").Error("cannot reach a source of virtual hosts", "routes", t.of.name, "error", err)
	}
	if patience <= 0 {
		return
	}
	v.s.after(patience, func() {
		if hs.answered {
			return
		}
		hs.answered = true
		for _, t := range v.tables {
			if t.group.key.source == src {
				t.stats.late(true)
			}
		}
		v.s.listeners.arrived()
	})
}

// release is told that a route configuration is used no more, or gets no virtual hosts any more.
func (v *vhds) release(r resource) {
	t := v.tables[r]
	if t == nil {
		return
	}
	g, src := t.group, t.group.key.source
	t.stats.end()
	delete(v.tables, r)
	if delete(g.tables, r); len(g.tables) == 0 {
		for _, a := range g.asked {
			v.answer(g, a, absent)
			v.forget(g, a)
		}
	}
	hs := v.sources[src]
	if hs.tables--; hs.tables > 0 || src.ADS() {
		// The shared stream goes on telling what it thinks we need; what it has told is kept, since
		// it is not told again.
		return
	}
	delete(v.sources, src)
	maps.DeleteFunc(v.groups, func(k resource, _ *hostGroup) bool { return k.source == src })
	v.s.sources.unsubscribeAll(src, xdsresource.TypeVirtualHost)
}

// ready reports whether a route configuration has what its source of virtual hosts sends at first.
func (v *vhds) ready(r resource) bool {
	t := v.tables[r]
	return t == nil || v.sources[t.group.key.source].answered
}

// failed counts a stream that broke.
func (v *vhds) failed(src xdsresource.ConfigSource) {
	for _, t := range v.tables {
		if t.group.key.source == src {
			t.stats.failed()
		}
	}
}

// hostChange is the part of a response that is for one group.
type hostChange struct {
	changed []xdsclient.Update
	removed []string
	failed  []xdsclient.Failure
	absent  []string
}

// apply takes a response and returns what could not be applied.
func (v *vhds) apply(src xdsresource.ConfigSource, b xdsclient.Batch) map[string]error {
	errs := map[string]error{}
	hs := v.sources[src]
	if hs == nil {
		return errs // the last that wanted it has gone meanwhile
	}
	changes := map[*hostGroup]*hostChange{}
	of := func(name string) *hostChange {
		routes, _, err := xdsresource.SplitHostName(name)
		if err != nil {
			errs[name] = err
			return &hostChange{}
		}
		g := v.group(resource{src, routes})
		if changes[g] == nil {
			changes[g] = &hostChange{}
		}
		return changes[g]
	}
	for _, u := range b.Changed {
		c := of(u.Name)
		c.changed = append(c.changed, u)
	}
	for _, f := range b.Failed {
		c := of(f.Name)
		c.failed = append(c.failed, f)
	}
	for _, name := range b.Removed {
		c := of(name)
		c.removed = append(c.removed, name)
	}
	for _, name := range b.Absent {
		c := of(name)
		c.absent = append(c.absent, name)
	}
	for g, c := range changes {
		v.change(g, c, b.Version, errs)
	}
	if len(changes) == 0 {
		for _, t := range v.tables {
			if t.group.key.source == src {
				t.stats.applied(b.Version, len(errs) > 0, 0)
			}
		}
	}
	if !hs.answered {
		hs.answered = true
		v.s.listeners.arrived()
	}
	return errs
}

// change applies a response to a group: its tables first, then those who wait are told.
func (v *vhds) change(g *hostGroup, c *hostChange, version string, errs map[string]error) {
	began := time.Now()
	c.changed = slices.DeleteFunc(c.changed, func(u xdsclient.Update) bool {
		h := g.hosts[u.Name]
		if h == nil || !sameHost(h.update.Raw, u.Raw) {
			return false
		}
		h.update = u // the same again, as after a reconnect
		v.lead(g, u)
		return true
	})
	taken := map[string]bool{}
	for _, t := range g.tables {
		v.edit(t, c, taken, errs)
	}
	for _, name := range c.removed {
		v.lose(g, name)
		v.missing(g, name)
	}
	for _, u := range c.changed {
		if errs[u.Name] != nil && !taken[u.Name] {
			if !g.compiled(u.Name) { // nor is its last version left
				v.lose(g, u.Name)
			}
			for _, name := range namesOf(u.Name, u.Aliases) {
				if a := g.asked[name]; a != nil && a.brought == "" {
					v.missing(g, name)
				}
			}
			continue
		}
		h := g.hosts[u.Name]
		if h == nil {
			h = &heldHost{base: true}
			g.hosts[u.Name] = h
			v.sweepLater()
		}
		h.update = u
		v.lead(g, u)
	}
	for _, f := range c.failed {
		for _, name := range namesOf(f.Name, f.Aliases) {
			if a := g.asked[name]; a != nil && a.brought == "" {
				v.missing(g, name)
			}
		}
	}
	for _, name := range c.absent {
		v.missing(g, name)
	}
	v.wakeServed(g)
	for _, t := range g.tables {
		t.version, t.updated = version, time.Now()
		v.count(t, c, version, time.Since(began), errs)
	}
}

// compiled reports whether a virtual host is in a table.
func (g *hostGroup) compiled(name string) bool {
	for _, t := range g.tables {
		if t.compiled[name] != nil {
			return true
		}
	}
	return false
}

// namesOf are all names that a resource answers to.
func namesOf(name string, aliases []string) []string { return append(slices.Clip(aliases), name) }

// count writes a response down: in the statistics of a table, and in the record that the admin API shows.
func (v *vhds) count(t *hostTable, c *hostChange, version string, took time.Duration, errs map[string]error) {
	t.refused = nil
	refuse := func(raw *anypb.Any, err error) {
		t.refused = &Refusal{Version: version, Time: v.s.now(), Details: err.Error(), Raw: raw}
	}
	for _, f := range c.failed {
		refuse(f.Raw.Raw, f.Err)
	}
	for _, u := range c.changed {
		if err := errs[u.Name]; err != nil {
			refuse(u.Raw, err)
		}
	}
	t.stats.applied(version, t.refused != nil, took)
	if t.refused == nil {
		t.stats.changed()
	}
}

func sameHost(a, b *anypb.Any) bool { return proto.Equal(a, b) }

// edit puts a response into a table. Virtual hosts that did not change are not compiled again. One that is
// refused leaves its last good version, unless another one has a domain of that now.
func (v *vhds) edit(t *hostTable, c *hostChange, taken map[string]bool, errs map[string]error) {
	if len(c.changed) == 0 && !slices.ContainsFunc(c.removed, func(n string) bool { return t.compiled[n] != nil }) {
		return
	}
	e := t.table.Edit()
	before := map[string]*route.VirtualHost{}
	take := func(name string) {
		if h := t.compiled[name]; h != nil {
			e.Remove(h)
			delete(t.compiled, name)
			before[name] = h
		}
	}
	for _, name := range c.removed {
		take(name)
	}
	for _, u := range c.changed {
		take(u.Name)
	}
	for _, u := range c.changed {
		h, err := t.table.CompileHost(u.Value.(*xdsresource.VirtualHost))
		if err == nil {
			err = e.Add(h)
		}
		if err != nil {
			errs[u.Name] = err
			continue
		}
		t.compiled[u.Name], taken[u.Name] = h, true
	}
	for _, u := range c.changed {
		if h := before[u.Name]; h != nil && errs[u.Name] != nil && t.compiled[u.Name] == nil && e.Add(h) == nil {
			t.compiled[u.Name] = h
		}
	}
	v.publish(t, e)
}

// publish makes a changed table the one that new requests are looked up in.
func (v *vhds) publish(t *hostTable, e *route.Edit) {
	t.table = e.Table()
	v.s.routes.set(t.of, t.table)
}

// view lists the virtual hosts of a route configuration, as they came, in order of name.
func (t *hostTable) view() []*anypb.Any {
	var out []*anypb.Any
	for _, name := range slices.Sorted(maps.Keys(t.compiled)) {
		out = append(out, t.group.hosts[name].update.Raw)
	}
	return out
}
