package stress

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// proxy is the program under test.
type proxy struct {
	t    *testing.T
	cmd  *exec.Cmd
	addr string // of the HTTP listener
}

// binary is the program, built once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "lateen-stress")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "lateen-proxy")
	// LATEEN_E2E_BUILD=-race runs it with the race detector, which needs cgo; `make build` does without.
	flags := strings.Fields(os.Getenv("LATEEN_E2E_BUILD"))
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "../../cmd/lateen-proxy")...)
	if len(flags) == 0 {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// stressed reports whether the long forms of the tests are wanted.
func stressed() bool { return os.Getenv("LATEEN_STRESS") != "" }

// start runs the proxy before a backend, with options of its connection manager.
func start(t *testing.T, backend http.Handler, options string) *proxy {
	t.Helper()
	if !stressed() {
		t.Skip("takes minutes and gigabytes of traffic: run make stress, or set LATEEN_STRESS=1")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(backend)
	t.Cleanup(srv.Close)
	host, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	admin := filepath.Join(t.TempDir(), "admin")
	var log bytes.Buffer
	cmd := exec.Command(path, "--concurrency", "2", "-l", "warning", "--admin-address-path", admin, "--config-yaml", fmt.Sprintf(`
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    per_connection_buffer_limit_bytes: 32768
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          %s
          http_filters: [{name: envoy.filters.http.router}]
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {path: /health}, direct_response: {status: 200}}
              - {match: {prefix: /}, route: {cluster: backend, timeout: 0s}}
  clusters:
  - name: backend
    connect_timeout: 5s
    per_connection_buffer_limit_bytes: 32768
    circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]}
    load_assignment: {cluster_name: backend, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}
`, options, host, port))
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, cmd: cmd}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the proxy said:\n%s", log.String())
		}
	})
	eventually(t, "the proxy is up", func() bool {
		at, err := os.ReadFile(admin)
		if err != nil {
			return false
		}
		resp, err := http.Get("http://" + string(at) + "/listeners")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		_, p.addr, _ = strings.Cut(strings.TrimSpace(string(text)), "::")
		return p.addr != ""
	})
	// What reading its configuration took is no part of what the tests measure.
	eventually(t, "the memory of the start is given back", func() bool { return p.status("VmRSS") < 16<<20 })
	// proc(5): 5 sets the peak of the resident size to what it is now.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", cmd.Process.Pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { p.watch(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return p
}

// watch holds that health checks are answered.
func (p *proxy) watch(ctx context.Context) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second} // this process is under load as well
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		resp, err := client.Get("http://" + p.addr + "/health")
		if err != nil {
			if ctx.Err() == nil {
				p.t.Errorf("a health check failed: %v", err)
			}
			return
		}
		resp.Body.Close()
	}
}

// status is a size that the kernel tells of the proxy's memory (proc(5), /proc/pid/status), in bytes.
func (p *proxy) status(name string) int64 {
	p.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name+":" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return kib << 10
		}
	}
	p.t.Fatalf("the kernel tells no %s", name)
	return 0
}

// hold keeps clients as they are for a while, in which watch looks on.
func hold(d time.Duration) { <-time.After(d) }

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !f(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// under holds that memory never went beyond a bound, in millions of bytes: that is what the kernel
// has seen, not what samples have.
func (p *proxy) under(most int64) {
	p.t.Helper()
	peak := p.status("VmHWM")
	p.t.Logf("at most %.1f MB were resident, of %d; now %.1f, of which %.1f are pages of files",
		float64(peak)/1e6, most, float64(p.status("VmRSS"))/1e6, float64(p.status("RssFile"))/1e6)
	if peak > most*1e6 {
		p.t.Errorf("%d bytes were resident, more than %d MB", peak, most)
	}
}

func (p *proxy) dial() net.Conn {
	p.t.Helper()
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func TestIdleConnections(t *testing.T) {
	p := start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), "")
	const n = 10000
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = p.dial()
		fmt.Fprint(conns[i], "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReaderSize(conns[i], 512), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("connection %d: %v %v", i, resp, err)
		}
	}
	hold(2 * time.Second) // idle is what they are to be
	p.under(60)
	for _, c := range conns {
		c.Close()
	}
}

func TestSlowReaders(t *testing.T) {
	page := bytes.Repeat([]byte("x"), 1<<20)
	p := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) }), "")
	const n = 2000
	var conns []net.Conn
	for range n {
		c := p.dial()
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		fmt.Fprint(c, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
		conns = append(conns, c)
	}
	hold(5 * time.Second)
	p.under(300) // two buffers of 32 KiB with their slack for each, of 2 GiB that are asked for
	for _, c := range conns {
		c.Close()
	}
	// A client that reads gets its page afterwards.
	resp, err := http.Get("http://" + p.addr + "/big")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) != len(page) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// TestSlowloris sends heads a byte at a time; request_headers_timeout ends them.
func TestSlowloris(t *testing.T) {
	p := start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), "request_headers_timeout: 2s")
	const n = 1000
	var wg sync.WaitGroup
	var refused atomic.Int64
	for range n {
		c := p.dial()
		wg.Go(func() {
			defer c.Close()
			go func() {
				tick := time.NewTicker(50 * time.Millisecond)
				defer tick.Stop()
				for _, b := range []byte("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: " + strings.Repeat("a", 1000)) {
					if _, err := c.Write([]byte{b}); err != nil {
						return
					}
					<-tick.C
				}
			}()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err == nil && resp.StatusCode == 408 {
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	if refused.Load() != n { // a whole head would take 52 s, and have an answer
		t.Errorf("%d of %d were refused", refused.Load(), n)
	}
	p.under(60)
}

// TestEndlessBody: four gibibytes each way pass in bounded memory.
func TestEndlessBody(t *testing.T) {
	const size = 4 << 30
	got := make(chan int64, 1)
	p := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			n, _ := io.Copy(io.Discard, r.Body)
			got <- n
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		_, _ = io.Copy(w, io.LimitReader(zeros{}, size))
	}), "")
	resp, err := http.Post("http://"+p.addr+"/", "application/octet-stream", io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := <-got; n != size {
		t.Errorf("%d bytes went up, not %d", n, int64(size))
	}
	if resp, err = http.Get("http://" + p.addr + "/"); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
		t.Errorf("%d bytes came down, not %d: %v", n, int64(size), err)
	}
	p.under(20)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestRapidReset begins and resets streams until the proxy has enough of it.
func TestRapidReset(t *testing.T) {
	p := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(time.Second):
		}
	}), "")
	const floods = 20
	ended := 0
	for range floods {
		c := p.dial()
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		fmt.Fprint(c, http2.ClientPreface)
		f := http2.NewFramer(c, c)
		_ = f.WriteSettings()
		// What is written after the proxy has had enough is thrown away: what it says counts.
		away := make(chan http2.ErrCode, 1)
		go func() {
			defer close(away)
			for {
				fr, err := f.ReadFrame()
				if err != nil {
					return
				}
				if g, ok := fr.(*http2.GoAwayFrame); ok {
					away <- g.ErrCode
					return
				}
			}
		}()
		var head bytes.Buffer
		enc := hpack.NewEncoder(&head)
		for _, kv := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "x"}} {
			_ = enc.WriteField(hpack.HeaderField{Name: kv[0], Value: kv[1]})
		}
		block := bytes.Clone(head.Bytes())
		var err error
		for id := uint32(1); id < 400000 && err == nil; id += 2 {
			if err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true}); err == nil {
				err = f.WriteRSTStream(id, http2.ErrCodeCancel)
			}
		}
		if code := <-away; code == http2.ErrCodeEnhanceYourCalm {
			ended++
		}
		c.Close()
	}
	if ended != floods {
		t.Errorf("%d of %d floods were not ended as such", floods-ended, floods)
	}
	p.under(100)
}
