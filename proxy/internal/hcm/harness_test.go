package hcm_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/accesslog"
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/hcm"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/router"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// proxy is a worker with one connection manager, reached through a real socket.
type proxy struct {
	t     testing.TB
	loop  *eventloop.Loop
	store *stats.Store
	mgr   *hcm.Manager
	cm    *cluster.Manager
	addr  string
	log   string // access log file
	stop  func()
	conns []*conn.Conn // accepted; of the loop
}

type setup struct {
	hcm      xdsresource.HTTPConnectionManager
	routes   []*xdsresource.Route
	vhost    xdsresource.VirtualHost
	clusters []*xdsresource.Cluster
	filters  []httpfilter.Named
	limit    int // buffer limit
	logText  string
	clock    func() time.Time // nil: the real one, and the loop runs on a goroutine; else the test calls Poll
}

// base is a configuration with Envoy's defaults and one route to the cluster "up".
func base(upstreams ...string) *setup {
	s := &setup{hcm: xdsresource.HTTPConnectionManager{
		StatPrefix: "t", ServerName: "envoy", GenerateRequestID: true, UseRemoteAddress: true,
		InternalAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")},
		IdleTimeout:       time.Hour, StreamIdleTimeout: 5 * time.Minute, MaxRequestHeadersKB: 60, MaxHeadersCount: 100, DelayedCloseTimeout: time.Second,
	}}
	s.clusters = []*xdsresource.Cluster{staticCluster("up", upstreams...)}
	s.routes = []*xdsresource.Route{route("up")}
	return s
}

func route(name string) *xdsresource.Route {
	return &xdsresource.Route{
		Match:   xdsresource.RouteMatch{Kind: xdsresource.PathPrefix, Path: "/"},
		Forward: &xdsresource.RouteAction{Cluster: name, Timeout: 15 * time.Second},
	}
}

func staticCluster(name string, addrs ...string) *xdsresource.Cluster {
	c := &xdsresource.Cluster{
		Name: name, Type: xdsresource.ClusterStatic, ConnectTimeout: 5 * time.Second,
		HTTP: xdsresource.UpstreamHTTP{IdleTimeout: time.Hour},
	}
	for i := range c.Breakers {
		c.Breakers[i] = xdsresource.Breakers{MaxConnections: 1024, MaxPendingRequests: 1024, MaxRequests: 1024, MaxRetries: 3}
	}
	le := xdsresource.LocalityEndpoints{}
	for _, a := range addrs {
		ap := netip.MustParseAddrPort(a)
		le.Endpoints = append(le.Endpoints, xdsresource.Endpoint{Address: xdsresource.Address{IP: ap.Addr(), Port: ap.Port()}, Weight: 1})
	}
	c.Endpoints = &xdsresource.Endpoints{ClusterName: name, OverprovisioningFactor: 140}
	if len(addrs) > 0 {
		c.Endpoints.Localities = []xdsresource.LocalityEndpoints{le}
	}
	return c
}

// start runs the proxy until the test ends, and then looks for what leaked.
func (s *setup) start(t testing.TB) *proxy {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	before := openFDs(t)
	p := &proxy{t: t, store: stats.NewStore(stats.Options{Workers: 1})}
	var err error
	if p.loop, err = eventloop.New(0, log); err != nil {
		t.Fatal(err)
	}
	if s.clock != nil {
		p.loop.SetClock(s.clock)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	run := func(f func(context.Context) error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := f(ctx); err != nil {
				t.Error(err)
			}
		}()
	}
	p.store.Attach(0, p.loop.Post)
	p.cm = cluster.New(cluster.Config{Workers: []cluster.Worker{p.loop}, Stats: p.store, Logger: log})
	run(p.cm.Run)
	for _, c := range s.clusters {
		warm, err := p.cm.Update(c)
		if err != nil {
			t.Fatal(err)
		}
		<-warm
	}
	cfg := s.hcm
	vh := s.vhost
	vh.Name, vh.Domains = "all", []string{"*"}
	vh.Routes = s.routes
	cfg.Routes = &xdsresource.RouteConfig{Name: "r", VirtualHosts: []*xdsresource.VirtualHost{&vh}}
	deps := hcm.Deps{Workers: 1, Direction: xdsresource.DirectionOutbound, Stats: p.store, Logger: log}
	deps.ListenerStats = p.store.Scope("listener").Tagged("envoy.listener_address", "l")
	deps.Filters = append(deps.Filters, s.filters...)
	deps.Filters = append(deps.Filters, httpfilter.Named{Name: "envoy.filters.http.router", Factory: router.New(&router.Config{}, router.Deps{Clusters: p.cm})})
	if s.logText != "" {
		p.log = t.TempDir() + "/access.log"
		files := accesslog.NewFiles(p.store, log)
		run(files.Run)
		l, err := accesslog.New(&xdsresource.AccessLog{Name: "f", Path: p.log, Text: s.logText}, files, 1)
		if err != nil {
			t.Fatal(err)
		}
		deps.AccessLogs = append(deps.AccessLogs, l)
	}
	if p.mgr, err = hcm.New(&cfg, deps); err != nil {
		t.Fatal(err)
	}
	if s.clock == nil {
		run(p.loop.Run)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = ln.Addr().String()
	wg.Add(1)
	go func() {
		defer wg.Done()
		p.accept(ln, s.limit)
	}()
	p.stop = sync.OnceFunc(func() {
		ln.Close()
		cancel()
		if s.clock != nil {
			if err := p.loop.Run(ctx); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
		if n := p.loop.Buffers().InUse(); n != 0 {
			t.Errorf("%d bytes of buffers leaked", n)
		}
		eventually(t, func() error { // the upstream's side closes in its own time
			if after := openFDs(t); after > before {
				return fmt.Errorf("%d descriptors before, %d after", before, after)
			}
			return nil
		})
	})
	t.Cleanup(p.stop)
	return p
}

func (p *proxy) accept(ln net.Listener, limit int) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			p.t.Error(err)
			return
		}
		fd, err := syscall.Dup(int(f.Fd()))
		o := conn.AcceptOptions{
			LocalAddr:   netip.MustParseAddrPort(c.LocalAddr().String()),
			RemoteAddr:  netip.MustParseAddrPort(c.RemoteAddr().String()),
			BufferLimit: limit,
		}
		f.Close()
		c.Close()
		if err != nil {
			p.t.Error(err)
			return
		}
		_ = syscall.SetNonblock(fd, true)
		if limit > 0 { // the system's buffers are not to hide what ours do
			_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, limit)
			_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, limit)
		}
		p.loop.Post(func() {
			cn, err := conn.Accept(p.loop, fd, o, nil)
			if err != nil {
				return
			}
			p.conns = append(p.conns, cn)
			p.mgr.OnNewConnection(cn, &listener.Context{Listener: "l"})
		})
	}
}

// do runs f on the loop and waits for it.
func (p *proxy) do(f func()) {
	done := make(chan struct{})
	p.loop.Post(func() { f(); close(done) })
	<-done
}

// stat returns a statistic's value.
func (p *proxy) stat(name string) int64 {
	p.t.Helper()
	s, err := p.store.Snapshot(context.Background(), stats.Query{})
	if err != nil {
		p.t.Fatal(err)
	}
	v, _ := s.Value(name)
	return v
}

// waitStat waits for a statistic to have a value: things happen on the loop in their time.
func (p *proxy) waitStat(name string, want int64) {
	p.t.Helper()
	eventually(p.t, func() error {
		if got := p.stat(name); got != want {
			return fmt.Errorf("%s is %d, want %d", name, got, want)
		}
		return nil
	})
}

func eventually(t testing.TB, f func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func openFDs(t testing.TB) int {
	t.Helper()
	e, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}

// client is a raw connection to the proxy.
type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (p *proxy) dial() *client {
	p.t.Helper()
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute)) // tests run where much else does
	p.t.Cleanup(func() { c.Close() })
	return &client{Conn: c, t: p.t, r: bufio.NewReader(c)}
}

func (c *client) send(s string) *client {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// response reads one response; method as in the request.
func (c *client) response(method string) (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("response: %v", err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("body after %q: %v", b, err)
	}
	return resp, string(b)
}

// closed waits for the proxy's end of the connection.
func (c *client) closed() {
	c.t.Helper()
	if b, err := io.ReadAll(c.r); len(b) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		c.t.Errorf("expected the end, got %q, %v", b, err)
	}
}

// server is an upstream whose connections are handled by a function.
func server(t testing.TB, handle func(c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			wg.Add(1)
			go func() {
				defer wg.Done()
				handle(c, bufio.NewReader(c))
				c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			}()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// httpServer is an upstream made of a net/http handler.
func httpServer(t testing.TB, h http.HandlerFunc) string {
	return server(t, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			w := &responseWriter{c: c, h: http.Header{}}
			h(w, req)
			w.finish()
			_, _ = io.Copy(io.Discard, req.Body)
			if w.close {
				return
			}
		}
	})
}

// responseWriter writes what the handler wrote, with its length, at the end.
type responseWriter struct {
	c     net.Conn
	h     http.Header
	code  int
	body  []byte
	close bool
}

func (w *responseWriter) Header() http.Header { return w.h }
func (w *responseWriter) WriteHeader(c int)   { w.code = c }
func (w *responseWriter) Write(p []byte) (int, error) {
	w.body = append(w.body, p...)
	return len(p), nil
}

func (w *responseWriter) finish() {
	if w.code == 0 {
		w.code = 200
	}
	var b bytes.Buffer // one write, as servers do
	fmt.Fprintf(&b, "HTTP/1.1 %d X\r\ncontent-length: %d\r\n", w.code, len(w.body))
	_ = w.h.Write(&b)
	b.WriteString("\r\n")
	b.Write(w.body)
	_, _ = w.c.Write(b.Bytes())
}

// deadAddr is an address that refuses connections.
func deadAddr(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
