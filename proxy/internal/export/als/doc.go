// Package als sends access log entries to a gRPC access log service
// (envoy.service.accesslog.v3), for HTTP requests and for connections.
//
// An entry is built on the worker from the stream's record and queued; export sends what has
// gathered over one stream, which is opened again after it broke. Filters are accesslog's; which
// loggers there are, and the sharing of streams, is server's, who alone imports this package.
package als
