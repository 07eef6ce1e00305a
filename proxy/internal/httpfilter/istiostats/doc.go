// Package istiostats is Istio's istio.stats filter: the mesh's standard metrics
// (https://istio.io/latest/docs/reference/config/metrics/), for requests as an HTTP filter
// and for connections through Reporter.TCP.
//
// A series is the metric with its twenty-five labels. Which series a request belongs to is
// looked up in a map of the worker's own, by a key of what varies; the labels are composed
// and registered when a key is first seen.
//
// Peers come from metadataexchange by way of the stream's record. Only server builds it;
// tcpproxy uses the Reporter that server hands it.
package istiostats
