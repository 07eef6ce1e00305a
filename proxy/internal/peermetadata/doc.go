// Package peermetadata encodes and decodes what proxies of a mesh tell each other about
// their workloads: the header x-envoy-peer-metadata, base64 of a google.protobuf.Struct, with
// x-envoy-peer-metadata-id beside it as its key; and the same at the head of a TCP stream.
//
// It knows the bytes and keeps a bounded cache of decoded peers; when the headers are added
// or taken away is decided in httpfilter/metadataexchange, when a stream has a preamble in
// tcpproxy. It imports no other package of
// the proxy, and any of them may import it.
package peermetadata
