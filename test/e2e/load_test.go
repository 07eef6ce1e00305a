package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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
				l.failures = append(l.failures, fmt.Sprintf("%s: %d %v %.120s %v", time.Now().Format("15:04:05.000"), a.code, a.header, a.body, err))
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
