package connpool

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// host is an upstream of HTTP/2: our own codec in the other role, with a script for each path.
type host struct {
	http2.Handler
	t     *testing.T
	conn  net.Conn
	codec http2.Conn
	maps  map[uint32]*[2]header.Map
	held  []*http2.Stream // of /wait
	do    func(h *host, s *http2.Stream, path string)
	quiet bool // answers nothing, not even PING
}

// hosts starts an upstream and returns its address.
func hosts(t *testing.T, cfg http2.Config, do func(h *host, s *http2.Stream, path string)) string {
	t.Helper()
	cfg.Server = true
	return serve(t, func(c net.Conn) {
		h := &host{t: t, conn: c, maps: map[uint32]*[2]header.Map{}, do: do}
		h.codec.Init(&cfg, h, &http2.Pool{}, nil, 1)
		h.run()
	})
}

func (h *host) run() {
	buf := make([]byte, 64<<10)
	for {
		h.flush()
		n, err := h.conn.Read(buf)
		if err != nil {
			return
		}
		if h.quiet {
			continue
		}
		if err := h.codec.Feed(buf[:n], 1); err != nil {
			h.t.Errorf("the pool sends what is no HTTP/2: %v", err)
			return
		}
	}
}

func (h *host) flush() {
	var out iobuf.Buffer
	h.codec.Pull(&out, 1<<30)
	_, _ = h.conn.Write(out.Bytes())
}

func (h *host) OnStream(s *http2.Stream) {
	m := &[2]header.Map{}
	h.maps[s.ID] = m
	s.Head, s.Trailers = &m[0], &m[1]
}

func (h *host) OnHeaders(s *http2.Stream, _ bool) {
	h.do(h, s, strings.TrimPrefix(string(s.Head.Value(header.Path)), "/"))
}
func (h *host) OnData(*http2.Stream, []byte, bool)                    {}
func (h *host) OnTrailers(*http2.Stream)                              {}
func (h *host) OnReset(*http2.Stream, http2.Code, *http2.StreamError) {}
func (h *host) OnWritable(*http2.Stream)                              {}
func (h *host) OnGoAway(http2.Code)                                   {}
func (h *host) OnSettings()                                           {}
func (h *host) OnPong(uint64)                                         {}
func (h *host) Count(http2.Stat, int64)                               {}

func status(code string) *header.Map {
	h := &header.Map{}
	h.AddString(header.Status, code)
	return h
}

// play is what the hosts of these tests do.
func play(h *host, s *http2.Stream, path string) {
	c := &h.codec
	switch path {
	case "wait":
		h.held = append(h.held, s)
	case "release":
		for _, w := range h.held {
			c.SendHeaders(w, status("200"), false)
			c.SendData(w, []byte("late"), true)
		}
		h.held = nil
		c.SendHeaders(s, status("204"), true)
	case "trailers":
		c.SendHeaders(s, status("200"), false)
		c.SendData(s, []byte("hi"), false)
		t := &header.Map{}
		t.AddString(header.GRPCStatus, "0")
		c.SendTrailers(s, t)
	case "interim":
		c.SendInterim(s, status("103"))
		c.SendHeaders(s, status("200"), true)
	case "reset":
		c.Reset(s, http2.InternalError)
	case "refuse":
		c.Reset(s, http2.RefusedStream)
	case "cut":
		c.SendHeaders(s, status("200"), false)
		c.SendData(s, []byte("ha"), false)
		c.Reset(s, http2.InternalError)
	case "bad":
		c.SendHeaders(s, status("2x0"), true)
	case "close":
		h.conn.Close()
	case "goaway":
		c.GoAway(http2.NoError)
		c.SendHeaders(s, status("200"), true)
	case "quiet":
		h.quiet = true
	default:
		c.SendHeaders(s, status("200"), false)
		c.SendData(s, []byte(path), true)
	}
}

func http2Cluster(c *xdsresource.Cluster) { c.HTTP.Protocol = xdsresource.UpstreamHTTP2 }

// TestHTTP2Answers: what becomes of a request, and whether its connection goes on.
func TestHTTP2Answers(t *testing.T) {
	addr := hosts(t, http2.Config{}, play)
	f := func(name, want string, same bool) {
		t.Helper()
		w := newWorld(t, addr, http2Cluster)
		if got := w.wait(w.start("/"+name, false)); got != "/"+name+": "+want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if got := w.wait(w.start("/again", false)); got != "/again: 200 again." {
			t.Errorf("after %s: %q", name, got)
		}
		conns := int64(2)
		if same {
			conns = 1
		}
		w.waitStat("upstream_cx_http2_total", conns)
		w.waitStat("upstream_cx_http1_total", 0)
		w.waitStat("upstream_rq_active", 0)
		w.waitStat("upstream_cx_active", 1)
		w.waitStat("http2.streams_active", 0)
	}
	f("ok", "200 ok.", true)
	f("trailers", "200 hi 1 trailers.", true)
	f("interim", "[103]200 .", true)
	f("reset", "reset: remote reset", true)
	f("refuse", "reset: remote refused stream reset", true)
	f("cut", "200 hareset: remote reset", true)
	f("bad", "reset: protocol error", false)
	f("close", "reset: connection termination", false)
	f("goaway", "200 .", false)
}

// TestHTTP2Shares: requests share a connection up to the number of streams that both sides allow.
func TestHTTP2Shares(t *testing.T) {
	run := func(t *testing.T, host, own uint32, conns int64) {
		w := newWorld(t, hosts(t, http2.Config{MaxConcurrentStreams: host}, play), func(c *xdsresource.Cluster) {
			http2Cluster(c)
			c.HTTP.HTTP2.MaxConcurrentStreams = own
		})
		w.wait(w.start("/first", false)) // the host's settings are known behind this one
		var calls []*call
		for range 4 {
			calls = append(calls, w.start("/wait", false))
		}
		w.waitStat("upstream_rq_active", 4)
		w.waitStat("upstream_cx_active", conns)
		for _, c := range calls {
			w.do(func() { c.req.Cancel(); c.req.Release() })
		}
		w.waitStat("upstream_rq_active", 0)
		w.waitStat("upstream_rq_tx_reset", 4)
		if got := w.wait(w.start("/again", false)); got != "/again: 200 again." {
			t.Errorf("after the others were given up: %q", got)
		}
		w.waitStat("upstream_cx_active", conns)
	}
	t.Run("one", func(t *testing.T) { run(t, 100, 0, 1) })
	t.Run("the host's limit", func(t *testing.T) { run(t, 2, 0, 2) })
	t.Run("our limit", func(t *testing.T) { run(t, 100, 2, 2) })
	t.Run("one at a time", func(t *testing.T) { run(t, 100, 1, 4) })
}

// TestHTTP2Together: requests that come while the connection is being made use that one.
func TestHTTP2Together(t *testing.T) {
	w := newWorld(t, hosts(t, http2.Config{}, play), http2Cluster)
	var calls []*call
	for i := range 50 {
		calls = append(calls, w.start(fmt.Sprint("/", i), false))
	}
	for i, c := range calls {
		if got, want := w.wait(c), fmt.Sprintf("/%d: 200 %d.", i, i); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	w.waitStat("upstream_cx_total", 1)
}

// TestHTTP2GoAwayRefused: streams that GOAWAY leaves out were not looked at, and say so.
func TestHTTP2GoAwayRefused(t *testing.T) {
	addr := hosts(t, http2.Config{}, func(h *host, s *http2.Stream, path string) {
		if path == "second" { // GOAWAY that names the first alone
			_, _ = h.conn.Write([]byte("\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00"))
			return
		}
		play(h, s, path)
	})
	w := newWorld(t, addr, http2Cluster)
	first := w.start("/wait", false)
	w.waitStat("upstream_rq_active", 1)
	if got := w.wait(w.start("/second", false)); got != "/second: reset: remote refused stream reset" {
		t.Errorf("got %q", got)
	}
	w.waitStat("upstream_cx_close_notify", 1)
	if got := w.wait(w.start("/third", false)); got != "/third: 200 third." {
		t.Errorf("got %q", got)
	}
	w.waitStat("upstream_cx_total", 2)
	w.waitStat("upstream_cx_active", 2) // the first request's is not over
	w.do(func() { first.req.Cancel(); first.req.Release() })
	w.waitStat("upstream_cx_active", 1)
}

// TestHTTP2Ends: what ends a connection that has nothing to do, or has done enough.
func TestHTTP2Ends(t *testing.T) {
	addr := hosts(t, http2.Config{}, play)
	f := func(name string, change func(*xdsresource.UpstreamHTTP), stat string) {
		t.Helper()
		w := newWorld(t, addr, func(c *xdsresource.Cluster) { http2Cluster(c); change(&c.HTTP) })
		if got := w.wait(w.start("/ok", false)); got != "/ok: 200 ok." {
			t.Errorf("%s: %q", name, got)
		}
		w.waitStat("upstream_cx_active", 0)
		w.waitStat(stat, 1)
	}
	f("idle", func(h *xdsresource.UpstreamHTTP) { h.IdleTimeout = 30 * time.Millisecond }, "upstream_cx_idle_timeout")
	f("requests", func(h *xdsresource.UpstreamHTTP) { h.MaxRequestsPerConnection = 1 }, "upstream_cx_max_requests")
	f("duration", func(h *xdsresource.UpstreamHTTP) { h.MaxConnectionDuration = 30 * time.Millisecond }, "upstream_cx_max_duration_reached")

	w := newWorld(t, addr, func(c *xdsresource.Cluster) {
		http2Cluster(c)
		c.HTTP.HTTP2.Keepalive = &xdsresource.HTTP2Keepalive{Interval: 20 * time.Millisecond, Timeout: 20 * time.Millisecond}
	})
	if got := w.wait(w.start("/quiet", false)); got != "/quiet: reset: connection termination" {
		t.Errorf("keepalive: %q", got)
	}
	w.waitStat("http2.keepalive_timeout", 1)
	w.waitStat("upstream_cx_active", 0)
}

// TestHTTP2AsDownstream: the client's version is the host's.
func TestHTTP2AsDownstream(t *testing.T) {
	w := newWorld(t, hosts(t, http2.Config{}, play), func(c *xdsresource.Cluster) { c.HTTP.Protocol = xdsresource.UpstreamAsDownstream })
	c := &call{done: make(chan string, 1)}
	c.req.FromHTTP2 = true
	w.begin(c, "/ok")
	if got := w.wait(c); got != "/ok: 200 ok." {
		t.Errorf("got %q", got)
	}
	w.waitStat("upstream_cx_http2_total", 1)

	w = newWorld(t, upstream(t, func(string) string { return ok }), func(c *xdsresource.Cluster) { c.HTTP.Protocol = xdsresource.UpstreamAsDownstream })
	if got := w.wait(w.start("/ok", false)); got != "/ok: 200 hi." {
		t.Errorf("got %q", got)
	}
	w.waitStat("upstream_cx_http1_total", 1)
}

// TestHTTP2NoUpgrade: an upgrade is refused where the host does not offer extended CONNECT.
func TestHTTP2NoUpgrade(t *testing.T) {
	w := newWorld(t, hosts(t, http2.Config{}, play), http2Cluster)
	c := &call{done: make(chan string, 1)}
	c.req.Upgrade = true
	w.begin(c, "/ok")
	if got := w.wait(c); got != "/ok: failed: protocol error" {
		t.Errorf("got %q", got)
	}
	w.waitStat("upstream_rq_active", 0)
}

// TestHTTP2Breakers hold for streams.
func TestHTTP2Breakers(t *testing.T) {
	w := newWorld(t, hosts(t, http2.Config{}, play), func(c *xdsresource.Cluster) {
		http2Cluster(c)
		c.Breakers[0].MaxRequests = 1
	})
	first := w.start("/wait", false)
	w.waitStat("upstream_rq_active", 1)
	if got := w.wait(w.start("/ok", false)); got != "/ok: failed: overflow" {
		t.Errorf("got %q", got)
	}
	w.do(func() { first.req.Cancel(); first.req.Release() })
	if got := w.wait(w.start("/ok", false)); got != "/ok: 200 ok." {
		t.Errorf("got %q", got)
	}
}

// TestHTTP2DestroyedActive: a connection that ends under requests is counted once, however many and whatever ends it.
func TestHTTP2DestroyedActive(t *testing.T) {
	addr := hosts(t, http2.Config{}, play)
	for name, active := range map[string]int64{"bad": 1, "close": 1, "goaway": 0} {
		w := newWorld(t, addr, http2Cluster)
		var others []*call
		if active > 0 {
			others = append(others, w.start("/wait", false), w.start("/wait", false))
		}
		w.wait(w.start("/"+name, false))
		for _, c := range others {
			w.wait(c)
		}
		w.waitStat("upstream_cx_active", 0)
		w.waitStat("upstream_cx_destroy_with_active_rq", active)
		w.waitStat("upstream_rq_active", 0)
	}
}

// TestHTTP2UpgradeToHTTP1: an upgrade waits for the host's settings; a host that has none to give is not dialled again and again.
func TestHTTP2UpgradeToHTTP1(t *testing.T) {
	w := newWorld(t, upstream(t, func(string) string { return "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n" }), http2Cluster)
	c := &call{done: make(chan string, 1)}
	c.req.Upgrade = true
	w.begin(c, "/ok")
	if got := w.wait(c); got != "/ok: failed: remote connection failure" {
		t.Errorf("got %q", got)
	}
	w.waitStat("upstream_cx_total", 1)
	w.waitStat("upstream_cx_active", 0)
	w.waitStat("upstream_rq_pending_active", 0)
}
