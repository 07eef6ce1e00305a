// Package tracing reads, derives and writes trace contexts, and decides which requests are sampled.
//
// It speaks B3 (one header and several, https://github.com/openzipkin/b3-propagation), as Istio's sidecars do, W3C's traceparent, SkyWalking's sw8 and Datadog's
// headers, each as the provider of the connection manager has it. It is pure: header maps and numbers in, header maps out. It knows the shape of
// a span (span.go), and no collector: those are below export. The connection manager calls it when a request comes in, the router when
// one goes out.
//
// The rules are those of Envoy's Zipkin tracer with its defaults (128-bit trace ids at the first hop in Istio, shared span context):
//
//   - Without a context a new trace begins: the span id is the low half of the trace id, and there is no parent.
//   - A request that comes in from the network with a context joins the caller's span: both sides of one call are one span.
//   - A request that an application sends out begins a child span.
//   - A sampling decision that is already made is kept.
//   - sw8 is written when a host is known, for each attempt (segment.go); a caller's that can be read is told of in any case.
//   - W3C's traceparent and tracestate pass through untouched, unless the provider is OpenTelemetry's or Datadog's, or Zipkin's is told to write them.
//
// Those of Datadog's tracer are its own (datadog*.go): each request has a span of its own, and every one is reported with a priority that
// says whether the trace is to be kept, by the configuration or by the rates that the agent has told.
package tracing
