// Package transportsocket is TLS for connections on an event loop: certificates and trust
// from configuration or SDS, checked identities, and sessions of the standard library's TLS
// driven without blocking.
//
// A Server or Client is built from configuration and shared by all workers; each new session
// uses the certificates and the trust that are current, so a rotation touches no live
// connection. A Session belongs to one connection. Its handshake computes on a goroutine of
// its own, of which only a bounded number compute at once; the loop feeds it. After that
// reads and writes run on the loop: crypto/tls reads from a net.Conn that reports a temporary
// timeout when it has no more bytes, which crypto/tls does not remember as a failure.
//
// It opens no socket and fetches no secret: SecretProvider is server's. conn, listener and
// cluster may import it.
package transportsocket
