// Package proxy is Lateen's data plane: a proxy that speaks Envoy's configuration, admin API and statistics.
//
// New reads a bootstrap and refuses what it cannot do, all of it in one error; Run serves until its context ends. It runs with a control
// plane or without one, and knows it only through xDS. This package is wiring: internal/server turns configuration into live objects,
// internal/listener, hcm, router, cluster and connpool carry the traffic, internal/admin shows it. cmd/lateen-proxy and agent import it.
package proxy
