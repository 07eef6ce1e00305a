// Package workload says what one workload of a mesh without Kubernetes is, and what has to be started for it: its proxy, and its application.
//
//	what it is, checked                                   (workload.go)
//	what the registry is told, a WorkloadEntry            (entry.go)
//	the proxy beside it as a process, with a join token   (sidecar.go, token.go)
//	what its application finds in its environment         (environ.go)
//
// It starts nothing and keeps nothing: localmesh runs many workloads, runner a single one. They, demo and cli import it; it imports neither control
// plane nor proxy, and knows of them the flags of `lateen proxy`.
package workload
