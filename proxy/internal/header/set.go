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

// notInTrailers are the fields that no trailer section may have (RFC 9110, 6.5.1): those that framing,
// routing, authentication or the handling of a request rest on. Who reads them late may already have
// done without, and who merges them into the headers is told something that nobody has checked.
var notInTrailers = SetOf(Authority, Authorization, Connection, ContentLength, Cookie, Expect, KeepAlive, ProxyAuthorization,
	ProxyConnection, Range, SetCookie, TE, Trailer, TransferEncoding, Upgrade)

// BarredFromTrailers reports whether a field may not stand in a trailer section.
func (id ID) BarredFromTrailers() bool { return id != Other && notInTrailers.has(id) }

// BarredFromTrailers reports whether a field of the map may not stand in a trailer section.
func (m *Map) BarredFromTrailers() bool { return m.have.meets(notInTrailers) }
