// Package runner runs one command as a workload of a mesh, with a proxy beside it: `lateen run`. It
//
//	finds an address and joins: the mesh of this machine, or a remote control plane     (join.go)
//	starts the proxy, waits until it serves, then starts the command                    (runner.go)
//	and when either is to end takes the workload out of the mesh, drains, and ends both (runner.go, command.go)
//
// It knows processes and files, and the flags of `lateen proxy` (through workload); it imports neither control plane nor proxy. Only cli imports it.
package runner
