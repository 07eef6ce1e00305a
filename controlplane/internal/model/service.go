package model

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Protocol is what a service port carries.
type Protocol uint8

// Protocols. ProtocolAuto is a port that says nothing: the protocol is detected.
const (
	ProtocolAuto Protocol = iota
	ProtocolTCP
	ProtocolTLS
	ProtocolHTTPS
	ProtocolHTTP
	ProtocolHTTP2
	ProtocolGRPC
	ProtocolGRPCWeb
	ProtocolUDP
	ProtocolMongo
	ProtocolMySQL
)

// IsHTTP reports whether requests can be read on the port.
func (p Protocol) IsHTTP() bool {
	return p == ProtocolHTTP || p == ProtocolHTTP2 || p == ProtocolGRPC || p == ProtocolGRPCWeb
}

// IsHTTP2 reports whether the port is known to speak HTTP/2.
func (p Protocol) IsHTTP2() bool { return p == ProtocolHTTP2 || p == ProtocolGRPC }

// IsTLS reports whether the bytes on the port are TLS of the application's own.
func (p Protocol) IsTLS() bool { return p == ProtocolTLS || p == ProtocolHTTPS }

// ServerFirst reports whether the port is known for servers that speak before their clients: it
// is never shared with one whose protocol is found out by what clients say.
func (p Protocol) ServerFirst() bool { return p == ProtocolMongo || p == ProtocolMySQL }

// ParseProtocol reads a protocol name as Istio does (case does not matter); unknown names are
// ProtocolAuto with ok false.
// https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
func ParseProtocol(s string) (p Protocol, ok bool) {
	switch strings.ToLower(s) {
	case "tcp", "redis", "hbone":
		return ProtocolTCP, true
	case "mongo":
		return ProtocolMongo, true
	case "mysql":
		return ProtocolMySQL, true
	case "udp":
		return ProtocolUDP, true
	case "tls":
		return ProtocolTLS, true
	case "https":
		return ProtocolHTTPS, true
	case "http", "http_proxy":
		return ProtocolHTTP, true
	case "http2", "kubernetes.io/h2c":
		return ProtocolHTTP2, true
	case "grpc":
		return ProtocolGRPC, true
	case "grpc-web":
		return ProtocolGRPCWeb, true
	}
	return ProtocolAuto, false
}

// SelectProtocol chooses a port's protocol: appProtocol first, then the port name's prefix up
// to the first dash, then UDP if the transport is, else detection. Ports that servers speak
// first on by convention (25, 3306 ...) are TCP when nothing says otherwise, as in Istio.
func SelectProtocol(appProtocol, name, transport string, number uint32) Protocol {
	if strings.EqualFold(transport, "UDP") {
		return ProtocolUDP
	}
	if appProtocol != "" {
		if p, ok := ParseProtocol(appProtocol); ok {
			return p
		}
		switch appProtocol {
		case "kubernetes.io/ws":
			return ProtocolHTTP
		case "kubernetes.io/wss":
			return ProtocolHTTPS
		}
	}
	if strings.HasPrefix(strings.ToLower(name), "grpc-web") {
		return ProtocolGRPCWeb
	}
	prefix, _, _ := strings.Cut(name, "-")
	if p, ok := ParseProtocol(prefix); ok {
		return p
	}
	switch number {
	case 25, 53, 3306, 27017: // SMTP, DNS, MySQL, MongoDB
		return ProtocolTCP
	}
	return ProtocolAuto
}

// Resolution says how a client finds a service's endpoints.
type Resolution uint8

// Resolutions.
const (
	ResolutionStatic      Resolution = iota // endpoints are known here: EDS
	ResolutionDNS                           // STRICT_DNS: every address of the name
	ResolutionDNSRR                         // LOGICAL_DNS: one address at a time
	ResolutionPassthrough                   // to where the client was going: NONE, headless TCP
	ResolutionDynamic                       // each request's own host is resolved: DYNAMIC_DNS
)

// Port is a service port.
type Port struct {
	Name     string
	Number   uint32
	Target   uint32 // port on the workload when nothing else says; 0: same as Number
	Named    string // targetPort given by name; resolved against the workload's ports
	Protocol Protocol
}

// TargetPort is the port at the workload before the workload's own port map is consulted.
func (p Port) TargetPort() uint32 {
	if p.Target != 0 {
		return p.Target
	}
	return p.Number
}

// ExportTo is a set of namespaces that may see an object. Nil: all.
type ExportTo []string

// Visible reports whether a proxy in namespace ns may see the object.
func (e ExportTo) Visible(ns string) bool {
	if e == nil {
		return true
	}
	for _, n := range e {
		if n == "*" || n == ns {
			return true
		}
	}
	return false
}

// Public reports whether everyone sees the object.
func (e ExportTo) Public() bool { return e.Visible("*") }

// Service is one host name with its ports. Several objects may define the same host in
// different namespaces.
type Service struct {
	Host      string // FQDN or a wildcard ("*.example.com")
	Namespace string
	Name      string // Service name; for a ServiceEntry its host, as Istio names it
	// Mesh is true for services of the mesh's own registries (core/v1 Service), which have
	// short names; false for ServiceEntry hosts.
	Mesh      bool
	Addresses []string       // virtual addresses; empty for headless services and most ServiceEntries
	Ranges    []netip.Prefix // subnets, masked: a ServiceEntry's addresses that are not single
	// Auto are the IPv4 and the IPv6 address that the mesh gives a host that has none
	// (AutoAllocate), for proxies that answer their workload's DNS queries: a ServiceEntry's, and
	// that of a Service to which no Kubernetes has given one.
	AutoAllocate bool
	Auto         []string
	Ports        []Port
	Resolution   Resolution
	External     bool // MESH_EXTERNAL: no mTLS, no identity
	ExportTo     ExportTo
	Selector     map[string]string // workloads by label, same namespace; nil: none
	Headless     bool
	// PublishNotReady has endpoints that are not well get traffic all the same.
	PublishNotReady bool
	// Alias is the host that an ExternalName service stands for. Where that is a service too its
	// rules, ports and endpoints count (Snapshot.Concrete); else the name is resolved by DNS.
	Alias string
	// Registry names the registry that the service comes from ("Consul", "Nomad"), as a Registration; "" for objects.
	Registry string
	SANs     []string   // ServiceEntry.subjectAltNames
	Inline   []Instance // ServiceEntry.endpoints (Port filled per service port by the builder)
	// PreferClose: trafficDistribution; clients use the endpoints nearest to them.
	PreferClose bool
	// Gateway is the network that the service's workloads are gateways of (NetworkLabel of a core/v1 Service); "" for none. They take connections of other
	// networks at GatewayPort, at External addresses where it has some (externalIPs, or those of its load balancer).
	Gateway           string
	GatewayPort       uint32
	ExternalAddresses []string
	// ExternalNames are names of load balancers before it.
	ExternalNames []string
	// Parts are the definitions of the host where the namespace has several: ports and
	// endpoints of all count, all else of the first. Nil: there is one.
	Parts   []*Service
	Created time.Time
	Origin  Origin
	Rev     uint64 // changes exactly when the service does
}

// AddressesFor returns the virtual addresses by which a proxy's workload may call the service.
func (s *Service) AddressesFor(p *Proxy) []string {
	if len(s.Auto) == 0 || !p.DNSCapture || p.NoAutoAddress {
		return s.Addresses
	}
	var out []string
	for _, a := range s.Auto {
		if six := strings.Contains(a, ":"); six && p.HasIPv6() || !six && !p.IPv6Only() {
			out = append(out, a)
		}
	}
	return out
}

// Key is the key of a service in Snapshot.Services.
func (s *Service) Key() string { return s.Host + "/" + s.Namespace }

// CalledByPod reports whether clients find the service's endpoints by themselves and call one of
// them, with bytes that do not say which service is meant.
func (s *Service) CalledByPod() bool {
	if !s.Headless && s.Resolution != ResolutionPassthrough {
		return false
	}
	return slices.ContainsFunc(s.Ports, func(p Port) bool { return !p.Protocol.IsHTTP() })
}

// Definitions are the parts of the service, or itself.
func (s *Service) Definitions() []*Service {
	if s.Parts == nil {
		return []*Service{s}
	}
	return s.Parts
}

// Port returns the port with that number.
func (s *Service) Port(number uint32) (Port, bool) {
	for _, p := range s.Ports {
		if p.Number == number {
			return p, true
		}
	}
	return Port{}, false
}

// TLSMode says whether an endpoint can be reached with the mesh's mTLS.
type TLSMode uint8

// TLS modes of an endpoint.
const (
	TLSModeDisabled TLSMode = iota
	TLSModeIstio
)

// Locality is where an endpoint runs.
type Locality struct{ Region, Zone, SubZone string }

// ParseLocality reads "region/zone/subzone".
func ParseLocality(s string) Locality {
	parts := strings.SplitN(s, "/", 3)
	for len(parts) < 3 {
		parts = append(parts, "")
	}
	return Locality{parts[0], parts[1], parts[2]}
}

// String is "region/zone/subzone" without what is missing at the end.
func (l Locality) String() string {
	switch {
	case l.SubZone != "":
		return l.Region + "/" + l.Zone + "/" + l.SubZone
	case l.Zone != "":
		return l.Region + "/" + l.Zone
	}
	return l.Region
}

// Matches reports whether l lies in "region/zone/subzone", where "*" and what is left out
// stand for any.
func (l Locality) Matches(pattern string) bool {
	p := ParseLocality(pattern)
	return (p.Region == "*" || p.Region == l.Region) &&
		(p.Zone == "" || p.Zone == "*" || p.Zone == l.Zone) &&
		(p.SubZone == "" || p.SubZone == "*" || p.SubZone == l.SubZone)
}

// Labels that say where something runs. Workloads have them by their place, whether or not
// they are written.
const (
	RegionLabel  = "topology.kubernetes.io/region"
	ZoneLabel    = "topology.kubernetes.io/zone"
	SubZoneLabel = "topology.istio.io/subzone"
	NetworkLabel = "topology.istio.io/network"
	ClusterLabel = "topology.istio.io/cluster"
)

// placeLabel is a label's value by place, else by what is written.
func placeLabel(key string, l Locality, network string, labels map[string]string) string {
	v := ""
	switch key {
	case RegionLabel:
		v = l.Region
	case ZoneLabel:
		v = l.Zone
	case SubZoneLabel:
		v = l.SubZone
	case NetworkLabel:
		v = network
	}
	return cmp.Or(v, labels[key])
}

// Instance is one endpoint of a service port.
type Instance struct {
	Address        string // IP, DNS name or "unix://path"
	Port           uint32 // at the workload
	ServicePort    uint32
	Labels         map[string]string
	ServiceAccount string
	Namespace      string
	Workload       string // workload object's name; empty for inline endpoints
	Locality       Locality
	Network        string
	Weight         uint32 // 0: 1
	// TLS is what a client should use: the workload's ability, minus ports on which
	// PeerAuthentication disables mTLS.
	TLS TLSMode
	// Unhealthy endpoints are known and get no traffic: the registry's checks say so.
	Unhealthy bool
	Origin    Origin
	// Ports is how an inline endpoint, or one of a Placed registration, maps port names; consumed by the builder.
	Ports map[string]uint32
}

// Label is the value of one of the instance's labels, those of its place included.
func (in *Instance) Label(key string) string {
	return placeLabel(key, in.Locality, in.Network, in.Labels)
}

// EndpointSet is all endpoints of one service. It is apart from Service so that a change of
// endpoints does not touch what depends only on the service.
type EndpointSet struct {
	Key       string // Service.Key
	Instances []Instance
	// Accounts are the distinct SPIFFE ids of the instances, sorted.
	Accounts []string
	// Mutual: there are instances, and all can be reached with mTLS.
	Mutual bool
	Rev    uint64
}

// Workload is something that runs: a WorkloadEntry or a pod.
type Workload struct {
	Namespace      string
	Name           string
	Address        string
	Labels         map[string]string
	ServiceAccount string
	Ports          map[string]uint32
	// ContainerPorts are the names that a pod's containers give their ports: what a Service means that names its target.
	ContainerPorts map[string]uint32
	Locality       Locality
	Network        string
	Weight         uint32
	TLS            TLSMode // by label security.istio.io/tlsMode: istio
	// Unhealthy: its agent's checks say so, or have not said yet that it is well.
	Unhealthy bool
	Origin    Origin
	Rev       uint64
}

// Key is the key of a workload in Snapshot.Workloads.
func (w *Workload) Key() string { return w.Namespace + "/" + w.Name }

// PortNames are the ports that a service can name as its target.
func (w *Workload) PortNames() map[string]uint32 {
	if len(w.ContainerPorts) > 0 {
		return w.ContainerPorts
	}
	return w.Ports
}

// LabelsMatch reports whether labels contain every pair of selector.
func LabelsMatch(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// SPIFFE returns the id of a service account.
func SPIFFE(trustDomain, namespace, account string) string {
	if account == "" {
		account = "default"
	}
	return "spiffe://" + trustDomain + "/ns/" + namespace + "/sa/" + account
}
