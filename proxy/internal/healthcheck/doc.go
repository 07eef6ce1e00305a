// Package healthcheck asks hosts whether they are well: over HTTP, gRPC or TCP, at intervals,
// with thresholds, as Envoy's active health checks do.
//
//	Watch: wait, Prober.Probe -> Result -> report (the caller's Session) -> next interval
//
// A Session turns results into the health of one host and knows neither clock nor network.
// Watch runs on a goroutine of its own, beside the event loops, over the standard library's
// connections: a check is rare, and no client waits for it.
//
// It changes no host and no statistics: the cluster package, its only importer, does.
package healthcheck
