// Package conn is a stream connection on an event loop: TCP or Unix, raw or TLS, accepted
// or dialled, with buffers, watermarks, half-close and ordered closing.
//
// Everything here runs on the connection's loop. A Handler is called from the loop, never
// from inside the Conn method that caused the call: Close, Flush and ResumeRead defer
// OnClose, OnWritable and redelivery to the end of the loop's iteration.
//
// The order of events: OnConnected (dialled connections, and TLS after its handshake), then
// OnData and OnWritable any number of times, then OnClose exactly once. After OnClose the
// connection's buffers are gone. Between Close and OnClose no other call comes.
//
// It does not choose addresses, match filter chains or pool connections. listener,
// tcpproxy, hcm, http1, connpool and router may import it.
package conn
