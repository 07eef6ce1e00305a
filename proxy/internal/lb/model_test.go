package lb

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// schedule is what a balancer by weights is held against, from Envoy's documentation (load balancers; slow start mode):
// every host has a moment at which it is due, the one due first is picked, and is due again after the inverse of the
// weight that it has at that moment.
type schedule struct{ due []float64 }

// weightNow is a host's weight by the documented formulas: by its load for LEAST_REQUEST, by its age in slow start.
func weightNow(o Options, h *Load) float64 {
	w := float64(h.Weight)
	if o.Policy == xdsresource.LBLeastRequest {
		w /= math.Pow(float64(h.Active+1), o.Bias.Now())
	}
	if o.SlowStart.Window == 0 || h.HealthySince == 0 {
		return w
	}
	age := time.Duration(o.Now() - h.HealthySince)
	if age >= o.SlowStart.Window {
		return w
	}
	started := max(age, time.Millisecond).Seconds() / o.SlowStart.Window.Seconds()
	return w * max(o.SlowStart.MinWeight, math.Pow(started, 1/o.SlowStart.Aggression.Now()))
}

// begun are the schedules that a balancer may start with: workers begin with any host, and anywhere in the first round.
func begun(o Options, hosts []*Load) (all []*schedule) {
	for skipped := range hosts {
		for first := range hosts {
			s := &schedule{due: make([]float64, len(hosts))}
			for i, h := range hosts {
				s.due[i] = 1 / weightNow(o, h)
			}
			for range skipped {
				// Of hosts that are due at the same time the one that was put in first comes first.
				best := first
				for n := range hosts {
					if h := (first + n) % len(hosts); s.due[h] < s.due[best] {
						best = h
					}
				}
				s.pick(o, hosts, best)
			}
			all = append(all, s)
		}
	}
	return all
}

// pick moves a host on, if it was due; to rounding.
func (s *schedule) pick(o Options, hosts []*Load, host int) bool {
	for _, at := range s.due {
		if s.due[host] > at*(1+1e-9) {
			return false
		}
	}
	s.due[host] += 1 / weightNow(o, hosts[host])
	return true
}

// TestScheduleModel plays random scripts on a fake clock, in which requests begin and end, hosts come back, and time
// passes, and compares each pick of a balancer with its schedule.
func TestScheduleModel(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		now := int64(time.Hour)
		hosts := make([]*Load, 2+r.IntN(7))
		for i := range hosts {
			hosts[i] = &Load{Weight: 1 + r.Uint32N(10), Active: r.IntN(5)}
		}
		hosts[0].Weight = hosts[1].Weight + 1 // equal ones are not scheduled
		o := Options{
			Policy: xdsresource.LBPolicy(seed % 2), Choices: 2, Now: func() int64 { return now },
			Bias: xdsresource.Double{Default: []float64{0, 0.5, 1, 2}[r.IntN(4)]},
		}
		if r.IntN(2) == 0 {
			o.SlowStart = xdsresource.SlowStart{
				Window: time.Duration(1+r.IntN(60)) * time.Second, MinWeight: []float64{0.1, 0.01, 0.5}[r.IntN(3)],
				Aggression: xdsresource.Double{Default: []float64{0.5, 1, 1, 3}[r.IntN(4)]},
			}
		}
		possible := begun(o, hosts)
		b := New(o, hosts, r.Uint64())
		for step := range 400 {
			h := hosts[r.IntN(len(hosts))]
			switch r.IntN(4) {
			case 0:
				h.Active++
			case 1:
				h.Active = max(h.Active-1, 0)
			case 2:
				now += r.Int64N(2000) * int64(time.Millisecond) // Envoy counts an age in these
			case 3:
				if r.IntN(10) == 0 {
					h.HealthySince = now
				}
			}
			got := b.Pick(&Context{Rand: r.Uint64()})
			still := possible[:0]
			for _, s := range possible {
				if s.pick(o, hosts, got) {
					still = append(still, s)
				}
			}
			if possible = still; len(possible) == 0 {
				t.Fatalf("seed %d, pick %d: host %d was not due", seed, step, got)
			}
		}
	}
}

// TestLeastRequestModel simulates a cluster of hosts of different speed on a fake clock, through the balancer and
// through a model that draws its choices by itself, and compares how the requests were spread. So the loads that the
// choice goes by are those that it makes.
func TestLeastRequestModel(t *testing.T) {
	for _, choices := range []uint32{2, 3, 5} {
		speed := []int{1, 1, 2, 4, 8} // moments that a request takes
		const n = 40_000
		simulate := func(pick func(hosts []*Load, r *rand.Rand) int) []int {
			r := rand.New(rand.NewPCG(uint64(choices), 1))
			hosts := loads(1, 1, 1, 1, 1)
			ends := make([][]*Load, 16) // of requests, by the moment
			got := make([]int, len(hosts))
			for now := range n {
				for _, h := range ends[now%len(ends)] {
					h.Active--
				}
				ends[now%len(ends)] = ends[now%len(ends)][:0]
				i := pick(hosts, r)
				hosts[i].Active++
				got[i]++
				at := (now + speed[i]) % len(ends)
				ends[at] = append(ends[at], hosts[i])
			}
			return got
		}
		var b Balancer
		got := simulate(func(hosts []*Load, r *rand.Rand) int {
			if b == nil {
				b = New(Options{Policy: xdsresource.LBLeastRequest, Choices: choices}, hosts, 1)
			}
			return b.Pick(&Context{Rand: r.Uint64()})
		})
		want := simulate(func(hosts []*Load, r *rand.Rand) int {
			best := r.IntN(len(hosts))
			for range choices - 1 {
				if i := r.IntN(len(hosts)); hosts[i].Active < hosts[best].Active {
					best = i
				}
			}
			return best
		})
		for i := range got {
			if d := math.Abs(float64(got[i]-want[i])) / n; d > 0.01 {
				t.Errorf("%d choices: host %d got %d of %d, want about %d (all: %v, %v)", choices, i, got[i], n, want[i], got, want)
			}
		}
	}
}
