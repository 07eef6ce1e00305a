// Package header holds the header block of one HTTP message without copying it: names that
// the proxy knows are small numbers, all others and all values are slices of the buffer that
// the message was read into. It knows no protocol version, validates nothing (the codecs do)
// and gives no meaning to any header. Every package of the data path may import it; it
// imports none of them.
//
// Names are lower case throughout. Request line and status line are fields too, under the
// HTTP/2 names (":method", ":path"...), and "host" is ":authority", so that one lookup serves
// every protocol version.
package header
