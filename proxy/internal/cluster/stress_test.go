package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestUpdatesUnderLoad: a thousand changes of hosts, weights and configuration while two
// workers pick and report failures. A worker always finds a host, no pool outlives its host,
// and the race detector has nothing to say.
func TestUpdatesUnderLoad(t *testing.T) {
	m := newMesh(t, 2, nil)
	for i, w := range m.workers {
		m.store.Attach(i, w.Post)
	}
	config := func(i int) *xdsresource.Cluster {
		c := eds("c")
		c.LB.Policy = xdsresource.LBPolicy(i % 3)
		o := defaults()
		o.Interval, o.SuccessRateMinimumHosts, o.SuccessRateRequestVolume = time.Millisecond, 1, 1
		c.Outlier = &o
		if i%4 == 0 {
			c.Breakers[0].MaxRequests = 1 << 20
		}
		return c
	}
	hosts := func(i int) *xdsresource.Endpoints {
		e := endpoints("10.0.0.1:80")
		for j := range i % 7 {
			x := endpoint(fmt.Sprintf("10.0.1.%d:80", (i+j)%9))
			x.Weight = uint32(1 + i%3)
			e.Localities[0].Endpoints = append(e.Localities[0].Endpoints, x)
		}
		return e
	}
	m.update(t, config(0))
	m.UpdateEndpoints("c", hosts(0))

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = m.Run(ctx) })
	var stop sync.WaitGroup // workers outlive Run's last posts
	quit := make(chan struct{})
	var opened, closed [2]int
	for i, w := range m.workers {
		stop.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			lm := m.Local(i)
			for {
				w.run()
				select {
				case <-quit:
					return
				default:
				}
				for range 20 {
					l := lm.Get("c")
					h := l.Pick(&lb.Context{Rand: r.Uint64()})
					if h == nil {
						t.Error("no host")
						return
					}
					if h.Pool == nil {
						opened[i]++
						h.Pool = closer{&closed[i]}
					}
					if !l.Try(Requests, false) {
						t.Error("circuit open")
						return
					}
					h.OnRequest()
					h.OnResult(Result{Code: 200 + 300*r.IntN(2)})
					h.OnDone()
					l.Release(Requests, false)
					l.CountResponse(200, false)
				}
			}
		})
	}
	for i := range 1000 {
		if i%3 == 0 {
			m.update(t, config(i))
		}
		m.UpdateEndpoints("c", hosts(i))
		if i%100 == 0 {
			if _, err := m.Status(ctx); err != nil {
				t.Error(err)
			}
			if _, err := m.store.Snapshot(ctx, stats.Query{UsedOnly: true}); err != nil {
				t.Error(err)
			}
		}
	}
	cancel()
	wg.Wait()
	m.Remove("c")
	close(quit)
	stop.Wait()
	m.run()
	if opened != closed || opened[0] == 0 {
		t.Errorf("pools opened %v, closed %v", opened, closed)
	}
	if m.Local(0).Get("c") != nil {
		t.Error("the removed cluster is still there")
	}
}

type closer struct{ n *int }

func (c closer) Close() { *c.n++ }
func (c closer) Drain() {}
func (c closer) Abort() {}
