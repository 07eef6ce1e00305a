// Package status serves what Istio's agent serves at its status port (15020): /stats/prometheus and /metrics, the proxy's metrics merged with those of the workload's
// application, and /healthz/ready, whether the proxy serves.
//
//	annotations (prometheus.io/...) -> application.go: what is asked of the application, and what of its answer counts
//	a scraper's request -> server.go: the agent's own counters, the proxy's metrics, the application's
//
// A scrape never fails because of the application: what it answers is read whole, within bounds of time and size, before a byte goes out, and is left out and counted
// (istio_agent_scrape_failures_total) when a scraper could not read it. The package knows neither proxy nor control plane; only the agent imports it, and agentcmd for the
// annotations.
// https://istio.io/latest/docs/ops/integrations/prometheus/#option-1-metrics-merging
package status
