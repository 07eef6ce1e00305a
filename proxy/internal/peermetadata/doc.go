// Package peermetadata encodes and decodes what proxies of a mesh tell each other about
// their workloads: the header x-envoy-peer-metadata, base64 of a google.protobuf.Struct
// (REQUIREMENTS B6), with x-envoy-peer-metadata-id beside it as its key.
//
// It knows the bytes and keeps a bounded cache of decoded peers; when the headers are added
// or taken away is decided in httpfilter/metadataexchange. It imports no other package of
// the proxy, and any of them may import it.
package peermetadata
