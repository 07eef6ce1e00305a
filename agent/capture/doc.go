// Package capture redirects the TCP connections of one user of this machine, or of all but the proxy's, and those that come to a workload's ports, to its proxy, as in
// a pod: with nftables, to the ports 15001 and 15006, where the proxy learns from the kernel where they were going (SO_ORIGINAL_DST); and the user's DNS queries to the
// agent's name server, at port 15053. Which ones is said as in Istio's annotations.
//
// Rules are those of the network namespace that the caller is in, for IPv4 and IPv6 (nftables' family inet, Linux 5.2). The proxy must run as another user than the one
// who is captured. The package does not start anything; runner imports it. On systems other than Linux it says that it cannot.
package capture
