// Package router is the last HTTP filter: it sends a request to a host of the cluster that its route chose, and brings the answer back.
//
// The files follow a request:
//
//	begin.go    what the route says: direct answers, redirects, header changes, time-outs, retry policy
//	attempt.go  one attempt: pick a host, take a connection, send
//	response.go what comes back: pass it on, or judge it for a retry
//	retry.go    whether to try again, and when
//	timeout.go  the clocks of a request and of an attempt
//	failure.go  the answers for what went wrong, with Envoy's bodies, flags and details
//	redirect.go redirects of hosts that are followed here
//	mirror.go   copies of requests, whose answers nobody reads
//
// It chooses routes nowhere (package route does) and hosts nowhere (package cluster does), and writes no bytes (package connpool
// does). Envoy's router filter is the model: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter
//
// One difference from Envoy: when a connection that had served earlier requests is closed before a byte of the answer came, the host's
// idle time-out has crossed the request on the wire. An idempotent request is then sent once more on another connection, outside of
// the retry policy, as RFC 9110, section 9.2.2, allows: such a close is no failure of the service.
//
// Only server, which wires filters, imports it.
package router
