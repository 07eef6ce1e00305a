// Package listener accepts connections and decides who serves them: one SO_REUSEPORT socket
// for each worker and address, listener filters (proxy_protocol, tls_inspector, http_inspector,
// original_dst), filter chain match in Envoy's order, TLS, then the chain's network handler.
//
// In the order of a connection: accept.go, proxied.go and inspect.go (what the first bytes say),
// match.go (which filter chain), serve.go (TLS and hand-over to the handler). The configuration is
// compiled once and swapped by an atomic pointer; sockets outlive it.
//
// It does not read what connections carry beyond their first bytes. server makes listeners;
// hcm and tcpproxy implement NetworkHandler and import it for that.
package listener
