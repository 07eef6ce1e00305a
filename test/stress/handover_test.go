package stress

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestHandOver replaces the running proxy again and again under load, as an operator does: a process of
// the next --restart-epoch, the same --base-id, and the one before drains and ends by itself. No
// connection is refused, no request fails, and no counter is lost.
//
// `make test` runs the short form, three hand-overs at 1,500 requests/s if the machine has time for
// them; `make stress` ten, and 5,000 requests/s are demanded in each.
func TestHandOver(t *testing.T) {
	handOvers, rate := 3, 1500
	if stressed() {
		handOvers, rate = 10, 5000
	}
	line := newLine(t)
	first := line.next()
	first.address(t, "plain")
	load := startClients(t, first.address(t, "plain"), first.address(t, "tls"), rate)
	for i := range handOvers {
		load.more(int64(rate) / 2)
		p := line.next()
		for _, name := range []string{"plain", "tls"} {
			if at := p.address(t, name); at != first.address(t, name) {
				t.Errorf("epoch %d listens on %s for %s, not on %s", p.epoch, at, name, first.address(t, name))
			}
		}
		// Every third is impatient: it comes while the one before the last still drains.
		if p.epoch%3 != 2 {
			line.onlyOneLeft()
		}
		if got := load.round(fmt.Sprintf("hand-over %d", i+1)); stressed() && got < float64(rate) {
			t.Errorf("hand-over %d: %.0f requests/s were served, want %d", i+1, got, rate)
		}
	}
	load.more(int64(rate) / 2)
	line.onlyOneLeft()
	load.end(handOvers)
	line.counted("http.main.downstream_rq_total", load.sent.Load())
}

// line is one proxy after another, each of which takes over from the one before.
type line struct {
	t         *testing.T
	path      string
	config    string
	base      uint32
	processes []*process
}

// process is one of them.
type process struct {
	epoch int
	admin string
	ended chan error
	log   bytes.Buffer
	at    map[string]string // listeners
}

func newLine(t *testing.T) *line {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(answer))
	t.Cleanup(srv.Close)
	return &line{t: t, path: path, base: rand.Uint32(), config: lineConfig(t, srv.Listener.Addr().String())}
}

// answer takes its time with what asks for it, so that there are always requests under way.
func answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.URL.Path == "/slow" {
		select {
		case <-r.Context().Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	_, _ = w.Write(body)
}

func lineConfig(t *testing.T, backend string) string {
	t.Helper()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key)
	host, port, _ := net.SplitHostPort(backend)
	manager := `
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          http_filters: [{name: envoy.filters.http.router}]
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: backend}}]}]}`
	return fmt.Sprintf(`
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: plain
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:%[1]s
  - name: tls
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates: [{certificate_chain: {filename: %[2]s}, private_key: {filename: %[3]s}}]
      filters:
      - name: http
        typed_config:%[1]s
  clusters:
  - name: backend
    connect_timeout: 5s
    load_assignment: {cluster_name: backend, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %[4]s, port_value: %[5]s}}}}]}]}
`, manager, cert, key, host, port)
}

// next starts the next process and waits until it serves. They differ in their number of workers and
// in how they drain.
func (l *line) next() *process {
	t := l.t
	t.Helper()
	p := &process{epoch: len(l.processes), ended: make(chan error, 1)}
	adminFile := filepath.Join(t.TempDir(), "admin")
	cmd := exec.Command(l.path, "--config-yaml", l.config, "-l", "warning", "--admin-address-path", adminFile,
		"--base-id", strconv.FormatUint(uint64(l.base), 10), "--restart-epoch", strconv.Itoa(p.epoch),
		"--concurrency", strconv.Itoa(1+p.epoch%3), "--drain-strategy", []string{"gradual", "immediate"}[p.epoch%2],
		"--drain-time-s", "2", "--parent-shutdown-time-s", "20")
	cmd.Stderr = &p.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.processes = append(l.processes, p)
	go func() { p.ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := <-p.ended; err != nil {
			t.Errorf("epoch %d ended: %v", p.epoch, err)
		}
		if t.Failed() && p.log.Len() > 0 {
			t.Logf("epoch %d said:\n%s", p.epoch, p.log.String())
		}
	})
	eventually(t, fmt.Sprintf("epoch %d serves", p.epoch), func() bool {
		at, err := os.ReadFile(adminFile)
		if err != nil {
			return false
		}
		p.admin = string(at)
		text, err := p.ask("/ready")
		return err == nil && text == "LIVE\n"
	})
	return p
}

func (p *process) ask(path string) (string, error) {
	resp, err := adminClient.Get("http://" + p.admin + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// adminClient keeps no connection: the address goes from process to process.
var adminClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}

// address is where a listener of the process is. It is asked for once, while the admin API is its own.
func (p *process) address(t *testing.T, name string) string {
	t.Helper()
	if p.at == nil {
		text, err := p.ask("/listeners")
		if err != nil {
			t.Fatal(err)
		}
		p.at = map[string]string{}
		for l := range strings.Lines(text) {
			name, at, _ := strings.Cut(strings.TrimSpace(l), "::")
			p.at[name] = at
		}
	}
	return p.at[name]
}

// onlyOneLeft waits until all processes but the last have ended by themselves.
func (l *line) onlyOneLeft() {
	l.t.Helper()
	for _, p := range l.processes[:len(l.processes)-1] {
		select {
		case err := <-p.ended:
			if err != nil {
				l.t.Errorf("epoch %d ended: %v", p.epoch, err)
			}
			p.ended <- nil
		case <-time.After(time.Minute):
			l.t.Fatalf("epoch %d did not end", p.epoch)
		}
	}
}

// counted waits until the last process tells that a counter is what it must be.
func (l *line) counted(name string, want int64) {
	l.t.Helper()
	last := l.processes[len(l.processes)-1]
	var text string
	eventually(l.t, fmt.Sprintf("%s is %d", name, want), func() bool {
		var err error
		text, err = last.ask("/stats?filter=^" + name + "$")
		return err == nil && text == fmt.Sprintf("%s: %d\n", name, want)
	})
}
