// Package nameserver answers a workload's DNS queries beside its proxy, as Istio's agent does: names of the mesh from what the control plane has told, in every form in
// which Kubernetes has them, and all others by the system's own name servers. The steps, and the files that hold them:
//
//	a query arrives, over UDP or TCP, from this machine alone     (server.go)
//	is the name the mesh's, and what are its addresses?           (table.go)
//	then it is answered here                                      (answer.go)
//	else it is passed on to the name servers of resolv.conf       (upstream.go)
//
// The server is on loopback: what redirects a workload's queries to it is package capture. It keeps no answers of others: the systems behind resolv.conf do. Everything
// that it takes in is bounded: the size of queries, connections, and how many are passed on at a time. Only package agent imports it.
//
// https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/
package nameserver
