package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/hotrestart"
)

// generation is one process in the line of hand-overs; here they share a process, and meet through
// the same sockets.
type generation struct {
	*Proxy
	done chan error
}

func startGeneration(t *testing.T, text string, base, epoch uint32, workers int) *generation {
	t.Helper()
	p, err := New(Config{
		Bootstrap: []byte(text), Concurrency: workers, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), LogLevel: "warning",
		DrainTime: 20 * time.Second, DrainImmediately: true,
		HotRestart: &HotRestart{BaseID: base, Epoch: epoch, ParentShutdownTime: 20 * time.Second, every: 10 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := &generation{p, make(chan error, 1)}
	go func() { g.done <- p.Run(context.Background()) }()
	select {
	case <-p.Ready():
	case err := <-g.done:
		t.Fatalf("epoch %d ended: %v", epoch, err)
	case <-time.After(time.Minute):
		t.Fatal("the proxy did not become ready")
	}
	return g
}

func (g *generation) wait(t *testing.T) {
	t.Helper()
	select {
	case err := <-g.done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the old process did not end")
	}
}

// TestHandOver hands the sockets over ten times under load, to processes with other numbers of
// workers: no connection attempt and no request fails, and no counter is lost.
func TestHandOver(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer backend.Close()
	text := staticBootstrap(backend.Listener.Addr().String())
	base := rand.Uint32()
	old := startGeneration(t, text, base, 0, 2)
	addr := old.ListenerAddrs()["main"]

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var sent atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			// Half of the clients connect for each request, half keep connections.
			tr := &http.Transport{DisableKeepAlives: i%2 == 0}
			defer tr.CloseIdleConnections()
			client := &http.Client{Transport: tr, Timeout: 20 * time.Second}
			for ctx.Err() == nil {
				// A POST: net/http does not send it again by itself.
				resp, err := client.Post("http://"+addr+"/", "text/plain", strings.NewReader("x"))
				if err != nil {
					t.Errorf("request %d: %v", sent.Load(), err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(body) != "ok" || resp.StatusCode != 200 {
					t.Errorf("answer %d %q %v", resp.StatusCode, body, err)
					return
				}
				sent.Add(1)
			}
		})
	}
	for epoch := uint32(1); epoch <= 10; epoch++ {
		before := sent.Load()
		eventually(t, "load", func() bool { return sent.Load() > before+100 || t.Failed() })
		next := startGeneration(t, text, base, epoch, 1+int(epoch)%3)
		if got := next.ListenerAddrs()["main"]; got != addr {
			t.Errorf("epoch %d listens on %s, not on %s", epoch, got, addr)
		}
		old.wait(t)
		old = next
	}
	stop()
	wg.Wait()
	if old.AdminAddr() == "" {
		t.Error("the last process has no admin API")
	}
	want := fmt.Sprintf("http.ingress_http.downstream_rq_total: %d\n", sent.Load())
	eventually(t, "all requests are counted", func() bool {
		_, _, stats := do(t, "GET", "http://"+old.AdminAddr()+"/stats?filter=ingress_http.downstream_rq_total|hot_restart_epoch")
		return strings.Contains(stats, want) && strings.Contains(stats, "server.hot_restart_epoch: 10\n")
	})
	old.Quit()
	old.wait(t)
	t.Logf("%d requests", sent.Load())
}

// TestHandOverGivenUp: a new process that is gone before it served leaves the old one as it was, with
// its admin API.
func TestHandOverGivenUp(t *testing.T) {
	base := rand.Uint32()
	g := startGeneration(t, staticBootstrap("127.0.0.1:1"), base, 0, 1)
	addr := g.AdminAddr()
	for range 2 {
		c, err := hotrestart.Connect(hotrestart.Name("@lateen_domain_socket", base, 0))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.CloseAdmin(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the address is free", func() bool {
			lis, err := net.Listen("tcp", addr)
			if err == nil {
				lis.Close()
			}
			return err == nil
		})
		c.Close()
		eventually(t, "the admin API answers again", func() bool {
			resp, err := http.Get("http://" + addr + "/ready")
			if err == nil {
				resp.Body.Close()
			}
			return err == nil && resp.StatusCode == 200
		})
	}
	http.DefaultClient.CloseIdleConnections()
	g.Quit()
	g.wait(t)
}

// TestHandOverLeft: when a new process is gone after the old one has drained, the old one ends with its
// last connection, and not before.
func TestHandOverLeft(t *testing.T) {
	base := rand.Uint32()
	g := startGeneration(t, staticBootstrap("127.0.0.1:1"), base, 0, 1)
	nc, err := net.Dial("tcp", g.ListenerAddrs()["main"])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	eventually(t, "the connection is accepted", func() bool { return connections(g) == 1 })
	c, err := hotrestart.Connect(hotrestart.Name("@lateen_domain_socket", base, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Drain(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	for r := bufio.NewReader(nc); ; { // it is asked to end some time soon
		if _, err := nc.Write([]byte("GET /direct HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		if resp.Close {
			break
		}
	}
	g.wait(t)
}

func connections(g *generation) int64 {
	_, n := heir{p: g.Proxy}.Counters()
	return n
}

func TestHandOverErrors(t *testing.T) {
	text := []byte(`static_resources: {clusters: [{name: a, connect_timeout: 1s}]}`)
	base := rand.Uint32()
	if _, err := New(Config{Bootstrap: text, HotRestart: &HotRestart{BaseID: base, Epoch: 1}}); err == nil || !strings.Contains(err.Error(), "no process to take over from") {
		t.Errorf("without a parent: %v", err)
	}
	p, err := New(Config{Bootstrap: text, HotRestart: &HotRestart{BaseID: base, Epoch: 1, SkipNoParent: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.abandon()
	if _, err := New(Config{Bootstrap: text, HotRestart: &HotRestart{BaseID: base, Epoch: 1, SkipNoParent: true}}); err == nil || !strings.Contains(err.Error(), "another process has this base id") {
		t.Errorf("the same epoch twice: %v", err)
	}
}
