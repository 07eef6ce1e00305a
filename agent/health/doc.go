// Package health finds out whether a workload is well, as Istio's agent does for those that a WorkloadGroup describes: it asks the application in the
// way of a ReadinessProbe, and the proxy beside it whether it serves.
//
//	a probe, out of YAML or of a ProxyConfig on the wire   (probe.go, wire.go)
//	one question of each kind                              (ask.go)
//	when to ask, and what answers make of it               (check.go)
//
// It tells whoever calls it and nobody else. The protos of Istio's configuration are read by hand: linking them would cost every sidecar memory. Package
// agent imports it.
package health
