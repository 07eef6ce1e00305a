// Package otlp speaks OpenTelemetry's protocol: access log entries as log records, and spans, over
// gRPC or HTTP with protobuf bodies.
//
// The messages of the collector services (ExportLogsServiceRequest, ExportTraceServiceRequest)
// are on the wire what LogsData and TracesData are: one repeated field of number 1. So those are
// sent, and the generated service code with its gateway stays out of the program.
//
// Records are built on the workers and queued; export sends them. Only server imports this package.
package otlp
