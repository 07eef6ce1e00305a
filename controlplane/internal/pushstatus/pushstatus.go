// Package pushstatus finds what in a mesh is at odds, in the terms in which Istio's control plane counts it: services on one listener that cannot be
// told apart, rules that another rule makes void, services without endpoints, proxies without a service. The sums are Istio's metrics
// (pilot/pkg/model/push_context.go), the cases are the page /debug/push_status.
//
// It looks when it is asked, at the snapshot and the proxies of that moment, so a push pays nothing for it. What depends on the snapshot alone is
// found once for each. It changes nothing and knows nothing of Envoy. Package debug imports it.
package pushstatus

import (
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Event is one case, with the keys of Istio's ProxyPushStatus.
type Event struct {
	Proxy   string `json:"proxy,omitempty"`
	Message string `json:"message,omitempty"`
}

// Status holds the cases by metric and by what each is about. Metrics without one are left out.
type Status map[string]map[string]Event

func (s Status) add(metric, key string, e Event) {
	if s[metric] == nil {
		s[metric] = map[string]Event{}
	}
	if _, there := s[metric][key]; !there {
		s[metric][key] = e
	}
}

// The metrics.
const (
	conflictInbound  = "pilot_conflict_inbound_listener"
	conflictOutbound = "pilot_conflict_outbound_listener_tcp_over_current_tcp"
	duplicateCluster = "pilot_duplicate_envoy_clusters"
	noInstances      = "pilot_eds_no_instances"
	dnsNoEndpoints   = "pilot_dns_cluster_without_endpoints"
	duplicateSubset  = "pilot_destrule_subsets"
	duplicateDomain  = "pilot_vservice_dup_domain"
	noService        = "pilot_no_ip"
	notReady         = "pilot_endpoint_not_ready"
)

// metrics are those, with Istio's descriptions.
var metrics = []struct{ name, help string }{
	{conflictInbound, "Number of conflicting inbound listeners."},
	{conflictOutbound, "Number of conflicting tcp listeners with current tcp listener."},
	{duplicateCluster, "Duplicate envoy clusters caused by service entries with same hostname"},
	{noInstances, "Number of clusters without instances."},
	{dnsNoEndpoints, "DNS clusters without endpoints caused by the endpoint field in STRICT_DNS type cluster is not set or the corresponding subset cannot select any endpoint"},
	{duplicateSubset, "Duplicate subsets across destination rules for same host"},
	{duplicateDomain, "Virtual services with dup domains."},
	{noService, "Pods not found in the endpoint table, possibly invalid."},
	{notReady, "Endpoint found in unready state."},
}

// Finder finds the state of a mesh. It is a Prometheus collector.
type Finder struct {
	now   func() (*model.Snapshot, []*model.Proxy)
	descs []*prometheus.Desc // as metrics

	mu    sync.Mutex
	snap  *model.Snapshot // of which mesh says what is at odds
	found Status
}

// New returns a finder of what there is in the snapshot, and of the connected proxies, that now returns.
func New(now func() (*model.Snapshot, []*model.Proxy)) *Finder {
	f := &Finder{now: now}
	for _, m := range metrics {
		f.descs = append(f.descs, prometheus.NewDesc(m.name, m.help, nil, nil))
	}
	return f
}

// Current returns what is at odds now.
func (f *Finder) Current() Status {
	snap, proxies := f.now()
	out := Status{}
	for metric, cases := range f.ofMesh(snap) {
		for key, e := range cases {
			out.add(metric, key, e)
		}
	}
	ofListeners(out, snap, proxies)
	for _, p := range proxies {
		ofProxy(out, snap, p)
	}
	return out
}

func (f *Finder) ofMesh(snap *model.Snapshot) Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.snap != snap {
		f.snap, f.found = snap, ofMesh(snap)
	}
	return f.found
}

// Describe implements prometheus.Collector.
func (f *Finder) Describe(out chan<- *prometheus.Desc) {
	for _, d := range f.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (f *Finder) Collect(out chan<- prometheus.Metric) {
	status := f.Current()
	for i, d := range f.descs {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(len(status[metrics[i].name])))
	}
}

// ofProxy finds what is at odds of one proxy and its workload.
func ofProxy(out Status, snap *model.Snapshot, p *model.Proxy) {
	if p.Type != model.Sidecar || p.GRPC {
		return
	}
	name := p.Name + "." + p.Namespace
	var targets []model.Target
	if w := snap.WorkloadOf(p); w != nil {
		targets = snap.TargetsOf(w)
	}
	if len(targets) == 0 {
		out.add(noService, name, Event{Proxy: name, Message: "no service has the workload among its endpoints"})
	}
	first := map[uint32]model.Target{}
	for _, t := range targets {
		if t.Instance.Unhealthy {
			out.add(notReady, t.Instance.Address, Event{Proxy: name})
		}
		old, taken := first[t.Instance.Port]
		if !taken {
			first[t.Instance.Port] = t
			continue
		}
		// Services that mean the same by the port share it.
		if old.Service.Host != t.Service.Host && old.Port.Protocol != t.Port.Protocol {
			out.add(conflictInbound, fmt.Sprintf("%s:%d", name, t.Instance.Port), Event{Proxy: name, Message: fmt.Sprintf(
				"Conflicting inbound listener:%d. existing: %s, incoming: %s", t.Instance.Port, old.Service.Host, t.Service.Host)})
		}
	}
}
