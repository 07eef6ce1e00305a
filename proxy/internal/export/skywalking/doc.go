// Package skywalking reports segments to SkyWalking's backend (or a satellite of it), over one stream of gRPC:
// skywalking.v3.TraceSegmentReportService/collect. A segment is what was done for one request: an entry span, and an exit span for
// each attempt of the call upstream. They are filled as Envoy's tracer fills them.
//
// Segments are built on the workers and queued; export sends them. While the backend is away, the latest are kept.
//
// Only server imports this package.
package skywalking
