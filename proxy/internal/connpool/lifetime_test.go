package connpool

import (
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestPreconnect: connections are made ahead, in the ratio to what waits and runs.
func TestPreconnect(t *testing.T) {
	block := make(chan struct{})
	addr := upstream(t, func(p string) string {
		if p == "block" {
			<-block
		}
		return ok
	})
	w := newWorld(t, addr, func(c *xdsresource.Cluster) { c.PreconnectRatio = 2 })
	first := w.start("/block", false)
	w.waitStat("upstream_cx_active", 2)
	second := w.start("/block", false)
	w.waitStat("upstream_cx_active", 4)
	close(block)
	w.wait(first)
	w.wait(second)
	w.wait(w.start("/more", false)) // 1 * 2 connections are there already
	w.waitStat("upstream_cx_total", 4)
}

// TestMaxConnectionDuration: an idle connection ends with its time, without a request.
func TestMaxConnectionDuration(t *testing.T) {
	w := newWorld(t, upstream(t, func(string) string { return ok }), func(c *xdsresource.Cluster) {
		c.HTTP.MaxConnectionDuration = 50 * time.Millisecond
	})
	w.wait(w.start("/1", false))
	w.waitStat("upstream_cx_active", 0)
	w.waitStat("upstream_cx_max_duration_reached", 1)
	w.waitStat("upstream_cx_idle_timeout", 0)
}

// TestDrain: idle connections go at once, busy ones after their request, and the pool goes on.
func TestDrain(t *testing.T) {
	block := make(chan struct{})
	w := newWorld(t, upstream(t, func(p string) string {
		if p == "block" {
			<-block
		}
		return ok
	}), nil)
	busy := w.start("/block", false)
	w.waitStat("upstream_rq_active", 1)
	w.wait(w.start("/idle", false))
	w.waitStat("upstream_cx_active", 2)
	w.do(func() { For(w.loop, w.mgr.Local(0).Get("c").Pick(&lb.Context{})).Drain() })
	w.waitStat("upstream_cx_active", 1)
	close(block)
	if got := w.wait(busy); got != "/block: 200 hi." {
		t.Error(got)
	}
	w.waitStat("upstream_cx_active", 0)
	if got := w.wait(w.start("/again", false)); got != "/again: 200 hi." {
		t.Error(got)
	}
}

// TestAbort: a host that fails takes its connections along where the cluster wants it, and what is
// under way on them; the next request gets a new one.
func TestAbort(t *testing.T) {
	for name, addr := range map[string]string{
		"HTTP/1": upstream(t, func(p string) string {
			if p == "wait" {
				return ""
			}
			return ok
		}),
		"HTTP/2": hosts(t, http2.Config{}, play),
	} {
		var change func(*xdsresource.Cluster)
		if name == "HTTP/2" {
			change = http2Cluster
		}
		w := newWorld(t, addr, change)
		busy := w.start("/wait", false)
		w.waitStat("upstream_rq_active", 1)
		w.wait(w.start("/ok", false))
		w.do(func() { For(w.loop, w.mgr.Local(0).Get("c").Pick(&lb.Context{})).Abort() })
		if got := w.wait(busy); got != "/wait: reset: connection termination" {
			t.Errorf("%s: %q", name, got)
		}
		w.waitStat("upstream_cx_active", 0)
		w.waitStat("upstream_cx_destroy_local_with_active_rq", 1)
		if got := w.wait(w.start("/ok", false)); got != "/ok: 200 hi." && got != "/ok: 200 ok." {
			t.Errorf("%s: %q", name, got)
		}
	}
}
