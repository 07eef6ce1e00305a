package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/config/statedir"
	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// size is how much of it a test does: a little of each in `make test`, the full measure in `make stress`.
type size struct {
	rate, workers                          int // requests a second, and by how many connections
	changes, replacements, restarts, wrong int
}

func measure() size {
	if os.Getenv("LATEEN_STRESS") != "" {
		return size{rate: 2000, workers: 40, changes: 1000, replacements: 200, restarts: 10, wrong: 20}
	}
	return size{rate: 400, workers: 8, changes: 150, replacements: 30, restarts: 2, wrong: 3}
}

// caller is an HTTP/1.1 client that sends nothing a second time: what fails, fails. It keeps its connection until it is told not to.
type caller struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
}

func (c *caller) get(host, path string) (answer, error) {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.address)
		if err != nil {
			return answer{}, err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	a, keep, err := c.ask(host, path)
	if err != nil || !keep {
		c.conn.Close()
		c.conn = nil
	}
	return a, err
}

func (c *caller) ask(host, path string) (a answer, keep bool, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return a, false, err
	}
	if _, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nhost: %s\r\nuser-agent: %s\r\n\r\n", path, host, c.conn.LocalAddr()); err != nil {
		return a, false, err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return a, false, fmt.Errorf("no answer on %v: %w", c.conn.LocalAddr(), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(body), resp.Header}, !resp.Close, err
}

// newest is the highest step that an answer has told of.
type newest struct{ step atomic.Int64 }

func (n *newest) saw(a answer) {
	step, err := strconv.ParseInt(a.header.Get(stepHeader), 10, 64)
	if err != nil {
		return
	}
	for {
		last := n.step.Load()
		if step <= last || n.step.CompareAndSwap(last, step) {
			return
		}
	}
}

// steadyLoad asks through the gateway, webapp and catalog at the rate of s.
func (m *mesh) steadyLoad(s size, seen *newest) *load {
	idle := make(chan *caller, s.workers)
	for range s.workers {
		idle <- &caller{address: "127.0.0.1:" + strconv.Itoa(m.port)}
	}
	return startLoad(func() (answer, error) {
		c := <-idle
		defer func() { idle <- c }()
		a, err := c.get(loadHost, "/api/catalog")
		if err == nil {
			seen.saw(a)
		}
		return a, err
	}, s.workers, time.Duration(s.workers)*time.Second/time.Duration(s.rate))
}

// Random valid changes of all kinds, endpoints that are replaced, control planes that are killed, and objects that nobody can use: no request through the gateway
// and two sidecars fails meanwhile, and what is right comes into force no matter what is wrong beside it.
func TestConfigurationChangesUnderLoad(t *testing.T) {
	m, s := shared, measure()
	h := newHistory(1, filepath.Join(m.state, "config"))
	t.Cleanup(func() {
		if err := h.end(); err != nil {
			t.Error(err)
		}
	})
	if err := h.begin(); err != nil {
		t.Fatal(err)
	}
	endpoints := m.twoCatalogs(t)
	m.settle(t, loadHost, "/api/catalog", func(a answer) bool { return a.code == http.StatusOK })
	for _, part := range []struct {
		name string
		run  func(t *testing.T, seen *newest)
	}{
		{"changes", func(t *testing.T, _ *newest) { m.changesAndReplacements(t, h, endpoints, s) }},
		{"wrong objects", func(t *testing.T, seen *newest) { m.wrongBesideRight(t, h, seen, s.wrong) }},
		{"restarts", func(t *testing.T, seen *newest) { m.restarts(t, h, seen, s.restarts) }},
	} {
		t.Run(part.name, func(t *testing.T) {
			var seen newest
			begun := time.Now()
			load := m.steadyLoad(s, &seen)
			defer func() {
				load.end(t, 100)
				if t.Failed() {
					m.sayRefused(t)
				}
				t.Logf("%.0f requests a second for %v", float64(load.answered())/time.Since(begun).Seconds(), time.Since(begun).Round(time.Millisecond))
			}()
			part.run(t, &seen)
			load.more(t, 200)
		})
	}
}

// sayRefused shows where in the mesh requests were refused: the lines of the proxies' access logs that have a 503.
func (m *mesh) sayRefused(t *testing.T) {
	t.Helper()
	logs, _ := filepath.Glob(filepath.Join(m.state, "logs", "*")) // the pattern is sound
	for _, path := range logs {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		said := 0
		for line := range strings.Lines(string(raw)) {
			if strings.Contains(line, " 503 ") && said < 5 {
				said++
				t.Logf("%s: %s", filepath.Base(path), line)
			}
		}
	}
}

// twoCatalogs has a second instance of catalog's first version run, and gives the two entries of them.
func (m *mesh) twoCatalogs(t *testing.T) *replacement {
	t.Helper()
	_, out := m.start(t, "--service", "catalog", "--version", "v1", "--name", "catalog-v1-b", "--port", "3000", "--",
		"sh", "-c", `exec "$0" sample serve catalog --address "$HOST:$PORT"`, m.bin)
	r := &replacement{}
	dir := statedir.WorkloadsDir(m.state)
	r.files = [2]string{filepath.Join(dir, "catalog-v1-1.yaml"), filepath.Join(dir, "catalog-v1-b.yaml")}
	eventually(t, 30*time.Second, func() error {
		var errs []error
		for i, path := range r.files {
			var err error
			r.texts[i], err = os.ReadFile(path)
			errs = append(errs, err)
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		for _, member := range runfile.Members(m.state) {
			if member.Proxy.Name == "catalog-v1-b" {
				conn, err := net.Dial("tcp", member.App.Address)
				if err == nil {
					conn.Close()
				}
				return err
			}
		}
		return errors.New("it is no member yet")
	})
	t.Cleanup(func() {
		if err := r.both(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// changesAndReplacements makes changes, each when the last is on its way, and replaces endpoints meanwhile.
func (m *mesh) changesAndReplacements(t *testing.T, h *history, endpoints *replacement, s size) {
	before := m.versions(t)
	made := before
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	each := max(1, s.changes/s.replacements)
	for i := range s.changes {
		if err := h.change(); err != nil {
			t.Fatal(err)
		}
		if i%each == 0 && endpoints.n < s.replacements {
			if err := endpoints.next(); err != nil {
				t.Fatal(err)
			}
		}
		// Of two changes that come together the control plane makes one, and one without an effect is no version.
		for patience := time.Now().Add(200 * time.Millisecond); time.Now().Before(patience); <-ticker.C {
			if n := m.versions(t); n > made {
				made = n
				break
			}
		}
	}
	if made-before < s.changes/2 {
		t.Errorf("the control plane made %d versions of %d changes", made-before, s.changes)
	}
	t.Logf("%d changes and %d replacements, %d versions", s.changes, endpoints.n, made-before)
}

// effect writes the door with a new step and waits until an answer tells of it.
func (m *mesh) effect(t *testing.T, h *history, seen *newest) time.Duration {
	t.Helper()
	h.step++
	begun := time.Now()
	if err := h.doorOf(h.step); err != nil {
		t.Fatal(err)
	}
	eventually(t, settleTime, func() error {
		if got := seen.step.Load(); got < int64(h.step) {
			return fmt.Errorf("answers tell of step %d, want %d", got, h.step)
		}
		return nil
	})
	return time.Since(begun)
}

func (m *mesh) wrongBesideRight(t *testing.T, h *history, seen *newest, n int) {
	var alone, beside []time.Duration
	for range n {
		alone = append(alone, m.effect(t, h, seen))
		if err := h.wrong(); err != nil {
			t.Fatal(err)
		}
		beside = append(beside, m.effect(t, h, seen))
		if err := h.change(); err != nil {
			t.Fatal(err)
		}
		beside = append(beside, m.effect(t, h, seen))
		if err := h.right(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(alone)
	slices.Sort(beside)
	t.Logf("a right object is in force after %v (median; %v at most), beside wrong ones after %v (%v)", alone[len(alone)/2], alone[len(alone)-1], beside[len(beside)/2], beside[len(beside)-1])
}

func (m *mesh) restarts(t *testing.T, h *history, seen *newest, n int) {
	var back []time.Duration
	for range n {
		pid, err := m.pid("control-plane")
		if err != nil || pid == 0 {
			t.Fatalf("pid %d: %v", pid, err)
		}
		begun := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		m.effect(t, h, seen)
		back = append(back, time.Since(begun).Round(time.Millisecond))
		if err := h.change(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("a change is in force so long after the kill: %v", back)
}
