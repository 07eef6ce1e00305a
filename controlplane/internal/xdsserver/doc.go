// Package xdsserver serves Envoy's aggregated discovery service, delta and state-of-the-world, to proxies.
//
// The steps, and the files that hold them:
//
//   - a stream begins: who is it, may it be what its node says (node.go, over the caller's identity)
//   - its requests become subscriptions and acknowledgements (request.go, watch.go)
//   - a new View of the mesh is offered; the session decides what may be sent now, and in which order (session.go)
//   - what is sent is framed from bytes that all streams share (response.go, codec.go)
//   - a goroutine per stream drives the session: requests in, views in, time in, responses out (stream.go, server.go)
//   - what each proxy has is kept for `proxy-status` and the debug pages (status.go, metrics.go)
//
// The session is logic without goroutines or clocks; the stream is the thin driver around it.
//
// Order on the wire never opens a gap. One view is carried through per stream at a time: clusters and endpoints first; when the proxy has
// acknowledged them, listeners, routes and virtual hosts; when those are acknowledged, the removals of clusters and endpoints that nothing uses any
// more. Views that come in between wait, and only the latest of them is taken up. A proxy that does not acknowledge in time
// (Options.AckTimeout) is not waited for.
//
// The package does not know how resources are made: that is the View's business (package translate behind xdscache). It serves no
// secrets; the agent beside each proxy does. Only package controlplane imports it.
package xdsserver
