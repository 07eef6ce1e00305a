package cluster

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestUpdateMergeWindow: changes of health within the window are seen together at its end; a
// host that comes is seen at once, and all that waited with it.
func TestUpdateMergeWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = m.Run(ctx) }()
		c := eds("c")
		c.MergeWindow = 10 * time.Second
		m.update(t, c)
		hosts := func(states ...xdsresource.HealthStatus) {
			e := &xdsresource.Endpoints{Localities: make([]xdsresource.LocalityEndpoints, 1)}
			for i, s := range states {
				x := endpoint("10.0.0.1:80")
				x.Address.Port, x.Health = uint16(i+1), s
				e.Localities[0].Endpoints = append(e.Localities[0].Endpoints, x)
			}
			m.UpdateEndpoints("c", e)
		}
		healthy := func(want int) {
			t.Helper()
			synctest.Wait()
			m.run()
			if n := len(m.Local(0).Get("c").version.set.prios[0].healthy.hosts); n != want {
				t.Errorf("workers see %d healthy hosts, want %d", n, want)
			}
		}
		const up, down = xdsresource.HealthHealthy, xdsresource.HealthUnhealthy
		hosts(up, up, up)
		healthy(3)
		hosts(up, up, down)
		healthy(3)
		advance(6 * time.Second)
		hosts(up, down, down)
		healthy(3)
		advance(5 * time.Second)
		healthy(1) // both, a window after the first of them
		hosts(up, up, down)
		healthy(1)
		hosts(up, up, down, up)
		healthy(3) // a new host takes along what waits
		advance(11 * time.Second)
		hosts(down, up, down, up) // long after the last change
		healthy(2)
		hosts(up, up, up, up)
		healthy(2)
		c2 := *c
		m.update(t, &c2) // a new configuration does not wait either
		healthy(4)
		for name, want := range map[string]int64{"cluster_updated_via_merge": 1, "update_merge_cancelled": 1, "update_out_of_merge_window": 2} {
			if got := m.stat(t, "cluster_manager."+name); got != want {
				t.Errorf("%s is %d, want %d", name, got, want)
			}
		}
		cancel()
		<-done
	})
}
