package xdsresource

import (
	"time"

	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	cxmonitorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapmonitorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
)

// Names of the resource monitors.
const (
	MonitorHeap        = "envoy.resource_monitors.fixed_heap"
	MonitorConnections = "envoy.resource_monitors.global_downstream_max_connections"
)

// Overload is overload.v3.OverloadManager.
type Overload struct {
	Refresh        time.Duration // default 1 s
	MaxHeap        uint64        // bytes; 0: not monitored
	MaxConnections int64         // 0: not bounded
	Actions        []OverloadAction
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
		if !known(a.GetName()) {
			p.bad(join(here, "name"), "action %q is not supported", a.GetName())
		}
		for j, t := range a.GetTriggers() {
			tr := OverloadTrigger{Monitor: t.GetName()}
			if !monitors[t.GetName()] {
				p.bad(join(at(join(here, "triggers"), j), "name"), "%q is none of resource_monitors", t.GetName())
			}
			if s := t.GetScaled(); s != nil {
				tr.Scaling, tr.Saturation = s.GetScalingThreshold(), s.GetSaturationThreshold()
				if tr.Scaling >= tr.Saturation {
					p.bad(join(at(join(here, "triggers"), j), "scaled"), "scaling_threshold must be below saturation_threshold")
				}
			} else {
				tr.Scaling, tr.Saturation = t.GetThreshold().GetValue(), t.GetThreshold().GetValue()
			}
			act.Triggers = append(act.Triggers, tr)
		}
		out.Actions = append(out.Actions, act)
	}
	return out, p.finish("overload_manager", "")
}
