// Package tcpproxy is the network filter envoy.filters.network.tcp_proxy: bytes from a
// downstream connection to a connection of a cluster's host and back.
//
// A session's life: pick a cluster (proxy.go), connect to a host with further attempts as
// configured (connect.go), relay both ways under watermarks with each direction's end passed
// on by itself (relay.go), inside the kernel where both sides are raw and bulk flows, then count
// and log (end.go). Where it is to be a tunnel, the bytes go upstream in an HTTP request instead (tunnel.go).
//
// Istio's metadata exchange (exchange.go) puts a preamble before each direction's bytes where TLS
// has agreed on it; else it does not look into them. server builds it; hcm may import it for CONNECT tunnels.
package tcpproxy
