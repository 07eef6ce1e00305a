package overload

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Manager measures and sets states.
type Manager struct {
	cfg     *xdsresource.Overload
	state   *State
	heap    func() uint64 // memory that the process holds, in bytes
	shrink  func()
	main    stats.Main
	gauges  map[string]stats.Gauge // pressure by monitor
	active  [actions]stats.Gauge
	scale   [actions]stats.Gauge
	changed func(accepting, timeouts bool) // something that is not read by the path has changed
	shrunk  time.Time
}

// shrinkEvery is the least time between two attempts to give memory back.
const shrinkEvery = 10 * time.Second

// New returns a manager of a state; changed is called, from Run, when accepting is to stop or to go on,
// and when time-outs have another length.
func New(cfg *xdsresource.Overload, state *State, st *stats.Store, changed func(accepting, timeouts bool)) *Manager {
	m := &Manager{
		cfg: cfg, state: state, heap: held, shrink: debug.FreeOSMemory,
		main: st.Main(), gauges: map[string]stats.Gauge{}, changed: changed,
	}
	state.MaxConnections, state.scales = cfg.MaxConnections, cfg.Scales
	scope := st.Scope("overload")
	for name := range m.pressures() {
		m.gauges[name] = scope.Scope(name).Gauge("pressure")
	}
	for a := range actions {
		sub := scope.Scope(a.Name())
		m.scale[a] = sub.Gauge("scale_percent")
		if a.point() {
			state.shed[a] = sub.Counter("shed_load_count")
		} else {
			m.active[a] = sub.Gauge("active")
		}
	}
	return m
}

// held is the memory that the runtime has from the system and has not given back.
func held() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// pressures measures every configured monitor, 0 to 1 and beyond.
func (m *Manager) pressures() map[string]float64 {
	out := map[string]float64{}
	if n := m.cfg.MaxHeap; n > 0 {
		out[xdsresource.MonitorHeap] = float64(m.heap()) / float64(n)
	}
	if n := m.cfg.MaxConnections; n > 0 {
		out[xdsresource.MonitorConnections] = float64(m.state.Connections()) / float64(n)
	}
	return out
}

// Run measures until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	tick := time.NewTicker(m.cfg.Refresh)
	defer tick.Stop()
	for {
		m.refresh(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// refresh measures once.
func (m *Manager) refresh(now time.Time) {
	pressures := m.pressures()
	for name, p := range pressures {
		m.main.GaugeSet(m.gauges[name], int64(min(p, 1)*100))
	}
	stopped, reduced := m.state.Value(StopAcceptingConnections) >= 1, m.state.Value(ReduceTimeouts)
	var next [actions]float64
	for _, a := range m.cfg.Actions {
		action, _ := ActionOf(a.Name) // names were checked when the bootstrap was read
		for _, t := range a.Triggers {
			next[action] = max(next[action], value(t, pressures[t.Monitor]))
		}
	}
	for a, v := range next {
		m.state.set(Action(a), v)
		on := int64(0)
		if v >= 1 {
			on = 1
		}
		if !Action(a).point() {
			m.main.GaugeSet(m.active[a], on)
		}
		m.main.GaugeSet(m.scale[a], int64(v*100))
	}
	if accepting, timeouts := (next[StopAcceptingConnections] >= 1) != stopped, next[ReduceTimeouts] != reduced; accepting || timeouts {
		m.changed(accepting, timeouts)
	}
	if next[ShrinkHeap] >= 1 && now.Sub(m.shrunk) >= shrinkEvery {
		m.shrunk = now
		m.shrink()
	}
}

// value is what a trigger makes of a pressure.
func value(t xdsresource.OverloadTrigger, pressure float64) float64 {
	switch {
	case pressure >= t.Saturation:
		return 1
	case pressure <= t.Scaling || t.Scaling >= t.Saturation:
		return 0
	}
	return (pressure - t.Scaling) / (t.Saturation - t.Scaling)
}
