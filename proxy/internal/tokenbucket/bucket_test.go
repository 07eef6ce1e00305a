package tokenbucket

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestModel holds the bucket against tokens that are counted as a fraction.
func TestModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		l := Limit{Max: 1 + r.Uint32N(20), PerFill: 1 + r.Uint32N(10), Interval: time.Duration(1+r.IntN(1000)) * time.Millisecond}
		l.Interval = l.Interval / time.Duration(l.PerFill) * time.Duration(l.PerFill) // whole nanoseconds for a token
		b := New(l)
		now := int64(r.Uint64N(1 << 40))
		token := int64(l.Interval) / int64(l.PerFill)
		have := int64(l.Max) * token // in nanoseconds
		for range 300 {
			d := r.Int64N(3 * token)
			now += d
			have = min(have+d, int64(l.Max)*token)
			if got := b.Left(now); got != uint64(have/token) {
				t.Fatalf("%+v: %d tokens, want %d", l, got, have/token)
			}
			if got, want := b.Wait(now), time.Duration(max(token-have, 0)); got != want {
				t.Fatalf("%+v: wait %v, want %v", l, got, want)
			}
			n := r.Uint64N(uint64(l.Max) + 2)
			if got, want := b.TakeN(now, n), have >= int64(n)*token; got != want {
				t.Fatalf("%+v with %d: took %d: %v", l, have, n, got)
			}
			if have >= int64(n)*token {
				have -= int64(n) * token
			}
		}
	}
}

// TestShared: however many take, no token is taken twice.
func TestShared(t *testing.T) {
	b := New(Limit{Max: 1000, PerFill: 1, Interval: time.Hour})
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if b.Take(1 << 50) {
					taken.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if taken.Load() != 1000 {
		t.Errorf("%d tokens were taken of 1000", taken.Load())
	}
}

// TestHuge: a bucket that takes longer to fill than the clock can count is not one that is empty.
func TestHuge(t *testing.T) {
	for _, interval := range []time.Duration{time.Second, 3 * time.Second, time.Minute, time.Hour, 1000 * time.Hour} {
		b := New(Limit{Max: math.MaxUint32, PerFill: 1, Interval: interval})
		for i := range 3 {
			if !b.Take(int64(i)) {
				t.Errorf("%v: no token %d", interval, i)
			}
		}
		if n := b.Left(3); n == 0 || n > math.MaxUint32 {
			t.Errorf("%v: %d left", interval, n)
		}
	}
}
