package conn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harness is a running loop whose end is checked for leaked descriptors and buffers.
type harness struct {
	*eventloop.Loop
}

func start(t testing.TB) *harness { return startAt(t, time.Now) }

// startAt is start with a clock of the test's own.
func startAt(t testing.TB, now func() time.Time) *harness {
	t.Helper()
	before := openFDs(t)
	l, err := eventloop.New(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.SetClock(now)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := l.Buffers().InUse(); n != 0 {
			t.Errorf("%d bytes of buffers leaked", n)
		}
		if after := openFDs(t); after > before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
	return &harness{Loop: l}
}

// do runs f on the loop and waits for it.
func (h *harness) do(f func()) {
	done := make(chan struct{})
	h.Post(func() { f(); close(done) })
	<-done
}

func openFDs(t testing.TB) int {
	t.Helper()
	e, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}

// recorder is a Handler made of functions.
type recorder struct {
	data      func(c *Conn, eof bool)
	writable  func(c *Conn)
	connected chan *Conn
	closed    chan error
	onConnect func(c *Conn)
}

func record() *recorder {
	return &recorder{connected: make(chan *Conn, 1), closed: make(chan error, 2)}
}

func (r *recorder) OnConnected(c *Conn) {
	if r.onConnect != nil {
		r.onConnect(c)
	}
	r.connected <- c
}

func (r *recorder) OnData(c *Conn, eof bool) {
	if r.data != nil {
		r.data(c, eof)
		return
	}
	c.In().Drain(c.In().Len())
	if eof {
		c.Close(CloseNow)
	}
}

func (r *recorder) OnWritable(c *Conn) {
	if r.writable != nil {
		r.writable(c)
	}
}

func (r *recorder) OnClose(c *Conn, err error) { r.closed <- err }

// echo sends back what comes and ends when the peer does.
func echo(c *Conn, eof bool) {
	c.Out().Move(c.In())
	c.Flush()
	if eof {
		c.CloseWrite()
	}
}

// listen returns a listener on a free address, and skips the test where there is no IPv6 and it wants some.
func listen(t testing.TB, network string) net.Listener {
	t.Helper()
	addr := "127.0.0.1:0"
	switch network {
	case "tcp6":
		addr = "[::1]:0"
	case "unix":
		addr = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		if network != "tcp6" {
			t.Fatal(err)
		}
		t.Skipf("this host has no IPv6 (%v); this makes the test run: sysctl -w net.ipv6.conf.lo.disable_ipv6=0", err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// serve accepts connections with blocking code on a goroutine and hands them to the loop.
func (h *harness) serve(t testing.TB, network string, tlsServer *transportsocket.Server, handler func() *recorder) net.Listener {
	t.Helper()
	ln := listen(t, network)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			fd, o := take(t, nc)
			h.Post(func() {
				r := handler()
				c, err := Accept(h.Loop, fd, o, r)
				if err != nil {
					t.Error(err)
					return
				}
				if tlsServer != nil {
					c.StartTLS(tlsServer, 0)
				}
			})
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln
}

// take moves a descriptor out of a net.Conn.
func take(t testing.TB, nc net.Conn) (int, AcceptOptions) {
	t.Helper()
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	_ = raw.Control(func(f uintptr) {
		r, _, _ := syscall.Syscall(syscall.SYS_FCNTL, f, syscall.F_DUPFD_CLOEXEC, 0)
		fd = int(r)
	})
	o := AcceptOptions{Path: "unix"}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		o = AcceptOptions{RemoteAddr: a.AddrPort(), LocalAddr: nc.LocalAddr().(*net.TCPAddr).AddrPort()}
	}
	_ = nc.Close()
	return fd, o
}

func address(ln net.Listener) xdsresource.Address {
	if a, ok := ln.Addr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return xdsresource.Address{IP: ap.Addr().Unmap(), Port: ap.Port()}
	}
	return xdsresource.Address{Pipe: ln.Addr().String()}
}

func want(t *testing.T, err error, kind Kind) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("closed with %v, want kind %v", err, kind)
	}
	return e
}

func TestEcho(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6", "unix"} {
		for _, secure := range []bool{false, true} {
			name := network + map[bool]string{true: "/tls", false: "/raw"}[secure]
			t.Run(name, func(t *testing.T) {
				h := start(t)
				var srv *transportsocket.Server
				var cli *transportsocket.Client
				if secure {
					srv, cli = newTLS(t)
				}
				ln := h.serve(t, network, srv, func() *recorder { r := record(); r.data = echo; return r })
				for _, size := range []int{1, 1000, 16384, 16385, 100_000, 3_000_000} {
					msg := make([]byte, size)
					for i := range msg {
						msg[i] = byte(i * 7)
					}
					var got []byte
					r := record()
					r.data = func(c *Conn, eof bool) {
						got = append(got, c.In().Bytes()...)
						c.In().Drain(c.In().Len())
					}
					h.do(func() {
						c := Dial(h.Loop, address(ln), DialOptions{TLS: cli, Timeout: 5 * time.Second}, r)
						c.Out().Append(msg)
						c.CloseWrite()
					})
					c := <-r.connected
					if err := <-r.closed; err != nil {
						t.Fatalf("size %d: closed with %v", size, err)
					}
					if !bytes.Equal(got, msg) {
						t.Fatalf("size %d: got %d bytes", size, len(got))
					}
					in, out := c.Bytes()
					if in < uint64(size) || out < uint64(size) {
						t.Errorf("size %d: counted %d in and %d out", size, in, out)
					}
				}
			})
		}
	}
}

func TestDialErrors(t *testing.T) {
	h := start(t)
	dial := func(a xdsresource.Address, o DialOptions) error {
		r := record()
		h.do(func() { Dial(h.Loop, a, o, r) })
		return <-r.closed
	}
	// A port that was just free.
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := address(ln)
	_ = ln.Close()
	e := want(t, dial(free, DialOptions{}), ConnectRefused)
	if got := e.TransportFailureReason(); got != "delayed connect error: Connection refused" {
		t.Errorf("reason %q", got)
	}
	if !e.ConnectPhase() {
		t.Error("not in the connect phase")
	}
	want(t, dial(xdsresource.Address{Pipe: "/nonexistent/socket"}, DialOptions{}), ConnectFailed)
	want(t, dial(xdsresource.Address{Host: "example.com", Port: 80}, DialOptions{}), ConnectFailed)
	want(t, dial(free, DialOptions{Bind: from("[::1]:0")}), ConnectFailed)
	want(t, dial(free, DialOptions{Bind: from("192.0.2.1:0")}), ConnectFailed)
}

// silent returns the address of a listener whose queue is full, so that the kernel drops SYNs.
func (h *harness) silent(t *testing.T) xdsresource.Address {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	ap := localAddr(fd)
	addr := xdsresource.Address{IP: ap.Addr(), Port: ap.Port()}
	for range 8 {
		r := record()
		h.do(func() { Dial(h.Loop, addr, DialOptions{Timeout: 50 * time.Millisecond}, r) })
		select {
		case <-r.connected:
			continue // fills the queue
		case err := <-r.closed:
			want(t, err, ConnectTimeout)
			return addr
		}
	}
	t.Skip("the kernel completed every connection, so none timed out; on a Linux kernel, which honours a backlog of 1, this runs it: go test ./proxy/internal/conn")
	return addr
}

func TestConnectTimeout(t *testing.T) { start(t).silent(t) }

func TestSourceAddressAndKeepalive(t *testing.T) {
	h := start(t)
	remote := make(chan netip.AddrPort, 1)
	ln := h.serve(t, "tcp4", nil, func() *recorder {
		r := record()
		r.data = func(c *Conn, eof bool) {
			remote <- c.Info().RemoteAddr
			c.Close(CloseNow)
		}
		return r
	})
	r := record()
	h.do(func() {
		c := Dial(h.Loop, address(ln), DialOptions{
			Bind:      from("127.0.0.9:0"),
			Keepalive: &xdsresource.TCPKeepalive{Probes: 3, Time: time.Minute, Interval: 10 * time.Second},
		}, r)
		c.Out().AppendString("x")
	})
	c := <-r.connected
	got := <-remote
	<-r.closed
	if got.Addr() != netip.MustParseAddr("127.0.0.9") {
		t.Errorf("came from %v", got)
	}
	if l := c.info.LocalAddr; l != got {
		t.Errorf("local address %v, peer saw %v", l, got)
	}
}

// TestHalfClose: the peer ends first and still gets a late answer.
func TestHalfClose(t *testing.T) {
	h := start(t)
	ends := make(chan *Conn, 1)
	closed := make(chan error, 1)
	ln := h.serve(t, "tcp4", nil, func() *recorder {
		r := record()
		r.closed = closed
		r.data = func(c *Conn, eof bool) {
			c.In().Drain(c.In().Len())
			if eof {
				ends <- c
			}
		}
		return r
	})
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = nc.Write([]byte("question"))
	_ = nc.(*net.TCPConn).CloseWrite()
	c := <-ends
	for range 3 { // nothing spins or closes meanwhile
		h.do(func() {
			if c.Closed() || !c.PeerEnded() {
				t.Error("closed by the peer's half-close")
			}
		})
	}
	h.do(func() {
		c.Out().AppendString("answer")
		c.CloseWrite()
	})
	got, err := io.ReadAll(nc)
	if err != nil || string(got) != "answer" {
		t.Fatalf("%q %v", got, err)
	}
	if err := <-closed; err != nil {
		t.Fatalf("closed with %v", err)
	}
}

// TestBackpressure: a slow reader raises the high watermark, and OnWritable comes when it has
// read; the memory stays bounded.
func TestBackpressure(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{true: "tls", false: "raw"}[secure], func(t *testing.T) {
			h := start(t)
			var srv *transportsocket.Server
			var cli *transportsocket.Client
			if secure {
				srv, cli = newTLS(t)
			}
			const limit, total = 64 << 10, 32 << 20
			chunk := bytes.Repeat([]byte("0123456789abcdef"), 1024)
			sent, stalls, peak := 0, 0, 0
			fill := func(c *Conn) {
				for sent < total {
					if c.AboveHighWatermark() {
						stalls++
						return
					}
					c.Out().Append(chunk)
					sent += len(chunk)
					c.Flush()
					peak = max(peak, c.Pending())
				}
				// Not Close: on a busy machine what the system holds takes longer than a closing connection is patient.
				c.CloseWrite()
			}
			ln := h.serve(t, "tcp4", srv, func() *recorder {
				r := record()
				r.data = func(c *Conn, eof bool) {
					if c.In().Len() > 0 {
						c.In().Drain(c.In().Len())
						c.SetBufferLimit(limit)
						fill(c)
					}
				}
				r.writable = fill
				return r
			})
			r := record()
			got := 0
			r.data = func(c *Conn, eof bool) {
				got += c.In().Len()
				c.In().Drain(c.In().Len())
				// Read slowly: pause after each piece and go on in a while.
				if !eof && got%3 == 0 {
					c.PauseRead()
					c.Loop().Post(c.ResumeRead)
				}
			}
			h.do(func() {
				c := Dial(h.Loop, address(ln), DialOptions{TLS: cli}, r)
				c.PauseRead()
				c.Out().AppendString("go")
			})
			c := <-r.connected
			// Let the sender run into the wall first.
			for stalled := false; !stalled; {
				h.do(func() { stalled = stalls > 0 })
			}
			ended := make(chan struct{})
			h.do(func() {
				inner := r.data
				r.data = func(c *Conn, eof bool) {
					inner(c, eof)
					if eof {
						close(ended)
						c.Close(CloseNow)
					}
				}
				c.ResumeRead()
			})
			select {
			case <-ended:
			case <-time.After(time.Minute):
				h.do(func() { t.Errorf("got %d, sent %d, %d stalls, closed by %v", got, sent, stalls, c.err) })
				return
			}
			<-r.closed
			h.do(func() {
				if got != total {
					t.Errorf("got %d of %d", got, total)
				}
				if stalls == 0 {
					t.Error("the high watermark was never reached")
				}
				if peak > limit+2*len(chunk)+(64<<10)+4096 {
					t.Errorf("%d bytes were pending, the limit is %d", peak, limit)
				}
			})
		})
	}
}

// TestReadWithinLimit: however much has come, one read brings no more than the buffer limit.
func TestReadWithinLimit(t *testing.T) {
	const limit = 32 << 10
	h := start(t)
	conns := make(chan *Conn, 1)
	got, most := 0, 0
	ln := h.serve(t, "tcp", nil, func() *recorder {
		r := record()
		r.data = func(c *Conn, eof bool) {
			if got == 0 {
				c.SetBufferLimit(limit)
				c.PauseRead()
				conns <- c
			}
			got += c.In().Len()
			most = max(most, c.In().Len())
			c.In().Drain(c.In().Len())
			if eof {
				c.Close(CloseNow)
			}
		}
		return r
	})
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = nc.Write([]byte("x"))
	c := <-conns
	const size = 4 << 20
	go func() {
		_, _ = nc.Write(make([]byte, size))
		_ = nc.(*net.TCPConn).CloseWrite()
	}()
	for waiting := 0; waiting < limit*3/2; {
		h.do(func() { waiting, err = unix.IoctlGetInt(c.fd.Sys(), unix.SIOCINQ) })
		if err != nil {
			t.Fatal(err)
		}
	}
	h.do(c.ResumeRead)
	if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	h.do(func() {
		if got != size+1 || most > limit || most <= minRead {
			t.Errorf("%d of %d bytes came, up to %d at once; the limit is %d", got, size+1, most, limit)
		}
	})
}

func TestCloseModes(t *testing.T) {
	for _, tc := range []struct {
		name  string
		mode  CloseMode
		data  bool // the peer gets the pending output
		reset bool // the peer sees a reset
	}{
		{"now", CloseNow, false, false},
		{"after flush", CloseAfterFlush, true, false},
		{"flushed", CloseFlushed, true, false},
		{"reset", CloseReset, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t)
			closed := make(chan error, 1)
			ln := h.serve(t, "tcp4", nil, func() *recorder {
				r := record()
				r.closed = closed
				r.data = func(c *Conn, eof bool) {
					c.In().Drain(c.In().Len())
					c.Out().AppendString("bye")
					c.Close(tc.mode)
					c.Close(tc.mode) // no second OnClose
				}
				return r
			})
			nc, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_, _ = nc.Write([]byte("x"))
			got, err := io.ReadAll(nc)
			if errors.Is(err, syscall.ECONNRESET) != tc.reset {
				t.Errorf("peer's error: %v", err)
			}
			if (string(got) == "bye") != tc.data {
				t.Errorf("peer got %q", got)
			}
			_ = nc.Close()
			if err := <-closed; err != nil {
				t.Errorf("OnClose(%v)", err)
			}
		})
	}
}

func TestPeerReset(t *testing.T) {
	for _, paused := range []bool{false, true} {
		t.Run(map[bool]string{true: "paused", false: "reading"}[paused], func(t *testing.T) {
			h := start(t)
			closed := make(chan error, 1)
			seen := make(chan struct{}, 1)
			ln := h.serve(t, "tcp4", nil, func() *recorder {
				r := record()
				r.closed = closed
				r.data = func(c *Conn, eof bool) {
					if paused {
						c.PauseRead()
					}
					seen <- struct{}{}
				}
				return r
			})
			nc, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = nc.Write([]byte("x"))
			<-seen
			_ = nc.(*net.TCPConn).SetLinger(0)
			_ = nc.Close()
			want(t, <-closed, PeerReset)
		})
	}
}

// TestPausedHangup: a Unix peer that closes while we do not read reports a hang-up for ever;
// what it sent is still delivered after the resume.
func TestPausedHangup(t *testing.T) {
	h := start(t)
	closed := make(chan error, 1)
	conns := make(chan *Conn, 1)
	var got []byte
	var ended bool
	ln := h.serve(t, "unix", nil, func() *recorder {
		r := record()
		r.closed = closed
		first := true
		r.data = func(c *Conn, eof bool) {
			if first {
				first = false
				c.PauseRead()
				conns <- c
				return
			}
			got = append(got, c.In().Bytes()...)
			c.In().Drain(c.In().Len())
			if eof {
				ended = true
				c.Close(CloseNow)
			}
		}
		return r
	})
	nc, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = nc.Write([]byte("first "))
	c := <-conns
	_, _ = nc.Write([]byte("second"))
	_ = nc.Close()
	for range 5 {
		h.do(func() {})
	}
	h.do(c.ResumeRead)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if string(got) != "first second" || !ended {
		t.Fatalf("got %q, ended %v", got, ended)
	}
}

// TestEarlyAnswer: the peer answers and resets while we still write; the answer is read.
func TestEarlyAnswer(t *testing.T) {
	h := start(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := record()
	var got []byte
	answered := make(chan struct{}, 1)
	r.data = func(c *Conn, eof bool) {
		if len(got) == 0 {
			answered <- struct{}{}
		}
		got = append(got, c.In().Bytes()...)
		c.In().Drain(c.In().Len())
	}
	h.do(func() { Dial(h.Loop, address(ln), DialOptions{}, r).Out().AppendString("a") })
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := <-r.connected
	_, _ = nc.Write([]byte("413"))
	_ = nc.Close() // with "a" unread: a reset
	<-answered
	h.do(func() {
		for range 5 {
			c.Write(bytes.Repeat([]byte("x"), 1<<16))
		}
	})
	want(t, <-r.closed, PeerReset)
	if string(got) != "413" {
		t.Errorf("got %q", got)
	}
}

func TestStopClosesEverything(t *testing.T) {
	l, err := eventloop.New(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	h := &harness{Loop: l}
	accepted := make(chan struct{}, 1)
	ln := h.serve(t, "tcp4", nil, func() *recorder { accepted <- struct{}{}; return record() })
	r := record()
	h.do(func() { Dial(l, address(ln), DialOptions{}, r) })
	<-r.connected
	<-accepted // a descriptor that comes after the end would be refused, which is another test
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want(t, <-r.closed, Stopped)
}

// TestEchoAllocatesNothing is the budget: a round trip over two raw connections on a loop.
func TestEchoAllocatesNothing(t *testing.T) {
	h := start(t)
	ln := h.serve(t, "tcp4", nil, func() *recorder { r := record(); r.data = echo; return r })
	r := record()
	msg := bytes.Repeat([]byte("m"), 500)
	left := 0
	turns := make(chan struct{}, 1)
	r.data = func(c *Conn, eof bool) {
		if c.In().Len() < len(msg) {
			return
		}
		c.In().Drain(len(msg))
		if left--; left == 0 {
			turns <- struct{}{}
			return
		}
		c.Out().Append(msg)
		c.Flush()
	}
	h.do(func() { Dial(h.Loop, address(ln), DialOptions{}, r) })
	c := <-r.connected
	const rounds = 1000
	begin := func() { left = rounds; c.Out().Append(msg); c.Flush() }
	run := func() { h.Post(begin); <-turns }
	run()
	// The runtime's own allocations are the slack: one in a thousand round trips.
	if n := testing.AllocsPerRun(10, run); n > rounds/100 {
		t.Fatalf("%v allocations in %d round trips", n, rounds)
	}
	h.do(func() { c.Close(CloseNow) })
	<-r.closed
}
