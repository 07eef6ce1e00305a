package model

import (
	"strings"
	"time"
)

// SidecarConfig is a Sidecar object: what sidecars of its namespace see of the mesh and which ports they serve. In the root
// namespace one without a selector is for every namespace that has none of its own.
// https://istio.io/latest/docs/reference/config/networking/sidecar/
type SidecarConfig struct {
	Namespace string
	Name      string
	Selector  map[string]string // nil: all workloads
	Egress    []EgressListener  // none: everything that is exported to the namespace
	Ingress   []IngressListener // none: the ports of the workload's services
	// InboundPool is inboundConnectionPool; nil: not given.
	InboundPool *ConnectionPool
	// Outbound is outboundTrafficPolicy; nil: the mesh's.
	Outbound *OutboundPolicy
	Created  time.Time
	Origin   Origin
	Rev      uint64
}

// Key is the key of a Sidecar in Snapshot.Sidecars.
func (c *SidecarConfig) Key() string { return c.Namespace + "/" + c.Name }

// OutboundPolicy is what becomes of connections and requests to nobody known.
type OutboundPolicy struct {
	RegistryOnly bool
	Proxy        *Destination // egressProxy; nil: on to where they were going
}

// Capture says how connections come to a listener.
type Capture uint8

// Capture modes.
const (
	CaptureDefault  Capture = iota // as the proxy's connections do
	CaptureRedirect                // IPTABLES: by redirection
	CaptureNone                    // the listener has a socket of its own
)

// BindsPort reports whether a listener of the mode has a socket of its own.
func (c Capture) BindsPort(p *Proxy) bool {
	return c == CaptureNone || c == CaptureDefault && p.Interception == InterceptNone
}

// EgressListener is one listener for outbound traffic, or with port nil one for each port of the services that it imports.
type EgressListener struct {
	Port *SidecarPort // nil: the ports of the services
	// Bind is an IP address, "unix:///path" or "unix://@name"; "" where Capture says.
	Bind    string
	Capture Capture
	// Hosts are what is imported, Excluded what of it is not.
	Hosts, Excluded []SidecarHost
	Origin          Origin
}

// BindsPort reports whether the listener has a socket of its own.
func (l *EgressListener) BindsPort(p *Proxy) bool {
	return l.Capture.BindsPort(p) || strings.HasPrefix(l.Bind, "unix://")
}

// SidecarPort is a port of a Sidecar's own. Number 0: the listener is a Unix socket.
type SidecarPort struct {
	Number   uint32
	Protocol Protocol
	// HTTPProxy: clients name the service and its port in requests, whatever port they come to.
	HTTPProxy bool
}

// SidecarHost is "namespace/host". Namespace "*" is any, "." the workload's own; Host may be a wildcard.
type SidecarHost struct{ Namespace, Host string }

// IngressListener is a port at which a workload is served.
type IngressListener struct {
	Port    SidecarPort
	Bind    string // "": the workload's own address
	Capture Capture
	// Endpoint is where the application listens; the zero value is where the client was going.
	Endpoint IngressEndpoint
	TLS      *ServerTLS // nil: none but the mesh's
	// Pool is connectionPool; nil: InboundPool.
	Pool   *ConnectionPool
	Origin Origin
}

// IngressEndpoint is where connections to an ingress listener are passed on to.
type IngressEndpoint struct {
	Socket string // path of a Unix socket; "" when Port counts
	Port   uint32 // 0 and no socket: where the client was going
	// Instance: the proxy's own address instead of loopback; IPv6: of that family.
	Instance, IPv6 bool
}

// SidecarFor returns the Sidecar object in force for a proxy; nil when there is none. In its own namespace the oldest one that
// selects its labels comes first, then the oldest one without a selector, then the root namespace's.
func (s *Snapshot) SidecarFor(p *Proxy) *SidecarConfig {
	if p.Type != Sidecar || s.Sidecars.Len() == 0 {
		return nil
	}
	var selected, namespace *SidecarConfig
	for _, c := range s.Sidecars.Prefix(p.Namespace + "/") {
		switch {
		case c.Selector == nil:
			namespace = olderSidecar(namespace, c)
		case LabelsMatch(c.Selector, p.Labels):
			selected = olderSidecar(selected, c)
		}
	}
	if selected != nil {
		return selected
	}
	if namespace != nil {
		return namespace
	}
	var mesh *SidecarConfig
	for _, c := range s.Sidecars.Prefix(s.Mesh.RootNamespace + "/") {
		if c.Selector == nil {
			mesh = olderSidecar(mesh, c)
		}
	}
	return mesh
}

func olderSidecar(a, b *SidecarConfig) *SidecarConfig {
	if a != nil && older(a.Created, a.Name, b.Created, b.Name) {
		return a
	}
	return b
}
