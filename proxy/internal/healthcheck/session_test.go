package healthcheck

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSessionModel runs random results against a model that keeps the whole history and
// derives the host's state from it anew each time.
func TestSessionModel(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 3))
		cfg := &xdsresource.HealthCheck{HealthyThreshold: 1 + r.Uint32N(4), UnhealthyThreshold: 1 + r.Uint32N(4)}
		waiting := r.IntN(2) == 0
		s := NewSession(cfg, waiting)
		var history []Result
		failed := true
		for range 60 {
			res := Result{Outcome: Outcome(r.IntN(5))}
			if r.IntN(2) == 0 {
				res.Outcome = Success
			}
			if res.Outcome == Success {
				res.Degraded = r.IntN(4) == 0
			} else if res.Outcome == Active {
				res.Retriable, res.Exclude = r.IntN(2) == 0, r.IntN(3) == 0
			}
			before, wasDegraded, wasWaiting := failed, s.Degraded(), s.Waiting()
			ch, _ := s.On(res)
			history = append(history, res)
			// The state after each: the last run of like results decides.
			run := 0
			for i := len(history) - 1; i >= 0 && (history[i].Outcome == Success) == (res.Outcome == Success); i-- {
				run++
			}
			switch {
			case res.Outcome == Success && failed:
				failed = len(history) > 1 && run < int(cfg.HealthyThreshold)
			case res.Outcome != Success && !failed:
				soft := res.Outcome == Network || res.Outcome == Timeout || res.Retriable
				failed = !soft || run >= int(cfg.UnhealthyThreshold)
			}
			want := Unchanged
			switch {
			case failed != before, wasWaiting, res.Outcome == Success && res.Degraded != wasDegraded:
				want = Changed
				if failed == before && !wasWaiting && before {
					want = Pending // on the way back the threshold comes first
				}
			case (res.Outcome == Success) == failed:
				want = Pending
			}
			if s.Failed() != failed || ch != want {
				t.Fatalf("seed %d, %+v, after %+v: failed %v, change %d; want %v, %d", seed, cfg, history, s.Failed(), ch, failed, want)
			}
			if s.TimedOut() != (res.Outcome == Timeout && failed) && !(res.Outcome == Success && failed) {
				t.Fatalf("seed %d: timed out %v after %v", seed, s.TimedOut(), res)
			}
			if s.Waiting() || !s.Checked() {
				t.Fatal("still waiting for the first check")
			}
		}
	}
}

// TestIntervals: which interval follows what.
func TestIntervals(t *testing.T) {
	s := NewSession(&xdsresource.HealthCheck{
		Interval: 1 * time.Second, UnhealthyInterval: 2 * time.Second, UnhealthyEdgeInterval: 3 * time.Second,
		HealthyEdgeInterval: 4 * time.Second, NoTrafficInterval: 5 * time.Second, NoTrafficHealthyInterval: 6 * time.Second,
		IntervalJitter: 200 * time.Millisecond, IntervalJitterPercent: 10, InitialJitter: 700 * time.Millisecond,
	}, false)
	zero, most := func(uint64) uint64 { return 0 }, func(n uint64) uint64 { return n - 1 }
	for _, tt := range []struct {
		ok      bool
		change  Change
		traffic bool
		want    time.Duration
	}{
		{true, Unchanged, true, 1 * time.Second}, {true, Changed, true, 1 * time.Second}, {true, Pending, true, 4 * time.Second},
		{false, Unchanged, true, 2 * time.Second}, {false, Changed, true, 2 * time.Second}, {false, Pending, true, 3 * time.Second},
		{true, Unchanged, false, 6 * time.Second}, {true, Pending, false, 5 * time.Second}, {false, Changed, false, 5 * time.Second},
	} {
		if got := s.Next(tt.ok, tt.change, tt.traffic, zero); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
		// A tenth and 200 ms more at most, each exclusive.
		if got, want := s.Next(tt.ok, tt.change, tt.traffic, most), tt.want+tt.want/10+198*time.Millisecond; got != want {
			t.Errorf("%+v with jitter: %v, want %v", tt, got, want)
		}
	}
	if got := s.First(most); got != 699*time.Millisecond {
		t.Errorf("the first check after %v", got)
	}
}

// TestEvents: what is logged, and when.
func TestEvents(t *testing.T) {
	s := NewSession(&xdsresource.HealthCheck{HealthyThreshold: 2, UnhealthyThreshold: 2}, false)
	for i, tt := range []struct {
		r    Result
		want []EventKind
	}{
		{Result{Outcome: Network}, []EventKind{CheckFailed}}, // the first one, whatever is configured
		{Result{}, nil},
		{Result{}, []EventKind{AddHealthy}},
		{Result{Degraded: true}, []EventKind{BecameDegraded}},
		{Result{}, []EventKind{NoLongerDegraded}},
		{Result{Outcome: Timeout}, nil},
		{Result{Outcome: Timeout}, []EventKind{EjectUnhealthy}},
		{Result{Outcome: Active}, nil},
	} {
		_, events := s.On(tt.r)
		var kinds []EventKind
		for _, e := range events {
			kinds = append(kinds, e.Kind)
		}
		if len(kinds) != len(tt.want) || len(kinds) == 1 && kinds[0] != tt.want[0] {
			t.Errorf("step %d: %v, want %v", i, kinds, tt.want)
		}
	}
	line := Event{Kind: EjectUnhealthy, Failure: Active, Status: 503}.Line(&Subject{
		Type: "HTTP", Cluster: "c", Address: xdsresource.Address{IP: netip.MustParseAddr("127.0.0.1"), Port: 80}, Zone: "z",
	}, time.UnixMilli(1234))
	var m map[string]any
	if err := json.Unmarshal(line, &m); err != nil {
		t.Fatal(err)
	}
	if eject := m["eject_unhealthy_event"].(map[string]any); eject["failure_type"] != "ACTIVE" || eject["http_status_code"] != 503. || m["timestamp"] != "1970-01-01T00:00:01.234Z" {
		t.Errorf("%s", line)
	}
}

// paced is a prober that takes its time.
type paced struct {
	take   time.Duration
	at     []time.Duration
	began  time.Time
	closed bool
}

func (p *paced) Probe(ctx context.Context) Result {
	p.at = append(p.at, time.Since(p.began))
	select {
	case <-time.After(p.take):
		return Result{}
	case <-ctx.Done():
		return Result{Outcome: Network}
	}
}

func (p *paced) Close() { p.closed = true }

// TestWatch: checks follow one another by the reported intervals, on a fake clock, and one
// that does not end in time is a time-out.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &paced{began: time.Now(), take: time.Second}
		ctx, cancel := context.WithCancel(t.Context())
		var got []Outcome
		done := make(chan struct{})
		go func() {
			defer close(done)
			Watch(ctx, 5*time.Second, 3*time.Second, p, func(r Result) time.Duration {
				got = append(got, r.Outcome)
				if len(got) == 2 {
					p.take = time.Hour
				}
				return 10 * time.Second
			})
		}()
		<-time.After(45 * time.Second)
		cancel()
		<-done
		want := []time.Duration{5 * time.Second, 16 * time.Second, 27 * time.Second, 40 * time.Second}
		if len(p.at) != 4 || p.at[0] != want[0] || p.at[1] != want[1] || p.at[2] != want[2] || p.at[3] != want[3] {
			t.Errorf("checks at %v, want %v", p.at, want)
		}
		if len(got) != 4 || got[0] != Success || got[3] != Timeout || !p.closed {
			t.Errorf("results %v, closed %v", got, p.closed)
		}
	})
}
