package tcpproxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/accesslog"
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a proxy with one worker, and the records of the sessions that ended.
type world struct {
	t        testing.TB
	loop     *eventloop.Loop
	store    *stats.Store
	clusters *cluster.Manager
	ended    chan streaminfo.Info
	logs     []*accesslog.Logger
	demand   Clusters
	listener *listener.Listener // the last one
}

func newWorld(t testing.TB) *world {
	t.Helper()
	before := openFDs(t)
	w := &world{t: t, store: stats.NewStore(stats.Options{Workers: 1}), ended: make(chan streaminfo.Info, 1000)}
	var err error
	if w.loop, err = eventloop.New(0, nil); err != nil {
		t.Fatal(err)
	}
	w.store.Attach(0, w.loop.Post)
	w.clusters = cluster.New(cluster.Config{
		Workers: []cluster.Worker{w.loop}, Stats: w.store, Logger: slog.New(slog.DiscardHandler),
		NewTransport: func(u *xdsresource.UpstreamTransport) (any, error) { return transportsocket.NewUpstream(u, nil) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Add(2)
	go func() { defer wg.Done(); _ = w.loop.Run(ctx) }()
	go func() { defer wg.Done(); _ = w.clusters.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if n := w.loop.Buffers().InUse(); n != 0 {
			t.Errorf("%d bytes of buffers leaked", n)
		}
		if after := openFDs(t); after > before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
	return w
}

func openFDs(t testing.TB) int {
	t.Helper()
	e, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}

// meter hands the record over when the session ends.
type meter struct {
	w    *world
	info *streaminfo.Info
}

func (m *meter) Opened() {}
func (m *meter) Report() {}
func (m *meter) Closed() {
	i := *m.info
	d := *i.Downstream
	i.Downstream = &d
	m.w.ended <- i
}

func (w *world) cluster(name string, change func(*xdsresource.Cluster), addrs ...string) {
	w.t.Helper()
	unlimited := xdsresource.Breakers{MaxConnections: math.MaxUint32, MaxPendingRequests: math.MaxUint32, MaxRequests: math.MaxUint32, MaxRetries: math.MaxUint32}
	var eps []xdsresource.Endpoint
	for _, a := range addrs {
		e := xdsresource.Endpoint{Weight: 1}
		if strings.HasPrefix(a, "/") {
			e.Address.Pipe = a
		} else {
			ap := netip.MustParseAddrPort(a)
			e.Address.IP, e.Address.Port = ap.Addr(), ap.Port()
		}
		eps = append(eps, e)
	}
	cfg := &xdsresource.Cluster{
		Name: name, Type: xdsresource.ClusterStatic, ConnectTimeout: 2 * time.Second, PanicThreshold: 50,
		Endpoints: &xdsresource.Endpoints{Localities: []xdsresource.LocalityEndpoints{{Endpoints: eps}}},
		Breakers:  [2]xdsresource.Breakers{unlimited, unlimited},
	}
	if change != nil {
		change(cfg)
	}
	warm, err := w.clusters.Update(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	<-warm
}

// proxy listens and returns its address.
func (w *world) proxy(cfg *xdsresource.TCPProxy) string {
	w.t.Helper()
	return w.listen(cfg, Exchange{}, nil)
}

// listen is proxy with a metadata exchange, and with TLS where tls is not nil.
func (w *world) listen(cfg *xdsresource.TCPProxy, x Exchange, tls *xdsresource.DownstreamTLS) string {
	w.t.Helper()
	if cfg.StatPrefix == "" {
		cfg.StatPrefix = "test"
	}
	p, err := New(cfg, Deps{
		Clusters: w.clusters, Stats: w.store, AccessLogs: w.logs, Exchange: x, OnDemand: w.demand,
		NewMeter: func(_ int, i *streaminfo.Info) Meter { return &meter{w, i} },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := listener.New(&xdsresource.Listener{
		Name: "tcp", BindToPort: true, Address: xdsresource.Address{IP: netip.MustParseAddr("127.0.0.1")}, BufferLimit: 32 << 10,
		FilterChains: []*xdsresource.FilterChain{{TLS: tls}},
	}, listener.Options{
		Loops: []*eventloop.Loop{w.loop}, Stats: w.store,
		Chains: func(*xdsresource.FilterChain) (listener.NetworkHandler, func(), error) { return p, func() {}, nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		l.Close(0, nil)
		done := make(chan struct{})
		if w.loop.Post(func() { close(done) }) {
			<-done
		}
	})
	w.listener = l
	a := l.Addrs()[0]
	return netip.AddrPortFrom(a.IP, a.Port).String()
}

func (w *world) stat(name string) int64 {
	w.t.Helper()
	snap, err := w.store.Snapshot(context.Background(), stats.Query{})
	if err != nil {
		w.t.Fatal(err)
	}
	v, _ := snap.Value(name)
	return v
}

// backend serves each connection with f.
func backend(t testing.TB, network string, f func(net.Conn)) string {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "backend.sock")
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() { defer wg.Done(); defer c.Close(); f(c) }()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

func echo(c net.Conn) {
	// Not io.Copy between the connections themselves: it splices, and keeps its pipes.
	_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
	if t, ok := c.(interface{ CloseWrite() error }); ok {
		_ = t.CloseWrite()
	}
}

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func closedPort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// TestRelay sends random bytes through and back, of sizes that fit a buffer and that do not.
func TestRelay(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		w := newWorld(t)
		w.cluster("c", nil, backend(t, network, echo))
		addr := w.proxy(&xdsresource.TCPProxy{Cluster: "c", IdleTimeout: time.Hour})
		for _, size := range []int{0, 1, 5000, 1 << 20, 40 << 20} {
			c := dial(t, addr)
			msg := make([]byte, size)
			src := rand.NewChaCha8([32]byte{byte(size)})
			_, _ = src.Read(msg)
			go func() {
				_, _ = c.Write(msg)
				_ = c.CloseWrite()
			}()
			h := sha256.New()
			n, err := io.Copy(h, c)
			if err != nil || n != int64(size) {
				t.Fatalf("%s: %d of %d bytes: %v", network, n, size, err)
			}
			if want := sha256.Sum256(msg); !bytes.Equal(h.Sum(nil), want[:]) {
				t.Fatalf("%s, %d bytes: the bytes differ", network, size)
			}
			i := <-w.ended
			if i.BytesReceived != uint64(size) || i.BytesSent != uint64(size) || i.Flags != 0 {
				t.Errorf("%s, %d bytes: record says %d in, %d out, flags %v", network, size, i.BytesReceived, i.BytesSent, i.Flags)
			}
			if i.UpstreamCluster != "c" || i.Host == nil || i.UpstreamConnected == 0 || i.End < i.UpstreamConnected {
				t.Errorf("record %+v", i)
			}
		}
		if got := w.stat("tcp.test.downstream_cx_total"); got != 5 {
			t.Errorf("downstream_cx_total %d", got)
		}
		for w.stat("cluster.c.upstream_cx_active") != 0 {
			continue
		}
		if got := w.stat("cluster.c.upstream_cx_total"); got != 5 {
			t.Errorf("upstream_cx_total %d", got)
		}
	}
}

// TestServerFirst: a protocol in which the server speaks first (C11's telnet session).
func TestServerFirst(t *testing.T) {
	w := newWorld(t)
	w.cluster("c", nil, backend(t, "tcp", func(c net.Conn) {
		_, _ = c.Write([]byte("Welcome"))
		echo(c)
	}))
	c := dial(t, w.proxy(&xdsresource.TCPProxy{Cluster: "c"}))
	var b [7]byte
	if _, err := io.ReadFull(c, b[:]); err != nil || string(b[:]) != "Welcome" {
		t.Fatalf("%q %v", b, err)
	}
}

// TestHalfClose: either side may end first and still receive.
func TestHalfClose(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	got := make(chan string, 1)
	w.cluster("c", nil, backend(t, "tcp", func(c net.Conn) {
		_, _ = c.Write([]byte("early"))
		_ = c.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(c)
		got <- string(b)
		<-release
	}))
	c := dial(t, w.proxy(&xdsresource.TCPProxy{Cluster: "c"}))
	b, err := io.ReadAll(c)
	if err != nil || string(b) != "early" {
		t.Fatalf("%q %v", b, err)
	}
	_, _ = c.Write([]byte("late"))
	_ = c.CloseWrite()
	if s := <-got; s != "late" {
		t.Fatalf("the server got %q after its own end", s)
	}
	close(release)
	<-w.ended
}

// TestBackpressure: a client that does not read stops the server, and memory stays bounded.
func TestBackpressure(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	sent := 0
	w.cluster("c", func(c *xdsresource.Cluster) { c.BufferLimit = 32 << 10 }, backend(t, "tcp", func(c net.Conn) {
		chunk := make([]byte, 64<<10)
		for range 2048 { // 128 MiB
			n, err := c.Write(chunk)
			mu.Lock()
			sent += n
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}))
	c := dial(t, w.proxy(&xdsresource.TCPProxy{Cluster: "c"}))
	for w.stat("cluster.c.upstream_flow_control_paused_reading_total") == 0 {
		continue
	}
	inUse := make(chan int, 1)
	w.loop.Post(func() { inUse <- w.loop.Buffers().InUse() })
	if n := <-inUse; n > 4<<20 {
		t.Errorf("%d bytes are buffered for a client that does not read", n)
	}
	n, err := io.Copy(io.Discard, c)
	if err != nil || n != 128<<20 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if w.stat("cluster.c.upstream_flow_control_resumed_reading_total") == 0 {
		t.Error("never resumed")
	}
}

func TestFailures(t *testing.T) {
	w := newWorld(t)
	w.cluster("empty", nil)
	w.cluster("refused", nil, closedPort(t))
	w.cluster("half", nil, closedPort(t), backend(t, "tcp", echo))
	w.cluster("full", func(c *xdsresource.Cluster) { c.Breakers[0].MaxConnections = 0 }, backend(t, "tcp", echo))
	w.cluster("no waiting", func(c *xdsresource.Cluster) { c.Breakers[0].MaxPendingRequests = 0 }, backend(t, "tcp", echo))
	for _, tc := range []struct {
		name     string
		cfg      xdsresource.TCPProxy
		flags    string
		attempts int
		reason   string
	}{
		{"no cluster", xdsresource.TCPProxy{Cluster: "nobody"}, "NC", 0, ""},
		{"no host", xdsresource.TCPProxy{Cluster: "empty"}, "UH", 0, ""},
		{"refused", xdsresource.TCPProxy{Cluster: "refused"}, "UF,URX", 1, "delayed connect error: Connection refused"},
		{"refused thrice", xdsresource.TCPProxy{Cluster: "refused", MaxConnectAttempts: 3}, "UF,URX", 3, "delayed connect error: Connection refused"},
		{"refused thrice, with pauses", xdsresource.TCPProxy{Cluster: "refused", MaxConnectAttempts: 3, BackOffBase: time.Millisecond, BackOffMax: 5 * time.Millisecond}, "UF,URX", 3, "delayed connect error: Connection refused"},
		{"overflow", xdsresource.TCPProxy{Cluster: "full"}, "UO", 0, ""},
		{"overflow of what waits", xdsresource.TCPProxy{Cluster: "no waiting"}, "UO", 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := net.Dial("tcp", w.proxy(&tc.cfg))
			if err == nil { // the reset may come before connect has returned
				defer c.Close()
				_, err = io.ReadAll(c)
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client got %v, want a reset", err)
			}
			i := <-w.ended
			if i.Flags.String() != tc.flags || i.Attempts != tc.attempts || i.UpstreamFailure != tc.reason {
				t.Errorf("flags %v, %d attempts, %q", i.Flags, i.Attempts, i.UpstreamFailure)
			}
		})
	}
	if got := w.stat("cluster.refused.upstream_cx_connect_attempts_exceeded"); got != 3 {
		t.Errorf("upstream_cx_connect_attempts_exceeded %d", got)
	}
	for name, want := range map[string]int64{
		"refused.upstream_cx_active": 0, "refused.upstream_rq_pending_active": 0, "refused.upstream_rq_active": 0,
		"refused.upstream_rq_pending_total": 7, "refused.upstream_rq_pending_failure_eject": 7, "refused.upstream_rq_total": 0,
		"no waiting.upstream_rq_pending_overflow": 1, "no waiting.upstream_cx_active": 0,
	} {
		if got := w.stat("cluster." + name); got != want {
			t.Errorf("%s %d, want %d", name, got, want)
		}
	}
	// With more attempts the host that works is found, and the record does not blame it.
	addr := w.proxy(&xdsresource.TCPProxy{Cluster: "half", MaxConnectAttempts: 5})
	for range 8 {
		c := dial(t, addr)
		_, _ = c.Write([]byte("x"))
		_ = c.CloseWrite()
		if b, err := io.ReadAll(c); err != nil || string(b) != "x" {
			t.Fatalf("%q %v", b, err)
		}
		if i := <-w.ended; i.Flags != 0 || i.UpstreamFailure != "" {
			t.Errorf("flags %v %q", i.Flags, i.UpstreamFailure)
		}
	}
}

// TestBackOffEndsWithTheClient: who has left is not connected for.
func TestBackOffEndsWithTheClient(t *testing.T) {
	w := newWorld(t)
	w.cluster("refused", nil, closedPort(t))
	c := dial(t, w.proxy(&xdsresource.TCPProxy{Cluster: "refused", MaxConnectAttempts: 9, BackOffBase: time.Hour, BackOffMax: time.Hour}))
	for w.stat("cluster.refused.upstream_cx_connect_fail") != 1 { // each look runs on the loop
		runtime.Gosched()
	}
	_ = c.SetLinger(0) // a reset is heard at once
	_ = c.Close()
	if i := <-w.ended; i.Attempts != 1 {
		t.Errorf("%d attempts", i.Attempts)
	}
}

// TestResetsArePassedOn: what ends broken on one side does not look whole on the other.
func TestResetsArePassedOn(t *testing.T) {
	w := newWorld(t)
	seen := make(chan error, 1)
	w.cluster("c", nil, backend(t, "tcp", func(c net.Conn) {
		var b [1]byte
		_, _ = io.ReadFull(c, b[:])
		if b[0] == 'r' {
			_ = c.(*net.TCPConn).SetLinger(0)
			return
		}
		_, _ = c.Write(b[:])
		_, err := io.ReadAll(c)
		seen <- err
	}))
	addr := w.proxy(&xdsresource.TCPProxy{Cluster: "c"})
	c := dial(t, addr)
	_, _ = c.Write([]byte("r"))
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client got %v", err)
	}
	c = dial(t, addr)
	_, _ = c.Write([]byte("x"))
	_, _ = io.ReadFull(c, make([]byte, 1))
	_ = c.SetLinger(0)
	_ = c.Close()
	if err := <-seen; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server got %v", err)
	}
}

func TestTimeouts(t *testing.T) {
	w := newWorld(t)
	w.cluster("c", nil, backend(t, "tcp", echo))
	for _, tc := range []struct {
		cfg   xdsresource.TCPProxy
		flags string
		stat  string
	}{
		{xdsresource.TCPProxy{Cluster: "c", IdleTimeout: 30 * time.Millisecond}, "SI", "tcp.test.idle_timeout"},
		{xdsresource.TCPProxy{Cluster: "c", MaxDownstreamConnectionDuration: 30 * time.Millisecond}, "DT", "tcp.test.max_downstream_connection_duration"},
	} {
		c := dial(t, w.proxy(&tc.cfg))
		_, _ = io.ReadAll(c)
		if i := <-w.ended; i.Flags.String() != tc.flags {
			t.Errorf("flags %v, want %s", i.Flags, tc.flags)
		}
		if w.stat(tc.stat) != 1 {
			t.Errorf("%s is %d", tc.stat, w.stat(tc.stat))
		}
	}
}

func TestWeightedClusters(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b"} {
		w.cluster(name, nil, backend(t, "tcp", func(c net.Conn) { _, _ = c.Write([]byte(name)) }))
	}
	addr := w.proxy(&xdsresource.TCPProxy{TotalWeight: 4, WeightedClusters: []xdsresource.WeightedCluster{{Name: "a", Weight: 1}, {Name: "b", Weight: 3}}})
	got := map[string]int{}
	const n = 400
	for range n {
		b, _ := io.ReadAll(dial(t, addr))
		got[string(b)]++
	}
	if got["a"]+got["b"] != n || got["a"] < 60 || got["a"] > 140 { // mean 100, five sigma 43
		t.Errorf("%v", got)
	}
}

// TestSourceAddressChooses: with hash_policy, be it its own or the cluster's, a client reaches the same host again and again, and
// clients of other addresses reach others.
func TestSourceAddressChooses(t *testing.T) {
	byAddress := []xdsresource.HashPolicy{{SourceIP: true}}
	t.Run("of the proxy", func(t *testing.T) { testSourceAddress(t, byAddress, nil) })
	t.Run("of the cluster", func(t *testing.T) { testSourceAddress(t, []xdsresource.HashPolicy{{State: "none"}}, byAddress) })
}

func testSourceAddress(t *testing.T, own, clusters []xdsresource.HashPolicy) {
	w := newWorld(t)
	var hosts []string
	for i := range 5 {
		hosts = append(hosts, backend(t, "tcp", func(c net.Conn) { _, _ = fmt.Fprint(c, i) }))
	}
	w.cluster("a", func(c *xdsresource.Cluster) {
		c.LB.Policy, c.LB.MaglevTableSize, c.LB.HashPolicies = xdsresource.LBMaglev, 101, clusters
	}, hosts...)
	addr := w.proxy(&xdsresource.TCPProxy{Cluster: "a", Hash: own})
	reached := map[string]bool{}
	for client := range 16 {
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(client))}}
		first := ""
		for range 8 {
			c, err := from.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(c)
			_ = c.Close()
			if err != nil {
				t.Fatal(err)
			}
			if first == "" {
				first = string(b)
			}
			if string(b) != first {
				t.Fatalf("client %d reached host %s, then host %s", client, first, b)
			}
		}
		reached[first] = true
	}
	if len(reached) < 2 {
		t.Errorf("all clients reached host %v", reached)
	}
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []xdsresource.TCPProxy{
		{}, {Cluster: "a", WeightedClusters: []xdsresource.WeightedCluster{{Name: "b", Weight: 1}}},
		{WeightedClusters: []xdsresource.WeightedCluster{{Name: "b"}}}, {WeightedClusters: []xdsresource.WeightedCluster{{Weight: 1}}},
	} {
		if _, err := New(&cfg, Deps{Stats: stats.NewStore(stats.Options{Workers: 1})}); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

func TestAccessLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w := newWorld(t)
	files := accesslog.NewFiles(w.store, slog.New(slog.DiscardHandler))
	l, err := accesslog.New(&xdsresource.AccessLog{Path: path, Text: "%BYTES_RECEIVED% %BYTES_SENT% %RESPONSE_FLAGS% %UPSTREAM_CLUSTER% %UPSTREAM_HOST% %PROTOCOL%\n"}, files, 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = files.Run(ctx) }()
	w.logs = []*accesslog.Logger{l}
	back := backend(t, "tcp", echo)
	w.cluster("c", nil, back)
	c := dial(t, w.proxy(&xdsresource.TCPProxy{Cluster: "c"}))
	_, _ = c.Write([]byte("hello"))
	_ = c.CloseWrite()
	_, _ = io.ReadAll(c)
	<-w.ended
	settled := make(chan struct{})
	w.loop.Post(func() { close(settled) }) // the meter reports before the log is written
	<-settled
	cancel()
	<-done
	b, err := os.ReadFile(path)
	if want := fmt.Sprintf("5 5 - c %s -\n", back); err != nil || string(b) != want {
		t.Errorf("log %q, want %q (%v)", b, want, err)
	}
}
