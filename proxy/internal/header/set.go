package header

// Set is a set of IDs.
type Set [2]uint64

// Every ID has its bit.
const _ = uint(len(Set{})*64 - int(Count))

// SetOf makes a set of known names.
func SetOf(ids ...ID) Set {
	var s Set
	for _, id := range ids {
		s.add(id)
	}
	return s
}

func (s *Set) add(id ID)      { s[id/64&1] |= 1 << (id % 64) }
func (s *Set) drop(id ID)     { s[id/64&1] &^= 1 << (id % 64) }
func (s *Set) has(id ID) bool { return s[id/64&1]&(1<<(id%64)) != 0 }

func (s *Set) meets(o Set) bool { return s[0]&o[0]|s[1]&o[1] != 0 }
