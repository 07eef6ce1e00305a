package server

import (
	"fmt"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// extensions follows the configurations of filters that come by discovery (ECDS), and gives them to the filter chains that name
// them. The control loop owns it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/extension
type extensions struct {
	s       *Server
	byName  map[resource]*extension
	records records[resource]
}

// extension is a configuration that listeners subscribe to.
type extension struct {
	listeners int
	value     *xdsresource.FilterExtension // nil: none has come, or it was taken back
	places    map[extensionPlace]bool
	stats     *extensionStats
}

// extensionPlace is a filter of a live chain, or of one that is warming (extensionplaces.go).
type extensionPlace interface {
	// discovery is how the filter's configuration comes, and the name of its listener.
	discovery() (*xdsresource.FilterDiscovery, string)
	// build makes the filter of a configuration. put has new streams or connections use it; unused is called when the last of them is gone.
	build(cfg *xdsresource.FilterExtension, has *holdings) (put func(unused func()), err error)
	// empty takes the filter away.
	empty()
}

// extensionNeed is what a listener needs of a filter's discovery.
type extensionNeed struct {
	resource
	*xdsresource.FilterDiscovery
	kind string // in statistics: http_filter, network_filter
}

func newExtensions(s *Server) *extensions {
	return &extensions{s: s, byName: map[resource]*extension{}, records: records[resource]{}}
}

func extensionKey(r resource) fetchKey { return fetchKey{xdsresource.TypeExtension, r} }

func (x *extensions) get(r resource) *extension {
	e := x.byName[r]
	if e == nil {
		e = &extension{places: map[extensionPlace]bool{}}
		x.byName[r] = e
	}
	return e
}

// acquire subscribes to a configuration, for one more listener that needs it.
func (x *extensions) acquire(n extensionNeed) {
	e := x.get(n.resource)
	if e.listeners++; e.listeners > 1 {
		return
	}
	e.stats = newExtensionStats(x.s.stats.Owned(), n)
	e.stats.begin()
	x.s.fetches.begin(extensionKey(n.resource), n.FetchTimeout, func(late bool) {
		e.stats.late(late)
		x.s.listeners.arrived()
	})
	x.s.sources.subscribe(n.source, xdsresource.TypeExtension, n.name)
}

// release gives it back.
func (x *extensions) release(n extensionNeed) {
	e := x.get(n.resource)
	if e.listeners--; e.listeners > 0 {
		return
	}
	e.stats.owned.Close()
	e.value, e.stats = nil, nil // connections that drain keep what they have
	delete(x.records, n.resource)
	x.s.fetches.end(extensionKey(n.resource))
	x.s.sources.unsubscribe(n.source, xdsresource.TypeExtension, n.name)
	x.forget(n.resource, e)
}

func (x *extensions) forget(r resource, e *extension) {
	if e.listeners == 0 && len(e.places) == 0 {
		delete(x.byName, r)
	}
}

// waits reports whether a listener has to wait for a configuration.
func (x *extensions) waits(n extensionNeed) bool {
	return !n.AtOnce && x.get(n.resource).value == nil && x.s.fetches.waits(extensionKey(n.resource))
}

// take gives a filter's place in a chain its filter, and follows it until the chain is given back.
func (x *extensions) take(name string, p extensionPlace, has *holdings) error {
	d, listener := p.discovery()
	if err := x.s.reachable(d.Source, "config_discovery.config_source"); err != nil {
		return err
	}
	r := resource{d.Source, name}
	e := x.get(r)
	cfg := e.value
	if cfg != nil && mayStand(cfg, d, listener) != nil {
		cfg = nil // another listener's filter of that name takes it
	}
	built, err := x.build(p, cfg)
	if err != nil {
		x.forget(r, e)
		return err
	}
	built.set()
	e.places[p] = true
	has.add(func() {
		x.s.control.post(func() {
			p.empty()
			delete(e.places, p)
			x.forget(r, e)
		})
	})
	return nil
}

// mayStand reports whether a configuration may stand where a listener wants one.
func mayStand(cfg *xdsresource.FilterExtension, d *xdsresource.FilterDiscovery, listener string) error {
	if cfg != nil && !slices.Contains(d.Types, cfg.Type) {
		return fmt.Errorf("typed_config: is of type %s, listener %q wants one of %v", cfg.Type, listener, d.Types)
	}
	return nil
}

// built is a filter that is ready for its place.
type built struct {
	x     *extensions
	place extensionPlace
	put   func(unused func()) // nil: there is no filter
	has   *holdings
}

// build makes the filter of a configuration, of the default one where that is nil.
func (x *extensions) build(p extensionPlace, cfg *xdsresource.FilterExtension) (*built, error) {
	b := &built{x: x, place: p, has: x.s.newHoldings()}
	if cfg == nil {
		d, _ := p.discovery()
		cfg = d.Default
	}
	if cfg == nil {
		return b, nil
	}
	var err error
	if b.put, err = p.build(cfg, b.has); err != nil {
		b.has.release()
		return nil, err
	}
	return b, nil
}

// set puts the filter in its place. What it has is given back with the last stream or connection that uses it.
func (b *built) set() {
	if b.put == nil {
		b.place.empty()
		b.has.release()
		return
	}
	b.put(func() { b.x.s.control.post(b.has.release) })
}

// apply takes an ECDS response. What is refused is returned by its name.
func (x *extensions) apply(src xdsresource.ConfigSource, b xdsclient.Batch) map[string]error {
	errs := map[string]error{}
	refuse := func(e *extension, u xdsclient.Update, err error) {
		e.stats.refused(b.Version)
		x.records.refuse(resource{src, u.Name}, u.Version, u.Raw, err)
		x.s.fetches.without(extensionKey(resource{src, u.Name}))
	}
	for _, u := range b.Changed {
		e := x.subscribed(resource{src, u.Name})
		if e == nil {
			continue // given back while the answer was on its way
		}
		began := time.Now()
		if err := x.put(e, u.Value.(*xdsresource.FilterExtension)); err != nil {
			errs[u.Name] = err
			refuse(e, u, err)
			continue
		}
		x.records.accept(resource{src, u.Name}, u.Version, u.Raw, false, Active)
		e.stats.reloaded(b.Version, time.Since(began))
		x.s.fetches.end(extensionKey(resource{src, u.Name}))
	}
	for _, f := range b.Failed {
		if e := x.subscribed(resource{src, f.Name}); e != nil {
			refuse(e, xdsclient.Update{Resource: xdsresource.Resource{Name: f.Name, Raw: f.Raw.Raw}, Version: f.Version}, f.Err)
		}
	}
	for _, name := range b.Absent { // a file without it is no answer, as in Envoy
		if e := x.subscribed(resource{src, name}); e != nil {
			e.stats.refused(b.Version)
		}
	}
	for _, name := range b.Removed {
		x.remove(resource{src, name}, b.Version)
	}
	x.s.listeners.arrived()
	return errs
}

// subscribed is the configuration of a name that some listener needs; nil: none does.
func (x *extensions) subscribed(r resource) *extension {
	if e := x.byName[r]; e != nil && e.listeners > 0 {
		return e
	}
	return nil
}

// put has every place take a configuration; nil: its default. On an error all keep what they have.
func (x *extensions) put(e *extension, cfg *xdsresource.FilterExtension) error {
	var ready []*built
	for p := range e.places {
		var b *built
		d, listener := p.discovery()
		err := mayStand(cfg, d, listener)
		if err == nil {
			b, err = x.build(p, cfg)
		}
		if err != nil {
			for _, b := range ready {
				b.has.release()
			}
			return err
		}
		ready = append(ready, b)
	}
	e.value = cfg
	for _, b := range ready {
		b.set()
	}
	return nil
}

// remove takes back a configuration: defaults stand in for it where there are any.
func (x *extensions) remove(r resource, version string) {
	e := x.subscribed(r)
	if e == nil {
		return
	}
	if err := x.put(e, nil); err != nil { // they were judged with their listeners
		x.s.logger("config").Error("the default configuration of a filter cannot be used, the last one stays", "filter", r.name, "error", err)
		return
	}
	delete(x.records, r)
	e.stats.applied(version, false, 0)
	x.s.fetches.without(extensionKey(r))
}

// failed counts a stream that broke or a file that could not be read.
func (x *extensions) failed(src xdsresource.ConfigSource) {
	for r, e := range x.byName {
		if r.source == src && e.listeners > 0 {
			e.stats.failed()
		}
	}
}

// extensionStats are those of one configuration.
type extensionStats struct {
	*subscriptionStats
	owned        *stats.Store
	fail, reload stats.Counter
}

// newExtensionStats registers them. They are the only ones in st.
func newExtensionStats(st *stats.Store, n extensionNeed) *extensionStats {
	scope := st.Scope("extension_config_discovery").Scope(n.kind).Scope(n.name)
	scope.Counter("config_conflict") // of names that two types of extensions share, which there cannot be here
	return &extensionStats{subscriptionStats: newSubscriptionStats(scope, n.source), owned: st, fail: scope.Counter("config_fail"), reload: scope.Counter("config_reload")}
}

func (s *extensionStats) refused(version string) {
	s.applied(version, true, 0)
	s.main.Inc(s.fail)
}

func (s *extensionStats) reloaded(version string, took time.Duration) {
	s.applied(version, false, took)
	s.main.Inc(s.reload)
}
