// Package stress holds tests that treat the proxy as a hostile client would, for longer than
// `make test` may take: many idle connections, slow readers, slow writers, endless bodies, streams that
// are reset as soon as they begin. They run the real program and watch its memory from outside.
// `make stress` runs them. The package has no code of its own, and nothing imports it.
package stress
