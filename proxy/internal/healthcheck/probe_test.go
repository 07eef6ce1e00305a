package healthcheck

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func target(addr string) Target {
	a := netip.MustParseAddrPort(addr)
	return Target{Address: xdsresource.Address{IP: a.Addr(), Port: a.Port()}, Hostname: "web"}
}

// server is an HTTP server that counts its connections.
func server(t *testing.T, http2 bool, h http.HandlerFunc) (addr string, conns *atomic.Int32) {
	t.Helper()
	conns = &atomic.Int32{}
	s := httptest.NewUnstartedServer(h)
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	s.Config.Protocols = &http.Protocols{}
	s.Config.Protocols.SetHTTP1(!http2)
	s.Config.Protocols.SetUnencryptedHTTP2(http2)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), conns
}

func check(t *testing.T, cfg *xdsresource.HealthCheck, tg Target) Result {
	t.Helper()
	p := New(cfg, tg)
	defer p.Close()
	return probe(t.Context(), 5*time.Second, p)
}

func httpCheck(change func(*xdsresource.HTTPHealthCheck)) *xdsresource.HealthCheck {
	h := &xdsresource.HTTPHealthCheck{Path: "/hz?x=1", Method: "GET", ResponseBuffer: 1024, Expected: []xdsresource.StatusRange{{Start: 200, End: 201}}}
	if change != nil {
		change(h)
	}
	return &xdsresource.HealthCheck{HTTP: h, ReuseConnection: true}
}

func TestHTTP(t *testing.T) {
	var last *http.Request
	var body string
	addr, _ := server(t, false, func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		last, body = r, string(raw)
		for k, v := range r.URL.Query() {
			if k != "x" && k != "code" {
				w.Header()[http.CanonicalHeaderKey(k)] = v
			}
		}
		switch r.URL.Query().Get("code") {
		case "503":
			w.WriteHeader(503)
		case "204":
			w.WriteHeader(204)
			return
		}
		_, _ = io.WriteString(w, "hello, all is well here")
	})
	for _, tt := range []struct {
		name   string
		change func(*xdsresource.HTTPHealthCheck)
		want   Result
	}{
		{"good", nil, Result{Status: 200}},
		{"degraded", func(h *xdsresource.HTTPHealthCheck) { h.Path = "/?x-envoy-degraded=1" }, Result{Degraded: true, Status: 200}},
		{"bad", func(h *xdsresource.HTTPHealthCheck) { h.Path = "/?code=503" }, Result{Outcome: Active, Status: 503}},
		{"retriable", func(h *xdsresource.HTTPHealthCheck) {
			h.Path, h.Retriable = "/?code=503", []xdsresource.StatusRange{{Start: 500, End: 600}}
		}, Result{Outcome: Active, Retriable: true, Status: 503}},
		{"expected", func(h *xdsresource.HTTPHealthCheck) {
			h.Path, h.Expected = "/?code=204", []xdsresource.StatusRange{{Start: 200, End: 300}}
		}, Result{Status: 204}},
		{"to be excluded", func(h *xdsresource.HTTPHealthCheck) { h.Path = "/?code=503&x-envoy-immediate-health-check-fail=1" },
			Result{Outcome: Active, Exclude: true, Status: 503}},
		{"body", func(h *xdsresource.HTTPHealthCheck) { h.Receive = [][]byte{[]byte("all"), []byte("well")} }, Result{Status: 200}},
		{"body out of order", func(h *xdsresource.HTTPHealthCheck) { h.Receive = [][]byte{[]byte("well"), []byte("all")} }, Result{Outcome: Active, Status: 200}},
		{"body beyond the buffer", func(h *xdsresource.HTTPHealthCheck) { h.Receive, h.ResponseBuffer = [][]byte{[]byte("well")}, 8 }, Result{Outcome: Active, Status: 200}},
		{"service", func(h *xdsresource.HTTPHealthCheck) {
			h.Path = "/?x-envoy-upstream-healthchecked-cluster=web-1"
			h.ServiceName = &xdsresource.StringMatch{Kind: xdsresource.StringPrefix, Value: "web"}
		}, Result{Status: 200, Verified: true}},
		{"another service", func(h *xdsresource.HTTPHealthCheck) {
			h.Path = "/?x-envoy-upstream-healthchecked-cluster=db"
			h.ServiceName = &xdsresource.StringMatch{Kind: xdsresource.StringPrefix, Value: "web"}
		}, Result{Outcome: Active, Status: 200, Verified: true}},
	} {
		if got := check(t, httpCheck(tt.change), target(addr)); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	check(t, httpCheck(func(h *xdsresource.HTTPHealthCheck) {
		h.Method, h.Send = "POST", []byte("ping")
		h.AddHeaders = []xdsresource.CheckHeader{{Name: "x-a", Value: "1"}, {Name: "x-a", Value: "2", Append: true}}
		h.RemoveHeaders = []string{"user-agent"}
	}), target(addr))
	if last.Host != "web" || last.RequestURI != "/hz?x=1" || last.Method != "POST" || body != "ping" || len(last.Header["X-A"]) != 2 || last.Header["User-Agent"] != nil {
		t.Errorf("%s %s of %s, body %q, %v", last.Method, last.RequestURI, last.Host, body, last.Header)
	}
	check(t, httpCheck(nil), target(addr))
	if last.UserAgent() != "Envoy/HC" || len(last.Header) != 1 {
		t.Errorf("headers %v", last.Header)
	}
}

// TestReuse: a connection serves one check after the other, or only one.
func TestReuse(t *testing.T) {
	for _, reuse := range []bool{true, false} {
		for _, http2 := range []bool{false, true} {
			addr, conns := server(t, http2, func(http.ResponseWriter, *http.Request) {})
			cfg := httpCheck(func(h *xdsresource.HTTPHealthCheck) { h.HTTP2 = http2 })
			cfg.ReuseConnection = reuse
			p := New(cfg, target(addr))
			for range 3 {
				if r := probe(t.Context(), 5*time.Second, p); r.Outcome != Success {
					t.Fatalf("%+v", r)
				}
			}
			p.Close()
			want := int32(3)
			if reuse {
				want = 1
			}
			if got := conns.Load(); got != want {
				t.Errorf("reuse %v, HTTP/2 %v: %d connections, want %d", reuse, http2, got, want)
			}
		}
	}
}

func TestNoAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	silent := target(ln.Addr().String())
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := target(gone.Addr().String())
	gone.Close()
	for name, cfg := range map[string]*xdsresource.HealthCheck{
		"HTTP": httpCheck(nil),
		"gRPC": {GRPC: &xdsresource.GRPCHealthCheck{}},
		"TCP":  {TCP: &xdsresource.TCPHealthCheck{Receive: [][]byte{[]byte("x")}}},
	} {
		if got := check(t, cfg, closed); got.Outcome != Network {
			t.Errorf("%s of a closed port: %v", name, got.Outcome)
		}
		p := New(cfg, silent)
		if got := probe(t.Context(), 50*time.Millisecond, p); got.Outcome != Timeout {
			t.Errorf("%s without an answer: %v", name, got.Outcome)
		}
		p.Close()
	}
}

func TestTCP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 4)
				for {
					if _, err := io.ReadFull(c, buf); err != nil {
						return
					}
					_, _ = c.Write([]byte("+PO"))
					_, _ = c.Write([]byte("NG\r\n"))
				}
			}()
		}
	}()
	tcp := func(send string, receive ...string) *xdsresource.HealthCheck {
		c := &xdsresource.TCPHealthCheck{Send: []byte(send)}
		for _, r := range receive {
			c.Receive = append(c.Receive, []byte(r))
		}
		return &xdsresource.HealthCheck{TCP: c, ReuseConnection: true}
	}
	for _, tt := range []struct {
		cfg  *xdsresource.HealthCheck
		want Outcome
	}{{tcp(""), Success}, {tcp("PING"), Success}, {tcp("PING", "PONG"), Success}, {tcp("PING", "PO", "\r\n"), Success}, {tcp("PING", "PONX"), Timeout}} {
		p := New(tt.cfg, target(ln.Addr().String()))
		for range 2 { // the second time on the connection of the first
			if got := probe(t.Context(), 200*time.Millisecond, p); got.Outcome != tt.want {
				t.Errorf("%q %q: %v, want %v", tt.cfg.TCP.Send, tt.cfg.TCP.Receive, got.Outcome, tt.want)
			}
		}
		p.Close()
	}
}

func TestGRPC(t *testing.T) {
	var service, meta string
	addr, _ := server(t, true, func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		service, meta = "", r.Header.Get("x-meta")
		if len(raw) > 7 {
			service = string(raw[7:])
		}
		if r.URL.Path != "/grpc.health.v1.Health/Check" || r.Header.Get("content-type") != "application/grpc" || r.Host != "web" || r.Header.Get("te") != "trailers" {
			w.WriteHeader(400)
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		status := map[string]byte{"up": 1, "down": 2}[service]
		frame := binary.BigEndian.AppendUint32([]byte{0}, 2)
		if service == "unknown" {
			w.Header().Set("Grpc-Status", "5")
			return
		}
		_, _ = w.Write(append(frame, 8, status))
		w.Header().Set("Grpc-Status", "0")
	})
	for name, want := range map[string]Outcome{"up": Success, "down": Active, "unknown": Active} {
		cfg := &xdsresource.HealthCheck{GRPC: &xdsresource.GRPCHealthCheck{ServiceName: name, Metadata: []xdsresource.CheckHeader{{Name: "x-meta", Value: "m"}}}}
		if got := check(t, cfg, target(addr)); got.Outcome != want || service != name || meta != "m" {
			t.Errorf("%s: %v, want %v; the server saw %q %q", name, got.Outcome, want, service, meta)
		}
	}
}

// TestTLS: checks run over the connection that Secure makes, with the protocols of the check.
func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || r.TLS.NegotiatedProtocol != "http/1.1" {
			w.WriteHeader(500)
		}
	}))
	t.Cleanup(s.Close)
	tg := target(s.Listener.Addr().String())
	tg.Secure = func(ctx context.Context, c net.Conn, protocols []string) (net.Conn, error) {
		tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: protocols})
		return tc, tc.HandshakeContext(ctx)
	}
	cfg := httpCheck(nil)
	cfg.ALPN = []string{"http/1.1"}
	if got := check(t, cfg, tg); got.Outcome != Success {
		t.Errorf("%+v", got)
	}
}

// FuzzServing: whatever a host answers, reading it ends and does not panic.
func FuzzServing(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		if serving(p) && (len(p) < 7 || p[0] != 0) {
			t.Errorf("%x counts as serving", p)
		}
	})
}
