// Package demo is the shop as the content of a mesh, for `lateen demo`: its workloads (shop.go), its objects (seed.go), and what the user is told
// (table.go). localmesh runs it. The package imports neither control plane nor proxy. Only cli imports it.
package demo
