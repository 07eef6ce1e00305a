package lb

import (
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

func policy(p xdsresource.LBPolicy) Options {
	return Options{Policy: p, Choices: 2, Bias: xdsresource.Double{Default: 1}}
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

// near fails where counts are further from the expected shares than five deviations of a
// binomial distribution, and two more for schedules that are cut off in mid-round.
func near(t *testing.T, got []int, share []float64) {
	t.Helper()
	n := 0
	for _, c := range got {
		n += c
	}
	for i, p := range share {
		if d := math.Abs(float64(got[i]) - p*float64(n)); d > 5*math.Sqrt(float64(n)*p*(1-p))+2 {
			t.Fatalf("host %d got %d of %d, want a share of %.4f (all: %v)", i, got[i], n, p, got)
		}
	}
}

func TestEmpty(t *testing.T) {
	for p := xdsresource.LBRoundRobin; p <= xdsresource.LBRandom; p++ {
		if New(policy(p), nil, 1).Pick(&Context{}) != -1 {
			t.Errorf("policy %d picks from nothing", p)
		}
		if New(policy(p), loads(3), 1).Pick(&Context{}) != 0 {
			t.Errorf("policy %d does not pick the only host", p)
		}
	}
}

func TestRoundRobin(t *testing.T) {
	b := New(policy(xdsresource.LBRoundRobin), loads(1, 1, 1), 4)
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

// TestShares holds every policy to the share that its definition gives each host, for random
// weights and loads.
func TestShares(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 11))
		hosts := make([]*Load, 2+r.IntN(6))
		same := r.IntN(2) == 0
		for i := range hosts {
			hosts[i] = &Load{Weight: 1 + r.Uint32N(20), Active: r.IntN(4)}
			if same {
				hosts[i].Weight = 3
			}
		}
		bias := []float64{0, 1, 1.5}[r.IntN(3)]
		for _, o := range []Options{
			{Policy: xdsresource.LBRoundRobin}, {Policy: xdsresource.LBRandom},
			{Policy: xdsresource.LBLeastRequest, Choices: 1 + r.Uint32N(4), Bias: xdsresource.Double{Default: bias}},
			{Policy: xdsresource.LBLeastRequest, FullScan: true, Bias: xdsresource.Double{Default: bias}},
		} {
			near(t, counts(New(o, hosts, seed), len(hosts), 20000), shares(o, hosts, same))
		}
	}
}

// shares is what each host is due, worked out from the policies' definitions.
func shares(o Options, hosts []*Load, same bool) []float64 {
	n := float64(len(hosts))
	out := make([]float64, len(hosts))
	var sum float64
	for i, h := range hosts {
		switch {
		case o.Policy == xdsresource.LBRandom:
			out[i] = 1
		case o.Policy == xdsresource.LBRoundRobin || !same:
			out[i] = float64(h.Weight)
			if o.Policy == xdsresource.LBLeastRequest {
				out[i] /= math.Pow(float64(h.Active+1), o.Bias.Now())
			}
		case o.FullScan:
			if least := minActive(hosts); h.Active == least {
				out[i] = 1
			}
		default:
			// The least of k draws has load a with probability P(all >= a) - P(all > a), and among
			// hosts of equal load the first drawn wins: each is as likely.
			atLeast, more, equals := 0.0, 0.0, 0.0
			for _, x := range hosts {
				if x.Active >= h.Active {
					atLeast++
				}
				if x.Active > h.Active {
					more++
				}
				if x.Active == h.Active {
					equals++
				}
			}
			k := float64(max(o.Choices, 2))
			out[i] = (math.Pow(atLeast/n, k) - math.Pow(more/n, k)) / equals
		}
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

func minActive(hosts []*Load) int {
	least := hosts[0].Active
	for _, h := range hosts {
		least = min(least, h.Active)
	}
	return least
}

// TestSlowStart: a host's share grows with the time since it became healthy, and the schedule
// notices without being made anew.
func TestSlowStart(t *testing.T) {
	now := int64(1e9)
	hosts := loads(1, 1)
	hosts[1].HealthySince = now
	o := Options{Policy: xdsresource.LBRoundRobin, Now: func() int64 { return now },
		SlowStart: xdsresource.SlowStart{Window: 100e9, Aggression: xdsresource.Double{Default: 1}, MinWeight: 0.1}}
	b := New(o, hosts, 0)
	for _, tt := range []struct {
		at         int64
		aggression float64
		share      float64 // of the full weight
	}{{0, 1, 0.1}, {5e9, 1, 0.1}, {25e9, 1, 0.25}, {80e9, 1, 0.8}, {100e9, 1, 1}, {25e9, 2, 0.5}, {64e9, 0.5, 0.4096}} {
		now = 1e9 + tt.at
		b.(*edf).opts.SlowStart.Aggression.Default = tt.aggression
		counts(b, 2, 100) // deadlines set under the old weight pass
		near(t, counts(b, 2, 20000), []float64{1 / (1 + tt.share), tt.share / (1 + tt.share)})
	}
	if _, ok := New(o, hosts, 0).(*edf); !ok {
		t.Error("a schedule made within the window does not go by weights")
	}
	now += 1e12
	if _, ok := New(o, hosts, 0).(*roundRobin); !ok {
		t.Error("a schedule made after the window still goes by weights")
	}
}

func TestNoAllocations(t *testing.T) {
	c := &Context{Rand: 5}
	total := 100
	busy := loads(1, 1, 1)
	for _, h := range busy {
		h.Active = 100
	}
	for name, b := range map[string]Balancer{
		"round robin":    New(policy(xdsresource.LBRoundRobin), loads(1, 1), 0),
		"weighted":       New(policy(xdsresource.LBRoundRobin), loads(1, 2), 0),
		"least request":  New(policy(xdsresource.LBLeastRequest), loads(1, 1), 0),
		"full scan":      New(Options{Policy: xdsresource.LBLeastRequest, FullScan: true}, loads(1, 1), 0),
		"weighted least": New(policy(xdsresource.LBLeastRequest), loads(1, 2), 0),
		"random":         New(policy(xdsresource.LBRandom), loads(1, 1), 0),
		"ring":           ByTable(NewRing(named(3), 0, 0, Hash)),
		"bounded":        Bounded(NewRing(named(3), 0, 0, Hash), named(3), busy, 100, &total),
	} {
		if n := testing.AllocsPerRun(1000, func() { b.Pick(c) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	c := &Context{}
	total := 2
	for _, bb := range []struct {
		name string
		b    Balancer
	}{
		{"RoundRobin", New(policy(xdsresource.LBRoundRobin), loads(1, 1, 1), 0)},
		{"LeastRequest", New(policy(xdsresource.LBLeastRequest), loads(1, 1, 1), 0)},
		{"Weighted", New(policy(xdsresource.LBRoundRobin), loads(1, 2, 3), 0)},
		{"Ring", ByTable(NewRing(named(3), 0, 0, Hash))},
		{"Maglev", ByTable(NewMaglev(named(3), 0))},
		{"Bounded", Bounded(NewRing(named(3), 0, 0, Hash), named(3), loads(1, 1, 1), 150, &total)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				c.Rand++
				bb.b.Pick(c)
			}
		})
	}
}
