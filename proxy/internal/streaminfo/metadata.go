package streaminfo

// metadataMaps keeps the maps of dynamic metadata from one request to the next. Authorization leaves some with each request, and to make the maps anew costs
// more than all else that it does.
type metadataMaps struct {
	outer map[string]map[string]any // handed out as Info.Metadata
	inner map[string]map[string]any // by filter; those that outer does not have are empty
	used  []usedMap                 // of inner, those that outer has
	given bool                      // outer is handed out
}

type usedMap struct {
	filter  string
	entries map[string]any
}

// Bounds of what is kept: filters are those of a configuration, and few; what one has been told from outside may be much.
const (
	maxFilters = 32
	maxEntries = 32
)

// all is the map of all filters, empty.
func (m *metadataMaps) all() map[string]map[string]any {
	if m.outer == nil {
		m.outer = make(map[string]map[string]any)
	}
	m.given = true
	return m.outer
}

// find returns the map of a filter that has been given one; nil for none. They are few, and their names mostly the same string.
func (m *metadataMaps) find(filter string) map[string]any {
	for i := range m.used {
		if m.used[i].filter == filter {
			return m.used[i].entries
		}
	}
	return nil
}

// of is a filter's map, empty. Where somebody else's map is added to, such as a connection's, it is that one's own.
func (m *metadataMaps) of(filter string) map[string]any {
	if !m.given {
		return make(map[string]any)
	}
	inner := m.inner[filter]
	if inner == nil {
		inner = make(map[string]any)
		if m.inner == nil {
			m.inner = make(map[string]map[string]any)
		}
		m.inner[filter] = inner
	}
	m.used = append(m.used, usedMap{filter, inner})
	return inner
}

// empty takes back what was handed out.
func (m *metadataMaps) empty() {
	if !m.given {
		return
	}
	m.given = false
	if len(m.inner) > maxFilters {
		*m = metadataMaps{}
		return
	}
	for _, u := range m.used {
		if len(u.entries) > maxEntries {
			delete(m.inner, u.filter)
		} else {
			clear(u.entries)
		}
	}
	m.used = m.used[:0]
	clear(m.outer)
}
