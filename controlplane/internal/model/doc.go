// Package model is the mesh as plain Go: services, workloads, routing rules, policies and the
// proxies that ask for configuration.
//
// It is what the control plane reasons about between the objects that people write (package
// config) and the protos that proxies read (package translate). Every value is immutable once
// it is in a Snapshot, and carries its Origin, so that a resource on the wire can be traced to
// the object, file and line that caused it.
//
// It holds no Kubernetes and no Envoy types and no protobuf messages, does no I/O, and starts
// nothing. All packages of the control plane may import it; it imports none of them.
package model
