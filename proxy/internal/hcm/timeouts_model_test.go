package hcm_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// unit is the time between two moments of a script. Time-outs are whole units and a half, so that
// none ends when something else happens.
const unit = 100 * time.Millisecond

// script is one request with its response, and when the parts of both come, in units. A time of
// -1 is never.
type script struct {
	head         int   // the client's head is whole; its first bytes come at 0
	body         []int // the pieces of its body, the last of which ends it
	answer       int   // the origin's head, counted from the end of the request
	data         []int // the pieces of its body, counted from there
	headers      int   // request_headers_timeout
	request      int   // request_timeout
	idle         int   // stream_idle_timeout
	duration     int   // max_stream_duration
	route        int   // the route's timeout
	try, tryIdle int   // per_try_timeout, per_try_idle_timeout
}

func (s script) String() string {
	return fmt.Sprintf("client %d %v, origin %d %v; headers %d request %d idle %d duration %d route %d try %d tryIdle %d",
		s.head, s.body, s.answer, s.data, s.headers, s.request, s.idle, s.duration, s.route, s.try, s.tryIdle)
}

// limit is a time-out of n units and a half, none for 0.
func limit(n int) time.Duration {
	if n == 0 {
		return 0
	}
	return time.Duration(n)*unit + unit/2
}

// ends are what a script can come to.
type ends struct {
	at     int // the moment after which it ended
	status int // 0: the response had begun, and was cut off
	detail string
}

// random makes a script; most of its time-outs are off or far.
func random(r *rand.Rand) script {
	some := func() int {
		if r.IntN(2) == 0 {
			return 0
		}
		return 1 + r.IntN(20)
	}
	pieces := func() []int {
		var out []int
		at := 0
		for range 1 + r.IntN(3) {
			at += r.IntN(5)
			out = append(out, at)
		}
		return out
	}
	s := script{
		head: r.IntN(4), answer: r.IntN(8), data: pieces(),
		headers: some(), request: some(), idle: some(), duration: some(), route: some(), try: some(), tryIdle: some(),
	}
	if r.IntN(3) > 0 {
		for _, at := range pieces() {
			s.body = append(s.body, s.head+at)
		}
	}
	return s
}

// model says what the script comes to by the documentation of each time-out. ok is false when two
// end at the same time.
func (s script) model() (e ends, ok bool) {
	requestEnd := s.head
	if n := len(s.body); n > 0 {
		requestEnd = s.body[n-1]
	}
	answer := requestEnd + s.answer
	last := answer + s.data[len(s.data)-1]
	for now := 0; ; now++ {
		if now == last {
			return ends{now, 200, "via_upstream"}, true
		}
		var over []ends
		check := func(limit, from int, status int, detail string) {
			if limit > 0 && from+limit == now {
				over = append(over, ends{now, status, detail})
			}
		}
		late := 504
		if now < requestEnd {
			late = 408
		}
		if now >= answer {
			late = 0
		}
		if now < s.head {
			check(s.headers, 0, 408, "request_header_timeout")
			check(s.idle, 0, 408, "stream_idle_timeout")
		} else {
			check(s.idle, s.active(now, answer), late, "stream_idle_timeout")
		}
		check(s.duration, 0, late, "max_duration_timeout")
		if now < requestEnd {
			check(s.request, 0, 408, "request_overall_timeout")
		} else {
			code := 504
			if now >= answer {
				code = 0
			}
			check(s.route, requestEnd, code, "response_timeout")
			if s.route == 0 || s.try < s.route { // a try cannot outlast the request
				if now < answer {
					check(s.try, requestEnd, 504, "upstream_per_try_timeout")
				}
			}
			check(s.tryIdle, max(requestEnd, s.heard(now, answer)), code, "upstream_per_try_idle_timeout")
		}
		switch len(over) {
		case 0:
		case 1:
			return over[0], true
		default:
			return ends{}, false
		}
	}
}

// heard is when the origin last sent something, 0 if it did not.
func (s script) heard(now, answer int) int {
	at := 0
	if answer <= now {
		at = answer
	}
	for _, d := range s.data {
		if answer+d <= now {
			at = answer + d
		}
	}
	return at
}

// active is when something of the stream last passed, in either direction.
func (s script) active(now, answer int) int {
	at := max(s.head, s.heard(now, answer))
	for _, b := range s.body {
		if b <= now {
			at = max(at, b)
		}
	}
	return at
}

// TestTimeoutModel plays random scripts on a fake clock and compares what comes of them with the model.
func TestTimeoutModel(t *testing.T) {
	seed := uint64(1)
	if v := os.Getenv("LATEEN_SEED"); v != "" {
		if _, err := fmt.Sscan(v, &seed); err != nil {
			t.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(seed, 0))
	seen := map[string]int{}
	for n := 0; n < 600; {
		s := random(r)
		want, ok := s.model()
		if !ok {
			continue
		}
		n++
		seen[want.detail]++
		if got := s.play(t); got != want {
			t.Fatalf("script %d of seed %d: %v\nends with %+v, want %+v", n, seed, s, got, want)
		}
	}
	for _, d := range []string{
		"via_upstream", "request_header_timeout", "request_overall_timeout", "stream_idle_timeout", "max_duration_timeout",
		"response_timeout", "upstream_per_try_timeout", "upstream_per_try_idle_timeout",
	} {
		if seen[d] < 5 {
			t.Errorf("only %d scripts ended by %s", seen[d], d)
		}
	}
}

// ending is a filter that says what a stream came to.
type ending struct {
	over bool
	e    ends
}

func (f *ending) NewFilter(*eventloop.Loop) httpfilter.Filter { return f }

// OnComplete implements httpfilter.Completer.
func (f *ending) OnComplete(s httpfilter.Stream) {
	f.over, f.e.detail = true, s.Info().Details
}

// pair is a connection whose one end is the test's: a Unix socket, to which what is written is there at once.
func pair(t *testing.T) (fd int, c net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[1]), "client")
	defer f.Close()
	if c, err = net.FileConn(f); err != nil {
		t.Fatal(err)
	}
	return fds[0], c
}

func (s script) play(t *testing.T) ends {
	t.Helper()
	ln, err := net.Listen("unix", t.TempDir()+"/up")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	now := time.Now()
	set := base()
	set.clusters[0].Endpoints.Localities = []xdsresource.LocalityEndpoints{{Endpoints: []xdsresource.Endpoint{
		{Address: xdsresource.Address{Pipe: ln.Addr().String()}, Weight: 1},
	}}}
	set.clock = func() time.Time { return now }
	end := &ending{}
	set.filters = []httpfilter.Named{{Name: "end", Factory: end}}
	set.hcm.RequestHeadersTimeout, set.hcm.RequestTimeout = limit(s.headers), limit(s.request)
	set.hcm.StreamIdleTimeout, set.hcm.MaxStreamDuration = limit(s.idle), limit(s.duration)
	fw := set.routes[0].Forward
	fw.Timeout = limit(s.route)
	fw.Retry = &xdsresource.RetryPolicy{PerTryTimeout: limit(s.try), PerTryIdleTimeout: limit(s.tryIdle)}
	p := set.start(t)
	poll := func() {
		if err := p.loop.Poll(); err != nil {
			t.Fatal(err)
		}
	}
	fd, client := pair(t)
	defer client.Close()
	p.loop.Post(func() {
		cn, err := conn.Accept(p.loop, fd, conn.AcceptOptions{RemoteAddr: netip.MustParseAddrPort("127.0.0.1:1")}, nil)
		if err != nil {
			t.Error(err)
			return
		}
		p.mgr.OnNewConnection(cn, &listener.Context{Listener: "l"})
	})
	send := func(c net.Conn, text string) {
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		poll()
	}
	send(client, "POST / HTTP/1.1\r\nhost: h\r\n")

	requestEnd := s.head
	if n := len(s.body); n > 0 {
		requestEnd = s.body[n-1]
	}
	answer := requestEnd + s.answer
	var origin net.Conn
	for tick := 0; !end.over; tick++ {
		end.e.at = tick
		if tick == s.head {
			send(client, fmt.Sprintf("content-length: %d\r\n\r\n", len(s.body)))
			if origin, err = ln.Accept(); err != nil {
				t.Fatal(err)
			}
			defer origin.Close()
		}
		for _, b := range s.body {
			if b == tick {
				send(client, "x")
			}
		}
		if tick == answer {
			send(origin, fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", len(s.data)))
		}
		for _, d := range s.data {
			if answer+d == tick {
				send(origin, "y")
			}
		}
		if !end.over {
			now = now.Add(unit)
			poll()
		}
	}
	poll()
	resp, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		end.e.status = resp.StatusCode
	}
	client.Close()
	if origin != nil {
		origin.Close()
	}
	ln.Close()
	p.stop()
	return end.e
}
