// Package export carries records that workers make (access log entries, spans) to services that
// collect them, off the event loops.
//
// A worker puts a record into its own part of a Queue, which never blocks: what is more than the
// bound is dropped and counted. One goroutine for each service takes what has gathered, once an
// interval or when enough has come, and sends it. So a collector that is slow or gone costs the
// proxy a bounded amount of memory and no time.
//
// The services are spoken to through google.golang.org/grpc and net/http, not through the proxy's
// own codecs: nothing here is on the path of a request, batches are large and few, and the
// libraries do flow control and TLS on goroutines that may block. Which endpoints there are comes
// from the proxy's own cluster manager, at each attempt to connect.
//
// The packages below know the protocols: als, datadog, otlp, skywalking and zipkin for records, statsd and metricsservice for statistics, of which an interval is a batch. Only server wires them.
package export
