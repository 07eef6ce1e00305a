// Package bytemeter counts what a stream costs on the wire, on one of its sides: what Envoy prints as
// %DOWNSTREAM_WIRE_BYTES_SENT% and the like
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage).
//
// The codecs and pools fill it in, streaminfo keeps it, formats and collectors read it. It knows no protocol.
package bytemeter

// Meter is one side of a stream. A nil Meter counts nothing. All of it is as the bytes go over the connection, below it is TLS.
type Meter struct {
	// Received and Sent are all bytes of the stream: of HTTP/1 its messages, of HTTP/2 its frames, of TCP what was carried.
	Received, Sent uint64
	// HeaderReceived and HeaderSent are those of headers and trailers: of HTTP/1 the lines of the fields, of HTTP/2 HEADERS and
	// CONTINUATION.
	HeaderReceived, HeaderSent uint64
	// PlainReceived and PlainSent are those of headers, uncompressed: names and values in HTTP/2, the same as above in HTTP/1.
	PlainReceived, PlainSent uint64
}

// GotHead counts a head or trailers that have come: all of their bytes, those of their fields, and what these are uncompressed.
func (m *Meter) GotHead(all, fields, plain int) {
	if m != nil {
		m.Received += uint64(all)
		m.HeaderReceived += uint64(fields)
		m.PlainReceived += uint64(plain)
	}
}

// SentHead counts a head or trailers that go out.
func (m *Meter) SentHead(all, fields, plain int) {
	if m != nil {
		m.Sent += uint64(all)
		m.HeaderSent += uint64(fields)
		m.PlainSent += uint64(plain)
	}
}

// Got counts other bytes that have come.
func (m *Meter) Got(n int) {
	if m != nil {
		m.Received += uint64(n)
	}
}

// Put counts other bytes that go out.
func (m *Meter) Put(n int) {
	if m != nil {
		m.Sent += uint64(n)
	}
}
