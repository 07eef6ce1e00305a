package differential

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/test/internal/envoybin"
)

// programs are what is compared, found and built once. TestMain removes builtIn.
var (
	builtIn  string
	programs = sync.OnceValues(findPrograms)
)

func TestMain(m *testing.M) {
	// Subjects wait most of the time, so more of them run at once than there are processors.
	if err := flag.Set("test.parallel", "5"); err != nil {
		panic(err)
	}
	code := m.Run()
	if builtIn != "" {
		if err := os.RemoveAll(builtIn); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

func findPrograms() (bins [2]string, err error) {
	if bins[0], err = envoybin.Find(context.Background()); err != nil {
		return bins, errNoEnvoy{err}
	}
	dir, err := os.MkdirTemp("", "lateen-differential-")
	if err != nil {
		return bins, err
	}
	builtIn = dir
	bins[1] = filepath.Join(dir, "lateen-proxy")
	cmd := exec.Command("go", "build", "-o", bins[1], "./cmd/lateen-proxy")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		return bins, fmt.Errorf("build of lateen-proxy: %v\n%s", err, out)
	}
	return bins, nil
}

type errNoEnvoy struct{ error }

// needPrograms skips where Envoy cannot be had.
func needPrograms(t *testing.T) [2]string {
	t.Helper()
	bins, err := programs()
	if e, ok := errors.AsType[errNoEnvoy](err); ok {
		t.Skipf("Envoy is not there and could not be installed (%v); this makes the test run: %s", e.error, envoybin.Command)
	}
	if err != nil {
		t.Fatal(err)
	}
	return bins
}

// lastPort is where the search for free ports goes on. The range lies below the one that the
// kernel takes ports of clients from, so that no client gets what a proxy is about to bind.
var lastPort atomic.Int32

func freePort() int {
	const low, high = 20000, 32000
	start := int32(os.Getpid() % 8000)
	for range high - low {
		p := low + int(start+lastPort.Add(1))%(high-low)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(p))
		if err == nil {
			l.Close()
			return p
		}
	}
	panic("no free port")
}

// side is one of the two proxies of a subject with its origins.
type side struct {
	name    string
	place   place
	origins map[string]*origin
	// management is its management server; nil: it has none.
	management *management
	cmd        *exec.Cmd
	output     string
	done       chan error
	admin      *http.Client
	stats      map[string]int64
	logAt      int // bytes of the access log that belong to earlier cases
}

// startSide writes the bootstrap, starts origins and proxy and waits until it is ready.
func startSide(t *testing.T, name, program, config string, certs *certificates) *side {
	t.Helper()
	dir := t.TempDir()
	s := &side{
		name: name, origins: map[string]*origin{}, done: make(chan error, 1), output: filepath.Join(dir, "output"),
		admin: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
		place: place{dir: dir, log: filepath.Join(dir, "access.log"), ports: map[string]int{}, origins: map[string]int{}, certs: certs},
	}
	boot, err := s.place.bootstrap(config)
	if err != nil {
		t.Fatal(err)
	}
	for n, port := range s.place.origins {
		if n == "dead" { // a port where nobody listens
			continue
		}
		if n == "dns" {
			stop, err := startNameServer(fmt.Sprintf("127.0.0.1:%d", port), s.place.names)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(stop)
			continue
		}
		if n == "xds" {
			if s.management, err = startManagement(fmt.Sprintf("127.0.0.1:%d", port), s.place.xds); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.management.stop)
			continue
		}
		o, err := startOrigin(n, fmt.Sprintf("127.0.0.1:%d", port), certs)
		if err != nil {
			t.Fatal(err)
		}
		s.origins[n] = o
		t.Cleanup(o.stop)
	}
	file := filepath.Join(dir, "bootstrap.yaml")
	if err := os.WriteFile(file, boot, 0o600); err != nil {
		t.Fatal(err)
	}
	// What Dynatrace's agent would say of the process lies in its working directory.
	metadata := filepath.Join(dir, "metadata.properties")
	for name, text := range map[string]string{metadata: "dt.entity.process=P-1\nwho = me\nservice.name=detected\n", filepath.Join(dir, "dt_metadata_e617c525669e072eebe3d0f08212e8f2.properties"): metadata} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"-c", file, "--concurrency", "1", "-l", "error", "--file-flush-interval-msec", "10"}
	if name == "envoy" {
		args = append(args, "--disable-hot-restart")
	}
	out, err := os.Create(s.output)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s.cmd = exec.Command(program, args...)
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Dir = out, out, dir
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		<-s.done
	})
	s.awaitReady(t)
	return s
}

func (s *side) awaitReady(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		if _, body, err := s.ask("GET", "/ready"); err == nil && strings.HasPrefix(body, "LIVE") {
			return
		}
		select {
		case err := <-s.done:
			s.done <- err
			b, _ := os.ReadFile(s.output)
			if len(b) > 3000 { // Envoy says what is wrong before the whole configuration
				b = slices.Concat(b[:1500], []byte("\n...\n"), b[len(b)-1500:])
			}
			t.Fatalf("%s ended at once (%v):\n%s", s.name, err, b)
		case <-deadline:
			t.Fatalf("%s did not become ready", s.name)
		case <-tick.C:
		}
	}
}

// ask is a request to the admin API.
func (s *side) ask(method, path string) (*http.Response, string, error) {
	req, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", s.place.ports["admin"], path), nil)
	if err != nil {
		return nil, "", err
	}
	resp, err := s.admin.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

// waited is for how long the proxy's threads were ready to run and did not, together, since they began; 0 where the kernel does not tell
// (proc(5), schedstat).
func (s *side) waited() time.Duration {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	var sum time.Duration
	for _, f := range files {
		b, err := os.ReadFile(f) // a thread may have ended
		if fields := strings.Fields(string(b)); err == nil && len(fields) == 3 {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			sum += time.Duration(n)
		}
	}
	return sum
}

// readStats returns by how much each counter has changed since the case began.
func (s *side) readStats() (map[string]int64, error) {
	now, err := s.counters()
	if err != nil {
		return nil, err
	}
	changed := map[string]int64{}
	for k, v := range now {
		if d := v - s.stats[k]; d != 0 {
			changed[k] = d
		}
	}
	return changed, nil
}

func (s *side) counters() (map[string]int64, error) {
	_, body, err := s.ask("GET", "/stats?usedonly")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	out := map[string]int64{}
	for line := range strings.Lines(body) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if n, err := strconv.ParseInt(v, 10, 64); ok && err == nil {
			out[k] = n
		}
	}
	return out, nil
}

// logLines are the lines of access log since the case began.
func (s *side) logLines() []string {
	b, err := os.ReadFile(s.place.log)
	if err != nil || len(b) < s.logAt {
		return nil
	}
	text := strings.TrimSuffix(string(b[s.logAt:]), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// begin makes the side ready for a case: no connection upstream is left of an earlier one, and
// if possible none of a client, whose end would be counted for this case.
func (s *side) begin(c *testCase) error {
	for n, o := range s.origins {
		o.dropConnections()
		o.script(c.answers[n])
	}
	began := time.Now()
	for {
		now, err := s.counters()
		if err != nil {
			return err
		}
		up, down := connections(now)
		if up == 0 && (down == 0 || time.Since(began) > leave) {
			s.stats = now
			break
		}
		if time.Since(began) > letGo {
			return fmt.Errorf("%s does not let go of connections to origins that closed them", s.name)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if fi, err := os.Stat(s.place.log); err == nil {
		s.logAt = int(fi.Size())
	}
	return nil
}

// connections counts what is open to origins, and from clients but those of the admin API.
func connections(counters map[string]int64) (up, down int64) {
	for k, v := range counters {
		switch {
		case strings.HasPrefix(k, "cluster.xds."): // the stream of the management server stays
		case strings.HasPrefix(k, "cluster.export-sw."): // those of tracers are there before there is something to send, and come back
		case strings.HasPrefix(k, "cluster.") && strings.HasSuffix(k, ".upstream_cx_active"):
			up += v
		case strings.HasPrefix(k, "http.") && strings.HasSuffix(k, ".downstream_cx_active") && !strings.HasPrefix(k, "http.admin."):
			down += v
		}
	}
	return up, down
}
