package header

import (
	"bytes"
	"hash/maphash"
)

// CasePolicy says how the names of a message's headers are written again: as they came, where they came
// (envoy.http.stateful_header_formatters.preserve_case).
type CasePolicy struct {
	Reason bool // forward_reason_phrase: so is the reason of a response
	Proper bool // formatter_type_on_envoy_headers: names that did not come are written Like-This; false: in lower case
}

// Spelling is how the names of one message's headers were written when they came. Of a name that came several times
// the first way counts, for all of them, as in Envoy. It is bounded by the head that it was read from.
type Spelling struct {
	Policy CasePolicy
	Reason []byte // of a response whose reason is forwarded

	on    bool
	text  []byte   // the names, one behind the other
	ends  []uint32 // where each ends
	slots []uint32 // a hash table of the names by their lower case: number of a name + 1, 0 where there is none
}

// spellingSeed makes it impossible to send names that meet in one place of the table.
var spellingSeed = maphash.MakeSeed()

// Limits beyond which a Spelling's memory is given back, so that one large message does not stay.
const (
	keepSpelled     = 4 << 10 // bytes of names
	minSpelledSlots = 64
)

// Spell has the map remember how names were written, until it is Reset. What it remembered is forgotten.
func (m *Map) Spell(p CasePolicy) *Spelling {
	if m.spelling == nil {
		m.spelling = new(Spelling)
	}
	m.spelling.forget()
	m.spelling.Policy, m.spelling.on = p, true
	return m.spelling
}

// Spelling is how the names were written, nil where nobody remembers.
func (m *Map) Spelling() *Spelling {
	if m.spelling == nil || !m.spelling.on {
		return nil
	}
	return m.spelling
}

func (s *Spelling) forget() {
	s.Policy, s.Reason, s.on = CasePolicy{}, s.Reason[:0], false
	if cap(s.text) > keepSpelled || cap(s.Reason) > keepSpelled {
		*s = Spelling{}
		return
	}
	s.text, s.ends = s.text[:0], s.ends[:0]
	clear(s.slots)
}

// Add remembers a name, which is copied.
func (s *Spelling) Add(name []byte) {
	if 2*(len(s.ends)+1) > len(s.slots) {
		s.grow()
	}
	at := s.find(name)
	if s.slots[at] != 0 {
		return
	}
	s.text = append(s.text, name...)
	s.ends = append(s.ends, uint32(len(s.text)))
	s.slots[at] = uint32(len(s.ends))
}

// Write writes a lower-case name as it came, in its place. One that did not come is written as the policy has it.
func (s *Spelling) Write(name []byte) {
	if len(s.ends) > 0 {
		if n := s.slots[s.find(name)]; n != 0 {
			copy(name, s.name(n))
			return
		}
	}
	if s.Policy.Proper {
		ProperCase(name)
	}
}

// name is the nth name that was added, counted from 1.
func (s *Spelling) name(n uint32) []byte {
	from := uint32(0)
	if n > 1 {
		from = s.ends[n-2]
	}
	return s.text[from:s.ends[n-1]]
}

// find returns the slot of a name: where it is, or would be.
func (s *Spelling) find(name []byte) int {
	var h maphash.Hash
	h.SetSeed(spellingSeed)
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		_ = h.WriteByte(c) // cannot fail
	}
	mask := len(s.slots) - 1
	at := int(h.Sum64()) & mask
	for s.slots[at] != 0 && !bytes.EqualFold(s.name(s.slots[at]), name) {
		at = (at + 1) & mask
	}
	return at
}

// grow doubles the table, which is a power of two, and at most half full.
func (s *Spelling) grow() {
	s.slots = make([]uint32, max(minSpelledSlots, 2*len(s.slots)))
	for i := range s.ends {
		s.slots[s.find(s.name(uint32(i+1)))] = uint32(i + 1)
	}
}

// ProperCase writes the first letter of a lower-case name, and each behind anything that is no letter or digit, in upper
// case: header_key_format.proper_case_words.
func ProperCase(name []byte) {
	up := true
	for i, c := range name {
		letter := 'a' <= c && c <= 'z'
		if up && letter {
			name[i] = c - 'a' + 'A'
		}
		up = !letter && (c < '0' || c > '9')
	}
}
