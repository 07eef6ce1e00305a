// Package metadataexchange is Istio's istio.metadata_exchange HTTP filter: proxies of a mesh
// tell each other who their workloads are in x-envoy-peer-metadata and its -id.
//
// On the way in the filter reads the client's metadata from the request and takes it away, so
// that no application sees it, and adds our own to the response of a client that sent some. On
// the way out it adds our own to the request, overwriting whatever an untrusted caller put
// there, and reads and takes away the server's from the response. What it read stands in the
// stream's record (streaminfo), where statistics and logs find it.
//
// Only server builds it. The bytes are peermetadata's.
package metadataexchange
