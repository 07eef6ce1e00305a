// Package demo is the supervisor behind `lateen demo`: a whole mesh with the shop in it, on one machine, without root. It
//
//	locks the state folder and finds a free loopback /16        (lock.go, block.go)
//	plans what runs where                                       (plan.go)
//	seeds config/, writes workloads/ and mints join tokens      (seed.go, workloads.go, token.go)
//	starts control plane, gateway, sidecars and apps, in order  (demo.go, pkg/supervise)
//	and says so in run.json and in a short table                (demo.go, table.go)
//
// Every process is the same program with another command; none runs inside the supervisor, so that each can be killed like one on a
// real host. The package knows those commands' names and flags but imports neither control plane nor proxy. Only cli imports it.
package demo
