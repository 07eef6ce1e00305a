package connpool

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a worker with one cluster of one host.
type world struct {
	t     *testing.T
	loop  *eventloop.Loop
	store *stats.Store
	mgr   *cluster.Manager
	cfg   xdsresource.Cluster
}

func newWorld(t *testing.T, addr string, change func(*xdsresource.Cluster)) *world {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	w := &world{t: t, store: stats.NewStore(stats.Options{Workers: 1})}
	var err error
	if w.loop, err = eventloop.New(0, log); err != nil {
		t.Fatal(err)
	}
	w.store.Attach(0, w.loop.Post)
	w.mgr = cluster.New(cluster.Config{Workers: []cluster.Worker{w.loop}, Stats: w.store, Logger: log})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{w.loop.Run, w.mgr.Run} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		}()
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if n := w.loop.Buffers().InUse(); n != 0 {
			t.Errorf("%d bytes of buffers leaked", n)
		}
	})
	ap := netip.MustParseAddrPort(addr)
	w.cfg = xdsresource.Cluster{Name: "c", ConnectTimeout: time.Second, HTTP: xdsresource.UpstreamHTTP{IdleTimeout: time.Hour}}
	for i := range w.cfg.Breakers {
		w.cfg.Breakers[i] = xdsresource.Breakers{MaxConnections: 1024, MaxPendingRequests: 1024, MaxRequests: 1024, MaxRetries: 3}
	}
	w.cfg.Endpoints = &xdsresource.Endpoints{ClusterName: "c", OverprovisioningFactor: 140, Localities: []xdsresource.LocalityEndpoints{{
		Endpoints: []xdsresource.Endpoint{{Address: xdsresource.Address{IP: ap.Addr(), Port: ap.Port()}, Weight: 1}},
	}}}
	if change != nil {
		change(&w.cfg)
	}
	warm, err := w.mgr.Update(&w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	<-warm
	return w
}

func (w *world) do(f func()) {
	done := make(chan struct{})
	w.loop.Post(func() { f(); close(done) })
	<-done
}

func (w *world) waitStat(name string, want int64) {
	w.t.Helper()
	var got int64
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); <-time.After(time.Millisecond) {
		s, err := w.store.Snapshot(context.Background(), stats.Query{})
		if err != nil {
			w.t.Fatal(err)
		}
		if got, _ = s.Value("cluster.c." + name); got == want {
			return
		}
	}
	w.t.Errorf("%s is %d, want %d", name, got, want)
}

// call is a request that writes one GET and notes what happens to it.
type call struct {
	req  Request
	log  strings.Builder
	done chan string
	hold bool // do not finish the request
}

func (w *world) start(path string, hold bool) *call {
	c := &call{done: make(chan string, 1), hold: hold}
	w.begin(c, path)
	return c
}

func (w *world) begin(c *call, path string) {
	c.req.Handler = c
	w.do(func() {
		h := w.mgr.Local(0).Get("c").Pick(&lb.Context{})
		c.log.WriteString(path + ": ")
		For(w.loop, h).Start(&c.req)
	})
}

func (c *call) end(f string, args ...any) {
	fmt.Fprintf(&c.log, f, args...)
	c.done <- c.log.String()
}

func (c *call) OnReady(r *Request) {
	path, _, _ := strings.Cut(c.log.String(), ":")
	var h header.Map
	h.AddString(header.Method, "GET")
	h.AddString(header.Scheme, "http")
	h.AddString(header.Path, path)
	h.AddString(header.Authority, "a")
	if c.hold { // so that HTTP/1 says nothing of a body
		h.AddString(header.ContentLength, "0")
	}
	r.SendHead(&h, !c.hold)
}

func (c *call) OnFailure(_ *Request, why Reason, err *conn.Error) { c.end("failed: %v", why) }
func (c *call) OnInterim(r *Request)                              { fmt.Fprintf(&c.log, "[%d]", r.Message.Status) }
func (c *call) OnResponse(r *Request, end bool) {
	fmt.Fprintf(&c.log, "%d ", r.Message.Status)
	if end {
		c.end(".")
	}
}

func (c *call) OnData(_ *Request, p []byte, end bool) {
	c.log.Write(p)
	if end {
		c.end(".")
	}
}
func (c *call) OnTrailers(r *Request)                     { c.end(" %d trailers.", r.Trailers.Len()) }
func (c *call) OnReset(_ *Request, why Reason, err error) { c.end("reset: %v", why) }
func (c *call) OnWritable(*Request)                       {}

// wait returns what happened, and gives the request's memory back.
func (w *world) wait(c *call) string {
	w.t.Helper()
	select {
	case s := <-c.done:
		w.do(func() { c.req.Release() })
		return s
	case <-time.After(5 * time.Second):
		w.t.Fatalf("nothing happened after %q", c.log.String())
		return ""
	}
}

// upstream answers every request with what answer returns; "" leaves it waiting, and a
// trailing "!" closes the connection.
func upstream(t *testing.T, answer func(path string) string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					a := answer(strings.TrimPrefix(req.RequestURI, "/"))
					_, _ = io.WriteString(c, strings.TrimSuffix(a, "!"))
					if strings.HasSuffix(a, "!") {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

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
