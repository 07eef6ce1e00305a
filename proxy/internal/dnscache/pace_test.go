package dnscache

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestPace: random successes and failures against the rule, spelled out with the number of
// failures in a row.
func TestPace(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 13))
		cfg := &xdsresource.DNS{Refresh: time.Duration(1+r.IntN(10)) * time.Second, RespectTTL: r.IntN(2) == 0}
		if r.IntN(3) > 0 {
			cfg.FailureBase = time.Duration(1+r.IntN(5)) * time.Second
			cfg.FailureMax = cfg.FailureBase * time.Duration(1+r.IntN(20))
		}
		if r.IntN(2) == 0 {
			cfg.Jitter = time.Second
		}
		p := NewPace(cfg)
		var below uint64
		most := r.IntN(2) == 0
		p.random = func(n uint64) uint64 {
			if below = n; most {
				return n - 1
			}
			return 0
		}
		failures := 0
		for range 30 {
			ok, ttl := r.IntN(3) > 0, time.Duration(r.IntN(4))*700*time.Millisecond
			got := p.Wait(ok, ttl)
			var want time.Duration
			switch {
			case ok:
				failures = 0
				want = cfg.Refresh
				if cfg.RespectTTL && ttl > 0 {
					want = max(ttl, time.Second)
				}
				if cfg.Jitter > 0 && most {
					want += 999 * time.Millisecond
				}
			case cfg.FailureBase == 0:
				want = cfg.Refresh
			default:
				interval := cfg.FailureBase
				for range failures {
					interval = min(2*interval, cfg.FailureMax)
				}
				failures++
				want = time.Millisecond // never at once
				if most {
					want = interval
				}
				if below != uint64(interval/time.Millisecond)+1 {
					t.Fatalf("seed %d: drawn below %d ms, want %v", seed, below, interval)
				}
			}
			if got != want {
				t.Fatalf("seed %d: %+v, ok %v, ttl %v, failure %d: %v, want %v", seed, *cfg, ok, ttl, failures, got, want)
			}
		}
	}
}
