// Package http2 is the HTTP/2 codec for both roles (RFC 9113, 8441): bytes to events, and messages to bytes.
//
//	bytes -> Conn.Feed: recv.go (frames) -> headers.go, message.go (blocks to messages) | data.go | control.go -> Handler
//	Conn.SendHeaders, SendData, SendTrailers, Reset -> send.go (the control queue) | schedule.go (DATA, stream by stream) -> Conn.Pull
//
// It holds the RFC strictly, because what two parsers read differently is how requests are smuggled, and bounds everything
// that a peer can make it do or keep: abuse.go lists the limits, which are Envoy's. errors.go names each reason to end a
// stream or a connection.
//
// It is pure: no sockets, no timers, no goroutines, no configuration but Config; time is an argument. What a message means
// (routing, retries, local replies) is not known here. hcm and connpool use it. Priorities are not followed (RFC 9113,
// 5.3): DATA goes out in turns.
//
// Ownership. A Conn with its Streams belongs to one event loop. What Feed is given is used only during the call; the piece
// of body that OnData gets is a slice of it. Headers are copied into the maps that the stream's owner provides, and live as
// long as those. What is sent is copied before the call returns. A Stream is the owner's until OnReset, Detach, Reset, or
// until both directions have ended; then it is forgotten, because the Conn uses it again after the next call of Feed.
//
// Received bytes give the peer its window back when OnData has returned, unless the owner has paused the stream: so
// what an owner keeps is bounded by the windows, stream by stream and for the connection.
package http2
