package http2

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

func feed(t testing.TB, c *Conn, p string) {
	t.Helper()
	if err := c.Feed([]byte(p), 2); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s\ngot:\n%swant:\n%s", what, got, want)
	}
}

// dialogue is a client and a server that talk to each other.
type dialogue struct {
	t              testing.TB
	client, server *Conn
	co, so         *owner
	buf            iobuf.Buffer
	tap            func(p []byte) // sees what is carried; nil: nobody does
}

func newDialogue(t testing.TB, client, server *Config) *dialogue {
	d := &dialogue{t: t, client: &Conn{}, server: &Conn{}, co: &owner{}, so: &owner{}}
	pool := &iobuf.Pool{}
	d.co.c, d.so.c = d.client, d.server
	d.client.Init(client, d.co, &Pool{}, pool, 1)
	d.server.Init(server, d.so, &Pool{}, pool, 1)
	d.buf.Init(pool)
	d.run()
	d.co.take()
	d.so.take()
	return d
}

// run carries bytes both ways until nothing moves.
func (d *dialogue) run() {
	for d.client.Waiting() || d.server.Waiting() {
		d.carry(d.client, d.server)
		d.carry(d.server, d.client)
	}
}

func (d *dialogue) carry(from, to *Conn) {
	from.Pull(&d.buf, 1<<20)
	if d.tap != nil {
		d.tap(d.buf.Bytes())
	}
	if err := to.Feed(d.buf.Bytes(), 2); err != nil {
		d.t.Fatal(err)
	}
	d.buf.Reset()
}

func (d *dialogue) open(h *header.Map, end bool) *Stream {
	m := d.co.mapsOf(d.client.next)
	return d.client.Open(h, end, &m[0], &m[1], nil, nil, 2)
}

var requestMap = mapOf(":path /a", ":authority a.example", "x-one 1", ":method POST", ":scheme http", "connection close", "upgrade x", "cookie a=b")

// TestExchange: a request and a response with everything that they can have.
func TestExchange(t *testing.T) {
	d := newDialogue(t, &Config{}, &Config{Server: true})
	d.so.onData = func(s *Stream, _ []byte, end bool) {
		if end {
			return
		}
		d.server.SendInterim(s, mapOf(":status 103", "link <a>"))
		d.server.SendHeaders(s, mapOf(":status 200", "content-type text/plain"), false)
		d.server.SendData(s, []byte("hello"), false)
	}
	s := d.open(requestMap, false)
	d.client.SendData(s, []byte("body"), false)
	d.run()
	server := d.server.find(1)
	d.client.SendTrailers(s, mapOf("x-sum 9"))
	d.server.SendTrailers(server, mapOf("grpc-status 0", "x-end yes"))
	d.run()
	want(t, "server", d.so.take(), `1 headers :path=/a :authority=a.example :method=POST :scheme=http x-one=1 cookie=a=b end=false
1 data "body" end=false
1 trailers x-sum=9
`)
	want(t, "client", d.co.take(), `1 interim :status=103 link=<a>
1 headers :status=200 content-type=text/plain end=false
1 data "hello" end=false
1 trailers grpc-status=0 x-end=yes
`)
	if n := d.client.Streams() + d.server.Streams(); n != 0 {
		t.Errorf("%d streams are still open", n)
	}
}

// TestHeadAndNoContent: content-length without DATA is right where there can be none.
func TestHeadAndNoContent(t *testing.T) {
	d := newDialogue(t, &Config{}, &Config{Server: true})
	status := ":status 200"
	d.so.onHead = func(s *Stream, _ bool) { d.server.SendHeaders(s, mapOf(status, "content-length 9"), true) }
	d.open(mapOf(":method HEAD", ":scheme http", ":path /", ":authority a"), true)
	d.run()
	status = ":status 304"
	d.open(mapOf(":method GET", ":scheme http", ":path /", ":authority a"), true)
	d.run()
	want(t, "client", d.co.take(), "1 headers :status=200 content-length=9 end=true\n3 headers :status=304 content-length=9 end=true\n")
}

// TestResponseFaults: what a client refuses of a server.
func TestResponseFaults(t *testing.T) {
	for _, tt := range []struct{ name, input, want string }{
		{"no :status", headers(1, eh|es, block("x a")), "1 fault PROTOCOL_ERROR\n"},
		{":status of two digits", headers(1, eh|es, block(":status 20")), "1 fault PROTOCOL_ERROR\n"},
		{":status with letters", headers(1, eh|es, block(":status 2xx")), "1 fault PROTOCOL_ERROR\n"},
		{":status of 600", headers(1, eh|es, block(":status 600")), "1 fault PROTOCOL_ERROR\n"},
		{"pseudo-header of requests", headers(1, eh|es, block(":status 200", ":path /")), "1 fault PROTOCOL_ERROR\n"},
		{"interim response that ends", headers(1, eh|es, block(":status 103")), "1 fault PROTOCOL_ERROR\n"},
		{"101", headers(1, eh, block(":status 101")), "1 fault PROTOCOL_ERROR\n"},
		{"DATA before the response", data(1, 0, "x"), "1 fault PROTOCOL_ERROR\n"},
		{"DATA before the response, after an interim one", headers(1, eh, block(":status 103")) + data(1, 0, "x"), "1 interim :status=103\n1 fault PROTOCOL_ERROR\n"},
		{"less than content-length", headers(1, eh, block(":status 200", "content-length 9")) + data(1, es, "x"), "1 headers :status=200 content-length=9 end=false\n1 fault PROTOCOL_ERROR\n"},
		{"REFUSED_STREAM", frameOf(frameRSTStream, 0, 1, u32(7)), "1 reset REFUSED_STREAM\n"},
		{"GOAWAY below", frameOf(frameGoAway, 0, 0, u32(0)+u32(0)), "goaway NO_ERROR\n1 reset REFUSED_STREAM\n"},
		{"GOAWAY above", frameOf(frameGoAway, 0, 0, u32(1)+u32(0)) + headers(1, eh|es, block(":status 200")), "goaway NO_ERROR\n1 headers :status=200 end=true\n"},
		{"host is a header like others", headers(1, eh|es, block(":status 200", "host x")), "1 headers :status=200 host=x end=true\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, o := start(t, &Config{StreamErrors: true})
			m := o.mapsOf(1)
			c.Open(mapOf(":method GET", ":scheme http", ":path /", ":authority a"), true, &m[0], &m[1], nil, nil, 2)
			feed(t, c, tt.input)
			want(t, "events", o.take(), tt.want)
		})
	}
	for _, tt := range []struct {
		name, input string
		want        *ConnError
	}{
		{"PUSH_PROMISE", frameOf(framePushPromise, eh, 1, u32(2)+get()), ErrPush},
		{"ENABLE_PUSH of a server", settings(settingEnablePush, 1), ErrSettingValue},
		{"HEADERS on a stream of the server's", headers(2, eh|es, block(":status 200")), ErrIdleStream},
		{"HEADERS on a stream that we have not opened", headers(1, eh|es, block(":status 200")), ErrIdleStream},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := start(t, &Config{})
			if err := c.Feed([]byte(tt.input), 2); err != tt.want {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestCookies: crumbs become one header (RFC 9113, 8.2.3).
func TestCookies(t *testing.T) {
	c, o := start(t, &Config{Server: true})
	feed(t, c, headers(1, es|eh, get("cookie a=b", "x 1", "cookie c=d", "cookie e=f")))
	want(t, "request", o.take(), "1 headers :method=GET :scheme=http :path=/ :authority=a.example x=1 cookie=a=b; c=d; e=f end=true\n")
}

// TestExtendedConnect: RFC 8441, where it is offered.
func TestExtendedConnect(t *testing.T) {
	d := newDialogue(t, &Config{}, &Config{Server: true, AllowConnect: true})
	if !d.client.PeerAllowsConnect() {
		t.Fatal("the offer did not arrive")
	}
	d.open(mapOf(":method CONNECT", ":protocol websocket", ":scheme http", ":path /chat", ":authority a"), false)
	d.run()
	want(t, "server", d.so.take(), "1 headers :method=CONNECT :protocol=websocket :scheme=http :path=/chat :authority=a end=false\n")
	d.server.cfg = &Config{Server: true, AllowConnect: true, StreamErrors: true}
	for _, fields := range [][]string{
		{":method GET", ":protocol websocket", ":scheme http", ":path /", ":authority a"},
		{":method CONNECT", ":protocol websocket", ":path /", ":authority a"},
		{":method CONNECT", ":protocol websocket", ":scheme http", ":authority a"},
		{":method CONNECT", ":protocol websocket", ":scheme http", ":path /"},
		{":method CONNECT", ":protocol web socket", ":scheme http", ":path /", ":authority a"},
	} {
		d.open(mapOf(fields...), false)
		d.run()
		if got := d.so.take(); !strings.Contains(got, "fault PROTOCOL_ERROR") {
			t.Errorf("%v: %s", fields, got)
		}
	}
}

// TestWindows: no more is sent than the peer's windows allow, and the rest when they open.
func TestWindows(t *testing.T) {
	c, o := start(t, &Config{Server: true})
	r := newReader()
	feed(t, c, settings(settingInitialWindowSize, 10)+headers(1, es|eh, get())+headers(3, es|eh, get()))
	one, three := c.find(1), c.find(3)
	ok := mapOf(":status 200")
	c.SendHeaders(one, ok, false)
	c.SendData(one, []byte("123456789012345"), true)
	c.SendHeaders(three, ok, false)
	c.SendData(three, []byte("abc"), true)
	want(t, "ten bytes are allowed", r.read(t, pull(c)), "SETTINGS 0  ACK\nHEADERS 1 :status=200\nDATA 1 10\nHEADERS 3 :status=200\nDATA 3 3 END\n")
	feed(t, c, frameOf(frameWindowUpdate, 0, 1, u32(2)))
	want(t, "two more", r.read(t, pull(c)), "DATA 1 2\n")
	feed(t, c, settings(settingInitialWindowSize, 5))
	want(t, "the window is below zero", r.read(t, pull(c)), "SETTINGS 0  ACK\n")
	feed(t, c, frameOf(frameWindowUpdate, 0, 1, u32(5)))
	want(t, "and now zero", r.read(t, pull(c)), "")
	feed(t, c, settings(settingInitialWindowSize, 100))
	want(t, "the rest", r.read(t, pull(c)), "SETTINGS 0  ACK\nDATA 1 3 END\n")
	if c.Streams() != 0 {
		t.Error("streams are left")
	}
	o.take()
}

// TestConnectionWindow: streams share the connection's window, in turns.
func TestConnectionWindow(t *testing.T) {
	c, _ := start(t, &Config{Server: true})
	r := newReader()
	feed(t, c, settings(settingInitialWindowSize, 1<<20)+headers(1, es|eh, get())+headers(3, es|eh, get())+headers(5, es|eh, get()))
	for _, id := range []uint32{1, 3, 5} {
		c.SendHeaders(c.find(id), mapOf(":status 200"), false)
		c.SendData(c.find(id), make([]byte, 40000), true)
	}
	// The first was alone, and so went into the queue at once; then there is one frame for each in turn.
	want(t, "first window", r.read(t, pull(c)), `SETTINGS 0  ACK
HEADERS 1 :status=200
DATA 1 16384
DATA 1 16384
DATA 1 7232 END
HEADERS 3 :status=200
DATA 3 16384
DATA 3 9151
HEADERS 5 :status=200
`)
	feed(t, c, frameOf(frameWindowUpdate, 0, 0, u32(1<<20)))
	want(t, "in turns", r.read(t, pull(c)), "DATA 3 14465 END\nDATA 5 16384\nDATA 5 16384\nDATA 5 7232 END\n")
}

// TestTurns: a large body does not hold up others.
func TestTurns(t *testing.T) {
	c, _ := start(t, &Config{Server: true})
	r := newReader()
	feed(t, c, settings(settingInitialWindowSize, 0)+frameOf(frameWindowUpdate, 0, 0, u32(1<<20)))
	for _, id := range []uint32{1, 3, 5} {
		feed(t, c, headers(id, es|eh, get()))
		c.SendHeaders(c.find(id), mapOf(":status 200"), false)
		c.SendData(c.find(id), make([]byte, 16384*int(id)), true)
	}
	pull(c)
	feed(t, c, settings(settingInitialWindowSize, 1<<20))
	got := r.read(t, pull(c))
	order := ""
	for _, line := range strings.Split(got, "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "DATA" {
			order += f[1]
		}
	}
	if len(order) != 9 || strings.Count(order[:3], "1") != 1 || strings.Count(order[:3], "3") != 1 || strings.Count(order[:3], "5") != 1 || order[7:] != "55" {
		t.Errorf("the order of DATA is %s, want one of each first, and 5 alone last", order)
	}
}

// TestWritable: a stream is blocked beyond its limit, and told when it is not.
func TestWritable(t *testing.T) {
	c, o := start(t, &Config{Server: true, SendLimit: 100})
	feed(t, c, settings(settingInitialWindowSize, 0)+headers(1, es|eh, get()))
	s := c.find(1)
	o.take()
	c.SendHeaders(s, mapOf(":status 200"), false)
	c.SendData(s, make([]byte, 100), false)
	if s.Blocked() {
		t.Error("blocked at the limit")
	}
	c.SendData(s, make([]byte, 1), false)
	if !s.Blocked() {
		t.Error("not blocked beyond the limit")
	}
	feed(t, c, frameOf(frameWindowUpdate, 0, 1, u32(50)))
	pull(c)
	want(t, "above half of the limit", o.take(), "")
	feed(t, c, frameOf(frameWindowUpdate, 0, 1, u32(1)))
	pull(c)
	want(t, "at half of the limit", o.take(), "1 writable\n")
}

// TestPause: a paused stream gives no window back, and the connection's stays with it; both come when it resumes.
func TestPause(t *testing.T) {
	c, o := start(t, &Config{Server: true, StreamWindow: 1000, ConnWindow: 70000})
	r := newReader()
	o.onData = func(s *Stream, _ []byte, _ bool) { s.Pause() }
	feed(t, c, headers(1, eh, post())+data(1, 0, rep("x", 600)))
	want(t, "paused", r.read(t, pull(c)), "")
	c.find(1).Resume()
	want(t, "resumed", r.read(t, pull(c)), "WINDOW_UPDATE 1 600\n")
	o.onData = nil
	feed(t, c, data(1, 0, rep("x", 400))+data(1, flagPadded, "\x63"+rep("p", 99)))
	want(t, "padding counts as well", r.read(t, pull(c)), "WINDOW_UPDATE 1 500\n")
}

// TestPausedStreamThatEnds gives the connection its window back.
func TestPausedStreamThatEnds(t *testing.T) {
	c, o := start(t, &Config{Server: true, StreamWindow: 70000, ConnWindow: 70000})
	o.onData = func(s *Stream, _ []byte, _ bool) { s.Pause() }
	feed(t, c, headers(1, eh, post())+rep(data(1, 0, rep("x", 10000)), 4))
	want(t, "paused", newReader().read(t, pull(c)), "")
	feed(t, c, frameOf(frameRSTStream, 0, 1, u32(8)))
	want(t, "reset", newReader().read(t, pull(c)), "WINDOW_UPDATE 0 40000\n")
}

// TestDetach: an owner that is done leaves the rest to the codec.
func TestDetach(t *testing.T) {
	t.Run("request not complete", func(t *testing.T) {
		c, o := start(t, &Config{Server: true})
		feed(t, c, headers(1, eh, post()))
		o.take()
		s := c.find(1)
		c.SendHeaders(s, mapOf(":status 413"), true)
		c.Detach(s, 2)
		want(t, "sent", newReader().read(t, pull(c)), "HEADERS 1 :status=413 END\nRST_STREAM 1 NO_ERROR\n")
		feed(t, c, data(1, 0, "more")+headers(1, eh|es, block("x-sum 1")))
		want(t, "what crosses it is dropped", o.take()+newReader().read(t, pull(c)), "")
	})
	t.Run("unsent data", func(t *testing.T) {
		c, o := start(t, &Config{Server: true})
		feed(t, c, settings(settingInitialWindowSize, 4)+headers(1, eh, post()))
		o.take()
		s := c.find(1)
		c.SendHeaders(s, mapOf(":status 200"), false)
		c.SendData(s, []byte("123456"), false)
		c.SendTrailers(s, mapOf("x-sum 1", "x-sum 2"))
		c.Detach(s, 2)
		r := newReader()
		want(t, "first", r.read(t, pull(c)), "SETTINGS 0  ACK\nHEADERS 1 :status=200\nDATA 1 4\n")
		feed(t, c, data(1, 0, "dropped"))
		feed(t, c, frameOf(frameWindowUpdate, 0, 1, u32(10)))
		want(t, "rest", o.take()+r.read(t, pull(c)), "DATA 1 2\nHEADERS 1 x-sum=1 x-sum=2 END\nRST_STREAM 1 NO_ERROR\n")
	})
	t.Run("peer that never takes it", func(t *testing.T) {
		c, o := start(t, &Config{Server: true, FlushTimeout: 10})
		feed(t, c, settings(settingInitialWindowSize, 0)+headers(1, es|eh, get()))
		s := c.find(1)
		c.SendHeaders(s, mapOf(":status 200"), false)
		c.SendData(s, []byte("123456"), true)
		c.Detach(s, 100)
		pull(c)
		if at := c.Due(); at != 110 {
			t.Errorf("given up at %d, want 110", at)
		}
		c.Tick(109, 0)
		if c.Streams() != 1 {
			t.Error("given up too early")
		}
		c.Tick(110, 0)
		if c.Streams() != 0 || o.stats[StatTxFlushTimeout] != 1 || c.Due() != 0 {
			t.Errorf("%d streams, tx_flush_timeout is %d, next at %d", c.Streams(), o.stats[StatTxFlushTimeout], c.Due())
		}
		want(t, "sent", newReader().read(t, pull(c)), "RST_STREAM 1 CANCEL\n")
	})
}

// TestGoAway: after Shutdown streams are still served, after GoAway those that had come.
func TestGoAway(t *testing.T) {
	c, o := start(t, &Config{Server: true})
	r := newReader()
	c.Shutdown()
	feed(t, c, headers(1, es|eh, get()))
	c.GoAway(NoError)
	feed(t, c, headers(3, es|eh, get())+data(3, 0, "x"))
	want(t, "events", o.take(), "1 headers :method=GET :scheme=http :path=/ :authority=a.example end=true\n")
	c.SendHeaders(c.find(1), mapOf(":status 200"), true)
	want(t, "sent", r.read(t, pull(c)), "GOAWAY 0 last=2147483647 NO_ERROR\nGOAWAY 0 last=1 NO_ERROR\nHEADERS 1 :status=200 END\n")
}

// TestLargeHead is split into frames of the peer's size.
func TestLargeHead(t *testing.T) {
	d := newDialogue(t, &Config{MaxHeaderBytes: 200 << 10}, &Config{Server: true, MaxHeaderBytes: 200 << 10})
	d.open(mapOf(":method GET", ":scheme http", ":path /", ":authority a", "x-big "+rep("~", 50000)), true)
	sent := newReader()
	p := pull(d.client)
	if got := sent.read(t, p); strings.Count(got, "CONTINUATION") < 3 {
		t.Errorf("sent as %.200s", got)
	}
	feed(t, d.server, string(p))
	if got := d.so.take(); !strings.Contains(got, rep("~", 50000)) {
		t.Errorf("received %.200s", got)
	}
}

// TestCapacity: a client keeps to the peer's number of streams, and to its own.
func TestCapacity(t *testing.T) {
	c, o := start(t, &Config{MaxConcurrentStreams: 3})
	if n := c.Capacity(); n != 3 {
		t.Errorf("capacity is %d, want our 3", n)
	}
	feed(t, c, settings(settingMaxConcurrentStreams, 2))
	m := o.mapsOf(1)
	s := c.Open(mapOf(":method GET", ":scheme http", ":path /", ":authority a"), true, &m[0], &m[1], nil, nil, 2)
	if n := c.Capacity(); n != 1 {
		t.Errorf("capacity is %d, want 1", n)
	}
	c.Reset(s, Cancel)
	feed(t, c, headers(1, eh, block(":status 200"))+data(1, 0, "late"))
	if n := c.Capacity(); n != 2 {
		t.Errorf("capacity is %d, want 2", n)
	}
	feed(t, c, frameOf(frameGoAway, 0, 0, u32(0)+u32(0)))
	if n := c.Capacity(); n != 0 {
		t.Errorf("capacity is %d after GOAWAY", n)
	}
}

// TestPing both ways.
func TestPing(t *testing.T) {
	c, o := start(t, &Config{})
	feed(t, c, frameOf(framePing, 0, 0, "abcdefgh"))
	c.Ping(7)
	want(t, "sent", newReader().read(t, pull(c)), "PING 0 6162636465666768 ACK\nPING 0 0000000000000007\n")
	feed(t, c, frameOf(framePing, flagAck, 0, "\x00\x00\x00\x00\x00\x00\x00\x07"))
	want(t, "events", o.take(), "pong 7\n")
}

// TestKeepalive: PINGs at their interval, and the end when one is not answered in time.
func TestKeepalive(t *testing.T) {
	c, o := start(t, &Config{Keepalive: &Keepalive{Interval: 100, Timeout: 30}})
	r := newReader()
	c.Tick(1000, 0)
	want(t, "nothing at the start", r.read(t, pull(c)), "")
	if at := c.Due(); at != 1100 {
		t.Fatalf("due at %d, want 1100", at)
	}
	c.Tick(1100, 0)
	want(t, "at the interval", r.read(t, pull(c)), "PING 0 0000000000000001\n")
	if at := c.Due(); at != 1130 {
		t.Errorf("due at %d, want 1130", at)
	}
	feed(t, c, frameOf(framePing, flagAck, 0, "\x00\x00\x00\x00\x00\x00\x00\x01"))
	if c.Tick(1130, 0) {
		t.Error("dead, though it has answered")
	}
	c.Tick(1200, 0)
	if !c.Tick(1230, 0) || o.stats[StatKeepaliveTimeout] != 1 {
		t.Error("not dead, though it has not answered")
	}

	c, o = start(t, &Config{Keepalive: &Keepalive{IdleInterval: 100, Timeout: 30}})
	m := o.mapsOf(1)
	open := func(now int64) string {
		c.Open(mapOf(":method GET", ":scheme http", ":path /", ":authority a"), true, &m[0], &m[1], nil, nil, now)
		return r.read(t, pull(c))
	}
	r = newReader()
	if got := open(50); strings.Contains(got, "PING") {
		t.Errorf("not silent for long, and yet: %s", got)
	}
	if got := open(102); !strings.HasPrefix(got, "PING") {
		t.Errorf("silent for long, and yet no PING first: %s", got)
	}
}

// TestOutboundFlood: a peer that makes us answer and does not read is given up.
func TestOutboundFlood(t *testing.T) {
	c, o := start(t, &Config{Server: true, MaxOutboundFrames: 50})
	feed(t, c, headers(1, eh|es, get()))
	s := c.find(1)
	c.SendHeaders(s, mapOf(":status 200"), false)
	for range 50 {
		c.SendData(s, []byte("x"), false)
	}
	if c.Failure() != ErrOutboundFlood || o.stats[StatOutboundFlood] != 1 {
		t.Errorf("failure is %v, outbound_flood is %d", c.Failure(), o.stats[StatOutboundFlood])
	}
	if err := c.Feed([]byte(frameOf(framePing, 0, 0, "12345678")), 2); err != ErrOutboundFlood {
		t.Errorf("Feed says %v", err)
	}
}

// exchanges runs n requests with a body and its echo through a dialogue.
func exchanges(d *dialogue, n int) {
	h := mapOf(":method POST", ":path /shop.Catalog/Get", ":authority catalog.example", ":scheme http", "content-type application/grpc", "te trailers", "user-agent grpc-go/1.85.0")
	ok := mapOf(":status 200", "content-type application/grpc")
	trailers := mapOf("grpc-status 0", "grpc-message ")
	body := make([]byte, 100)
	server := &echo{owner: d.so}
	client := &echo{owner: d.co}
	d.server.h, d.client.h = server, client
	server.do = func(s *Stream, p []byte, end bool) {
		if end {
			d.server.SendHeaders(s, ok, false)
			d.server.SendData(s, p, false)
			d.server.SendTrailers(s, trailers)
		}
	}
	for range n {
		for i := range 2 {
			server.m[i].Reset()
			client.m[i].Reset()
		}
		s := d.client.Open(h, false, &client.m[0], &client.m[1], nil, nil, 2)
		d.client.SendData(s, body, true)
		d.run()
	}
}

// echo is a Handler without a log, which allocates nothing itself. It uses the same maps for every stream.
type echo struct {
	*owner
	m  [2]header.Map
	do func(s *Stream, p []byte, end bool)
}

func (e *echo) OnStream(s *Stream)      { s.Head, s.Trailers = &e.m[0], &e.m[1] }
func (e *echo) OnHeaders(*Stream, bool) {}
func (e *echo) OnTrailers(*Stream)      {}
func (e *echo) OnData(s *Stream, p []byte, end bool) {
	if e.do != nil {
		e.do(s, p, end)
	}
}

// TestNoAllocationPerRequest: both roles, in steady state.
func TestNoAllocationPerRequest(t *testing.T) {
	d := newDialogue(t, &Config{}, &Config{Server: true})
	exchanges(d, 1000)
	n := testing.AllocsPerRun(1, func() { exchanges(d, 1000) })
	// What the helper itself makes once (maps, body) is some 30.
	if n > 60 {
		t.Errorf("%v allocations in 1,000 requests", n)
	}
	if d.client.Streams()+d.server.Streams() != 0 {
		t.Error("streams are left")
	}
}

// BenchmarkExchange is a unary call through both roles: four times a block, twice DATA.
func BenchmarkExchange(b *testing.B) {
	d := newDialogue(b, &Config{}, &Config{Server: true})
	exchanges(d, 100)
	b.ReportAllocs()
	b.ResetTimer()
	exchanges(d, b.N)
}

// BenchmarkBody moves a megabyte.
func BenchmarkBody(b *testing.B) {
	d := newDialogue(b, &Config{}, &Config{Server: true})
	d.server.h = &echo{owner: d.so}
	s := d.open(requestMap, false)
	d.run()
	body := make([]byte, 64<<10)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		for range 16 {
			d.client.SendData(s, body, false)
			d.run()
		}
	}
}

// TestCancelMany: who gives up many requests at once, as when a client with many streams goes away, does not lose the
// connection, which others share.
func TestCancelMany(t *testing.T) {
	c, _ := start(t, &Config{})
	var streams []*Stream
	for range DefaultMaxConcurrentStreams {
		streams = append(streams, c.Open(mapOf(":method GET", ":scheme http", ":path /", ":authority a"), true, &header.Map{}, &header.Map{}, nil, nil, 1))
	}
	pull(c)
	for _, s := range streams {
		c.Reset(s, Cancel)
	}
	if err := c.Failure(); err != nil {
		t.Errorf("%v", err)
	}
	pull(c)
	answers := ""
	for _, s := range streams { // they were on their way
		answers += headers(s.ID, eh, block(":status 200")) + data(s.ID, es, "x")
	}
	if err := c.Feed([]byte(answers), 1); err != nil {
		t.Errorf("answers that have crossed: %v", err)
	}
	if out := pull(c); len(out) > 0 {
		t.Errorf("they are answered by %x", out)
	}
}
