// Package translate turns a model.Snapshot and a proxy into xDS resources, in Istio's shapes:
// names, metadata and defaults are those that Istio 1.24 sends (1.17 where REQUIREMENTS show
// its output as the exact form), because tools read them.
//
// It is pure: no state, no I/O, no clock; what it reads is its arguments. The flow, file by
// file: resource.go is what others call; listener*.go, hcm.go, filter.go and accesslog.go make
// listeners; virtualhost*.go, route*.go make route configurations; cluster*.go clusters;
// endpoint.go their endpoints; names.go, metadata.go and proto.go what they share.
//
// xdscache and debug endpoints import it; it imports model and Envoy's protos. Every message
// passes its proto's own validation.
package translate
