// Package localmesh is the supervisor behind `lateen demo` and `lateen up`: a whole mesh on one machine, without root. It
//
//	locks the state folder and finds a free loopback /16              (lock.go, block.go, ports.go)
//	plans what runs where                                             (place.go)
//	starts control plane, gateway, sidecars and apps, in order        (mesh.go, pkg/supervise)
//	tells the registry and hands out join tokens, as workloads come and go   (workloads.go)
//	and says so in run.json, to who asks from outside too             (control.go)
//
// What runs in the mesh is a Content, which demo and up have. Every process is the same program with another command, or a user's; none runs inside
// the supervisor, so that each can be killed like one on a real host. The package knows those commands' names and flags (through workload)
// but imports neither control plane nor proxy. demo, up, runner and cli import it.
package localmesh
