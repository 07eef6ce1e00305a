// Package xdsclient talks xDS v3 to a control plane: one stream for all types (ADS) or the service of one type (service.go),
// incremental or state of the world, and one small stream per secret towards an agent's SDS socket. Resources in files come through it
// too (file.go).
//
// The flow is: a subscription marks what is wanted and wakes the stream (client.go); the stream sends requests and receives responses
// (stream.go); each resource of a response is decoded and judged on its own; what is good goes to the Handler, what is bad goes into the
// NACK, by resource and field (response.go). A bad resource never keeps a good one out, and the last good version of a resource stays.
// After a broken connection the stream comes back with jittered back-off and says which versions it holds, so that only changes travel.
//
// The package builds no live objects; server does that in its Handler. Only server and proxy import it.
package xdsclient
