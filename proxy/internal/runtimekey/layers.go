package runtimekey

import (
	"maps"
	"slices"
	"sync"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// Layer is a named set of values.
type Layer struct {
	Name   string
	Values map[string]*Value
}

// Runtime lays layers over one another, the last on top, and tells a Registry what comes out. Its
// methods may be called from any goroutine.
type Runtime struct {
	registry *Registry
	sources  []Source
	stats    counters

	mu     sync.Mutex // guards what follows, and the order of what the registry is told
	remote map[string]map[string]*Value
	admin  map[string]*Value
	layers []Layer
}

// Kind says where a layer's values come from.
type Kind uint8

// Kinds of layers.
const (
	Static Kind = iota
	Disk
	Admin
	RTDS
)

// Source is a layer as it is configured.
type Source struct {
	Name   string
	Kind   Kind
	Values map[string]*Value // Static
	// Root is the symbolic link that is moved when a disk layer changes; Path is the directory below
	// it that holds the values.
	Root, Path string
	// Resource is the name of an RTDS layer's resource.
	Resource string
}

// New returns a runtime that has loaded its layers; those of RTDS are empty.
func New(sources []Source, registry *Registry, st *stats.Store) *Runtime {
	r := &Runtime{registry: registry, sources: sources, stats: newCounters(st), remote: map[string]map[string]*Value{}, admin: map[string]*Value{}}
	r.Reload()
	return r
}

// Reload reads the disk layers again and puts all layers together.
func (r *Runtime) Reload() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.load()
}

func (r *Runtime) load() {
	r.layers = nil
	var failed, disks int
	for _, s := range r.sources {
		l := Layer{Name: s.Name}
		switch s.Kind {
		case Static:
			l.Values = s.Values
		case Admin:
			l.Values = maps.Clone(r.admin)
		case RTDS:
			l.Values = r.remote[s.Resource]
		case Disk:
			values, there, err := readDisk(s.Path)
			if err != nil {
				failed++
			}
			if err != nil || !there {
				continue
			}
			disks++
			l.Values = values
		}
		r.layers = append(r.layers, l)
	}
	all := map[string]*Value{}
	for _, l := range r.layers {
		maps.Copy(all, l.Values)
	}
	r.registry.set(all)
	r.stats.loaded(len(all), len(r.layers), disks, failed, len(r.admin) > 0)
}

// SetRemote replaces the values of an RTDS layer's resource.
func (r *Runtime) SetRemote(resource string, values map[string]*Value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remote[resource] = values
	r.load()
}

// Modify changes the admin layer: an empty text takes a value away. False: there is no such layer.
func (r *Runtime) Modify(values map[string]string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.ContainsFunc(r.sources, func(s Source) bool { return s.Kind == Admin }) {
		return false
	}
	for name, text := range values {
		if text == "" {
			delete(r.admin, name)
		} else {
			r.admin[name] = Parse(text)
		}
	}
	r.load()
	return true
}

// Layers returns the layers as they are, the topmost last. They are not to be changed.
func (r *Runtime) Layers() []Layer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.layers
}

// Sources are the configured layers.
func (r *Runtime) Sources() []Source { return r.sources }

// counters are Envoy's runtime.* statistics.
type counters struct {
	main                                       stats.Main
	success, failure, dirs, noDirs, deprecated stats.Counter
	keys, layers, admin, seen                  stats.Gauge
	overridden                                 bool // admin has been set
}

func newCounters(st *stats.Store) counters {
	s := st.Scope("runtime")
	return counters{
		main: st.Main(), success: s.Counter("load_success"), failure: s.Counter("load_error"),
		dirs: s.Counter("override_dir_exists"), noDirs: s.Counter("override_dir_not_exists"), deprecated: s.Counter("deprecated_feature_use"),
		keys: s.Gauge("num_keys"), layers: s.Gauge("num_layers"), admin: s.Gauge("admin_overrides_active"),
		seen: s.Gauge("deprecated_feature_seen_since_process_start"),
	}
}

func (c *counters) loaded(keys, layers, disks, failed int, admin bool) {
	if failed == 0 {
		c.main.Inc(c.success)
	} else {
		c.main.Inc(c.failure)
	}
	// Envoy's statistic is of a layout with a second, overriding directory.
	if disks > 1 {
		c.main.Inc(c.dirs)
	} else {
		c.main.Inc(c.noDirs)
	}
	c.main.GaugeSet(c.keys, int64(keys))
	c.main.GaugeSet(c.layers, int64(layers))
	on := int64(0)
	if admin {
		on = 1
	}
	if on != 0 || c.overridden { // as in Envoy: where nothing was ever overridden there is no such statistic
		c.overridden = true
		c.main.GaugeSet(c.admin, on)
	}
}
