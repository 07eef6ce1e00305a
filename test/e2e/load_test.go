package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// load is requests at a steady rate until end.
type load struct {
	stop     chan struct{}
	group    sync.WaitGroup
	ok       atomic.Int64
	mu       sync.Mutex
	failures []string
}

// startLoad has several workers make a request each period, whether the last took long or not so long.
func startLoad(request func() (answer, error), workers int, period time.Duration) *load {
	l := &load{stop: make(chan struct{})}
	for range workers {
		l.group.Go(func() {
			ticker := time.NewTicker(period)
			defer ticker.Stop()
			for {
				select {
				case <-l.stop:
					return
				case <-ticker.C:
				}
				a, err := request()
				if err == nil && a.code == http.StatusOK {
					l.ok.Add(1)
					continue
				}
				l.mu.Lock()
				l.failures = append(l.failures, fmt.Sprintf("%s: %d %.120s %v", time.Now().Format("15:04:05.000"), a.code, a.body, err))
				l.mu.Unlock()
			}
		})
	}
	return l
}

// more waits until so many further requests have been answered.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	from := l.answered()
	eventually(t, 30*time.Second, func() error {
		if got := l.answered() - from; got < n {
			return fmt.Errorf("%d further requests answered, want %d", got, n)
		}
		return nil
	})
}

func (l *load) answered() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ok.Load() + int64(len(l.failures))
}

// end stops the load and wants no failure, and at least so many successes.
func (l *load) end(t *testing.T, atLeast int64) {
	t.Helper()
	close(l.stop)
	l.group.Wait()
	if n := len(l.failures); n > 0 {
		t.Errorf("%d of %d requests failed, first: %v", n, l.ok.Load()+int64(n), l.failures[:min(n, 3)])
	}
	if l.ok.Load() < atLeast {
		t.Errorf("%d requests succeeded, want at least %d", l.ok.Load(), atLeast)
	}
	t.Logf("%d requests without a failure", l.ok.Load())
}

// proxied returns a client that asks through an explicit proxy port.
func proxied(t *testing.T, address string) *http.Client {
	t.Helper()
	c := newClient()
	c.Transport.(*http.Transport).Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: address})
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// versions counts the versions of the mesh's configuration that the control plane has made, each of which it pushes.
func (m *mesh) versions(t *testing.T) int {
	t.Helper()
	a, err := fetch(m.client, "http://"+m.run.Debug+"/metrics", "")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(a.body) {
		var n int
		if _, err := fmt.Sscanf(line, "pilot_debounce_time_count %d", &n); err == nil {
			return n
		}
	}
	t.Fatal("the control plane does not count its pushes")
	return 0
}

// A thousand changes of weights and subsets under load through the gateway and the sidecars: no request fails.
func TestConfigurationChangesUnderLoad(t *testing.T) {
	const changes = 1000
	m := shared
	rule := func(extra string) string {
		return `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: catalog, namespace: istioinaction}
spec:
  host: catalog
  subsets:
  - {name: version-v1, labels: {version: v1}}
  - {name: version-v2, labels: {version: v2}}
` + extra
	}
	route := func(subset string, weight int) string {
		return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: catalog, namespace: istioinaction}
spec:
  hosts: [catalog]
  http:
  - route:
    - {destination: {host: catalog, subset: version-v1}, weight: %d}
    - {destination: {host: catalog, subset: %s}, weight: %d}
`, 100-weight, subset, weight)
	}
	const canary = "  - {name: canary, labels: {version: v2}}\n"
	m.applyText(t, rule(""))
	m.applyText(t, route("version-v2", 50))
	m.settle(t, webappHost, "/api/catalog", func(a answer) bool { return a.code == http.StatusOK })
	files := map[bool]string{
		true:  filepath.Join(m.state, "config", "istioinaction", "destinationrule", "catalog.yaml"),
		false: filepath.Join(m.state, "config", "istioinaction", "virtualservice", "catalog.yaml"),
	}
	before := m.versions(t)
	load := startLoad(func() (answer, error) { return m.get(webappHost, "/api/catalog") }, 4, 8*time.Millisecond)
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	made := before
	for i := range changes {
		weight := (i * 37) % 101
		// Each file set on the way is right: the subset comes before the route that names it and goes after it.
		step := []struct {
			isRule bool
			text   string
		}{
			{true, rule(canary)}, {false, route("canary", weight)}, {false, route("version-v2", weight)}, {true, rule("")},
		}[i%4]
		if err := runfile.WriteFile(files[step.isRule], []byte(step.text), 0o644); err != nil {
			t.Fatal(err)
		}
		// The next change follows when this one is on its way: of two that come together the control plane would make one.
		for patience := time.Now().Add(time.Second); time.Now().Before(patience); <-ticker.C {
			if n := m.versions(t); n > made {
				made = n
				break
			}
		}
	}
	// The last word counts.
	if err := runfile.WriteFile(files[false], []byte(route("version-v2", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	m.settle(t, webappHost, "/api/catalog", isV2)
	load.end(t, 1000)
	if made-before < changes*9/10 {
		t.Errorf("the control plane made %d versions of %d changes", made-before, changes)
	}
	t.Logf("%d changes, %d versions", changes, made-before)
}
