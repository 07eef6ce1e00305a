package connpool

import (
	"net"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

const ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"

// TestReuse: when a connection is used again, and when it must not be.
func TestReuse(t *testing.T) {
	answers := map[string]string{
		"ok":        ok,
		"chunked":   "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
		"trailers":  "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx: y\r\n\r\n",
		"interim":   "HTTP/1.1 103 Hints\r\n\r\n" + ok,
		"empty":     "HTTP/1.1 204 No\r\n\r\n",
		"close":     "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
		"untilend":  "HTTP/1.1 200 OK\r\n\r\nhi!",
		"excess":    ok + "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
		"excess204": "HTTP/1.1 204 No\r\n\r\npoison",
		"cut":       "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi!",
		"nothing":   "!",
		"garbage":   "garbage\r\n\r\n",
		"both":      "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
	}
	addr := upstream(t, func(p string) string { return answers[p] })
	f := func(name, want string, reused bool) {
		t.Helper()
		w := newWorld(t, addr, func(c *xdsresource.Cluster) { c.HTTP.HTTP1.EnableTrailers = true })
		if got := w.wait(w.start("/"+name, false)); got != "/"+name+": "+want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if got := w.wait(w.start("/ok", false)); got != "/ok: 200 hi." {
			t.Errorf("after %s: %q", name, got)
		}
		conns := int64(2)
		if reused {
			conns = 1
		}
		w.waitStat("upstream_cx_total", conns)
		w.waitStat("upstream_cx_active", 1)
		w.waitStat("upstream_rq_active", 0)
	}
	f("ok", "200 hi.", true)
	f("chunked", "200 hi.", true)
	f("trailers", "200 hi 1 trailers.", true)
	f("interim", "[103]200 hi.", true)
	f("empty", "204 .", true)
	f("close", "200 hi.", false)
	f("untilend", "200 hi.", false)
	f("excess", "200 hi.", false)
	f("excess204", "204 .", false)
	f("cut", "200 hireset: protocol error", false)
	f("nothing", "reset: connection termination", false)
	f("garbage", "reset: protocol error", false)
	f("both", "reset: protocol error", false)
}

// TestUnfinishedRequest: an answer before the request was sent in full ends the connection.
func TestUnfinishedRequest(t *testing.T) {
	w := newWorld(t, upstream(t, func(string) string { return ok }), nil)
	if got := w.wait(w.start("/early", true)); got != "/early: 200 hi." {
		t.Error(got)
	}
	w.waitStat("upstream_cx_active", 0)
}

func TestCancel(t *testing.T) {
	seen := make(chan bool, 1)
	w := newWorld(t, upstream(t, func(string) string { seen <- true; return "" }), nil)
	c := w.start("/slow", false)
	<-seen
	w.do(func() { c.req.Cancel(); c.req.Release() })
	w.waitStat("upstream_cx_active", 0)
	w.waitStat("upstream_rq_active", 0)
	w.waitStat("upstream_cx_destroy_local_with_active_rq", 1)
	c = &call{done: make(chan string, 1)}
	c.req.Handler = c
	w.do(func() { // cancelled while it waits for its connection
		For(w.loop, w.mgr.Local(0).Get("c").Pick(&lb.Context{})).Start(&c.req)
		c.req.Cancel()
		c.req.Release()
	})
	w.waitStat("upstream_rq_cancelled", 1)
	w.waitStat("upstream_rq_pending_active", 0)
	w.waitStat("upstream_cx_active", 1) // the connection comes, and stays for others
}

func TestBreakers(t *testing.T) {
	block := make(chan bool)
	addr := upstream(t, func(p string) string {
		if p == "block" {
			<-block
		}
		return ok
	})
	w := newWorld(t, addr, func(c *xdsresource.Cluster) {
		c.Breakers[0].MaxConnections, c.Breakers[0].MaxPendingRequests = 1, 1
	})
	a := w.start("/block", false)
	w.waitStat("upstream_rq_active", 1)
	b := w.start("/waits", false)
	c := w.start("/overflows", false)
	if got := w.wait(c); got != "/overflows: failed: overflow" {
		t.Error(got)
	}
	w.waitStat("upstream_rq_pending_overflow", 1)
	w.waitStat("upstream_cx_overflow", 1)
	close(block)
	if got := w.wait(a) + w.wait(b); got != "/block: 200 hi./waits: 200 hi." {
		t.Error(got)
	}
	w.waitStat("upstream_cx_total", 1)
	w.waitStat("upstream_rq_pending_active", 0)
}

func TestMaxRequestsAndIdle(t *testing.T) {
	addr := upstream(t, func(string) string { return ok })
	w := newWorld(t, addr, func(c *xdsresource.Cluster) { c.HTTP.MaxRequestsPerConnection = 2 })
	for range 6 {
		w.wait(w.start("/", false))
	}
	w.waitStat("upstream_cx_total", 3)
	w.waitStat("upstream_cx_max_requests", 3)
	w = newWorld(t, addr, func(c *xdsresource.Cluster) { c.HTTP.IdleTimeout = 20 * time.Millisecond })
	w.wait(w.start("/", false))
	w.waitStat("upstream_cx_idle_timeout", 1)
	w.waitStat("upstream_cx_active", 0)
}

// TestHostRemoved: idle connections go at once, busy ones after their exchange.
func TestHostRemoved(t *testing.T) {
	block := make(chan bool)
	addr := upstream(t, func(p string) string {
		if p == "block" {
			<-block
		}
		return ok
	})
	w := newWorld(t, addr, nil)
	busy := w.start("/block", false)
	w.waitStat("upstream_rq_active", 1)
	w.wait(w.start("/idle", false))
	w.waitStat("upstream_cx_active", 2)
	without := w.cfg
	without.Endpoints = &xdsresource.Endpoints{ClusterName: "c", OverprovisioningFactor: 140}
	if _, err := w.mgr.Update(&without); err != nil {
		t.Fatal(err)
	}
	w.waitStat("upstream_cx_active", 1)
	close(block)
	if got := w.wait(busy); got != "/block: 200 hi." {
		t.Error(got)
	}
	w.waitStat("upstream_cx_active", 0)
}

func TestConnectFailures(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	w := newWorld(t, addr, nil)
	a, b := w.start("/1", false), w.start("/2", false)
	if got := w.wait(a) + w.wait(b); got != "/1: failed: remote connection failure/2: failed: remote connection failure" {
		t.Error(got)
	}
	w.waitStat("upstream_cx_connect_fail", 2)
	w.waitStat("upstream_cx_active", 0)
	w.waitStat("upstream_rq_pending_active", 0)
}
