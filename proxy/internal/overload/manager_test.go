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
	m := New(&xdsresource.Overload{MaxHeap: 100, Actions: []xdsresource.OverloadAction{
		{Name: "envoy.overload_actions.stop_accepting_requests", Triggers: []xdsresource.OverloadTrigger{{Monitor: heap, Scaling: 0.8, Saturation: 1}}},
		{Name: "envoy.overload_actions.stop_accepting_connections", Triggers: []xdsresource.OverloadTrigger{{Monitor: heap, Scaling: 0.95, Saturation: 0.95}}},
		{Name: "envoy.overload_actions.shrink_heap", Triggers: []xdsresource.OverloadTrigger{{Monitor: heap, Scaling: 0.5, Saturation: 0.5}}},
	}}, st, func() { changed++ })
	m.heap = func() uint64 { return used }
	m.shrink = func() { shrunk++ }
	now := time.Unix(1000, 0)
	step := func(heap uint64, requests float64, stops, shrinks int) {
		t.Helper()
		used = heap
		m.refresh(now)
		if v := m.State().Value(StopAcceptingRequests); v < requests-0.001 || v > requests+0.001 {
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
