// Package http1 is the HTTP/1.1 codec: bytes to header blocks and body pieces, and back. It
// holds RFC 9112 strictly, because what two parsers read differently is how requests are
// smuggled: bare CR or LF, folded lines, space before a colon, doubtful lengths and chunk
// sizes are errors, never repaired.
//
// It is pure: no sockets, no clocks, no configuration but limits, no goroutines. A head is
// parsed in place (names are lowered in the read buffer, values are slices of it). What a
// message means (routing, retries, local replies) is not known here. hcm and connpool use it.
package http1
