// Package stress holds tests that treat the proxy as a hostile client or a busy operator would, for
// longer than `make test` may take: many idle connections, slow readers, slow writers, endless bodies,
// streams that are reset as soon as they begin, a new process in place of the old again and again.
// They run the real program and watch it from outside. `make stress` runs them; `go test` alone runs
// the short form of those that have one. The package has no code of its own, and nothing imports it.
package stress
