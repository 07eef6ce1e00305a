package lb

import (
	"math"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Table maps a hash to an index; immutable, so workers share it.
type Table interface {
	Lookup(hash uint64) int
}

// ring is Envoy's ketama ring: every host has points in proportion to its weight, hashed
// from "<key>_<i>"; a request goes to the first point at or after its hash.
type ring struct {
	points []point
}

type point struct {
	hash uint64
	host int32
}

// NewRing returns a ring of at least minSize (default 1024) and at most maxSize (default 8M)
// points.
func NewRing(keys []string, weights []uint32, minSize, maxSize uint64) Table {
	if minSize == 0 {
		minSize = 1024
	}
	if maxSize == 0 {
		maxSize = 8 << 20
	}
	var sum float64
	least := math.Inf(1)
	for _, w := range weights {
		sum += float64(w)
		least = min(least, float64(w))
	}
	// Envoy: scale so that the least weighted host has a whole number of points.
	scale := min(math.Ceil(least/sum*float64(minSize))/(least/sum), float64(maxSize))
	r := &ring{points: make([]point, 0, int(math.Ceil(scale)))}
	var current, target float64
	var buf []byte
	for i, key := range keys {
		buf = append(append(buf[:0], key...), '_')
		base := len(buf)
		target += scale * float64(weights[i]) / sum
		for n := 0; current < target; n++ {
			buf = strconv.AppendInt(buf[:base], int64(n), 10)
			r.points = append(r.points, point{xxhash.Sum64(buf), int32(i)})
			current++
		}
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

func (r *ring) Lookup(hash uint64) int {
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
	return int(r.points[lo].host)
}

// maglev is the table of Google's Maglev paper, section 3.4, with Envoy's treatment of
// weights: the heaviest host moves every turn, the others in proportion.
type maglev struct{ table []int32 }

// NewMaglev returns a table of the given size, a prime (default 65537).
func NewMaglev(keys []string, weights []uint32, size uint64) Table {
	if size == 0 {
		size = 65537
	}
	type entry struct {
		offset, skip, next uint64
		weight, target     float64
	}
	heaviest := slices.Max(weights)
	entries := make([]entry, len(keys))
	for i, k := range keys {
		entries[i] = entry{
			offset: seeded(k, 0) % size,
			skip:   seeded(k, 1)%(size-1) + 1,
			weight: float64(weights[i]) / float64(heaviest),
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
			e.target++
			c := (e.offset + e.skip*e.next) % size
			for t.table[c] >= 0 {
				e.next++
				c = (e.offset + e.skip*e.next) % size
			}
			t.table[c] = int32(i)
			e.next++
			filled++
		}
	}
	return t
}

func (m *maglev) Lookup(hash uint64) int { return int(m.table[hash%uint64(len(m.table))]) }

func seeded(s string, seed uint64) uint64 {
	d := xxhash.NewWithSeed(seed)
	_, _ = d.WriteString(s) // never fails
	return d.Sum64()
}

// Hash is Envoy's hash of a policy's value.
func Hash(b []byte) uint64 { return xxhash.Sum64(b) }

// ByTable balances by a shared table; a pick without hash is a random one, as in Envoy.
func ByTable(t Table) Balancer { return tableBalancer{t} }

type tableBalancer struct{ t Table }

func (b tableBalancer) Pick(c *Context) int {
	if c.HasHash {
		return b.t.Lookup(c.Hash)
	}
	return b.t.Lookup(next(c.Rand))
}
