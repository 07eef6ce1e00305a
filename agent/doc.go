// Package agent is what stands beside a proxy and makes it a member of the mesh, as Istio's pilot-agent does:
//
//	join token -> CSR -> certificate (caclient.go, renew.go) -> SDS over a Unix socket (sds.go) -> proxy
//	identity, addresses -> node metadata (metadata.go) -> Envoy bootstrap (bootstrap.go) -> proxy
//	names of the mesh (names.go), name servers of the system -> answers to the workload's DNS queries (nameserver, below)
//	probe -> the workload's health (health, below) -> the control plane, for workloads that register themselves (report.go)
//
// Private keys are made here, stay in memory, and go nowhere but over the socket to the proxy. The agent forwards no xDS: the proxy
// dials the control plane itself, with the certificate that it gets here. Capturing traffic is for who starts it (capture, below).
//
// The package runs its proxy through a function that it is given (Config.RunProxy) and so imports neither proxy nor controlplane; the
// two speak Envoy's protos. agentcmd, below, puts agent and proxy together for the two programs.
package agent
