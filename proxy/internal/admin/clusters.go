package admin

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// clusters serves /clusters.
func (a *Admin) clusters(w http.ResponseWriter, r *http.Request) {
	f, ok := format(w, r, "text", "json")
	if !ok {
		return
	}
	list, err := a.server.Clusters().Status(r.Context())
	if err != nil {
		http.Error(w, "the workers did not answer: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	v, ok := a.server.View()
	if !ok {
		http.Error(w, "the proxy is shutting down", http.StatusServiceUnavailable)
		return
	}
	api := map[string]bool{} // clusters from CDS
	for _, rec := range v.Clusters {
		api[rec.Name] = !rec.Static
	}
	if f == "json" {
		out := &adminv3.Clusters{}
		for i := range list {
			out.ClusterStatuses = append(out.ClusterStatuses, clusterProto(&list[i], api[list[i].Name]))
		}
		a.writeProto(w, out)
		return
	}
	for i := range list {
		writeCluster(w, &list[i], api[list[i].Name])
	}
}

// counter is one of a host's statistics; gauges are those that go down again.
type counter struct {
	name  string
	value uint64
	gauge bool
}

// counters lists a host's statistics in Envoy's order.
func counters(h *cluster.HostStatus) []counter {
	s := &h.Stats
	return []counter{
		{"cx_connect_fail", s.CxConnectFail, false},
		{"cx_total", s.CxTotal, false},
		{"rq_error", s.RqError, false},
		{"rq_success", s.RqSuccess, false},
		{"rq_timeout", s.RqTimeout, false},
		{"rq_total", s.RqTotal, false},
		{"cx_active", s.CxActive, true},
		{"rq_active", s.RqActive, true},
		{"rq_pending_active", s.RqPendingActive, true},
	}
}

func clusterProto(c *cluster.Status, api bool) *adminv3.ClusterStatus {
	cfg := c.Config
	out := &adminv3.ClusterStatus{
		Name: cfg.Name, AddedViaApi: api, ObservabilityName: cmp.Or(cfg.ObservabilityName, cfg.Name),
		CircuitBreakers: &clusterv3.CircuitBreakers{},
	}
	if cfg.Type == xdsresource.ClusterEDS {
		out.EdsServiceName = cfg.EDSServiceName
	}
	for i, b := range cfg.Breakers {
		out.CircuitBreakers.Thresholds = append(out.CircuitBreakers.Thresholds, &clusterv3.CircuitBreakers_Thresholds{
			Priority:           corev3.RoutingPriority(i),
			MaxConnections:     u32(b.MaxConnections),
			MaxPendingRequests: u32(b.MaxPendingRequests),
			MaxRequests:        u32(b.MaxRequests),
			MaxRetries:         u32(b.MaxRetries),
		})
	}
	if o := c.Outlier; o != nil {
		for i, p := range []**typev3.Percent{&out.SuccessRateEjectionThreshold, &out.LocalOriginSuccessRateEjectionThreshold} {
			if o.Threshold[i] > 0 {
				*p = &typev3.Percent{Value: o.Threshold[i]}
			}
		}
	}
	for i := range c.Hosts {
		out.HostStatuses = append(out.HostStatuses, hostProto(&c.Hosts[i]))
	}
	return out
}

func hostProto(h *cluster.HostStatus) *adminv3.HostStatus {
	out := &adminv3.HostStatus{
		Address:      addressProto(h.Host.Address),
		Hostname:     h.Host.Hostname,
		Weight:       h.Weight,
		Priority:     h.Priority,
		Locality:     &corev3.Locality{Region: h.Locality.Region, Zone: h.Locality.Zone, SubZone: h.Locality.SubZone},
		HealthStatus: healthProto(h),
	}
	for _, c := range counters(h) {
		m := &adminv3.SimpleMetric{Name: c.name, Value: c.value}
		if c.gauge {
			m.Type = adminv3.SimpleMetric_GAUGE
		}
		out.Stats = append(out.Stats, m)
	}
	if h.SuccessRate >= 0 {
		out.SuccessRate = &typev3.Percent{Value: h.SuccessRate}
	}
	if h.LocalOriginSuccessRate >= 0 {
		out.LocalOriginSuccessRate = &typev3.Percent{Value: h.LocalOriginSuccessRate}
	}
	return out
}

func healthProto(h *cluster.HostStatus) *adminv3.HostHealthStatus {
	has := func(flag string) bool { return slices.Contains(h.Flags, flag) }
	return &adminv3.HostHealthStatus{
		EdsHealthStatus:                edsHealth(h.Health),
		FailedActiveHealthCheck:        has("failed_active_hc"),
		FailedOutlierCheck:             has("failed_outlier_check"),
		FailedDegradedOutlierDetection: has("degraded_outlier_detection"),
		FailedActiveDegradedCheck:      has("degraded_active_hc"),
		PendingActiveHc:                has("pending_active_hc"),
		ExcludedViaImmediateHcFail:     has("excluded_via_immediate_hc_fail"),
		ActiveHcTimeout:                has("active_hc_timeout"),
	}
}

// edsHealth maps what EDS said. An endpoint without a state counts as healthy.
func edsHealth(h xdsresource.HealthStatus) corev3.HealthStatus {
	switch h {
	case xdsresource.HealthUnhealthy:
		return corev3.HealthStatus_UNHEALTHY
	case xdsresource.HealthDraining:
		return corev3.HealthStatus_DRAINING
	case xdsresource.HealthTimeout:
		return corev3.HealthStatus_TIMEOUT
	case xdsresource.HealthDegraded:
		return corev3.HealthStatus_DEGRADED
	}
	return corev3.HealthStatus_HEALTHY
}

// writeCluster prints a cluster as lines of name::key::value.
func writeCluster(w io.Writer, c *cluster.Status, api bool) {
	cfg := c.Config
	name := cfg.Name
	line := func(key string, value any) { fmt.Fprintf(w, "%s::%s::%v\n", name, key, value) }
	line("observability_name", cmp.Or(cfg.ObservabilityName, name))
	if o := c.Outlier; o != nil {
		for i, prefix := range []string{"", "local_origin_"} {
			line("outlier::"+prefix+"success_rate_average", o.Average[i])
			line("outlier::"+prefix+"success_rate_ejection_threshold", o.Threshold[i])
		}
	}
	for i, prio := range []string{"default_priority", "high_priority"} {
		b := cfg.Breakers[i]
		line(prio+"::max_connections", b.MaxConnections)
		line(prio+"::max_pending_requests", b.MaxPendingRequests)
		line(prio+"::max_requests", b.MaxRequests)
		line(prio+"::max_retries", b.MaxRetries)
	}
	line("added_via_api", api)
	if cfg.Type == xdsresource.ClusterEDS {
		line("eds_service_name", cfg.EDSServiceName)
	}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		host := func(key string, value any) { line(addressText(h.Host.Address)+"::"+key, value) }
		list := counters(h) // by name here, counters before gauges in JSON, as in Envoy
		slices.SortFunc(list, func(a, b counter) int { return strings.Compare(a.name, b.name) })
		for _, m := range list {
			host(m.name, m.value)
		}
		host("hostname", h.Host.Hostname)
		host("health_flags", joinFlags(h.Flags))
		host("weight", h.Weight)
		host("region", h.Locality.Region)
		host("zone", h.Locality.Zone)
		host("sub_zone", h.Locality.SubZone)
		host("canary", false)
		host("priority", h.Priority)
		host("success_rate", h.SuccessRate)
		host("local_origin_success_rate", h.LocalOriginSuccessRate)
	}
}
