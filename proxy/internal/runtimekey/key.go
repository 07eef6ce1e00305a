package runtimekey

import (
	"sync"
	"sync/atomic"
	"weak"
)

// Key is a name and what the layers say of it now. A nil Key has no value ever.
type Key struct {
	name string
	v    atomic.Pointer[Value]
}

// Name is what layers call it; "" of a nil Key.
func (k *Key) Name() string {
	if k == nil {
		return ""
	}
	return k.name
}

// value is nil when no layer names the key.
func (k *Key) value() *Value {
	if k == nil {
		return nil
	}
	return k.v.Load()
}

// Uint is the value if it is an unsigned integer, else def.
func (k *Key) Uint(def uint64) uint64 {
	if v := k.value(); v != nil && v.hasUint {
		return v.uint
	}
	return def
}

// Float is the value if it is a number, else def.
func (k *Key) Float(def float64) float64 {
	if v := k.value(); v != nil && v.hasFloat {
		return v.float
	}
	return def
}

// Bool is the value if it is true, false or an integer, else def.
func (k *Key) Bool(def bool) bool {
	if v := k.value(); v != nil && v.hasBool {
		return v.bool
	}
	return def
}

// Share is the value if it is a fractional percent, or an integer, which is one of a hundred; else
// what is given.
func (k *Key) Share(numerator, denominator uint32) (uint32, uint32) {
	v := k.value()
	switch {
	case v == nil:
	case v.denominator > 0:
		return v.numerator, v.denominator
	case v.hasUint:
		return uint32(min(v.uint, 100)), 100
	}
	return numerator, denominator
}

// Registry makes Keys and knows them while somebody holds them. Its methods may be called from any
// goroutine.
type Registry struct {
	mu     sync.Mutex
	keys   map[string]weak.Pointer[Key]
	sweep  int               // how many keys there may be before dead ones are looked for
	values map[string]*Value // of the layers
	watch  []func()
}

// NewRegistry returns a registry without values.
func NewRegistry() *Registry { return &Registry{keys: map[string]weak.Pointer[Key]{}, sweep: 64} }

// Key returns the Key of a name; nil for "", and from a nil Registry.
func (r *Registry) Key(name string) *Key {
	if r == nil || name == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.keys[name].Value(); k != nil {
		return k
	}
	if len(r.keys) >= r.sweep {
		for name, p := range r.keys {
			if p.Value() == nil {
				delete(r.keys, name)
			}
		}
		r.sweep = max(64, 2*len(r.keys))
	}
	k := &Key{name: name}
	k.v.Store(r.values[name])
	r.keys[name] = weak.Make(k)
	return k
}

// Watch has f called after each change of values: for what is not read at the time of a decision.
func (r *Registry) Watch(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watch = append(r.watch, f)
}

// set replaces all values.
func (r *Registry) set(values map[string]*Value) {
	r.mu.Lock()
	r.values = values
	for name, p := range r.keys {
		if k := p.Value(); k != nil {
			k.v.Store(values[name])
		}
	}
	watch := r.watch[:len(r.watch):len(r.watch)]
	r.mu.Unlock()
	for _, f := range watch {
		f()
	}
}
