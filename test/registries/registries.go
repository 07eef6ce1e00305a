// Package registries runs the control plane on real service registries: today a Consul server, built from its Go module, which is pinned in the
// module in the folder server. `make registries` builds it, which takes minutes the first time, and runs the tests; without it they run when
// it has been built before.
//
// Nomad is not here: its server cannot be had as a Go module, so that registry is tested on a stand-in alone.
package registries
