package asyncclient_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/asyncclient"
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is one worker with the cluster "c".
type world struct {
	t      *testing.T
	mgr    *cluster.Manager
	loop   *eventloop.Loop
	store  *stats.Store
	client *asyncclient.Client
}

func newWorld(t *testing.T, addr string, change func(*xdsresource.Cluster)) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	w := &world{t: t, store: stats.NewStore(stats.Options{Workers: 1})}
	var err error
	if w.loop, err = eventloop.New(0, log); err != nil {
		t.Fatal(err)
	}
	w.store.Attach(0, w.loop.Post)
	w.mgr = cluster.New(cluster.Config{Workers: []cluster.Worker{w.loop}, Stats: w.store, Logger: log})
	clients := asyncclient.New(asyncclient.Deps{Clusters: w.mgr, Stats: w.store, Workers: 1, LocalAddress: netip.MustParseAddr("192.0.2.1")})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{w.loop.Run, w.mgr.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if n := w.loop.Buffers().InUse(); n != 0 {
			t.Errorf("%d bytes of buffers leaked", n)
		}
	})
	ap := netip.MustParseAddrPort(addr)
	cfg := &xdsresource.Cluster{Name: "c", ConnectTimeout: time.Second, HTTP: xdsresource.UpstreamHTTP{IdleTimeout: time.Hour}}
	for i := range cfg.Breakers {
		cfg.Breakers[i] = xdsresource.Breakers{MaxConnections: 1024, MaxPendingRequests: 1024, MaxRequests: 1024, MaxRetries: 3}
	}
	cfg.Endpoints = &xdsresource.Endpoints{ClusterName: "c", OverprovisioningFactor: 140, Localities: []xdsresource.LocalityEndpoints{{
		Endpoints: []xdsresource.Endpoint{{Address: xdsresource.Address{IP: ap.Addr(), Port: ap.Port()}, Weight: 1}},
	}}}
	if change != nil {
		change(cfg)
	}
	warm, err := w.mgr.Update(cfg)
	if err != nil {
		t.Fatal(err)
	}
	<-warm
	w.do(func() { w.client = clients.On(w.loop) })
	return w
}

// do runs f on the loop.
func (w *world) do(f func()) {
	done := make(chan struct{})
	w.loop.Post(func() { f(); close(done) })
	<-done
}

func (w *world) stat(name string) int64 {
	w.t.Helper()
	s, err := w.store.Snapshot(context.Background(), stats.Query{})
	if err != nil {
		w.t.Fatal(err)
	}
	v, _ := s.Value(name)
	return v
}

func (w *world) wantStats(want map[string]int64) {
	w.t.Helper()
	for name, n := range want {
		if got := w.stat(name); got != n {
			w.t.Errorf("%s is %d, want %d", name, got, n)
		}
	}
}

// send sends one GET and returns what came, as text.
func (w *world) send(change func(*asyncclient.Request)) string {
	w.t.Helper()
	out := make(chan string, 2)
	w.do(func() {
		r := asyncclient.Request{Cluster: "c", Headers: &header.Map{}}
		r.Headers.AddString(header.Method, "GET")
		r.Headers.AddString(header.Path, "/")
		r.Headers.AddString(header.Authority, "host")
		if change != nil {
			change(&r)
		}
		returned := false
		w.client.Send(r, func(resp *asyncclient.Response, err error) {
			if !returned {
				w.t.Error("done is called from within Send")
			}
			if err != nil {
				var e *asyncclient.Error
				if !errors.As(err, &e) {
					w.t.Errorf("error %T", err)
				}
				out <- fmt.Sprintf("error %d begun=%v: %s", e.Code, e.Begun, e.Text)
				return
			}
			x, _ := resp.Headers.GetName("x-answer")
			out <- fmt.Sprintf("%d %s %s", resp.Status, x, resp.Body)
		})
		returned = true
	})
	got := <-out
	w.do(func() {})
	if len(out) != 0 {
		w.t.Error("done is called twice")
	}
	return got
}

func serve(t *testing.T, h http.HandlerFunc) string {
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func http2(c *xdsresource.Cluster) { c.HTTP.Protocol = xdsresource.UpstreamHTTP2 }

func TestAnswer(t *testing.T) {
	for name, change := range map[string]func(*xdsresource.Cluster){"HTTP/1": nil, "HTTP/2": http2} {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				w.Header().Set("X-Answer", fmt.Sprintf("%q %q %q", r.Header.Get("X-Envoy-Internal"), r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms")))
				w.WriteHeader(http.StatusForbidden)
				w.(http.Flusher).Flush()
				fmt.Fprintf(w, "%s %s %d %s", r.Method, r.Host, r.ContentLength, b)
			})
			w := newWorld(t, addr, change)
			post := func(r *asyncclient.Request) {
				r.Headers.SetString(header.Method, "POST")
				r.Body, r.Timeout = []byte("body"), 5*time.Second
			}
			if got, want := w.send(post), `403 "true" "192.0.2.1" "5000" POST host 4 body`; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			plain := func(r *asyncclient.Request) { r.SkipEnvoyHeaders = true }
			if got, want := w.send(plain), `403 "" "" "" GET host 0 `; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			w.wantStats(map[string]int64{
				"http.async-client.rq_total": 2, "http.async-client.no_cluster": 0, "cluster.c.upstream_rq_403": 2, "cluster.c.internal.upstream_rq_403": 2,
				"cluster.c.upstream_rq_total": 2, "cluster.c.upstream_rq_active": 0, "cluster.c.upstream_cx_total": 1,
			})
		})
	}
}

func TestNoAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().String()
	ln.Close()
	none := func(c *xdsresource.Cluster) { c.Endpoints.Localities = nil }
	full := func(c *xdsresource.Cluster) { c.Breakers[0].MaxPendingRequests = 0 }
	hang := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begin" {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	})
	broken := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begin" {
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("half"))
			w.(http.Flusher).Flush()
		}
		panic(http.ErrAbortHandler)
	})
	large := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 4096)) })
	soon := func(r *asyncclient.Request) { r.Timeout = 20 * time.Millisecond }
	begin := func(r *asyncclient.Request) { r.Timeout = time.Second; r.Headers.SetString(header.Path, "/begin") }
	const reset = "upstream connect error or disconnect/reset before headers. reset reason: "
	for _, c := range []struct {
		name, addr string
		cluster    func(*xdsresource.Cluster)
		request    func(*asyncclient.Request)
		want       string
	}{
		{"no cluster", closed, nil, func(r *asyncclient.Request) { r.Cluster = "d" }, "error 503 begun=false: Cluster not available"},
		{"no host", closed, none, nil, "error 503 begun=false: no healthy upstream"},
		{"breaker", closed, full, nil, "error 503 begun=false: " + reset + "overflow"},
		{"refused", closed, nil, nil, "error 503 begun=false: " + reset + "remote connection failure"},
		{"late", hang, nil, soon, "error 504 begun=false: upstream request timeout"},
		{"late body", hang, nil, func(r *asyncclient.Request) { begin(r); soon(r) }, "error 504 begun=true: upstream request timeout"},
		{"cut", broken, nil, nil, "error 503 begun=false: " + reset + "connection termination"},
		{"cut body", broken, nil, begin, "error 502 begun=true: " + reset + "protocol error"},
		{"cut stream", broken, http2, nil, "error 503 begun=false: " + reset + "remote reset"},
		{"large", large, nil, func(r *asyncclient.Request) { r.MaxBody = 4095 }, "error 502 begun=true: the answer is larger than 4095 bytes"},
		{"large stream", large, http2, func(r *asyncclient.Request) { r.MaxBody = 4095 }, "error 502 begun=true: the answer is larger than 4095 bytes"},
		{"fits", large, nil, func(r *asyncclient.Request) { r.MaxBody = 4096 }, "200  " + string(make([]byte, 4096))},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.addr, c.cluster)
			if got := w.send(c.request); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			w.wantStats(map[string]int64{"cluster.c.upstream_rq_active": 0, "cluster.c.upstream_rq_pending_active": 0})
			if strings.Contains(c.want, "504") {
				w.wantStats(map[string]int64{"cluster.c.upstream_rq_timeout": 1})
			}
		})
	}
}

func TestRetry(t *testing.T) {
	var n atomic.Int32
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch n := n.Add(1); {
		case n == 1:
			panic(http.ErrAbortHandler)
		case n <= 2:
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write([]byte("not yet"))
		default:
			_, _ = w.Write([]byte(r.URL.Path))
		}
	})
	w := newWorld(t, addr, nil)
	retry := func(num uint32) func(r *asyncclient.Request) {
		return func(r *asyncclient.Request) {
			r.Retry = asyncclient.Retry{Num: num, Base: time.Millisecond, Max: 2 * time.Millisecond}
		}
	}
	if got := w.send(retry(2)); got != "200  /" {
		t.Error(got)
	}
	w.wantStats(map[string]int64{
		"cluster.c.upstream_rq_retry": 2, "cluster.c.upstream_rq_retry_success": 1, "cluster.c.retry.upstream_rq_502": 1,
		"cluster.c.upstream_rq_200": 1, "cluster.c.circuit_breakers.default.rq_retry_open": 0, "cluster.c.upstream_rq_active": 0,
	})
	n.Store(-2)
	if got := w.send(retry(1)); got != "502  not yet" {
		t.Error(got)
	}
	w.wantStats(map[string]int64{"cluster.c.upstream_rq_retry": 3, "cluster.c.upstream_rq_retry_limit_exceeded": 1, "cluster.c.upstream_rq_502": 1})
}

// TestPerTry: an attempt that is slow is given up for the next one.
func TestPerTry(t *testing.T) {
	var n atomic.Int32
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			<-r.Context().Done()
		}
		w.Header().Set("X-Answer", r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms"))
	})
	w := newWorld(t, addr, nil)
	policy := asyncclient.RetryFrom(&xdsresource.Retry{On: xdsresource.RetryReset, Num: 1, Base: time.Millisecond, Max: time.Millisecond, PerTry: 20 * time.Millisecond})
	call := func(r *asyncclient.Request) { r.Retry, r.Timeout = policy, 5*time.Second }
	if got := w.send(call); got != "200 20 " {
		t.Error(got)
	}
	w.wantStats(map[string]int64{"cluster.c.upstream_rq_per_try_timeout": 1, "cluster.c.upstream_rq_retry_success": 1, "cluster.c.upstream_rq_timeout": 0, "cluster.c.upstream_rq_active": 0})
	n.Store(0)
	if none := (asyncclient.RetryFrom(&xdsresource.Retry{Num: 3})); none != (asyncclient.Retry{}) {
		t.Errorf("without retry_on: %+v", none)
	}
	policy.On = xdsresource.RetryConnectFailure
	if got := w.send(call); got != "error 504 begun=false: upstream request timeout" {
		t.Error(got)
	}
}

// TestConditions: what is tried again is what the policy names.
func TestConditions(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscan(r.URL.Path[1:], &code)
		if code == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(code)
	})
	w := newWorld(t, addr, nil)
	const all = xdsresource.Retry5xx | xdsresource.RetryGatewayError | xdsresource.RetryReset | xdsresource.Retry4xx | xdsresource.RetryConnectFailure | xdsresource.RetryRefusedStream
	for path, on := range map[string]xdsresource.RetryOn{
		"/500": xdsresource.Retry5xx, "/503": xdsresource.Retry5xx | xdsresource.RetryGatewayError, "/409": xdsresource.Retry4xx,
		"/0": xdsresource.Retry5xx | xdsresource.RetryGatewayError | xdsresource.RetryReset, "/404": 0,
	} {
		for bit := xdsresource.RetryOn(1); bit <= all; bit <<= 1 {
			if bit&all == 0 {
				continue
			}
			before := w.stat("cluster.c.upstream_rq_retry")
			w.send(func(r *asyncclient.Request) {
				r.Headers.SetString(header.Method, "POST") // no repetition outside of the policy
				r.Headers.SetString(header.Path, path)
				r.Retry = asyncclient.Retry{On: bit & all, Num: 1, Base: 1}
			})
			if retried := w.stat("cluster.c.upstream_rq_retry") > before; retried != (on&bit != 0) {
				t.Errorf("%s: condition %b: tried again: %v", path, bit, retried)
			}
		}
	}
}

// TestCancel drops calls in every state they can be in.
func TestCancel(t *testing.T) {
	arrived := make(chan struct{}, 1)
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/503" {
			w.WriteHeader(503)
			return
		}
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	for name, change := range map[string]func(*xdsresource.Cluster){"HTTP/1": nil, "HTTP/2": http2} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, addr, change)
			start := func(cluster, path string, num uint32) (cancel func()) {
				w.do(func() {
					h := &header.Map{}
					h.AddString(header.Method, "GET")
					h.AddString(header.Path, path)
					h.AddString(header.Authority, "host")
					cancel = w.client.Send(asyncclient.Request{Cluster: cluster, Headers: h, Retry: asyncclient.Retry{On: xdsresource.Retry5xx, Num: num, Base: time.Hour}},
						func(*asyncclient.Response, error) { t.Error("done is called after cancel") })
					if cluster == "none" || path == "/at-once" {
						cancel()
					}
				})
				return cancel
			}
			start("none", "/", 0)
			start("c", "/at-once", 0)
			cancel := start("c", "/", 0)
			<-arrived
			w.do(cancel)
			w.do(cancel)
			cancel = start("c", "/503", 1)
			for tick := time.Tick(time.Millisecond); w.stat("cluster.c.upstream_rq_retry") == 0; <-tick {
			}
			w.do(cancel)
			w.wantStats(map[string]int64{"cluster.c.upstream_rq_active": 0, "cluster.c.upstream_rq_pending_active": 0})
		})
	}
}

// TestClusterLeaves: a call outlives its cluster, and finds none later. One that is under way when the
// loop ends leaves nothing behind.
func TestClusterLeaves(t *testing.T) {
	arrived, leave := make(chan string, 1), make(chan struct{})
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not see that the client leaves
		arrived <- r.URL.Path
		if r.URL.Path == "/wait" {
			<-leave
			return
		}
		<-r.Context().Done()
	})
	for name, change := range map[string]func(*xdsresource.Cluster){"HTTP/1": nil, "HTTP/2": http2} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, addr, change)
			out := make(chan string, 1)
			start := func(path string, done func(string)) {
				w.do(func() {
					h := &header.Map{}
					h.AddString(header.Method, "POST")
					h.AddString(header.Path, path)
					h.AddString(header.Authority, "host")
					w.client.Send(asyncclient.Request{Cluster: "c", Headers: h, Body: []byte("body")}, func(r *asyncclient.Response, err error) {
						if err != nil {
							done(err.Error())
							return
						}
						done(fmt.Sprint(r.Status))
					})
				})
				<-arrived
			}
			start("/wait", func(s string) { out <- s })
			start("/hang", func(string) {})
			w.mgr.Remove("c")
			w.do(func() {})
			if got := w.send(nil); got != "error 503 begun=false: Cluster not available" {
				t.Error(got)
			}
			leave <- struct{}{}
			if got := <-out; got != "200" {
				t.Error(got)
			}
		})
	}
}

// TestUnary has a service give all kinds of answers.
func TestUnary(t *testing.T) {
	frame := func(flag byte, n int, p string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(n)), p...)
	}
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		end := func(code, message string) {
			w.Header().Set("Grpc-Status", code)
			w.Header().Set("Grpc-Message", message)
		}
		switch strings.TrimPrefix(r.URL.Path, "/s/") {
		case "echo":
			_, _ = w.Write(frame(0, len(b)-5, string(b[5:])))
			end("0", "")
		case "request":
			s := fmt.Sprintln(r.Proto, r.Host, r.Header.Get("Te"), r.Header.Get("Content-Type"), r.Header.Get("Grpc-Timeout"), r.Header.Get("X-Meta"), r.ContentLength)
			_, _ = w.Write(frame(0, len(s), s))
			end("0", "")
		case "trailers-only":
			w.Header().Del("Trailer")
			end("7", "no%21 100%")
		case "error":
			_, _ = w.Write(frame(0, 1, "x"))
			end("8", "too%20much")
		case "none":
			end("0", "")
		case "no-status":
			_, _ = w.Write(frame(0, 1, "x"))
		case "odd-status":
			_, _ = w.Write(frame(0, 1, "x"))
			end("fine", "")
		case "compressed":
			_, _ = w.Write(frame(1, 1, "x"))
			end("0", "")
		case "short":
			_, _ = w.Write(frame(0, 2, "x"))
			end("0", "")
		case "huge":
			_, _ = w.Write(frame(0, 1<<31, "x"))
			end("0", "")
		case "stub":
			_, _ = w.Write([]byte{0, 0})
			end("0", "")
		case "two":
			_, _ = w.Write(append(frame(0, 1, "x"), frame(0, 1, "y")...))
			end("0", "")
		case "empty":
			_, _ = w.Write(frame(0, 0, ""))
			end("0", "")
		case "large":
			_, _ = w.Write(frame(0, 100, string(make([]byte, 100))))
			end("0", "")
		case "http":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "html":
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte("<html>"))
		case "reset":
			panic(http.ErrAbortHandler)
		case "hang":
			<-r.Context().Done()
		}
	})
	w := newWorld(t, addr, http2)
	for _, c := range []struct{ method, want string }{
		{"echo", `"hello" 0 ""`},
		{"request", `"HTTP/2.0 authority trailers application/grpc 100m value -1\n" 0 ""`},
		{"trailers-only", `"" 7 "no%21 100%"`},
		{"error", `"" 8 "too much"`},
		{"none", `"" 13 ""`},
		{"no-status", `"" 2 ""`},
		{"odd-status", `"" 2 ""`},
		{"compressed", `"" 13 ""`},
		{"short", `"" 13 ""`},
		{"huge", `"" 13 ""`},
		{"stub", `"" 13 ""`},
		{"two", `"y" 0 ""`},
		{"empty", `"" 0 ""`},
		{"large", `"" 8 "the answer is larger than 104 bytes"`},
		{"http", `"" 14 ""`},
		{"html", `"" 12 ""`},
		{"reset", `"" 14 "upstream connect error or disconnect/reset before headers. reset reason: remote reset"`},
		{"hang", `"" 14 "upstream request timeout"`},
	} {
		t.Run(c.method, func(t *testing.T) {
			out := make(chan string, 1)
			w.do(func() {
				w.client.Unary(asyncclient.GRPCRequest{
					Cluster: "c", Authority: "authority", Method: "/s/" + c.method, Message: []byte("hello"), Timeout: 100 * time.Millisecond,
					Metadata: map[string]string{"x-meta": "value"}, MaxMessage: 99,
				}, func(m []byte, s asyncclient.Status) { out <- fmt.Sprintf("%q %d %q", m, s.Code, s.Message) })
			})
			if got := <-out; got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	w.wantStats(map[string]int64{"cluster.c.upstream_rq_active": 0})
	out := make(chan asyncclient.Status, 1)
	w.do(func() {
		w.client.Unary(asyncclient.GRPCRequest{Cluster: "none"}, func(_ []byte, s asyncclient.Status) { out <- s })
	})
	if s := <-out; s.Code != grpcstatus.Unavailable || s.Message != "Cluster not available" {
		t.Errorf("no cluster: %+v", s)
	}
}

func TestError(t *testing.T) {
	e := &asyncclient.Error{Text: "text", Cause: net.ErrClosed}
	if !errors.Is(e, net.ErrClosed) || e.Error() != "text: use of closed network connection" {
		t.Error(e)
	}
}
