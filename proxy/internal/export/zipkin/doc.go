// Package zipkin reports spans to a Zipkin collector, as JSON or as protobuf of its version 2
// (https://zipkin.io/zipkin-api/). Spans are queued on the workers and sent by export. The
// protobuf form is written by hand: it is one message of a dozen fields.
//
// Only server imports this package.
package zipkin
