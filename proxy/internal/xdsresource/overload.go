package xdsresource

import (
	"strings"
	"time"

	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	cxmonitorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapmonitorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// Names of the resource monitors.
const (
	MonitorHeap        = "envoy.resource_monitors.fixed_heap"
	MonitorConnections = "envoy.resource_monitors.global_downstream_max_connections"
)

// Overload is overload.v3.OverloadManager.
type Overload struct {
	Refresh        time.Duration    // default 1 s
	MaxHeap        uint64           // bytes; 0: not monitored
	MaxConnections int64            // 0: not bounded
	Actions        []OverloadAction // and load shed points
	Scales         [ScaledTimers]TimerScale
}

// ScaledTimer is a kind of time-out that may be reduced.
type ScaledTimer uint8

// Kinds of time-outs, of ScaleTimersOverloadActionConfig.TimerType.
const (
	ConnectionIdleTimer ScaledTimer = iota
	StreamIdleTimer
	TransportConnectTimer
	ConnectionMaxTimer
	ScaledTimers
)

var scaledTimers = map[overloadv3.ScaleTimersOverloadActionConfig_TimerType]ScaledTimer{
	overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_CONNECTION_IDLE: ConnectionIdleTimer,
	overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_STREAM_IDLE:     StreamIdleTimer,
	overloadv3.ScaleTimersOverloadActionConfig_TRANSPORT_SOCKET_CONNECT:        TransportConnectTimer,
	overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_CONNECTION_MAX:  ConnectionMaxTimer,
}

// TimerScale is how far a time-out may be reduced: to a time, or to a share of itself.
type TimerScale struct {
	On      bool
	Timeout time.Duration
	Share   float64 // 0 to 1; negative: Timeout holds
}

// Least is the least that a time-out may become; false: it is not reduced.
func (s TimerScale) Least(d time.Duration) (time.Duration, bool) {
	if s.Share >= 0 {
		return time.Duration(float64(d) * s.Share), s.On
	}
	return min(s.Timeout, d), s.On
}

// OverloadAction sheds load by the largest of its triggers.
type OverloadAction struct {
	Name     string
	Triggers []OverloadTrigger
}

// OverloadTrigger turns a pressure into a state: 0 up to Scaling, 1 from Saturation on. A threshold
// has both the same.
type OverloadTrigger struct {
	Monitor             string
	Scaling, Saturation float64
}

// Overload reads the overload manager; known says which actions there are.
func (d *Decoder) Overload(m *overloadv3.OverloadManager, known func(name string) bool) (*Overload, error) {
	p := &parser{dec: d}
	p.check("", m)
	out := &Overload{Refresh: p.duration("refresh_interval", m.GetRefreshInterval(), time.Second)}
	if out.Refresh < time.Millisecond {
		p.bad("refresh_interval", "must be at least 1 ms")
	}
	monitors := map[string]bool{}
	for i, r := range m.GetResourceMonitors() {
		here := at("resource_monitors", i)
		monitors[r.GetName()] = true
		a := r.GetTypedConfig()
		switch {
		case a.MessageIs(&heapmonitorv3.FixedHeapConfig{}):
			var c heapmonitorv3.FixedHeapConfig
			if p.message(join(here, "typed_config"), a, &c) {
				out.MaxHeap = c.GetMaxHeapSizeBytes()
			}
			if r.GetName() != MonitorHeap {
				p.bad(join(here, "name"), "must be %s", MonitorHeap)
			}
		case a.MessageIs(&cxmonitorv3.DownstreamConnectionsConfig{}):
			var c cxmonitorv3.DownstreamConnectionsConfig
			if p.message(join(here, "typed_config"), a, &c) {
				out.MaxConnections = c.GetMaxActiveDownstreamConnections()
			}
			if r.GetName() != MonitorConnections {
				p.bad(join(here, "name"), "must be %s", MonitorConnections)
			}
		default:
			p.bad(here, "resource monitor %q of type %s is not supported: use %s or %s", r.GetName(), TypeName(a), MonitorHeap, MonitorConnections)
		}
	}
	for i, a := range m.GetActions() {
		here := at("actions", i)
		act := OverloadAction{Name: a.GetName()}
		switch {
		case !known(a.GetName()) || strings.HasPrefix(a.GetName(), shedPrefix):
			p.bad(join(here, "name"), "action %q is not supported", a.GetName())
		case a.GetName() == reduceTimeouts:
			p.timerScales(join(here, "typed_config"), a.GetTypedConfig(), &out.Scales)
		case a.GetTypedConfig() != nil:
			p.bad(join(here, "typed_config"), "action %q takes none here", a.GetName())
		}
		act.Triggers = p.overloadTriggers(join(here, "triggers"), a.GetTriggers(), monitors)
		out.Actions = append(out.Actions, act)
	}
	for i, s := range m.GetLoadshedPoints() {
		here := at("loadshed_points", i)
		if !known(s.GetName()) || !strings.HasPrefix(s.GetName(), shedPrefix) {
			p.bad(join(here, "name"), "load shed point %q is not supported", s.GetName())
		}
		out.Actions = append(out.Actions, OverloadAction{Name: s.GetName(), Triggers: p.overloadTriggers(join(here, "triggers"), s.GetTriggers(), monitors)})
	}
	return out, p.finish("overload_manager", "")
}

const (
	reduceTimeouts = "envoy.overload_actions.reduce_timeouts"
	shedPrefix     = "envoy.load_shed_points."
)

func (p *parser) overloadTriggers(path string, in []*overloadv3.Trigger, monitors map[string]bool) []OverloadTrigger {
	var out []OverloadTrigger
	for i, t := range in {
		here, tr := at(path, i), OverloadTrigger{Monitor: t.GetName()}
		if !monitors[t.GetName()] {
			p.bad(join(here, "name"), "%q is none of resource_monitors", t.GetName())
		}
		if s := t.GetScaled(); s != nil {
			tr.Scaling, tr.Saturation = s.GetScalingThreshold(), s.GetSaturationThreshold()
			if tr.Scaling >= tr.Saturation {
				p.bad(join(here, "scaled"), "scaling_threshold must be below saturation_threshold")
			}
		} else {
			tr.Scaling, tr.Saturation = t.GetThreshold().GetValue(), t.GetThreshold().GetValue()
		}
		out = append(out, tr)
	}
	return out
}

// timerScales reads the configuration of reduce_timeouts.
func (p *parser) timerScales(path string, a *anypb.Any, out *[ScaledTimers]TimerScale) {
	var m overloadv3.ScaleTimersOverloadActionConfig
	if a == nil {
		p.bad(path, "is required: it says which time-outs are reduced")
		return
	}
	if !p.message(path, a, &m) {
		return
	}
	for i, f := range m.GetTimerScaleFactors() {
		here := at(join(path, "timer_scale_factors"), i)
		t, ok := scaledTimers[f.GetTimer()]
		switch {
		case !ok:
			p.bad(join(here, "timer"), "%v is not supported", f.GetTimer())
			continue
		case out[t].On:
			p.bad(join(here, "timer"), "%v stands twice", f.GetTimer())
		}
		switch adjust := f.GetOverloadAdjust().(type) {
		case *overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer_MinTimeout:
			out[t] = TimerScale{On: true, Timeout: p.duration(join(here, "min_timeout"), adjust.MinTimeout, 0), Share: -1}
		case *overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer_MinScale:
			out[t] = TimerScale{On: true, Share: p.percent(adjust.MinScale, 0) / 100}
		}
	}
}
