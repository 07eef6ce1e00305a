package overload

import (
	"context"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestManager(t *testing.T) {
	heap := xdsresource.MonitorHeap
	st := stats.NewStore(stats.Options{})
	changed, shrunk, used := 0, 0, uint64(0)
	state := &State{}
	m := New(&xdsresource.Overload{MaxHeap: 100, Actions: []xdsresource.OverloadAction{
		{Name: "envoy.overload_actions.stop_accepting_requests", Triggers: []xdsresource.OverloadTrigger{{Monitor: heap, Scaling: 0.8, Saturation: 1}}},
		{Name: "envoy.overload_actions.stop_accepting_connections", Triggers: []xdsresource.OverloadTrigger{{Monitor: heap, Scaling: 0.95, Saturation: 0.95}}},
		{Name: "envoy.overload_actions.shrink_heap", Triggers: []xdsresource.OverloadTrigger{{Monitor: heap, Scaling: 0.5, Saturation: 0.5}}},
	}}, state, st, func(accepting, _ bool) {
		if accepting {
			changed++
		}
	})
	m.heap = func() uint64 { return used }
	m.shrink = func() { shrunk++ }
	now := time.Unix(1000, 0)
	step := func(heap uint64, requests float64, stops, shrinks int) {
		t.Helper()
		used = heap
		m.refresh(now)
		if v := state.Value(StopAcceptingRequests); v < requests-0.001 || v > requests+0.001 {
			t.Errorf("at %d: stop_accepting_requests is %v, want %v", heap, v, requests)
		}
		if changed != stops || shrunk != shrinks {
			t.Errorf("at %d: %d changes and %d shrinks, want %d and %d", heap, changed, shrunk, stops, shrinks)
		}
	}
	step(10, 0, 0, 0)
	step(90, 0.5, 0, 1)
	step(95, 0.75, 1, 1) // not again so soon
	step(120, 1, 1, 1)
	now = now.Add(time.Minute)
	step(80, 0, 2, 2)
	snap, err := st.Snapshot(context.Background(), stats.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{
		"overload.envoy.resource_monitors.fixed_heap.pressure":                  80,
		"overload.envoy.overload_actions.shrink_heap.active":                    1,
		"overload.envoy.overload_actions.stop_accepting_requests.active":        0,
		"overload.envoy.overload_actions.stop_accepting_requests.scale_percent": 0,
	} {
		if got, ok := snap.Value(name); !ok || got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
}

// TestScaled: a time-out goes from its length to its least with the action's state.
func TestScaled(t *testing.T) {
	s := &State{}
	s.scales[xdsresource.ConnectionIdleTimer] = xdsresource.TimerScale{On: true, Timeout: 2 * time.Second, Share: -1}
	s.scales[xdsresource.StreamIdleTimer] = xdsresource.TimerScale{On: true, Share: 0.1}
	for _, tt := range []struct {
		state float64
		timer xdsresource.ScaledTimer
		d     time.Duration
		want  time.Duration
	}{
		{0, xdsresource.ConnectionIdleTimer, 10 * time.Second, 10 * time.Second},
		{0.5, xdsresource.ConnectionIdleTimer, 10 * time.Second, 6 * time.Second},
		{1, xdsresource.ConnectionIdleTimer, 10 * time.Second, 2 * time.Second},
		{1, xdsresource.ConnectionIdleTimer, time.Second, time.Second}, // never longer
		{0.5, xdsresource.StreamIdleTimer, 10 * time.Second, 5500 * time.Millisecond},
		{1, xdsresource.StreamIdleTimer, 10 * time.Second, time.Second},
		{1, xdsresource.StreamIdleTimer, 0, 0}, // none stays none
		{1, xdsresource.ConnectionMaxTimer, 10 * time.Second, 10 * time.Second},
	} {
		s.set(ReduceTimeouts, tt.state)
		if got := s.Scaled(tt.timer, tt.d); got != tt.want {
			t.Errorf("timer %d of %v at %v: %v, want %v", tt.timer, tt.d, tt.state, got, tt.want)
		}
	}
}

func TestState(t *testing.T) {
	var none *State
	if none.Sheds(StopAcceptingRequests, 0) || !none.Connected() {
		t.Error("no state sheds")
	}
	s := &State{MaxConnections: 1}
	s.set(StopAcceptingRequests, 0.25)
	n := 0
	for r := range uint64(1000) {
		if s.Sheds(StopAcceptingRequests, r*1000) {
			n++
		}
	}
	if n != 250 {
		t.Errorf("%d of 1000 were shed at 0.25", n)
	}
	if !s.Connected() || s.Connected() {
		t.Error("the limit is 1")
	}
	s.Disconnected()
	if !s.Connected() {
		t.Error("a connection that has gone still counts")
	}
}
