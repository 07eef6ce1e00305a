package route

import (
	"bytes"
	"encoding/binary"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Scopes finds the route table of a request by a key made of its headers (hcm.v3.ScopedRoutes). It is
// immutable and may be used by all workers. The nil Scopes has none.
type Scopes struct {
	// Config is what it was made of.
	Config    *xdsresource.ScopedRoutes
	fragments []scopeFragment
	byKey     map[string]scope
}

type scope struct {
	table    func() *Table
	onDemand string // the route configuration to ask for where there is no table; "" for none
}

type scopeFragment struct {
	xdsresource.ScopeFragment
	header header.Key
}

// NewScopes prepares the scopes of a configuration. table gives the current table of a scope that names
// a route configuration.
func NewScopes(cfg *xdsresource.ScopedRoutes, table func(name string) func() *Table) (*Scopes, error) {
	s := &Scopes{Config: cfg, byKey: make(map[string]scope, len(cfg.Scopes))}
	for _, f := range cfg.Key {
		s.fragments = append(s.fragments, scopeFragment{f, header.KeyOf(f.Header)})
	}
	for _, c := range cfg.Scopes {
		var key []byte
		for _, f := range c.Key {
			key = appendFragment(key, []byte(f))
		}
		if c.Routes == nil {
			x := scope{table: table(c.RouteConfigName)}
			if c.OnDemand {
				x.onDemand = c.RouteConfigName
			}
			s.byKey[string(key)] = x
			continue
		}
		t, err := Compile(c.Routes)
		if err != nil {
			return nil, err
		}
		s.byKey[string(key)] = scope{table: func() *Table { return t }}
	}
	return s, nil
}

// Find returns the table for a request with these headers, nil where there is none.
func (s *Scopes) Find(h *header.Map) *Table {
	if x := s.find(h); x.table != nil {
		return x.table()
	}
	return nil
}

// Lacks returns the route configuration that has to be asked for, for requests with these headers; "" for none.
func (s *Scopes) Lacks(h *header.Map) string {
	if x := s.find(h); x.onDemand != "" && x.table() == nil {
		return x.onDemand
	}
	return ""
}

func (s *Scopes) find(h *header.Map) scope {
	if s == nil {
		return scope{}
	}
	var room [128]byte
	key := room[:0]
	for i := range s.fragments {
		v, ok := s.fragments[i].of(h)
		if !ok {
			return scope{}
		}
		key = appendFragment(key, v)
	}
	return s.byKey[string(key)]
}

// appendFragment keeps fragments apart by their lengths.
func appendFragment(key, f []byte) []byte {
	return append(binary.AppendUvarint(key, uint64(len(f))), f...)
}

// of takes the fragment out of a request's headers.
func (f *scopeFragment) of(h *header.Map) ([]byte, bool) {
	rest, ok := h.GetKey(f.header)
	if !ok {
		return nil, false
	}
	for i := 0; ; i++ {
		element, more := rest, false
		if f.Separator != "" {
			element, rest, more = bytes.Cut(rest, []byte(f.Separator))
		}
		switch {
		case !f.ByKey && i == f.Index:
			return element, true
		case f.ByKey && len(element) > 0:
			if k, v, _ := bytes.Cut(element, []byte(f.KeySeparator)); string(k) == f.Key {
				return v, true
			}
		}
		if !more {
			return nil, false
		}
	}
}
