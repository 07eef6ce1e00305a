package lb

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func loads(weights ...uint32) []*Load {
	var out []*Load
	for _, w := range weights {
		out = append(out, &Load{Weight: w})
	}
	return out
}

// counts picks n times with fresh randomness.
func counts(b Balancer, hosts, n int) []int {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]int, hosts)
	for range n {
		out[b.Pick(&Context{Rand: r.Uint64()})]++
	}
	return out
}

func TestEmpty(t *testing.T) {
	for p := xdsresource.LBRoundRobin; p <= xdsresource.LBRandom; p++ {
		if New(p, nil, 2, 1).Pick(&Context{}) != -1 {
			t.Errorf("policy %d picks from nothing", p)
		}
	}
}

func TestRoundRobin(t *testing.T) {
	b := New(xdsresource.LBRoundRobin, loads(1, 1, 1), 0, 4)
	first := b.Pick(nil)
	if first != 1 {
		t.Errorf("starts at %d, want the seed's", first)
	}
	for i := range 30 {
		if got, want := b.Pick(nil), (first+1+i)%3; got != want {
			t.Fatalf("pick %d is %d, want %d", i, got, want)
		}
	}
}

// TestEDFModel compares the scheduler with its definition: of all hosts the one with the
// earliest next deadline, where each pick moves a host's deadline on by 1/weight.
func TestEDFModel(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 7))
		hosts := make([]*Load, 1+r.IntN(8))
		for i := range hosts {
			hosts[i] = &Load{Weight: 1 + r.Uint32N(10)}
		}
		b := newEDF(hosts, false, 0)
		model := make([]deadline, len(hosts))
		for _, d := range b.heap {
			model[d.host] = d
		}
		seq := b.seq
		for range 200 {
			want := 0
			for i := range model {
				if before(model[i], model[want]) {
					want = i
				}
			}
			if got := b.Pick(nil); got != want {
				t.Fatalf("seed %d: picked %d, want %d", seed, got, want)
			}
			seq++
			model[want].at += 1 / float64(hosts[want].Weight)
			model[want].order = seq
		}
	}
}

// TestWeighted: over whole rounds each host is picked in proportion to its weight.
func TestWeighted(t *testing.T) {
	for _, p := range []xdsresource.LBPolicy{xdsresource.LBRoundRobin, xdsresource.LBLeastRequest} {
		got := counts(New(p, loads(1, 2, 7), 0, 3), 3, 10000)
		for i, want := range []int{1000, 2000, 7000} {
			if math.Abs(float64(got[i]-want)) > 2 {
				t.Errorf("policy %d: picks %v", p, got)
			}
		}
	}
}

func TestWeightedLeastRequest(t *testing.T) {
	hosts := loads(1, 2)
	hosts[1].Active = 3 // weight 2/(3+1) = 0.5
	got := counts(New(xdsresource.LBLeastRequest, hosts, 0, 0), 2, 3000)
	if math.Abs(float64(got[0]-2000)) > 5 {
		t.Errorf("picks %v, want 2 to 1", got)
	}
}

// TestPowerOfTwo: with one busy host of n, it is picked only when both draws hit it.
func TestPowerOfTwo(t *testing.T) {
	hosts := loads(1, 1, 1, 1)
	hosts[2].Active = 1
	got := counts(New(xdsresource.LBLeastRequest, hosts, 2, 0), 4, 160000)
	// 1/16 of all picks; sigma is about 97.
	if math.Abs(float64(got[2]-10000)) > 500 {
		t.Errorf("the busy host got %d of 160000, want about 10000", got[2])
	}
	// More choices look at more hosts.
	got = counts(New(xdsresource.LBLeastRequest, hosts, 8, 0), 4, 160000)
	if got[2] > 50 {
		t.Errorf("with eight choices the busy host got %d", got[2])
	}
}

func TestRandomIsUniform(t *testing.T) {
	got := counts(New(xdsresource.LBRandom, loads(1, 1, 1, 1, 1), 0, 0), 5, 100000)
	for _, n := range got {
		if math.Abs(float64(n-20000)) > 800 {
			t.Errorf("picks %v", got)
		}
	}
}

func names(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("10.0.0.%d:80", i))
	}
	return out
}

func ones(n int) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

// TestTables: both spread by weight, and losing one host moves few of the others' keys.
func TestTables(t *testing.T) {
	for name, make := range map[string]func([]string, []uint32) Table{
		"ring":   func(k []string, w []uint32) Table { return NewRing(k, w, 0, 0) },
		"maglev": func(k []string, w []uint32) Table { return NewMaglev(k, w, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			ks := names(10)
			full, less := make(ks, ones(10)), make(ks[:9], ones(9))
			hits, moved := [10]int{}, 0
			const n = 20000
			for i := range n {
				h := Hash(fmt.Appendf(nil, "key-%d", i))
				a := full.Lookup(h)
				hits[a]++
				if a != 9 && less.Lookup(h) != a {
					moved++
				}
				if full.Lookup(h) != a {
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
			w := make(ks[:2], []uint32{1, 3})
			var heavy int
			for i := range n {
				heavy += w.Lookup(Hash(fmt.Appendf(nil, "key-%d", i)))
			}
			if heavy < n*65/100 || heavy > n*85/100 {
				t.Errorf("weight 3 of 4 got %d of %d", heavy, n)
			}
		})
	}
}

func TestNoAllocations(t *testing.T) {
	c := &Context{Rand: 5}
	for name, b := range map[string]Balancer{
		"round robin":    New(xdsresource.LBRoundRobin, loads(1, 1), 0, 0),
		"weighted":       New(xdsresource.LBRoundRobin, loads(1, 2), 0, 0),
		"least request":  New(xdsresource.LBLeastRequest, loads(1, 1), 0, 0),
		"weighted least": New(xdsresource.LBLeastRequest, loads(1, 2), 0, 0),
		"random":         New(xdsresource.LBRandom, loads(1, 1), 0, 0),
		"ring":           ByTable(NewRing(names(3), ones(3), 0, 0)),
	} {
		if n := testing.AllocsPerRun(1000, func() { b.Pick(c) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	c := &Context{}
	for name, bal := range map[string]Balancer{
		"RoundRobin":   New(xdsresource.LBRoundRobin, loads(1, 1, 1), 0, 0),
		"LeastRequest": New(xdsresource.LBLeastRequest, loads(1, 1, 1), 0, 0),
		"Weighted":     New(xdsresource.LBRoundRobin, loads(1, 2, 3), 0, 0),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c.Rand++
				bal.Pick(c)
			}
		})
	}
}
