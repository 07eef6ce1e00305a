// Package hpack is header compression for HTTP/2 (RFC 7541): blocks to fields, and back.
//
// It is our own, and not golang.org/x/net/http2/hpack, because that one makes a string of every value that is not in a
// table, and takes strings. Here fields are slices that live until the next one, names that the proxy knows are numbers
// (package header), and a connection in steady state allocates nothing, at little more than half of the time. The
// benchmarks of this package run both; its tests hold each against the other.
//
// Ownership. What a Decoder hands to its Sink points into the block, the dynamic table or scratch memory, and is valid
// during that call only. An Encoder keeps nothing of what it is given but copies in its dynamic table. A Decoder or Encoder
// belongs to one connection, and so to one event loop.
//
// It knows nothing of frames, of limits on header lists, nor of which fields a message may have: package http2 does, and
// is its only importer.
package hpack
