package overload

import (
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Action is one of Envoy's overload actions, or of its load shed points: places where load may be
// shed, each with triggers of its own.
type Action uint8

// Actions, then points.
const (
	StopAcceptingRequests Action = iota
	DisableKeepalive
	StopAcceptingConnections
	RejectConnections
	ShrinkHeap
	ReduceTimeouts
	ShedAccept
	ShedRequest
	ShedCodec
	actions
)

const (
	actionPrefix = "envoy.overload_actions."
	pointPrefix  = "envoy.load_shed_points."
)

// names are those of the configuration, and of statistics.
var names = [actions]string{
	actionPrefix + "stop_accepting_requests", actionPrefix + "disable_http_keepalive", actionPrefix + "stop_accepting_connections",
	actionPrefix + "reject_incoming_connections", actionPrefix + "shrink_heap", actionPrefix + "reduce_timeouts",
	pointPrefix + "tcp_listener_accept", pointPrefix + "http_connection_manager_decode_headers", pointPrefix + "hcm_ondata_creating_codec",
}

// Name is the action's name in configuration and statistics.
func (a Action) Name() string { return names[a] }

func (a Action) point() bool { return strings.HasPrefix(names[a], pointPrefix) }

// ActionOf finds an action or a point by its configured name.
func ActionOf(name string) (Action, bool) {
	for i, n := range names {
		if name == n {
			return Action(i), true
		}
	}
	return 0, false
}

// State holds the state of every action. Its zero value and a nil State are inactive.
type State struct {
	v    [actions]atomic.Uint64 // bits of a float64
	shed [actions]stats.Counter // of points

	scales [xdsresource.ScaledTimers]xdsresource.TimerScale

	// MaxConnections bounds the downstream connections of the process; 0: MaxKey does, if it has a
	// value (overload.global_downstream_max_connections of the runtime).
	MaxConnections int64
	MaxKey         *runtimekey.Key
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

// ShedsAt is Sheds for a point, which counts what it sheds.
func (s *State) ShedsAt(point Action, random uint64, shard *stats.Shard) bool {
	if !s.Sheds(point, random) {
		return false
	}
	shard.Inc(s.shed[point])
	return true
}

func (s *State) set(a Action, v float64) { s.v[a].Store(math.Float64bits(v)) }

// Scaled is what a time-out is reduced to now: less, the more of a resource is used, down to its
// configured minimum.
func (s *State) Scaled(t xdsresource.ScaledTimer, d time.Duration) time.Duration {
	if d <= 0 {
		return d
	}
	v := s.Value(ReduceTimeouts)
	if v <= 0 {
		return d
	}
	least, ok := s.scales[t].Least(d)
	if !ok {
		return d
	}
	return max(least+time.Duration(float64(d-least)*(1-v)), 1) // 0 would be no time-out
}

// Connected counts a downstream connection, false when there are too many: it is not counted then.
func (s *State) Connected() bool {
	if s == nil {
		return true
	}
	most := s.MaxConnections
	if most == 0 {
		most = int64(min(s.MaxKey.Uint(math.MaxInt64), math.MaxInt64))
	}
	if s.connections.Add(1) > most {
		s.connections.Add(-1)
		return false
	}
	return true
}

// Disconnected takes a connection back that Connected has counted.
func (s *State) Disconnected() {
	if s != nil {
		s.connections.Add(-1)
	}
}

// Connections is how many there are.
func (s *State) Connections() int64 { return s.connections.Load() }
