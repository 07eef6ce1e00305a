// Package autoregistration gives a workload its WorkloadEntry when its proxy connects and names a WorkloadGroup (node metadata AUTO_REGISTER_GROUP),
// and takes it away when the proxy has been gone for a while, as Istio does.
//
//	what an entry holds, of group and proxy                    (entry.go)
//	connections, health, and what follows from them            (registrar.go)
//	entries as files, which are all that outlives the process  (files.go)
//
// An entry is a file in the registry of local workloads, which reads it as it reads any other: the mesh's state is in its stores alone, and a control plane
// that starts again serves the entries of proxies that have yet to come back. It knows nothing of xDS; xdsserver tells it of connections. Package
// controlplane imports it.
package autoregistration
