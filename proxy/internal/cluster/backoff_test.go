package cluster

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

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
