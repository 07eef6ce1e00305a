package listener

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/accesslog"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is some running workers and what a listener needs.
type world struct {
	t     *testing.T
	loops []*eventloop.Loop
	store *stats.Store
	o     Options
	live  atomic.Int32 // handlers that were not released

	mu    sync.Mutex
	infos []conn.Info
}

func newWorld(t *testing.T, workers int) *world {
	t.Helper()
	before := openFDs(t)
	w := &world{t: t, store: stats.NewStore(stats.Options{Workers: workers})}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range workers {
		l, err := eventloop.New(i, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.loops = append(w.loops, l)
		w.store.Attach(i, l.Post)
		wg.Add(1)
		go func() { defer wg.Done(); _ = l.Run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if after := openFDs(t); after > before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
		if n := w.live.Load(); n > 0 {
			t.Errorf("%d handlers were not released", n)
		}
	})
	w.o = Options{Loops: w.loops, Stats: w.store, Chains: w.greeters}
	return w
}

func openFDs(t *testing.T) int {
	t.Helper()
	e, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}

// greeters makes handlers that send the chain's name and then echo.
func (w *world) greeters(fc *xdsresource.FilterChain) (NetworkHandler, func(), error) {
	if fc.Name == "broken" {
		return nil, nil, errors.New("a broken chain")
	}
	w.live.Add(1)
	return &greeter{w: w, name: fc.Name}, func() { w.live.Add(-1) }, nil
}

type greeter struct {
	w    *world
	name string
}

func (g *greeter) OnNewConnection(c *conn.Conn, l *Context) {
	g.w.mu.Lock()
	g.w.infos = append(g.w.infos, *c.Info())
	g.w.mu.Unlock()
	c.SetHandler(&greeting{c: c})
	c.Out().AppendString(g.name + "\n")
	c.Flush()
}

type greeting struct{ c *conn.Conn }

func (g *greeting) OnData(c *conn.Conn, eof bool) {
	c.Out().Move(c.In())
	c.Flush()
	if eof {
		c.Close(conn.CloseAfterFlush)
	}
}
func (g *greeting) OnWritable(*conn.Conn)     {}
func (g *greeting) OnClose(*conn.Conn, error) {}
func (g *greeting) Drain() {
	g.c.Out().AppendString("draining\n")
	g.c.Close(conn.CloseAfterFlush)
}

func (w *world) lastInfo() conn.Info {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.infos[len(w.infos)-1]
}

func loopback(port uint16) xdsresource.Address {
	return xdsresource.Address{IP: netip.MustParseAddr("127.0.0.1"), Port: port}
}

// listener starts a listener on a free port.
func (w *world) listener(cfg *xdsresource.Listener) (*Listener, string) {
	w.t.Helper()
	cfg.BindToPort = true
	if cfg.Name == "" {
		cfg.Name = "test"
	}
	if !cfg.Address.IP.IsValid() && cfg.Address.Pipe == "" {
		cfg.Address = loopback(0)
	}
	l, err := New(cfg, w.o)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close(0, nil); w.settle() })
	return l, addressText(l.Addrs()[0])
}

// settle waits until every loop has done what was posted before.
func (w *world) settle() {
	for _, l := range w.loops {
		done := make(chan struct{})
		if l.Post(func() { close(done) }) {
			<-done
		}
	}
}

func (w *world) stat(name string) string {
	w.t.Helper()
	w.settle()
	snap, err := w.store.Snapshot(context.Background(), stats.Query{})
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(snap.AppendText(nil, stats.Summary))) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && strings.HasSuffix(k, name) {
			return v
		}
	}
	return ""
}

func greet(t *testing.T, nc net.Conn) string {
	t.Helper()
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := nc.Read(b); err != nil {
			return "error: " + err.Error()
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

func dial(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

func certificate(t *testing.T, name string) *xdsresource.DownstreamTLS {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	kb, _ := x509.MarshalPKCS8PrivateKey(key)
	return &xdsresource.DownstreamTLS{CommonTLS: xdsresource.CommonTLS{Certificates: []xdsresource.TLSSource[xdsresource.TLSCertificate]{{Inline: &xdsresource.TLSCertificate{
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb}),
	}}}}}
}

func TestAcceptOnAllWorkers(t *testing.T) {
	w := newWorld(t, 2)
	_, addr := w.listener(&xdsresource.Listener{FilterChains: []*xdsresource.FilterChain{{Name: "plain"}}})
	ids := map[uint64]bool{}
	for range 40 {
		nc := dial(t, "tcp", addr)
		if got := greet(t, nc); got != "plain" {
			t.Fatal(got)
		}
		_, _ = nc.Write([]byte("hello\n"))
		if got := greet(t, nc); got != "hello" {
			t.Fatal(got)
		}
		info := w.lastInfo()
		if info.LocalAddr.String() != addr || info.RemoteAddr.String() != nc.LocalAddr().String() {
			t.Fatalf("%v %v", info.LocalAddr, info.RemoteAddr)
		}
		ids[info.ID] = true
		_ = nc.Close()
	}
	if len(ids) != 40 {
		t.Errorf("%d distinct connection numbers", len(ids))
	}
	if got := w.stat("downstream_cx_total"); got != "40" {
		t.Errorf("downstream_cx_total %q", got)
	}
	for range 100 {
		if w.stat("downstream_cx_active") == "0" {
			return
		}
	}
	t.Errorf("downstream_cx_active %q", w.stat("downstream_cx_active"))
}

func TestUnixAndIPv6(t *testing.T) {
	w := newWorld(t, 2)
	path := filepath.Join(t.TempDir(), "listener.sock")
	for _, a := range []xdsresource.Address{
		{Pipe: path}, {Pipe: fmt.Sprintf("@lateen-test-%d", os.Getpid())}, {IP: netip.MustParseAddr("::1")},
	} {
		network := "unix"
		if a.Pipe == "" {
			network = "tcp"
		}
		_, addr := w.listener(&xdsresource.Listener{Address: a, FilterChains: []*xdsresource.FilterChain{{Name: "any"}}})
		for range 4 {
			if got := greet(t, dial(t, network, addr)); got != "any" {
				t.Fatalf("%s: %s", addr, got)
			}
		}
	}
}

func TestChainsByClientHello(t *testing.T) {
	w := newWorld(t, 1)
	_, addr := w.listener(&xdsresource.Listener{
		TLSInspector: true,
		FilterChains: []*xdsresource.FilterChain{
			{Name: "a", Match: xdsresource.FilterChainMatch{ServerNames: []string{"a.test"}}, TLS: certificate(t, "a.test")},
			{Name: "b", Match: xdsresource.FilterChainMatch{ServerNames: []string{"*.b.test"}}, TLS: certificate(t, "x.b.test")},
			{Name: "istio", Match: xdsresource.FilterChainMatch{TransportProtocol: "tls", ApplicationProtocols: []string{"istio"}}, TLS: certificate(t, "mesh")},
			{Name: "raw", Match: xdsresource.FilterChainMatch{TransportProtocol: "raw_buffer"}},
		},
	})
	over := func(cfg *tls.Config) string {
		cfg.InsecureSkipVerify = true
		c := tls.Client(dial(t, "tcp", addr), cfg)
		return greet(t, c)
	}
	if got := over(&tls.Config{ServerName: "a.test"}); got != "a" {
		t.Error(got)
	}
	if i := w.lastInfo(); i.SNI != "a.test" || i.TransportProtocol != "tls" || i.TLS == nil {
		t.Errorf("%+v", i)
	}
	if got := over(&tls.Config{ServerName: "x.b.test"}); got != "b" {
		t.Error(got)
	}
	if got := over(&tls.Config{ServerName: "zz", NextProtos: []string{"istio", "http/1.1"}}); got != "istio" {
		t.Error(got)
	}
	if got := over(&tls.Config{ServerName: "nobody.test"}); !strings.HasPrefix(got, "error") {
		t.Error(got)
	}
	nc := dial(t, "tcp", addr)
	_, _ = nc.Write([]byte("plain text\n"))
	if got := greet(t, nc); got != "raw" {
		t.Error(got)
	}
	if got := greet(t, nc); got != "plain text" {
		t.Errorf("what was inspected is lost: %q", got)
	}
	// A ClientHello in pieces.
	slow := &slowWriter{Conn: dial(t, "tcp", addr)}
	if got := greet(t, tls.Client(slow, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true})); got != "a" {
		t.Error(got)
	}
	for name, want := range map[string]string{"no_filter_chain_match": "1", "ssl.handshake": "4", "tls_inspector.tls_found": "5", "tls_inspector.tls_not_found": "1"} {
		if got := w.stat(name); got != want {
			t.Errorf("%s is %q, want %s", name, got, want)
		}
	}
}

// TestCloseWithoutHello: who does not speak TLS is sent away, and who does is served.
func TestCloseWithoutHello(t *testing.T) {
	w := newWorld(t, 1)
	_, addr := w.listener(&xdsresource.Listener{TLSInspector: true, CloseWithoutHello: true, FilterChains: []*xdsresource.FilterChain{{Name: "a", TLS: certificate(t, "a.test")}}})
	nc := dial(t, "tcp", addr)
	_, _ = nc.Write([]byte("plain text\n"))
	if n, err := nc.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came", n)
	}
	if got := greet(t, tls.Client(dial(t, "tcp", addr), &tls.Config{ServerName: "a.test", InsecureSkipVerify: true})); got != "a" {
		t.Error(got)
	}
}

type slowWriter struct{ net.Conn }

func (s *slowWriter) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := s.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestInspectorTimeout(t *testing.T) {
	w := newWorld(t, 1)
	for _, goOn := range []bool{true, false} {
		_, addr := w.listener(&xdsresource.Listener{
			StatPrefix: fmt.Sprint("timeout_", goOn), TLSInspector: true, ListenerFiltersTimeout: 30 * time.Millisecond, ContinueOnListenerFiltersTimeout: goOn,
			FilterChains: []*xdsresource.FilterChain{{Name: "raw", Match: xdsresource.FilterChainMatch{TransportProtocol: "raw_buffer"}}},
		})
		got := greet(t, dial(t, "tcp", addr)) // says nothing first
		if goOn != (got == "raw") {
			t.Errorf("continue %v: %q", goOn, got)
		}
		if got := w.stat(fmt.Sprintf("timeout_%v.downstream_pre_cx_timeout", goOn)); got != "1" {
			t.Errorf("downstream_pre_cx_timeout %q", got)
		}
	}
}

// TestInspectorDisabled: to a port that an inspector is disabled for nothing is waited for, as servers that speak first need it.
func TestInspectorDisabled(t *testing.T) {
	w := newWorld(t, 1)
	all := xdsresource.PortRanges{{First: 0, Last: 65535}}
	for _, c := range []struct {
		tls, http xdsresource.PortRanges
		waits     bool
	}{{nil, nil, true}, {all, nil, true}, {nil, all, true}, {all, all, false}, {all[:0], all, true}} {
		_, addr := w.listener(&xdsresource.Listener{
			TLSInspector: true, HTTPInspector: true, TLSInspectorOff: c.tls, HTTPInspectorOff: c.http,
			ListenerFiltersTimeout: 30 * time.Millisecond,
			FilterChains:           []*xdsresource.FilterChain{{Name: "raw", Match: xdsresource.FilterChainMatch{TransportProtocol: "raw_buffer"}}},
		})
		if got := greet(t, dial(t, "tcp", addr)); c.waits == (got == "raw") { // the client says nothing
			t.Errorf("disabled for TLS %v, for HTTP %v: %q", c.tls, c.http, got)
		}
	}
}

func TestTLSFailureIsCounted(t *testing.T) {
	w := newWorld(t, 1)
	_, addr := w.listener(&xdsresource.Listener{FilterChains: []*xdsresource.FilterChain{{Name: "tls", TLS: certificate(t, "a.test")}}})
	nc := dial(t, "tcp", addr)
	_, _ = nc.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	_, _ = io.Copy(io.Discard, nc)
	if got := w.stat("ssl.connection_error"); got != "1" {
		t.Errorf("ssl.connection_error %q", got)
	}
}

func TestUpdateKeepsSocketsAndDrains(t *testing.T) {
	w := newWorld(t, 2)
	keep := &xdsresource.FilterChain{Name: "keep", Match: xdsresource.FilterChainMatch{SourcePrefixes: prefixes("127.0.0.1/32")}}
	old := &xdsresource.FilterChain{Name: "old", Match: xdsresource.FilterChainMatch{SourcePrefixes: prefixes("127.0.0.2/32")}}
	l, addr := w.listener(&xdsresource.Listener{FilterChains: []*xdsresource.FilterChain{keep, old}})
	from := func(ip string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		nc, err := d.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		return nc
	}
	a, b := from("127.0.0.1"), from("127.0.0.2")
	if x, y := greet(t, a), greet(t, b); x != "keep" || y != "old" {
		t.Fatal(x, y)
	}
	next := *l.Config()
	next.FilterChains = []*xdsresource.FilterChain{
		{Name: "keep", Match: keep.Match}, // equal, and another object
		{Name: "new", Match: old.Match},
	}
	bad := next
	bad.FilterChains = []*xdsresource.FilterChain{{Name: "broken"}}
	if _, err := l.Update(&bad, time.Minute, nil); err == nil || !strings.Contains(err.Error(), `"broken"`) {
		t.Fatal(err)
	}
	moved := next
	moved.Address = loopback(1)
	if _, err := l.Update(&moved, time.Minute, nil); err == nil {
		t.Fatal("moved to another address in place")
	}
	drained := make(chan struct{})
	if n, err := l.Update(&next, time.Minute, func() { close(drained) }); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if got := greet(t, b); got != "draining" {
		t.Error(got)
	}
	<-drained // with its last connection, long before the time is over
	if n := w.live.Load(); n != 2 {
		t.Errorf("%d handlers are there, want those of the two chains", n)
	}
	if got := greet(t, from("127.0.0.2")); got != "new" {
		t.Error(got)
	}
	_, _ = a.Write([]byte("still here\n"))
	if got := greet(t, a); got != "still here" {
		t.Error(got)
	}
	closed := make(chan struct{})
	l.Close(0, func() { close(closed) })
	if got := greet(t, a); !strings.HasPrefix(got, "error") {
		t.Error(got)
	}
	<-closed // each worker closes its socket on its own loop, and the one that had the connection may be the first
	if nc, err := net.Dial("tcp", addr); err == nil {
		_ = nc.Close()
		t.Error("still accepting")
	}
}

func TestBindErrors(t *testing.T) {
	w := newWorld(t, 1)
	_, addr := w.listener(&xdsresource.Listener{FilterChains: []*xdsresource.FilterChain{{Name: "first"}}})
	taken := netip.MustParseAddrPort(addr)
	for _, tc := range []struct {
		addr xdsresource.Address
		want []string
	}{
		{xdsresource.Address{IP: taken.Addr(), Port: taken.Port()}, []string{addr, "another program listens there", fmt.Sprint(taken.Port())}},
		{xdsresource.Address{IP: netip.MustParseAddr("192.0.2.1"), Port: 8080}, []string{"192.0.2.1:8080", "no such address"}},
		{xdsresource.Address{Pipe: "/nonexistent/folder/x.sock"}, []string{"/nonexistent/folder/x.sock"}},
		{xdsresource.Address{Host: "example.com", Port: 80}, []string{"example.com", "no IP address"}},
	} {
		l, err := New(&xdsresource.Listener{Name: "second", BindToPort: true, Address: tc.addr, FilterChains: []*xdsresource.FilterChain{{}}}, w.o)
		if err != nil {
			t.Fatal(err)
		}
		err = l.Start()
		l.Close(0, nil)
		if err == nil {
			t.Fatalf("%v was bound", tc.addr)
		}
		for _, s := range append(tc.want, `"second"`) {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%q does not say %q", err, s)
			}
		}
	}
}

func TestOriginalDestinationHandOver(t *testing.T) {
	// Redirection needs root; what is tested is that a connection which was not redirected
	// stays with the listener that accepted it.
	w := newWorld(t, 1)
	w.o.Original = func(netip.AddrPort) *Listener { t.Error("asked for a listener"); return nil }
	_, addr := w.listener(&xdsresource.Listener{UseOriginalDst: true, FilterChains: []*xdsresource.FilterChain{{Name: "self"}}})
	if got := greet(t, dial(t, "tcp", addr)); got != "self" {
		t.Fatal(got)
	}
	if i := w.lastInfo(); i.OriginalDst.IsValid() {
		t.Error(i.OriginalDst)
	}
}

// TestAccessLog: a connection that no chain wants is logged with the flag NR, others without.
func TestAccessLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w := newWorld(t, 1)
	files := accesslog.NewFiles(w.store, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = files.Run(ctx) }()
	cfg := &xdsresource.Listener{
		AccessLogs: []xdsresource.AccessLog{{Path: path, Text: "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_SENT%\n"}},
		FilterChains: []*xdsresource.FilterChain{
			{Name: "one", Match: xdsresource.FilterChainMatch{SourcePrefixes: prefixes("127.0.0.1/32")}},
		},
	}
	if _, err := New(cfg, w.o); err == nil || !strings.Contains(err.Error(), "access_log") {
		t.Errorf("access logs without a way to open them: %v", err)
	}
	w.o.AccessLogs = func(in []xdsresource.AccessLog) ([]*accesslog.Logger, func(), error) {
		l, err := accesslog.New(&in[0], files, 1)
		return []*accesslog.Logger{l}, l.Close, err
	}
	_, addr := w.listener(cfg)
	for _, ip := range []string{"127.0.0.1", "127.0.0.2"} {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		nc, err := d.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.(*net.TCPConn).CloseWrite()
		_, _ = io.ReadAll(nc)
		_ = nc.Close()
	}
	for w.stat("downstream_cx_destroy") != "2" {
		continue
	}
	w.settle()
	cancel()
	<-done
	if b, err := os.ReadFile(path); string(b) != "- - 4\nNR filter_chain_not_found 0\n" {
		t.Errorf("log %q (%v)", b, err)
	}
}

// TestWorkerStats: a connection counts for its listener, for the worker that has it, and for the process.
func TestWorkerStats(t *testing.T) {
	w := newWorld(t, 1)
	l, addr := w.listener(&xdsresource.Listener{StatPrefix: "front", TLSInspector: true, FilterChains: []*xdsresource.FilterChain{{Name: "a"}}})
	nc := dial(t, "tcp", addr)
	_, _ = nc.Write([]byte("hello\n"))
	if got := greet(t, nc); got != "a" {
		t.Fatal(got)
	}
	all := func(want map[string]int64) bool {
		s, err := w.store.Snapshot(t.Context(), stats.Query{})
		if err != nil {
			t.Fatal(err)
		}
		for name, n := range want {
			if v, ok := s.Value(name); !ok || v != n {
				return false
			}
		}
		return true
	}
	for name, n := range map[string]int64{
		"listener.front.worker_0.downstream_cx_total": 1, "listener.front.worker_0.downstream_cx_active": 1,
		"server.total_connections": 1, "listener.front.downstream_listener_filter_remote_close": 0,
	} {
		if !all(map[string]int64{name: n}) {
			t.Errorf("%s is not %d", name, n)
		}
	}
	s, err := w.store.Snapshot(t.Context(), stats.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if text := string(s.AppendPrometheus(nil)); !strings.Contains(text, `envoy_listener_worker_downstream_cx_total{envoy_listener_address="front",envoy_worker_id="0"} 1`) {
		t.Errorf("Prometheus sees\n%s", text)
	}
	_ = nc.Close()
	silent := dial(t, "tcp", addr)
	_ = silent.Close()
	for end := time.Now().Add(10 * time.Second); !all(map[string]int64{
		"listener.front.worker_0.downstream_cx_active": 0, "server.total_connections": 0, "listener.front.downstream_listener_filter_remote_close": 1,
	}); {
		if time.Now().After(end) {
			t.Fatal("the end of the connections is not counted")
		}
	}
	l.Close(0, nil)
}
