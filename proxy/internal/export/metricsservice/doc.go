// Package metricsservice sends the proxy's statistics to a metrics service (envoy.service.metrics.v3.MetricsService), an interval at a time, as
// metric families of Prometheus' protocol buffers. server, who alone imports this package, takes the snapshots.
package metricsservice
