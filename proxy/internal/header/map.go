package header

import (
	"bytes"
	"unsafe"
)

type field struct {
	name, value []byte
}

// Map is the ordered header block of one message. The zero Map is empty and ready. A Map
// that was Reset keeps its memory, so a pooled one allocates nothing in steady state.
//
// Values handed out are read-only, and live as long as the stream does (a request's read
// buffer is kept until the stream ends). A Map belongs to one event loop.
type Map struct {
	ids    []byte // ID of each field, beside the fields so that a search is one IndexByte
	have   Set    // the IDs that occur, so that most searches end before they begin
	fields []field
	arena  []byte // values that were added; older arrays stay alive through their slices
	size   int    // bytes of names and values

	spelling *Spelling // see Spell; nil: nobody has ever asked for it
}

// Limits beyond which Reset gives memory back, so that one large message does not make
// every pooled stream large.
const (
	keepFields = 128
	keepArena  = 8 << 10
	minArena   = 256
)

// Reset empties the map and keeps its memory.
func (m *Map) Reset() {
	if m.spelling != nil {
		m.spelling.forget()
	}
	m.ResetFields()
}

// ResetFields is Reset, but for how names were written, which stays.
func (m *Map) ResetFields() {
	if cap(m.fields) > keepFields {
		m.ids, m.fields = nil, nil
	} else {
		// Slices of a read buffer must not keep it alive.
		clear(m.fields)
		m.ids, m.fields = m.ids[:0], m.fields[:0]
	}
	if cap(m.arena) > keepArena {
		m.arena = nil
	} else {
		m.arena = m.arena[:0]
	}
	m.have = Set{}
	m.size = 0
}

// Len is the number of fields, pseudo-headers included.
func (m *Map) Len() int { return len(m.fields) }

// Size is the number of bytes of all names and values.
func (m *Map) Size() int { return m.size }

// At returns field i, in message order.
func (m *Map) At(i int) (ID, []byte, []byte) {
	f := &m.fields[i]
	return ID(m.ids[i]), f.name, f.value
}

// Get returns the first value of a known name.
func (m *Map) Get(id ID) ([]byte, bool) {
	if !m.Has(id) {
		return nil, false
	}
	return m.fields[bytes.IndexByte(m.ids, byte(id))].value, true
}

// Value is Get without the flag: nil when absent.
func (m *Map) Value(id ID) []byte {
	if !m.Has(id) {
		return nil
	}
	return m.fields[bytes.IndexByte(m.ids, byte(id))].value
}

// Has reports whether a known name is present.
func (m *Map) Has(id ID) bool { return id != Other && m.have.has(id) }

// GetName returns the first value of a lower-case name.
func (m *Map) GetName(name string) ([]byte, bool) { return m.GetKey(Key{Lookup(name), name}) }

// GetKey returns the first value of a prepared name.
func (m *Map) GetKey(k Key) ([]byte, bool) {
	i := m.Find(k, 0)
	if i < 0 {
		return nil, false
	}
	return m.fields[i].value, true
}

// Find returns the index of the first field at or behind from that has the name, -1 when
// there is none. It walks headers that occur several times.
func (m *Map) Find(k Key, from int) int {
	if !m.have.has(k.ID) {
		return -1
	}
	for from < len(m.ids) {
		i := bytes.IndexByte(m.ids[from:], byte(k.ID))
		if i < 0 {
			return -1
		}
		from += i
		if k.ID != Other || string(m.fields[from].name) == k.Name {
			return from
		}
		from++
	}
	return -1
}

// Join appends all values of a name to dst with commas between them, as Envoy does before
// it matches on a header that occurs several times. The flag is false when there is none.
// A single value is returned as it is, without copying.
func (m *Map) Join(dst []byte, k Key) ([]byte, bool) {
	i := m.Find(k, 0)
	if i < 0 {
		return nil, false
	}
	j := m.Find(k, i+1)
	if j < 0 {
		return m.fields[i].value, true
	}
	dst = append(dst[:0], m.fields[i].value...)
	for ; j >= 0; j = m.Find(k, j+1) {
		dst = append(dst, ',')
		dst = append(dst, m.fields[j].value...)
	}
	return dst, true
}

// bytesOf views a string as a read-only slice.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// AppendRef adds a field whose name (lower case) and value are kept, not copied. It is for
// codecs, whose buffers outlive the map. For a known id name may be nil.
func (m *Map) AppendRef(id ID, name, value []byte) {
	if id != Other {
		name = nameBytes[id]
	}
	m.ids = append(m.ids, byte(id))
	m.have.add(id)
	m.fields = append(m.fields, field{name, value})
	m.size += len(name) + len(value)
}

// Extend lengthens the value of the last field to v, which the caller made from the same
// bytes; for codecs that join lines.
func (m *Map) Extend(v []byte) {
	f := &m.fields[len(m.fields)-1]
	m.size += len(v) - len(f.value)
	f.value = v
}

// Add appends a field with a copy of value.
func (m *Map) Add(id ID, value []byte) { m.AppendRef(id, nil, m.keep(value)) }

// AddString appends a field; the string is kept, not copied.
func (m *Map) AddString(id ID, value string) { m.AppendRef(id, nil, bytesOf(value)) }

// AddName appends a field under a lower-case name with a copy of value. The name is kept.
func (m *Map) AddName(name string, value []byte) { m.AddKey(Key{Lookup(name), name}, value) }

// AddCopy appends a field with copies of name (lower case) and value, for codecs whose buffers do not outlive the map. For
// a known id name may be nil.
func (m *Map) AddCopy(id ID, name, value []byte) {
	if id == Other {
		name = m.keep(name)
	}
	m.AppendRef(id, name, m.keep(value))
}

// AddKey appends a field under a prepared name with a copy of value.
func (m *Map) AddKey(k Key, value []byte) { m.AppendRef(k.ID, bytesOf(k.Name), m.keep(value)) }

// AddKeyString appends a field under a prepared name; the string is kept, not copied.
func (m *Map) AddKeyString(k Key, value string) { m.AppendRef(k.ID, bytesOf(k.Name), bytesOf(value)) }

// Set replaces all fields of a known name by one with a copy of value, at the place of the
// first, else at the end.
func (m *Map) Set(id ID, value []byte) { m.setRef(Key{ID: id}, m.keep(value)) }

// SetString is Set; the string is kept, not copied.
func (m *Map) SetString(id ID, value string) { m.setRef(Key{ID: id}, bytesOf(value)) }

// SetName is Set for a lower-case name, which is kept.
func (m *Map) SetName(name string, value []byte) { m.setRef(Key{Lookup(name), name}, m.keep(value)) }

// SetKey is Set for a prepared name.
func (m *Map) SetKey(k Key, value []byte) { m.setRef(k, m.keep(value)) }

// SetKeyString is SetKey; the string is kept, not copied.
func (m *Map) SetKeyString(k Key, value string) { m.setRef(k, bytesOf(value)) }

func (m *Map) setRef(k Key, value []byte) {
	i := m.Find(k, 0)
	if i < 0 {
		m.AppendRef(k.ID, bytesOf(k.Name), value)
		return
	}
	f := &m.fields[i]
	m.size += len(value) - len(f.value)
	f.value = value
	m.removeFrom(k, i+1)
}

// SetAt replaces the value of field i by a copy of value.
func (m *Map) SetAt(i int, value []byte) {
	f := &m.fields[i]
	m.size += len(value) - len(f.value)
	f.value = m.keep(value)
}

// SetAtRef replaces the value of field i; the slice is kept and must outlive the stream.
func (m *Map) SetAtRef(i int, value []byte) {
	f := &m.fields[i]
	m.size += len(value) - len(f.value)
	f.value = value
}

// Remove drops all fields of a known name and returns how many there were.
func (m *Map) Remove(id ID) int {
	if !m.Has(id) {
		return 0
	}
	return m.removeFrom(Key{ID: id}, 0)
}

// RemoveSet drops all fields whose known name is in the set.
func (m *Map) RemoveSet(s Set) {
	if !m.have.meets(s) {
		return
	}
	for i := 0; i < len(m.ids); {
		if id := ID(m.ids[i]); id != Other && s.has(id) {
			m.RemoveAt(i)
		} else {
			i++
		}
	}
}

// RemoveName drops all fields of a lower-case name.
func (m *Map) RemoveName(name string) int { return m.removeFrom(Key{Lookup(name), name}, 0) }

// RemoveKey drops all fields of a prepared name.
func (m *Map) RemoveKey(k Key) int { return m.removeFrom(k, 0) }

// RemoveAt drops field i; the ones behind it move up.
func (m *Map) RemoveAt(i int) {
	id := m.ids[i]
	m.size -= len(m.fields[i].name) + len(m.fields[i].value)
	copy(m.fields[i:], m.fields[i+1:])
	copy(m.ids[i:], m.ids[i+1:])
	m.fields = m.fields[:len(m.fields)-1]
	m.ids = m.ids[:len(m.ids)-1]
	if bytes.IndexByte(m.ids, id) < 0 {
		m.have.drop(ID(id))
	}
}

func (m *Map) removeFrom(k Key, from int) int {
	n := 0
	for i := m.Find(k, from); i >= 0; i = m.Find(k, i) {
		m.RemoveAt(i)
		n++
	}
	return n
}

// keep copies a value into the arena.
func (m *Map) keep(v []byte) []byte {
	n := len(m.arena)
	m.arena = append(m.arena, v...)
	return m.arena[n:len(m.arena):len(m.arena)]
}

// Build returns an empty slice to append a value to, in the map's own memory. Hand the
// result to Built; nothing else of the map may be changed between the two.
func (m *Map) Build() []byte { return m.arena[len(m.arena):] }

// Built makes what was appended to Build's slice a value that lives as long as the map. It
// goes to AddBuilt or SetBuilt.
func (m *Map) Built(b []byte) []byte {
	n := len(m.arena)
	if len(b) == 0 {
		return nil
	}
	if cap(m.arena)-n >= len(b) && &m.arena[:n+1][n] == &b[0] {
		m.arena = m.arena[:n+len(b)]
		return b[:len(b):len(b)]
	}
	// It outgrew the arena. The next one is twice as large, so that a Map which is used again
	// soon has one that holds everything.
	arena := make([]byte, len(b), max(2*cap(m.arena), 2*len(b), minArena))
	copy(arena, b)
	m.arena = arena
	return arena[:len(b):len(b)]
}

// AddBuilt appends a field with a value made by Build and appending.
func (m *Map) AddBuilt(k Key, b []byte) { m.AppendRef(k.ID, bytesOf(k.Name), m.Built(b)) }

// SetBuilt replaces all fields of the name by a value made by Build and appending.
func (m *Map) SetBuilt(k Key, b []byte) { m.setRef(k, m.Built(b)) }

// CopyTo makes dst an independent copy: it refers to no buffer of m. How names were written is not copied, as in Envoy, and
// what dst remembers of that stays.
func (m *Map) CopyTo(dst *Map) {
	dst.ResetFields()
	if n := m.size; cap(dst.arena) < n {
		dst.arena = make([]byte, 0, n+n/4)
	}
	for i := range m.fields {
		id, name, value := m.At(i)
		if id == Other {
			name = dst.keep(name)
		}
		dst.AppendRef(id, name, dst.keep(value))
	}
}
