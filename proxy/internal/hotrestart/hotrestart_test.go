package hotrestart

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a parent that hands one socket out and writes down what it is asked.
type fake struct {
	fd   int
	said chan string
}

func (f fake) CloseAdmin() { f.said <- "admin" }
func (f fake) OpenAdmin()  { f.said <- "admin again" }
func (f fake) Drain()      { f.said <- "drain" }
func (f fake) Leave()      { f.said <- "leave" }
func (f fake) Terminate()  { f.said <- "terminate" }

func (f fake) Socket(listener, address string, worker int) int {
	if listener != "main" || address != "1.2.3.4:80" || worker != 1 {
		return -1
	}
	fd, err := syscall.Dup(f.fd)
	if err != nil {
		return -1
	}
	return fd
}

func (f fake) Counters() (map[string]uint64, int64) {
	big := map[string]uint64{}
	for i := range 20000 { // more than a socket's buffer
		big[fmt.Sprintf("cluster.c%d.upstream_rq_total", i)] = uint64(i)
	}
	return big, 7
}

func parent(t *testing.T, h Handler) string {
	t.Helper()
	name := Name("@lateen-test", rand.Uint32(), 0)
	p, err := Listen(name, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx, h) }()
	t.Cleanup(func() { cancel(); <-done })
	return name
}

func TestConversation(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	file, err := lis.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f := fake{int(file.Fd()), make(chan string, 8)}
	name := parent(t, f)

	c, err := Connect(name)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.CloseAdmin(); err != nil || <-f.said != "admin" {
		t.Error(err)
	}
	fd, err := c.Socket("main", "1.2.3.4:80", 1)
	if err != nil || fd < 0 {
		t.Fatal(fd, err)
	}
	got := os.NewFile(uintptr(fd), "socket")
	defer got.Close()
	same, err := net.FileListener(got)
	if err != nil {
		t.Fatal(err)
	}
	defer same.Close()
	if same.Addr().String() != lis.Addr().String() {
		t.Errorf("another socket: %s, not %s", same.Addr(), lis.Addr())
	}
	if fd, err := c.Socket("main", "1.2.3.4:80", 2); fd != -1 || err != nil {
		t.Errorf("a socket that there is not: %d, %v", fd, err)
	}
	counters, n, err := c.Counters()
	if err != nil || n != 7 || len(counters) != 20000 || counters["cluster.c19999.upstream_rq_total"] != 19999 {
		t.Errorf("%d counters, %d connections, %v", len(counters), n, err)
	}
	if err := c.Drain(); err != nil || <-f.said != "drain" {
		t.Error(err)
	}
	if err := c.Terminate(); err != nil || <-f.said != "terminate" {
		t.Error(err)
	}
}

// TestChildGone says what becomes of a parent whose child goes away, at each step.
func TestChildGone(t *testing.T) {
	f := fake{-1, make(chan string, 8)}
	name := parent(t, f)
	for _, tt := range []struct {
		steps []func(*Child) error
		want  string
	}{
		{[]func(*Child) error{(*Child).CloseAdmin}, "admin, admin again"},
		{[]func(*Child) error{(*Child).CloseAdmin, (*Child).Drain}, "admin, drain, leave"},
		{[]func(*Child) error{(*Child).Drain, (*Child).Terminate}, "drain, terminate"},
	} {
		c, err := Connect(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range tt.steps {
			if err := step(c); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		// The next conversation begins when this one is over.
		next, err := Connect(name)
		if err != nil {
			t.Fatal(err)
		}
		next.Close()
		var said []string
		for len(f.said) > 0 {
			said = append(said, <-f.said)
		}
		if got := strings.Join(said, ", "); got != tt.want {
			t.Errorf("the parent did %q, not %q", got, tt.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	name := parent(t, fake{-1, make(chan string, 8)})
	dial := func() *net.UnixConn {
		c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ask := func(q request) string {
		c := dial()
		defer c.Close()
		if err := write(c, &q, -1); err != nil {
			t.Fatal(err)
		}
		var r response
		if _, err := read(c, &r); err != nil {
			t.Fatal(err)
		}
		return r.Error
	}
	if got := ask(request{Op: opHello, Version: Version + 1}); !strings.Contains(got, "version") {
		t.Errorf("another version: %q", got)
	}
	if got := ask(request{Op: "dance"}); got != `unknown operation "dance"` {
		t.Errorf("unknown operation: %q", got)
	}
	// What is no message ends the connection, and the parent goes on.
	for _, bad := range [][]byte{binary.BigEndian.AppendUint32(nil, maxMessage+1), append(binary.BigEndian.AppendUint32(nil, 3), "{x}"...)} {
		c := dial()
		if _, err := c.Write(bad); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%q was answered with %d bytes", bad, n)
		}
		c.Close()
	}
	if _, err := Connect(name); err != nil {
		t.Errorf("after that: %v", err)
	}
	if _, err := Listen(name, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a name was taken twice")
	}
}
