package debug

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
	"github.com/lateen-mesh/lateen/pkg/version"
)

// register registers the metrics of the process and of the cache. begun is when the control plane was made.
func register(reg prometheus.Registerer, cache *xdscache.Cache, begun time.Time) {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "pilot_info", Help: "Pilot version and build information."}, []string{"version"})
	info.WithLabelValues(version.Version()).Set(1)
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "istio_build", Help: "Istio component build info"}, []string{"component", "tag"})
	build.WithLabelValues("pilot", version.Version()).Set(1)
	uptime := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "istiod_uptime_seconds", Help: "Current istiod server uptime in seconds"},
		func() float64 { return time.Since(begun).Seconds() })
	reg.MustRegister(info, build, uptime, cacheMetrics{cache})
}

// cacheMetrics are Istio's of its cache of resources: one that was there is a hit, one that was built is a miss.
type cacheMetrics struct{ cache *xdscache.Cache }

var (
	cacheReads = prometheus.NewDesc("xds_cache_reads", "Total number of xds cache xdsCacheReads.", []string{"type"}, nil)
	cacheSize  = prometheus.NewDesc("xds_cache_size", "Current size of xds cache", nil, nil)
)

// Describe implements prometheus.Collector.
func (cacheMetrics) Describe(out chan<- *prometheus.Desc) { out <- cacheReads; out <- cacheSize }

// Collect implements prometheus.Collector.
func (m cacheMetrics) Collect(out chan<- prometheus.Metric) {
	s := m.cache.Stats()
	out <- prometheus.MustNewConstMetric(cacheReads, prometheus.CounterValue, float64(s.Reused), "hit")
	out <- prometheus.MustNewConstMetric(cacheReads, prometheus.CounterValue, float64(s.Built), "miss")
	out <- prometheus.MustNewConstMetric(cacheSize, prometheus.GaugeValue, float64(s.Resources))
}
