package lb

import (
	"math"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Table maps a hash to an index; immutable, so workers share it.
type Table interface {
	// Lookup returns the host of a hash. repeat is 0, and counts up for a request that must
	// find another host than before: it may, or may not.
	Lookup(hash, repeat uint64) int
	// Sizes are Envoy's statistics: entries in all, and the fewest and most of one host.
	Sizes() (size, least, most int)
}

// Entry is a host of a table: what is hashed for it, and its weight relative to the others.
type Entry struct {
	Key    string
	Weight float64
}

// normal returns the weights scaled to a sum of 1, and the least of them.
func normal(entries []Entry) (weights []float64, least float64) {
	var sum float64
	for _, e := range entries {
		sum += e.Weight
	}
	least = math.Inf(1)
	weights = make([]float64, len(entries))
	for i, e := range entries {
		weights[i] = e.Weight / sum
		least = min(least, weights[i])
	}
	return weights, least
}

// ring is Envoy's ketama ring: every host has points in proportion to its weight, hashed
// from "<key>_<i>"; a request goes to the first point at or after its hash.
type ring struct {
	points      []point
	least, most int
}

type point struct {
	hash uint64
	host int32
}

// NewRing returns a ring of at least minSize (default 1024) and at most maxSize (default 8M)
// points. hash is Hash or Murmur2.
func NewRing(entries []Entry, minSize, maxSize uint64, hash func([]byte) uint64) Table {
	if minSize == 0 {
		minSize = 1024
	}
	if maxSize == 0 {
		maxSize = 8 << 20
	}
	weights, least := normal(entries)
	// Envoy: scale so that the least weighted host has a whole number of points.
	scale := min(math.Ceil(least*float64(minSize))/least, float64(maxSize))
	r := &ring{points: make([]point, 0, int(math.Ceil(scale))), least: math.MaxInt}
	var current, target float64
	var buf []byte
	for i, e := range entries {
		buf = append(append(buf[:0], e.Key...), '_')
		base := len(buf)
		target += scale * weights[i]
		n := 0
		for ; current < target; n++ {
			buf = strconv.AppendInt(buf[:base], int64(n), 10)
			r.points = append(r.points, point{hash(buf), int32(i)})
			current++
		}
		r.least, r.most = min(r.least, n), max(r.most, n)
	}
	slices.SortFunc(r.points, func(a, b point) int {
		switch {
		case a.hash < b.hash:
			return -1
		case a.hash > b.hash:
			return 1
		}
		return int(a.host - b.host)
	})
	return r
}

func (r *ring) Sizes() (size, least, most int) { return len(r.points), r.least, r.most }

// Lookup takes as many points further as it is told to, as Envoy does for repeated picks.
func (r *ring) Lookup(hash, repeat uint64) int {
	lo, hi := 0, len(r.points)
	for lo < hi {
		if m := int(uint(lo+hi) >> 1); r.points[m].hash < hash {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo == len(r.points) {
		lo = 0
	}
	if repeat > 0 {
		lo = int((uint64(lo) + repeat) % uint64(len(r.points)))
	}
	return int(r.points[lo].host)
}

// maglev is the table of Google's Maglev paper, section 3.4, with Envoy's treatment of
// weights: the heaviest host moves every turn, the others in proportion.
type maglev struct {
	table       []int32
	least, most int
}

// NewMaglev returns a table of the given size, a prime (default 65537).
func NewMaglev(hosts []Entry, size uint64) Table {
	if size == 0 {
		size = 65537
	}
	type entry struct {
		offset, skip, next uint64
		weight, target     float64
		count              int
	}
	weights, _ := normal(hosts)
	heaviest := slices.Max(weights)
	entries := make([]entry, len(hosts))
	for i, h := range hosts {
		entries[i] = entry{
			offset: seeded(h.Key, 0) % size,
			skip:   seeded(h.Key, 1)%(size-1) + 1,
			weight: weights[i],
		}
	}
	t := &maglev{table: make([]int32, size)}
	for i := range t.table {
		t.table[i] = -1
	}
	for filled, turn := uint64(0), 1.0; filled < size; turn++ {
		for i := range entries {
			if filled == size {
				break
			}
			e := &entries[i]
			if turn*e.weight < e.target {
				continue
			}
			e.target += heaviest
			c := (e.offset + e.skip*e.next) % size
			for t.table[c] >= 0 {
				e.next++
				c = (e.offset + e.skip*e.next) % size
			}
			t.table[c] = int32(i)
			e.next++
			e.count++
			filled++
		}
	}
	t.least = math.MaxInt
	for i := range entries {
		t.least, t.most = min(t.least, entries[i].count), max(t.most, entries[i].count)
	}
	return t
}

func (m *maglev) Sizes() (size, least, most int) { return len(m.table), m.least, m.most }

func (m *maglev) Lookup(hash, repeat uint64) int {
	if repeat > 0 {
		hash ^= -repeat // Envoy's way to another place: all bits set, less repeat, plus one
	}
	return int(m.table[hash%uint64(len(m.table))])
}

func seeded(s string, seed uint64) uint64 {
	d := xxhash.NewWithSeed(seed)
	_, _ = d.WriteString(s) // never fails
	return d.Sum64()
}

// ByTable balances by a shared table; a pick without hash is a random one, as in Envoy.
func ByTable(t Table) Balancer { return tableBalancer{t} }

type tableBalancer struct{ t Table }

func (b tableBalancer) Pick(c *Context) int { return b.t.Lookup(c.hash(), c.Repeat) }

func (c *Context) hash() uint64 {
	if c.HasHash {
		return c.Hash
	}
	return Next(c.Rand)
}
