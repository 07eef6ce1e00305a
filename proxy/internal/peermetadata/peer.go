package peermetadata

// Peer is what is known of the workload at the other end of a connection. Decoded peers are
// shared: do not change them. Empty fields are unknown; metrics and logs show "unknown".
type Peer struct {
	ID                string // node id: "sidecar~10.10.0.19~webapp-7685.ns~ns.svc.cluster.local"
	Name              string // pod or instance
	Namespace         string
	Workload          string // WORKLOAD_NAME
	Owner             string
	CanonicalName     string // label service.istio.io/canonical-name, else the workload
	CanonicalRevision string // label service.istio.io/canonical-revision, else "latest"
	App, Version      string // labels app and version
	Cluster           string // CLUSTER_ID
	Mesh              string // MESH_ID
	Principal         string // SPIFFE identity from the certificate; set by the filter, not decoded
	Labels            map[string]string
	InstanceIPs       string
}
