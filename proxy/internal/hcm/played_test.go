package hcm_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// played is a request on a fake clock: a client that has sent it, and a host that takes the attempts' connections and
// does with them what its script says. Nothing happens but in poll.
type played struct {
	t      *testing.T
	p      *proxy
	host   int // listens
	now    time.Time
	end    *ending
	client net.Conn
	taken  []int // connections of the host
}

// playRequest sends a request on a route that change has had its way with.
func playRequest(t *testing.T, change func(*xdsresource.RouteAction)) *played {
	t.Helper()
	host, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "up")
	if err := syscall.Bind(host, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(host, 16); err != nil {
		t.Fatal(err)
	}
	pl := &played{t: t, host: host, now: time.Now(), end: &ending{}}
	set := base()
	set.clusters[0].Endpoints.Localities = []xdsresource.LocalityEndpoints{{Endpoints: []xdsresource.Endpoint{
		{Address: xdsresource.Address{Pipe: path}, Weight: 1},
	}}}
	set.clock = func() time.Time { return pl.now }
	set.filters = []httpfilter.Named{{Name: "end", Factory: pl.end}}
	change(set.routes[0].Forward)
	pl.p = set.start(t)
	fd, client := pair(t)
	pl.client = client
	pl.p.loop.Post(func() {
		cn, err := conn.Accept(pl.p.loop, fd, conn.AcceptOptions{RemoteAddr: netip.MustParseAddrPort("127.0.0.1:1")}, nil)
		if err != nil {
			t.Error(err)
			return
		}
		pl.p.mgr.OnNewConnection(cn, &listener.Context{Listener: "l"})
	})
	_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nhost: h\r\n\r\n")
	pl.poll()
	return pl
}

func (pl *played) poll() {
	pl.t.Helper()
	if err := pl.p.loop.Poll(); err != nil {
		pl.t.Fatal(err)
	}
}

// pass lets a unit of time pass.
func (pl *played) pass() {
	pl.now = pl.now.Add(unit)
	pl.poll()
}

// take is the connection of an attempt that has begun, when one has.
func (pl *played) take() (fd int, ok bool) {
	fd, _, err := syscall.Accept4(pl.host, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
	if err != nil {
		return 0, false
	}
	pl.taken = append(pl.taken, fd)
	pl.poll() // the proxy hears that it is connected, and sends the request
	return fd, true
}

// answer ends an attempt with a status and headers, each with its line's end.
func (pl *played) answer(fd, status int, headers string) {
	pl.t.Helper()
	text := fmt.Sprintf("HTTP/1.1 %d X\r\nconnection: close\r\ncontent-length: 0\r\n%s\r\n", status, headers)
	if _, err := syscall.Write(fd, []byte(text)); err != nil {
		pl.t.Fatal(err)
	}
	pl.poll()
}

// status is that of the client's answer.
func (pl *played) status() int {
	pl.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(pl.client), nil)
	if err != nil {
		pl.t.Fatal(err)
	}
	return resp.StatusCode
}

// given reports whether the proxy has closed a connection of the host.
func (pl *played) given(fd int) bool {
	var buf [1 << 10]byte
	for {
		switch n, err := syscall.Read(fd, buf[:]); {
		case n > 0: // the request
		case err == syscall.EAGAIN:
			return false
		default:
			return true
		}
	}
}

// stop ends both sides, and the proxy with them.
func (pl *played) stop() {
	pl.client.Close()
	for _, fd := range pl.taken {
		_ = syscall.Close(fd)
	}
	_ = syscall.Close(pl.host)
	pl.p.stop()
}
