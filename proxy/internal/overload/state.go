package overload

import (
	"math"
	"sync/atomic"
)

// Action is one of Envoy's overload actions.
type Action uint8

// Actions.
const (
	StopAcceptingRequests Action = iota
	DisableKeepalive
	StopAcceptingConnections
	RejectConnections
	ShrinkHeap
	actions
)

var names = [actions]string{
	"stop_accepting_requests", "disable_http_keepalive", "stop_accepting_connections", "reject_incoming_connections", "shrink_heap",
}

// Name is the action's name in statistics; its configuration's is "envoy.overload_actions." before it.
func (a Action) Name() string { return names[a] }

// ActionOf finds an action by its configured name.
func ActionOf(name string) (Action, bool) {
	for i, n := range names {
		if name == "envoy.overload_actions."+n {
			return Action(i), true
		}
	}
	return 0, false
}

// State holds the state of every action. Its zero value and a nil State are inactive.
type State struct {
	v [actions]atomic.Uint64 // bits of a float64

	// MaxConnections bounds the downstream connections of the process; 0: no bound.
	MaxConnections int64
	connections    atomic.Int64
}

// Value is an action's state, 0 to 1.
func (s *State) Value(a Action) float64 {
	if s == nil {
		return 0
	}
	return math.Float64frombits(s.v[a].Load())
}

// Sheds decides for one request or connection: always when saturated, else by chance. random is
// any random number.
func (s *State) Sheds(a Action, random uint64) bool {
	v := s.Value(a)
	return v > 0 && (v >= 1 || float64(random%1000000) < v*1000000)
}

func (s *State) set(a Action, v float64) { s.v[a].Store(math.Float64bits(v)) }

// Connected counts a downstream connection, false when there are too many: it is not counted then.
func (s *State) Connected() bool {
	if s == nil || s.MaxConnections == 0 {
		return true
	}
	if s.connections.Add(1) > s.MaxConnections {
		s.connections.Add(-1)
		return false
	}
	return true
}

// Disconnected takes a connection back that Connected has counted.
func (s *State) Disconnected() {
	if s != nil && s.MaxConnections > 0 {
		s.connections.Add(-1)
	}
}

// Connections is how many there are.
func (s *State) Connections() int64 { return s.connections.Load() }
