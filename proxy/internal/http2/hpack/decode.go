package hpack

import (
	"errors"
	"unsafe"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// Errors of a block. After any of them the state of the connection's compression is unknown: it must be closed with
// COMPRESSION_ERROR (RFC 9113, 4.3).
var (
	errTruncated  = errors.New("hpack: block ends inside a field (RFC 7541, 6)")
	errInteger    = errors.New("hpack: integer is too large (RFC 7541, 5.1)")
	errIndex      = errors.New("hpack: index is zero or beyond the tables (RFC 7541, 2.3.3)")
	errSizeUpdate = errors.New("hpack: table size update behind a field, or beyond the setting (RFC 7541, 4.2)")
	errSizeMiss   = errors.New("hpack: the table's size was not updated after the setting (RFC 7541, 4.2)")
)

// Sink takes the fields of a block. Known names come as their number, with the name as well; the slices are valid until
// Field returns. Note that "host" has the number of :authority.
type Sink interface {
	Field(id header.ID, name, value []byte)
}

// Decoder decodes the blocks of one direction of a connection.
type Decoder struct {
	table   table
	limit   uint32 // SETTINGS_HEADER_TABLE_SIZE that we have announced
	allowed uint32 // what an update may ask for: the default as well, until our setting is known to the peer
	must    bool   // the next block has to begin with an update
	scratch []byte
}

// DefaultTableSize is SETTINGS_HEADER_TABLE_SIZE when nothing is said (RFC 9113, 6.5.2).
const DefaultTableSize = 4096

// Init prepares for a connection on which limit is announced as the size of the table. The peer may use less.
func (d *Decoder) Init(limit uint32) {
	*d = Decoder{limit: limit, allowed: max(limit, DefaultTableSize)}
	d.table.max = DefaultTableSize
}

// SettingsAcked is told that the peer knows our setting. If it had to shrink its table, its next block says so.
func (d *Decoder) SettingsAcked() {
	d.allowed = d.limit
	d.must = d.table.max > d.limit
}

// Decode decodes a whole block.
func (d *Decoder) Decode(p []byte, s Sink) error {
	fields := false
	for len(p) > 0 {
		b := p[0]
		if d.must && b&0xe0 != 0x20 {
			return errSizeMiss
		}
		var err error
		switch {
		case b&0x80 != 0:
			p, err = d.indexed(p, s)
		case b&0xc0 == 0x40:
			p, err = d.literal(p, 6, true, s)
		case b&0xe0 == 0x20:
			if fields {
				return errSizeUpdate
			}
			p, err = d.sizeUpdate(p)
			if err != nil {
				return err
			}
			continue
		default:
			p, err = d.literal(p, 4, false, s)
		}
		if err != nil {
			return err
		}
		fields = true
	}
	return nil
}

func (d *Decoder) sizeUpdate(p []byte) ([]byte, error) {
	n, p, err := readInt(p, 5)
	if err != nil {
		return nil, err
	}
	if n > d.allowed {
		return nil, errSizeUpdate
	}
	d.must = d.must && n > d.limit
	d.table.resize(n)
	return p, nil
}

// lookup returns the field of an index.
func (d *Decoder) lookup(i uint32) (id header.ID, name, value []byte, err error) {
	if i == 0 {
		return 0, nil, nil, errIndex
	}
	if i <= staticLen {
		f := &static[i]
		return f.id, bytesOf(f.name), bytesOf(f.value), nil
	}
	i -= staticLen + 1
	if i >= uint32(d.table.count) {
		return 0, nil, nil, errIndex
	}
	e := d.table.at(int(i))
	name, value = d.table.field(e)
	return e.id, name, value, nil
}

func (d *Decoder) indexed(p []byte, s Sink) ([]byte, error) {
	i, p, err := readInt(p, 7)
	if err != nil {
		return nil, err
	}
	id, name, value, err := d.lookup(i)
	if err != nil {
		return nil, err
	}
	s.Field(id, name, value)
	return p, nil
}

func (d *Decoder) literal(p []byte, prefix uint, keep bool, s Sink) ([]byte, error) {
	i, p, err := readInt(p, prefix)
	if err != nil {
		return nil, err
	}
	d.scratch = d.scratch[:0]
	var id header.ID
	var name, value []byte
	if i != 0 {
		if id, name, _, err = d.lookup(i); err != nil {
			return nil, err
		}
		if keep && i > staticLen { // adding may move the table under it
			d.scratch = append(d.scratch, name...)
			name = d.scratch
		}
	} else {
		if name, p, err = d.text(p); err != nil {
			return nil, err
		}
		id = header.Lookup(unsafe.String(unsafe.SliceData(name), len(name)))
	}
	if value, p, err = d.text(p); err != nil {
		return nil, err
	}
	s.Field(id, name, value)
	if keep {
		d.table.add(id, name, value)
	}
	return p, nil
}

// maxScratch is what is kept between fields for decoded strings.
const maxScratch = 4 << 10

// text reads a string literal. A decoded one stands in scratch, behind what is there.
func (d *Decoder) text(p []byte) (v, rest []byte, err error) {
	if len(p) == 0 {
		return nil, nil, errTruncated
	}
	coded := p[0]&0x80 != 0
	n, p, err := readInt(p, 7)
	if err != nil {
		return nil, nil, err
	}
	if uint64(n) > uint64(len(p)) {
		return nil, nil, errTruncated
	}
	v, rest = p[:n:n], p[n:]
	if !coded {
		return v, rest, nil
	}
	at := len(d.scratch)
	b, err := appendHuffmanDecoded(d.scratch, v)
	if err != nil {
		return nil, nil, err
	}
	v = b[at:len(b):len(b)]
	if cap(b) <= maxScratch {
		d.scratch = b
	}
	return v, rest, nil
}

// readInt reads an integer with a prefix of some bits (RFC 7541, 5.1). More than 28 bits have no use here.
func readInt(p []byte, prefix uint) (uint32, []byte, error) {
	if len(p) == 0 {
		return 0, nil, errTruncated
	}
	most := uint32(1)<<prefix - 1
	n := uint32(p[0]) & most
	p = p[1:]
	if n < most {
		return n, p, nil
	}
	for shift := uint(0); ; shift += 7 {
		if len(p) == 0 {
			return 0, nil, errTruncated
		}
		b := p[0]
		p = p[1:]
		if shift > 21 {
			return 0, nil, errInteger
		}
		n += uint32(b&0x7f) << shift
		if b&0x80 == 0 {
			return n, p, nil
		}
	}
}

// bytesOf views a string as a read-only slice.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
