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
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
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
	w.mgr = cluster.New(cluster.Config{Workers: []cluster.Worker{w.loop}, Stats: w.store, Logger: log,
		NewTransport: func(u *xdsresource.UpstreamTransport) (any, error) { return transportsocket.NewUpstream(u, nil) }})
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
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(time.Millisecond) {
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
	case <-time.After(time.Minute):
		w.t.Fatalf("nothing happened after %q", c.log.String())
		return ""
	}
}

// serve gives connections to handle, each on a goroutine, until the test ends.
func serve(t *testing.T, handle func(net.Conn)) string {
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
				handle(c)
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

// upstream answers every request with what answer returns; "" leaves it waiting, and a
// trailing "!" closes the connection.
func upstream(t *testing.T, answer func(path string) string) string {
	t.Helper()
	return serve(t, func(c net.Conn) {
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
