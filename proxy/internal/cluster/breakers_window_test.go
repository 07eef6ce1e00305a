package cluster

import (
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestWindow(t *testing.T) {
	const second = int64(time.Second)
	w := newWindow(16 * time.Second)
	for _, c := range []struct {
		at    int64 // seconds
		begin int
		want  int64
	}{
		{0, 10, 10}, {5, 0, 10}, {8, 5, 15}, {15, 0, 15}, {16, 0, 5}, {16, 2, 7}, {23, 0, 7}, {24, 0, 2}, {32, 0, 0}, {1000, 1, 1}, {1015, 0, 1}, {1016, 0, 0},
	} {
		for range c.begin {
			w.add(c.at * second)
		}
		if got := w.count(c.at * second); got != c.want {
			t.Errorf("at %d s: %d, want %d", c.at, got, c.want)
		}
	}
}

// TestBudgetInterval: with budget_interval requests count for as long as that takes, though they are over.
func TestBudgetInterval(t *testing.T) {
	for _, c := range []struct {
		interval time.Duration
		want     int // retries at once
	}{{0, 1}, {time.Hour, 5}} {
		m := newMesh(t, 1, nil)
		cfg := static("c", "10.0.0.1:80")
		cfg.Breakers[0] = xdsresource.Breakers{MaxConnections: 1, MaxPendingRequests: 1, MaxRequests: 100, RetryBudgetPercent: 50, RetryBudgetMin: 1, RetryBudgetInterval: c.interval}
		m.update(t, cfg)
		m.run()
		l := m.Local(0).Get("c")
		for range 10 {
			if !l.Try(Requests, false) {
				t.Fatal("no room for a request")
			}
			l.Release(Requests, false)
		}
		got := 0
		for l.Try(Retries, false) {
			got++
		}
		if got != c.want {
			t.Errorf("with an interval of %v %d retries at once, want %d", c.interval, got, c.want)
		}
	}
}
