package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
		p := newPace(cfg)
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
			got := p.wait(ok, ttl)
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

// down is a resolver that fails until it is told not to.
type down struct {
	asked atomic.Int32 // how often
	up    atomic.Bool
}

func (d *down) Resolve(context.Context, string, xdsresource.DNSFamily) ([]netip.Addr, time.Duration, error) {
	d.asked.Add(1)
	if d.up.Load() {
		return []netip.Addr{netip.MustParseAddr("10.0.0.9")}, 0, nil
	}
	return nil, 0, errors.New("no such host")
}

// TestFailureRefresh: a name that fails is asked for more often than one that is known.
func TestFailureRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &down{}
		m := newMesh(t, 1, r)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = m.Run(ctx) }()
		synctest.Wait()
		c := static("c")
		c.Type = xdsresource.ClusterStrictDNS
		c.DNS = xdsresource.DNS{Refresh: time.Hour, FailureBase: time.Second, FailureMax: 2 * time.Second}
		c.Endpoints = &xdsresource.Endpoints{Localities: []xdsresource.LocalityEndpoints{{Endpoints: []xdsresource.Endpoint{{Address: xdsresource.Address{Host: "x", Port: 80}, Weight: 1}}}}}
		m.update(t, c)
		advance(20 * time.Second)
		failed := r.asked.Load()
		if failed < 8 { // at most 2 s apart
			t.Errorf("asked %d times in 20 s", failed)
		}
		r.up.Store(true)
		advance(10 * time.Minute)
		if n := r.asked.Load(); n != failed+1 {
			t.Errorf("asked %d times in the ten minutes after a good answer", n-failed-1)
		}
		m.run()
		if l := m.Local(0).Get("c"); picks(l, 1)["10.0.0.9:80"] != 1 {
			t.Error("the host was not found")
		}
		cancel()
		<-done
	})
}

// TestStaleEndpoints: endpoints that are not confirmed in time are gone, confirmed ones stay.
func TestStaleEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = m.Run(ctx) }()
		synctest.Wait()
		e := endpoints("10.0.0.1:80")
		e.StaleAfter = 10 * time.Second
		l := m.local(t, eds("c"), e)
		advance(6 * time.Second)
		again := *e
		m.UpdateEndpoints("c", &again)
		advance(6 * time.Second)
		m.run()
		if picks(l, 1)["10.0.0.1:80"] != 1 {
			t.Error("confirmed endpoints are gone")
		}
		advance(5 * time.Second)
		m.run()
		if picks(l, 1)[""] != 1 || m.stat(t, "cluster.c.assignment_stale") != 1 || m.stat(t, "cluster.c.assignment_timeout_received") != 2 {
			t.Error("stale endpoints are still there")
		}
		cancel()
		<-done
	})
}

// TestDrops: the share of requests that a load assignment refuses.
func TestDrops(t *testing.T) {
	e := endpoints("10.0.0.1:80")
	m := newMesh(t, 1, nil)
	l := m.local(t, eds("c"), e)
	for _, tt := range []struct {
		f    *xdsresource.FractionalPercent
		want int
		all  bool
	}{{nil, 0, false}, {&xdsresource.FractionalPercent{Numerator: 30, Denominator: 100}, 30, false}, {&xdsresource.FractionalPercent{Numerator: 100, Denominator: 100}, 100, true}} {
		next := *e
		next.Drop = tt.f
		m.UpdateEndpoints("c", &next)
		m.run()
		n := 0
		for i := range uint64(100) {
			drop, all := l.Drops(i)
			if drop {
				n++
			}
			if all != tt.all {
				t.Errorf("%+v: everything dropped: %v", tt.f, all)
			}
		}
		if n != tt.want {
			t.Errorf("%+v: %d of 100", tt.f, n)
		}
	}
}
