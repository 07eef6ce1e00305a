package hpack

import (
	"hash/maphash"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// Encoder encodes the blocks of one direction of a connection.
//
// Which fields enter the dynamic table is learned: one that was seen before, by a hash, on this connection does. So what
// changes with every message (request ids, dates, lengths) does not push out what repeats, and no list of names is needed.
type Encoder struct {
	table table
	most  uint32 // what we use of what the peer offers
	slots []slot
	// Updates of the table's size that the next block begins with (RFC 7541, 4.2): the least that it was meanwhile, and
	// what it is now.
	update bool
	least  uint32
	plain  bool
}

// slot remembers the last field of a hash.
type slot struct {
	hash uint32
	seq  uint32 // table.added after its entry was added; 0: only seen
}

const slotCount = 128 // a power of two; a table of the default size holds at most that many entries

// hashing is keyed, so that a peer cannot choose fields that meet in one slot.
var hashing = maphash.MakeSeed()

// Init prepares for a connection. most bounds the table's size, whatever the peer offers. plain turns the Huffman code off.
func (e *Encoder) Init(most uint32, plain bool) {
	*e = Encoder{most: most, plain: plain}
	e.table.max = DefaultTableSize
	if most < DefaultTableSize {
		e.SetLimit(most)
	}
}

// SetLimit takes the peer's SETTINGS_HEADER_TABLE_SIZE.
func (e *Encoder) SetLimit(n uint32) {
	n = min(n, e.most)
	if n == e.table.max && !e.update {
		return
	}
	if !e.update || n < e.least {
		e.least = n
	}
	e.update = true
	e.table.resize(n)
}

// Begin appends what a block has to begin with.
func (e *Encoder) Begin(dst []byte) []byte {
	if !e.update {
		return dst
	}
	e.update = false
	if e.least < e.table.max {
		dst = appendInt(dst, 0x20, 5, e.least)
	}
	return appendInt(dst, 0x20, 5, e.table.max)
}

// Append appends a field.
func (e *Encoder) Append(dst []byte, id header.ID, name, value []byte) []byte {
	index, whole := findStatic(id, value)
	if whole {
		return appendInt(dst, 0x80, 7, uint32(index))
	}
	if sensitive(id, value) {
		return e.literal(dst, 0x10, 4, index, name, value)
	}
	if e.table.max < 64 || len(value) > int(e.table.max)/4 {
		return e.literal(dst, 0, 4, index, name, value)
	}
	if e.slots == nil {
		e.slots = make([]slot, slotCount)
	}
	h := fieldHash(id, name, value)
	s := &e.slots[h%slotCount]
	known := s.hash == h
	if known && s.seq != 0 {
		if age := e.table.added - s.seq; age < uint32(e.table.count) {
			f := e.table.at(int(age))
			n, v := e.table.field(f)
			if f.id == id && string(v) == string(value) && string(n) == string(name) {
				return appendInt(dst, 0x80, 7, age+staticLen+1)
			}
		}
	}
	*s = slot{hash: h}
	if !known {
		return e.literal(dst, 0, 4, index, name, value)
	}
	e.table.add(id, name, value)
	s.seq = e.table.added
	return e.literal(dst, 0x40, 6, index, name, value)
}

// AppendStateless appends a field in a form that depends on, and changes, no dynamic table: it may be made before its
// turn on the wire comes.
func (e *Encoder) AppendStateless(dst []byte, id header.ID, name, value []byte) []byte {
	index, whole := findStatic(id, value)
	if whole {
		return appendInt(dst, 0x80, 7, uint32(index))
	}
	return e.literal(dst, 0, 4, index, name, value)
}

// findStatic returns the static index of a field's name, 0 for none, and whether the value is there as well.
func findStatic(id header.ID, value []byte) (int, bool) {
	first := int(staticName[id])
	if first == 0 {
		return 0, false
	}
	for i := first; i <= staticLen && static[i].id == id; i++ {
		if v := static[i].value; v != "" && v == string(value) {
			return i, true
		}
	}
	return first, false
}

// sensitive fields enter no table, here and at later hops (RFC 7541, 7.1.3): what can be guessed piece by piece.
func sensitive(id header.ID, value []byte) bool {
	switch id {
	case header.Authorization, header.ProxyAuthorization, header.SetCookie:
		return true
	case header.Cookie:
		return len(value) < 20
	}
	return false
}

func fieldHash(id header.ID, name, value []byte) uint32 {
	h := maphash.Bytes(hashing, value)
	if id == header.Other {
		h = h*31 ^ maphash.Bytes(hashing, name)
	}
	h ^= uint64(id) * 0x9E3779B97F4A7C15
	return uint32(h>>32) ^ uint32(h) | 1 // never 0, which is an empty slot
}

func (e *Encoder) literal(dst []byte, kind byte, prefix uint, index int, name, value []byte) []byte {
	dst = appendInt(dst, kind, prefix, uint32(index))
	if index == 0 {
		dst = e.text(dst, name)
	}
	return e.text(dst, value)
}

func (e *Encoder) text(dst, v []byte) []byte {
	if !e.plain {
		if n := huffmanLen(v); n < len(v) {
			return appendHuffman(appendInt(dst, 0x80, 7, uint32(n)), v)
		}
	}
	return append(appendInt(dst, 0, 7, uint32(len(v))), v...)
}

// appendInt appends an integer with a prefix of some bits, the bits before it being kind (RFC 7541, 5.1).
func appendInt(dst []byte, kind byte, prefix uint, n uint32) []byte {
	most := uint32(1)<<prefix - 1
	if n < most {
		return append(dst, kind|byte(n))
	}
	dst = append(dst, kind|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}
