package hpack

import "github.com/lateen-mesh/lateen/proxy/internal/header"

// entryOverhead is what a field counts for beyond its bytes (RFC 7541, 4.1).
const entryOverhead = 32

type entry struct {
	off        uint32 // of the name in buf; the value follows
	name, size uint32 // bytes of the name, and of name and value
	id         header.ID
}

// table is a dynamic table. Entries leave in the order in which they came, so the bytes of those that are alive are one
// run in buf, which moves to the front when the end is reached.
type table struct {
	max     uint32 // size that may not be exceeded
	size    uint32 // as RFC 7541 counts
	buf     []byte
	entries []entry // a ring; its length is a power of two
	count   int
	added   uint32 // entries ever added: entry added-1 is the newest
}

// at returns the i-th newest entry, from 0.
func (t *table) at(i int) *entry {
	return &t.entries[(int(t.added)-1-i)&(len(t.entries)-1)]
}

func (t *table) field(e *entry) (name, value []byte) {
	p := t.buf[e.off : e.off+e.size : e.off+e.size]
	return p[:e.name:e.name], p[e.name:]
}

// resize sets the size that may not be exceeded.
func (t *table) resize(n uint32) {
	t.max = n
	t.evict(0)
}

// evict drops the oldest entries until need more bytes fit.
func (t *table) evict(need uint32) {
	for t.count > 0 && t.size+need > t.max {
		e := t.at(t.count - 1)
		t.size -= e.size + entryOverhead
		t.count--
	}
	if t.count == 0 {
		t.buf = t.buf[:0]
	}
}

// add inserts a field. It copies name and value, which must not point into the table. A field larger than the table
// empties it and is not kept (RFC 7541, 4.4).
func (t *table) add(id header.ID, name, value []byte) {
	n := uint32(len(name) + len(value))
	if n > t.max || n+entryOverhead > t.max {
		t.count, t.size = 0, 0
		t.buf = t.buf[:0]
		return
	}
	t.evict(n + entryOverhead)
	t.room(int(n))
	if t.count == len(t.entries) {
		t.moreEntries()
	}
	off := uint32(len(t.buf))
	t.buf = append(t.buf, name...)
	t.buf = append(t.buf, value...)
	t.added++
	t.count++
	t.size += n + entryOverhead
	*t.at(0) = entry{off: off, name: uint32(len(name)), size: n, id: id}
}

// room makes sure that n bytes fit behind buf without a new array: by moving the live bytes to the front, or into a
// larger array once. Twice the table's size is enough for every move to free half of it.
func (t *table) room(n int) {
	if cap(t.buf)-len(t.buf) >= n {
		return
	}
	start := len(t.buf)
	if t.count > 0 {
		start = int(t.at(t.count - 1).off)
	}
	live := t.buf[start:]
	into := t.buf
	if 2*(len(live)+n) > cap(t.buf) {
		into = make([]byte, 0, max(512, min(4*(len(live)+n), 2*int(t.max))))
	}
	t.buf = append(into[:0], live...)
	for i := range t.count {
		t.at(i).off -= uint32(start)
	}
}

func (t *table) moreEntries() {
	bigger := make([]entry, max(16, 2*len(t.entries)))
	for i := range t.count {
		bigger[(int(t.added)-1-i)&(len(bigger)-1)] = *t.at(i)
	}
	t.entries = bigger
}

// staticField is a field of the static table.
type staticField struct {
	id          header.ID
	name, value string
}

// static is RFC 7541, appendix A; index 0 is not used.
var static = makeStatic()

const staticLen = 61

func makeStatic() (t [staticLen + 1]staticField) {
	for i, f := range [staticLen + 1][2]string{
		1: {":authority"}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"},
		{":scheme", "http"}, {":scheme", "https"}, {":status", "200"}, {":status", "204"}, {":status", "206"},
		{":status", "304"}, {":status", "400"}, {":status", "404"}, {":status", "500"}, {"accept-charset"},
		{"accept-encoding", "gzip, deflate"}, {"accept-language"}, {"accept-ranges"}, {"accept"},
		{"access-control-allow-origin"}, {"age"}, {"allow"}, {"authorization"}, {"cache-control"},
		{"content-disposition"}, {"content-encoding"}, {"content-language"}, {"content-length"}, {"content-location"},
		{"content-range"}, {"content-type"}, {"cookie"}, {"date"}, {"etag"}, {"expect"}, {"expires"}, {"from"}, {"host"},
		{"if-match"}, {"if-modified-since"}, {"if-none-match"}, {"if-range"}, {"if-unmodified-since"}, {"last-modified"},
		{"link"}, {"location"}, {"max-forwards"}, {"proxy-authenticate"}, {"proxy-authorization"}, {"range"}, {"referer"},
		{"refresh"}, {"retry-after"}, {"server"}, {"set-cookie"}, {"strict-transport-security"}, {"transfer-encoding"},
		{"user-agent"}, {"vary"}, {"via"}, {"www-authenticate"},
	} {
		t[i] = staticField{header.Lookup(f[0]), f[0], f[1]}
	}
	return t
}

// staticName is the first static index of a known name, 0 for none. "host" is not written under that name.
var staticName = makeStaticName()

func makeStaticName() (t [header.Count]uint8) {
	for i := staticLen; i >= 1; i-- {
		if static[i].name != "host" {
			t[static[i].id] = uint8(i)
		}
	}
	t[header.Other] = 0
	return t
}
