package controlplane

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// pipelineMetrics carry Istio's names, labels and buckets (github.com/istio/istio, pilot/pkg/xds/monitoring.go).
type pipelineMetrics struct {
	services, virtualServices prometheus.Gauge
	debounce, initTime        prometheus.Histogram
	events, triggers, updates *prometheus.CounterVec
}

func newPipelineMetrics(reg prometheus.Registerer) pipelineMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := pipelineMetrics{
		services:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "pilot_services", Help: "Total services known to pilot."}),
		virtualServices: prometheus.NewGauge(prometheus.GaugeOpts{Name: "pilot_virt_services", Help: "Total virtual services known to pilot."}),
		debounce: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pilot_debounce_time", Help: "Delay in seconds between the first config entering debouncing and the merged push request being pushed into the push queue.",
			Buckets: []float64{.01, .1, 1, 3, 5, 10, 20, 30},
		}),
		initTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pilot_pushcontext_init_seconds", Help: "Total time in seconds Pilot takes to init pushContext: to make the next snapshot of the mesh.",
			Buckets: []float64{.01, .1, .5, 1, 3, 5},
		}),
		events:   counter("pilot_k8s_cfg_events", "Events from the config stores, by kind and event.", "type", "event"),
		triggers: counter("pilot_push_triggers", "Total number of times a push was triggered, labeled by reason for the push.", "type"),
		updates:  counter("pilot_inbound_updates", "Total number of updates received by pilot.", "type"),
	}
	reg.MustRegister(m.services, m.virtualServices, m.debounce, m.initTime, m.events, m.triggers, m.updates)
	return m
}

// reasons are Istio's for changes of the kinds that are not "config".
var reasons = map[string]string{
	"MeshConfig": "global", "Service": "service", "ServiceEntry": "service", "WorkloadEntry": "endpoint", "Secret": "secret",
}

// triggered counts why a push is made, each reason once.
func (m *pipelineMetrics) triggered(c *model.Change) {
	found := map[string]bool{}
	for _, o := range c.Objects {
		if reason, ok := reasons[o.Kind]; ok {
			found[reason] = true
		} else {
			found["config"] = true
		}
	}
	if len(c.Objects) == 0 { // a registry's
		if len(c.Hosts) > 0 {
			found["service"] = true
		} else {
			found["endpoint"] = true
		}
	}
	for reason := range found {
		m.triggers.WithLabelValues(reason).Inc()
	}
}

// received counts what the stores and registries have said.
func (m *pipelineMetrics) received(pending []sourced) {
	count := func(kind string, deleted bool) {
		switch reasons[kind] {
		case "service":
			if deleted {
				m.updates.WithLabelValues("svcdelete").Inc()
			} else {
				m.updates.WithLabelValues("svc").Inc()
			}
		case "endpoint":
			m.updates.WithLabelValues("eds").Inc()
		default:
			m.updates.WithLabelValues("config").Inc()
		}
	}
	for _, s := range pending {
		if s.batch.Mesh != nil {
			count("MeshConfig", false)
		}
		for _, o := range s.batch.Changed {
			count(o.Kind.Name, false)
		}
		for _, key := range s.batch.Deleted {
			count(key.Kind.Name, true)
		}
		for range s.delta.Changed {
			count("Service", false)
		}
		for range s.delta.Removed {
			count("Service", true)
		}
	}
}
