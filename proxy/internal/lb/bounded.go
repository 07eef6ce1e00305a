package lb

import "math"

// bounded is consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam): a
// host with more than its share of the requests in flight, times a factor, passes the request
// to another one. Which one is a random order seeded by the hash, so that the same hash finds
// the same host again (Chen, Coleman and Shrivastava's random jump).
type bounded struct {
	table   Table
	hosts   []*Load
	weights []float64 // sum 1
	factor  uint64    // percent
	total   *int      // requests in flight to the whole cluster on this worker
	order   []int32   // scratch: a permutation being drawn
	rng     mt19937
}

// Bounded balances by a table as ByTable does, but keeps every host's load within factor
// percent of the average. entries are those of the table, hosts the worker's; total is the
// number of requests in flight on all of the cluster's hosts.
func Bounded(t Table, entries []Entry, hosts []*Load, factor uint32, total *int) Balancer {
	if factor == 0 || len(hosts) == 0 {
		return ByTable(t)
	}
	w, _ := normal(entries)
	return &bounded{table: t, hosts: hosts, weights: w, factor: uint64(factor), total: total, order: make([]int32, len(hosts))}
}

func (b *bounded) Pick(c *Context) int {
	hash := c.hash()
	first := b.table.Lookup(hash, c.Repeat)
	least := b.overload(first)
	if least <= 1 {
		return first
	}
	n := uint32(len(b.hosts))
	for i := range b.order {
		b.order[i] = int32(i)
	}
	b.rng.seed(uint32(hash))
	best := first
	for i := range n {
		j := i + b.rng.below(n-i)
		b.order[i], b.order[j] = b.order[j], b.order[i]
		k := int(b.order[i])
		if k == first {
			continue
		}
		o := b.overload(k)
		if o <= 1 {
			return k
		}
		if o < least {
			best, least = k, o
		}
	}
	return best
}

// overload is a host's load relative to the slots that it has.
func (b *bounded) overload(i int) float64 {
	total := (uint64(*b.total+1)*b.factor + 99) / 100
	slots := max(uint64(math.Ceil(float64(total)*b.weights[i])), 1)
	return float64(b.hosts[i].Active) / float64(slots)
}

// mt19937 is the 32-bit Mersenne Twister, which Envoy draws that order with. Only as much of
// a round is computed as is asked for: a few words of 624, mostly.
type mt19937 struct {
	state [624]uint32
	pos   int
}

func (m *mt19937) seed(s uint32) {
	m.state[0] = s
	for i := 1; i < len(m.state); i++ {
		p := m.state[i-1]
		m.state[i] = 1812433253*(p^p>>30) + uint32(i)
	}
	m.pos = 0
}

func (m *mt19937) next() uint32 {
	i := m.pos
	y := m.state[i]&0x80000000 | m.state[(i+1)%624]&0x7fffffff
	v := m.state[(i+397)%624] ^ y>>1
	if y&1 != 0 {
		v ^= 0x9908b0df
	}
	m.state[i] = v
	m.pos = (i + 1) % 624
	v ^= v >> 11
	v ^= v << 7 & 0x9d2c5680
	v ^= v << 15 & 0xefc60000
	return v ^ v>>18
}

// below is uniform in [0, k).
func (m *mt19937) below(k uint32) uint32 {
	size := uint32((1 << 32) / uint64(k))
	if k == 1 {
		return 0 // the only number there is; Envoy draws for it, too, but last
	}
	for {
		if x := m.next() / size; x < k {
			return x
		}
	}
}
