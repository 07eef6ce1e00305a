// Command controlplanebench measures what a change costs a control plane that serves many proxies.
//
// It writes a mesh as YAML (mesh.go), starts `lateen control-plane` on it as a process of its own (server.go), opens the streams of many
// proxies (fleet.go, stream.go; wire.go reads their messages), then changes one thing after the other (scenario.go) and prints what each
// took (report.go), and what memory a real sidecar has there (sidecar.go). `make bench-controlplane` runs it.
package main
