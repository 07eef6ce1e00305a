package model

import "time"

// WorkloadGroup describes workloads that register themselves: what those have in common, and how they are asked whether they are well.
// https://istio.io/latest/docs/reference/config/networking/workload-group/
type WorkloadGroup struct {
	Namespace, Name string
	// APIVersion is as written: owner references name it.
	APIVersion string
	UID        string
	// Labels and Annotations are those of spec.metadata.
	Labels, Annotations map[string]string
	// Template is what a workload has besides its address; its labels are spec.template's.
	Template Workload
	// Settings are those of the annotation proxy.istio.io/config.
	Settings AgentSettings
	// Probe is nil where nobody is asked.
	Probe   *ReadinessProbe
	Created time.Time
	Origin  Origin
	Rev     uint64
}

// Key is the key of a group in Snapshot.WorkloadGroups.
func (g *WorkloadGroup) Key() string { return g.Namespace + "/" + g.Name }

// ReadinessProbe says how a workload's agent finds out whether the workload is well. Times are whole seconds; zero is the agent's
// default (a time-out of 1, a period of 10, thresholds of 1). One of HTTP, TCP, Exec and GRPC is set.
type ReadinessProbe struct {
	InitialDelay, Timeout, Period, SuccessThreshold, FailureThreshold int32

	HTTP *HTTPProbe
	TCP  *TCPProbe
	Exec []string // program and arguments
	GRPC *GRPCProbe
}

// HTTPProbe asks for a page; a status of 200 to 399 is well.
type HTTPProbe struct {
	Path, Host, Scheme string // "" for the agent's defaults: /, localhost, http
	Port               uint32
	Headers            [][2]string // name and value
}

// TCPProbe opens a connection.
type TCPProbe struct {
	Host string // "" for localhost
	Port uint32
}

// GRPCProbe asks grpc.health.v1.
type GRPCProbe struct {
	Port    uint32
	Service string
}
