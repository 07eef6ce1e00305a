package lb

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// named are hosts of equal weight.
func named(n int) []Entry {
	out := make([]Entry, n)
	for i := range out {
		out[i] = Entry{fmt.Sprintf("10.0.0.%d:80", i), 1}
	}
	return out
}

func randomEntries(r *rand.Rand) []Entry {
	out := named(1 + r.IntN(12))
	for i := range out {
		out[i].Weight = float64(1 + r.IntN(9))
	}
	return out
}

// TestRingModel: a request belongs to the host one of whose points comes next, going round;
// looked for here among all points of all hosts, one by one.
func TestRingModel(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 3))
		entries := randomEntries(r)
		hash := Hash
		if seed%2 == 0 {
			hash = Murmur2
		}
		ring := NewRing(entries, 64, 0, hash)
		// How many points a host has follows from its share of the scaled ring.
		var sum, least float64 = 0, math.Inf(1)
		for _, e := range entries {
			sum += e.Weight
			least = min(least, e.Weight)
		}
		scale := math.Ceil(least/sum*64) / (least / sum)
		type pt struct {
			hash uint64
			host int
		}
		var points []pt
		var target float64
		for i, e := range entries {
			target += scale * (e.Weight / sum)
			for n := 0; float64(len(points)) < target; n++ {
				points = append(points, pt{hash(fmt.Appendf(nil, "%s_%d", e.Key, n)), i})
			}
		}
		for range 500 {
			h := r.Uint64()
			best := points[0]
			for _, p := range points[1:] {
				if p.hash-h < best.hash-h { // the distance, going round
					best = p
				}
			}
			if got := ring.Lookup(h, 0); got != best.host {
				t.Fatalf("seed %d: %x is with %d, want %d", seed, h, got, best.host)
			}
		}
		if size, lo, hi := ring.Sizes(); size != len(points) || lo > hi || hi > size {
			t.Errorf("sizes %d %d %d, want %d points", size, lo, hi, len(points))
		}
	}
}

// TestMaglevModel builds the paper's permutation of every host and fills the table turn by
// turn, with turns to spare for heavier hosts.
func TestMaglevModel(t *testing.T) {
	const size = 251
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 5))
		entries := exactEntries(r)
		perm := make([][]int, len(entries))
		heaviest := 0.0
		for i, e := range entries {
			heaviest = max(heaviest, e.Weight)
			offset, skip := seeded(e.Key, 0)%size, seeded(e.Key, 1)%(size-1)+1
			for j := range uint64(size) {
				perm[i] = append(perm[i], int((offset+j*skip)%size))
			}
		}
		table := make(map[int]int)
		moves := make([]int, len(entries))
		for turn := 1; len(table) < size; turn++ {
			for i, e := range entries {
				// After so many turns the host has moved as often as its weight allows.
				if len(table) == size || float64(turn)*e.Weight < float64(moves[i])*heaviest {
					continue
				}
				moves[i]++
				for {
					c := perm[i][0]
					perm[i] = perm[i][1:]
					if _, taken := table[c]; !taken {
						table[c] = i
						break
					}
				}
			}
		}
		m := NewMaglev(entries, size)
		for h := range uint64(size) {
			if got := m.Lookup(h, 0); got != table[int(h)] {
				t.Fatalf("seed %d: entry %d is host %d's, want %d", seed, h, got, table[int(h)])
			}
		}
	}
}

// exactEntries have weights whose sum is a power of two: scaled to a sum of 1 they are exact, and a host that is due at
// the very end of a turn is not put off to the next by rounding.
func exactEntries(r *rand.Rand) []Entry {
	out := randomEntries(r)
	sum := 0.0
	for _, e := range out {
		sum += e.Weight
	}
	out[0].Weight += math.Exp2(math.Ceil(math.Log2(sum))) - sum
	return out
}

// TestTables: both spread by weight, and losing one host moves few of the others' keys.
func TestTables(t *testing.T) {
	for name, make := range map[string]func([]Entry) Table{
		"ring":   func(e []Entry) Table { return NewRing(e, 0, 0, Hash) },
		"murmur": func(e []Entry) Table { return NewRing(e, 0, 0, Murmur2) },
		"maglev": func(e []Entry) Table { return NewMaglev(e, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			es := named(10)
			full, less := make(es), make(es[:9])
			hits, moved := [10]int{}, 0
			const n = 20000
			for i := range n {
				h := Hash(fmt.Appendf(nil, "key-%d", i))
				a := full.Lookup(h, 0)
				hits[a]++
				if a != 9 && less.Lookup(h, 0) != a {
					moved++
				}
				if full.Lookup(h, 0) != a {
					t.Fatal("the same hash found another host")
				}
			}
			for i, c := range hits {
				if c < n/10/2 || c > n/10*2 {
					t.Errorf("host %d got %d of %d", i, c, n)
				}
			}
			// Without hashing consistently nine of ten would move. A ring's hosts have more points
			// when there are fewer of them (Envoy's scaling), so a few keys move.
			if moved > n/10 {
				t.Errorf("%d keys of other hosts moved", moved)
			}
			w := make([]Entry{{"a", 1}, {"b", 3}})
			var heavy, again int
			for i := range n {
				h := Hash(fmt.Appendf(nil, "key-%d", i))
				first := w.Lookup(h, 0)
				heavy += first
				if full.Lookup(h, 0) != full.Lookup(h, 1) {
					again++
				}
			}
			if heavy < n*65/100 || heavy > n*85/100 {
				t.Errorf("weight 3 of 4 got %d of %d", heavy, n)
			}
			if again < n*8/10 {
				t.Errorf("only %d of %d repeated picks found another host", again, n)
			}
		})
	}
}

// TestHashes holds the hash functions to values of their reference programs: std::hash of
// libstdc++ and std::mt19937.
func TestHashes(t *testing.T) {
	for s, want := range map[string]uint64{
		"": 6142509188972423790, "a": 4993892634952068459, "foo": 9631199822919835226, "10.0.0.1:80_12": 14295024824828376086, "0123456789abcdef": 10613591747391057286,
	} {
		if got := Murmur2([]byte(s)); got != want {
			t.Errorf("murmur of %q is %d, want %d", s, got, want)
		}
	}
	var m mt19937
	m.seed(5489)
	first := m.next()
	for range 9998 {
		m.next()
	}
	if last := m.next(); first != 3499211612 || last != 4123659995 {
		t.Errorf("the first number is %d and the ten thousandth %d", first, last)
	}
}

// TestBounded: no host takes more than its bound while another has room, the same hash finds
// the same host under the same loads, and an idle cluster is plain hashing.
func TestBounded(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 9))
		entries := randomEntries(r)
		hosts := make([]*Load, len(entries))
		for i := range hosts {
			hosts[i] = &Load{Weight: 1}
		}
		total := 0
		factor := uint32(100 + r.IntN(100))
		table := NewRing(entries, 0, 0, Hash)
		b := Bounded(table, entries, hosts, factor, &total)
		var sum float64
		for _, e := range entries {
			sum += e.Weight
		}
		bound := func(i int) int { // rounded up twice, as the slots are
			slots := (uint64(total+1)*uint64(factor) + 99) / 100
			return max(1, int(math.Ceil(float64(slots)*entries[i].Weight/sum)))
		}
		for range 500 {
			c := &Context{Hash: r.Uint64() % 7, HasHash: true} // few keys: they pile up
			got := b.Pick(c)
			if again := b.Pick(c); again != got {
				t.Fatalf("seed %d: %d and then %d under the same load", seed, got, again)
			}
			home := table.Lookup(c.Hash, 0)
			if got != home && hosts[home].Active <= bound(home) {
				t.Fatalf("seed %d: left host %d with %d of %d", seed, home, hosts[home].Active, bound(home))
			}
			if hosts[got].Active > bound(got) {
				for i := range hosts {
					if hosts[i].Active <= bound(i) {
						t.Fatalf("seed %d: host %d has %d of %d, and %d has room", seed, got, hosts[got].Active, bound(got), i)
					}
				}
			}
			hosts[got].Active++
			total++
			for i, h := range hosts { // some requests end
				if h.Active > 0 && r.IntN(4) == 0 {
					hosts[i].Active--
					total--
				}
			}
		}
	}
}
