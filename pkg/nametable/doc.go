// Package nametable is Istio's NameTable (istio.networking.nds.v1, type URL TypeURL): by which a control plane tells the agents of workloads which
// addresses the mesh's names have. A control plane makes messages of it (message.go), an agent reads their bytes (parse.go); they are the only thing that
// the two share of it.
//
// It does not answer queries (agent/nameserver) nor say which names a workload may know (controlplane/internal/translate). It imports third parties alone,
// and anybody may import it.
package nametable
