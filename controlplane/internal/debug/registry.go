package debug

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
)

// serviceJSON has the keys of Istio's registryz, which are those of its model.Service (pilot/pkg/model/service.go); those after the first group are
// ours.
type serviceJSON struct {
	Attributes     serviceAttributes
	Ports          []servicePort       `json:"ports,omitempty"`
	Accounts       []string            `json:"serviceAccounts,omitempty"`
	CreationTime   time.Time           `json:"creationTime"`
	Hostname       string              `json:"hostname"`
	ClusterVIPs    map[string]vipsJSON `json:"clusterVIPs,omitempty"`
	DefaultAddress string              `json:"defaultAddress,omitempty"`
	AutoIPv4       string              `json:"autoAllocatedIPv4Address,omitempty"`
	AutoIPv6       string              `json:"autoAllocatedIPv6Address,omitempty"`
	Resolution     int
	MeshExternal   bool

	Origin         string `json:"origin,omitempty"`
	EndpointsCount int    `json:"endpointsCount"`
}

// vipsJSON are virtual addresses by cluster, under the key Addresses.
type vipsJSON map[string][]string

type servicePort struct {
	Name     string `json:"name,omitempty"`
	Port     uint32 `json:"port"`
	Protocol string `json:"protocol"`
}

type serviceAttributes struct {
	ServiceRegistry string
	Name            string
	Namespace       string
	ExportTo        map[string]struct{} `json:",omitempty"`
	LabelSelectors  map[string]string   `json:",omitempty"`
}

// Istio's numbers: ClientSideLB, DNSLB, Passthrough, DNSRoundRobinLB, Alias, DynamicDNS.
var resolutions = map[model.Resolution]int{
	model.ResolutionStatic: 0, model.ResolutionDNS: 1, model.ResolutionPassthrough: 2, model.ResolutionDNSRR: 3,
	model.ResolutionDynamic: 5,
}

const resolutionAlias = 4

var protocols = map[model.Protocol]string{
	model.ProtocolAuto: "UnsupportedProtocol", model.ProtocolTCP: "TCP", model.ProtocolTLS: "TLS", model.ProtocolHTTPS: "HTTPS", model.ProtocolHTTP: "HTTP",
	model.ProtocolHTTP2: "HTTP2", model.ProtocolGRPC: "GRPC", model.ProtocolGRPCWeb: "GRPC-Web", model.ProtocolUDP: "UDP",
	model.ProtocolMongo: "Mongo", model.ProtocolMySQL: "MySQL",
}

// clusterID is the cluster of everything here, as proxies' metadata have it.
const clusterID = "Kubernetes"

func (s *Server) registryz(w http.ResponseWriter, _ *http.Request) {
	snap := s.opts.View().Snapshot()
	out := []serviceJSON{}
	for _, svc := range snap.Services.Values() {
		out = append(out, describe(snap, svc))
	}
	writeJSON(w, out)
}

// describe shows a service.
func describe(snap *model.Snapshot, svc *model.Service) serviceJSON {
	j := serviceJSON{
		Attributes: serviceAttributes{ServiceRegistry: registryOf(svc), Name: svc.Name, Namespace: svc.Namespace, LabelSelectors: svc.Selector},
		Hostname:   svc.Host, CreationTime: svc.Created.UTC(), DefaultAddress: "0.0.0.0", Resolution: resolutions[svc.Resolution], MeshExternal: svc.External,
		Origin: svc.Origin.String(),
	}
	for _, ns := range svc.ExportTo {
		if j.Attributes.ExportTo == nil {
			j.Attributes.ExportTo = map[string]struct{}{}
		}
		j.Attributes.ExportTo[ns] = struct{}{}
	}
	if svc.Alias != "" {
		j.Resolution = resolutionAlias
	}
	addresses := slices.Clone(svc.Addresses)
	for _, r := range svc.Ranges {
		addresses = append(addresses, r.String())
	}
	if len(addresses) > 0 {
		j.DefaultAddress = addresses[0]
		j.ClusterVIPs = map[string]vipsJSON{"Addresses": {clusterID: addresses}}
	}
	for _, a := range svc.Auto {
		if strings.Contains(a, ":") {
			j.AutoIPv6 = a
		} else {
			j.AutoIPv4 = a
		}
	}
	for _, p := range svc.Ports {
		j.Ports = append(j.Ports, portJSON(p))
	}
	if set, ok := snap.Endpoints.Get(svc.Key()); ok {
		j.EndpointsCount, j.Accounts = len(set.Instances), accounts(set)
	}
	return j
}

func portJSON(p model.Port) servicePort { return servicePort{p.Name, p.Number, protocols[p.Protocol]} }

// registryOf names the registry of a service as Istio does: "Kubernetes" for Services, "External" for ServiceEntries.
func registryOf(svc *model.Service) string {
	switch {
	case svc.Registry != "":
		return svc.Registry
	case svc.Mesh:
		return "Kubernetes"
	}
	return "External"
}

// accounts are the service accounts of endpoints, sorted.
func accounts(set *model.EndpointSet) []string {
	var out []string
	for i := range set.Instances {
		if a := set.Instances[i].ServiceAccount; a != "" {
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s *Server) registries(w http.ResponseWriter, _ *http.Request) {
	out := []watch.Status{}
	if s.opts.Registries != nil {
		out = append(out, s.opts.Registries()...)
	}
	writeJSON(w, out)
}

// shardsJSON has the keys of Istio's model.EndpointShards.
type shardsJSON struct {
	// Shards are endpoints by registry and cluster, "Kubernetes/Kubernetes".
	Shards          map[string][]endpointJSON
	ServiceAccounts map[string]struct{}
}

// endpointJSON has the keys of Istio's model.IstioEndpoint.
type endpointJSON struct {
	Labels               map[string]string
	Addresses            []string
	ServicePortName      string
	LegacyClusterPortKey uint32 // the number of the service's port
	ServiceAccount       string
	Network              string
	Locality             localityJSON
	EndpointPort         uint32
	LbWeight             uint32
	TLSMode              string
	Namespace            string
	WorkloadName         string
	HealthStatus         int
}

type localityJSON struct{ Label, ClusterID string }

// Istio's numbers of an endpoint's health.
const (
	healthy   = 1
	unhealthy = 2
)

// endpointShardz shows endpoints by host and namespace of their service.
func (s *Server) endpointShardz(w http.ResponseWriter, _ *http.Request) {
	snap := s.opts.View().Snapshot()
	out := map[string]map[string]shardsJSON{}
	for _, set := range snap.Endpoints.Values() {
		svc, ok := snap.Services.Get(set.Key)
		if !ok {
			continue
		}
		shards := shardsJSON{Shards: map[string][]endpointJSON{}, ServiceAccounts: map[string]struct{}{}}
		for _, a := range accounts(set) {
			shards.ServiceAccounts[a] = struct{}{}
		}
		key := registryOf(svc) + "/" + clusterID
		for i := range set.Instances {
			shards.Shards[key] = append(shards.Shards[key], describeEndpoint(svc, &set.Instances[i]))
		}
		if out[svc.Host] == nil {
			out[svc.Host] = map[string]shardsJSON{}
		}
		out[svc.Host][svc.Namespace] = shards
	}
	writeJSON(w, out)
}

func describeEndpoint(svc *model.Service, in *model.Instance) endpointJSON {
	port, _ := svc.Port(in.ServicePort)
	e := endpointJSON{
		Labels: in.Labels, Addresses: []string{in.Address}, ServicePortName: port.Name, LegacyClusterPortKey: in.ServicePort, ServiceAccount: in.ServiceAccount,
		Network: in.Network, Locality: localityJSON{in.Locality.String(), clusterID}, EndpointPort: in.Port, LbWeight: in.Weight, TLSMode: "disabled",
		Namespace: in.Namespace, WorkloadName: in.Workload, HealthStatus: healthy,
	}
	if in.TLS == model.TLSModeIstio {
		e.TLSMode = "istio"
	}
	if in.Unhealthy {
		e.HealthStatus = unhealthy
	}
	return e
}

// targetJSON has the keys of Istio's model.ServiceTarget.
type targetJSON struct {
	Service serviceJSON
	Port    targetPort
}

type targetPort struct {
	servicePort
	TargetPort uint32
}

// instancesz shows what the workload of each connected proxy serves.
func (s *Server) instancesz(w http.ResponseWriter, _ *http.Request) {
	snap := s.opts.View().Snapshot()
	out := map[string][]targetJSON{}
	for _, p := range s.opts.XDS.Status() {
		targets := []targetJSON{}
		if workload := snap.WorkloadOf(p.Proxy); workload != nil {
			for _, t := range snap.TargetsOf(workload) {
				targets = append(targets, targetJSON{describe(snap, t.Service), targetPort{portJSON(t.Port), t.Instance.Port}})
			}
		}
		out[proxyName(p)] = targets
	}
	writeJSON(w, out)
}

type workloadJSON struct {
	Name           string            `json:"name"`
	Namespace      string            `json:"namespace"`
	Address        string            `json:"address"`
	Labels         map[string]string `json:"labels,omitempty"`
	ServiceAccount string            `json:"serviceAccount,omitempty"`
	Services       []string          `json:"services,omitempty"`
}

// workloads shows all workloads, with a proxy or without.
func (s *Server) workloads(w http.ResponseWriter, _ *http.Request) {
	snap := s.opts.View().Snapshot()
	out := []workloadJSON{}
	for _, wl := range snap.Workloads.Values() {
		services, _ := snap.ServicesOf.Get(wl.Key())
		out = append(out, workloadJSON{wl.Name, wl.Namespace, wl.Address, wl.Labels, wl.ServiceAccount, services})
	}
	writeJSON(w, out)
}
