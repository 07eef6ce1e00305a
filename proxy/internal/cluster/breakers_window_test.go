package cluster

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestWindow(t *testing.T) {
	const second = int64(time.Second)
	w := newWindow(16 * time.Second)
	for _, c := range []struct {
		at    int64 // seconds
		begin int
		want  int64
	}{
		{0, 10, 10}, {5, 0, 10}, {8, 5, 15}, {15, 0, 15}, {16, 0, 5}, {16, 2, 7}, {23, 0, 7}, {24, 0, 2}, {32, 0, 0}, {1000, 1, 1}, {1015, 0, 1}, {1016, 0, 0},
	} {
		for range c.begin {
			w.add(c.at * second)
		}
		if got := w.count(c.at * second); got != c.want {
			t.Errorf("at %d s: %d, want %d", c.at, got, c.want)
		}
	}
}

// TestBudgetInterval: with budget_interval requests count for as long as that takes, though they are over.
func TestBudgetInterval(t *testing.T) {
	for _, c := range []struct {
		interval time.Duration
		want     int // retries at once
	}{{0, 1}, {time.Hour, 5}} {
		m := newMesh(t, 1, nil)
		cfg := static("c", "10.0.0.1:80")
		cfg.Breakers[0] = xdsresource.Breakers{MaxConnections: 1, MaxPendingRequests: 1, MaxRequests: 100, RetryBudgetPercent: 50, RetryBudgetMin: 1, RetryBudgetInterval: c.interval}
		m.update(t, cfg)
		m.run()
		l := m.Local(0).Get("c")
		for range 10 {
			if !l.Try(Requests, false) {
				t.Fatal("no room for a request")
			}
			l.Release(Requests, false)
		}
		got := 0
		for l.Try(Retries, false) {
			got++
		}
		if got != c.want {
			t.Errorf("with an interval of %v %d retries at once, want %d", c.interval, got, c.want)
		}
	}
}

// TestBudgetModel plays random scripts on a fake clock and several workers: of the requests that began within the
// interval, whether they are over or not, budget_percent may be retried at once, and min_retry_concurrency at any rate.
// The window forgets a request up to a sixteenth of the interval early, so that in between either answer is right.
func TestBudgetModel(t *testing.T) {
	least, limited, between := 0, 0, 0 // refusals at the minimum and by the percentage, and answers that may be either
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			interval := time.Duration(1+r.IntN(100)) * 160 * time.Millisecond
			b := xdsresource.Breakers{
				MaxConnections: 1, MaxPendingRequests: 1, MaxRequests: math.MaxUint32, MaxRetries: 3, // without effect beside a budget
				RetryBudgetPercent: float64(r.IntN(100)) + 0.5, RetryBudgetMin: r.Uint32N(4), RetryBudgetInterval: interval,
			}
			if r.IntN(2) == 0 {
				b.MaxRequests = 1000
			}
			workers := 1 + r.IntN(3)
			m := newMesh(t, workers, nil)
			c := static("c", "10.0.0.1:80")
			c.Breakers[0] = b
			m.update(t, c)
			m.run()
			var began []time.Time
			held := make([]int, workers) // retries, by worker
			for range 200 {
				w := r.IntN(workers)
				l := m.Local(w).Get("c")
				switch r.IntN(6) {
				case 0:
					advance(time.Duration(r.Int64N(int64(interval) / 4)))
				case 1, 2:
					if !l.Try(Requests, false) {
						t.Fatalf("seed %d: no room for a request", seed)
					}
					began = append(began, time.Now())
					l.Release(Requests, false)
				case 3:
					if held[w] > 0 {
						l.Release(Retries, false)
						held[w]--
					}
				default:
					within := func(d time.Duration) int {
						n := 0
						for _, at := range slices.Backward(began) {
							if time.Since(at) >= d {
								break
							}
							n++
						}
						return max(int(b.RetryBudgetPercent/100*float64(n)), int(b.RetryBudgetMin))
					}
					all := 0
					for _, n := range held {
						all += n
					}
					few, many := within(interval*15/16), within(interval)
					got := l.Try(Retries, false)
					switch {
					case got && all >= many || !got && all < few:
						t.Fatalf("seed %d: %d retries at once, taken %v; %d to %d are allowed", seed, all, got, few, many)
					case few != many && all >= few:
						between++
					case !got && few == int(b.RetryBudgetMin):
						least++
					case !got:
						limited++
					}
					if got {
						held[w]++
					}
				}
			}
		})
	}
	if least < 100 || limited < 100 || between > limited {
		t.Errorf("%d refusals at the minimum, %d by the percentage, %d answers that may be either", least, limited, between)
	}
}
