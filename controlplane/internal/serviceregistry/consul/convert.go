package consul

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/instances"
)

// scope is what the services of one catalogue have in common.
type scope struct {
	domain, datacenter, namespace, partition string
	tagged                                   string // tagged address to prefer
	source                                   string // for origins
}

// host is the service's name in Consul's DNS: NAME.service[.NAMESPACE.ns][.PARTITION.ap][.DATACENTER.dc].DOMAIN, where only what differs from
// the default is named. "dc" is said only beside a namespace or partition, as in Consul's own shorter form NAME.service.DATACENTER.DOMAIN.
// https://developer.hashicorp.com/consul/docs/discover/service/static
func (s scope) host(name string) (string, bool) {
	parts := []string{name, "service"}
	full := false
	if s.namespace != "" && s.namespace != "default" {
		parts, full = append(parts, s.namespace, "ns"), true
	}
	if s.partition != "" && s.partition != "default" {
		parts, full = append(parts, s.partition, "ap"), true
	}
	if s.datacenter != "" {
		parts = append(parts, s.datacenter)
		if full {
			parts = append(parts, "dc")
		}
	}
	return instances.Host(append(parts, s.domain)...)
}

// registration makes a mesh service of what Consul's health endpoint says of one. Instances that are proxies or gateways of Consul's own mesh
// are passed over.
func (s scope) registration(name string, entries []*api.ServiceEntry) (*model.Registration, []string) {
	host, ok := s.host(name)
	if !ok {
		return nil, []string{fmt.Sprintf("%q makes no host name; the service is left out", name)}
	}
	base := model.Service{
		Host: host, Name: name, Namespace: s.namespace, Registry: Registry,
	}
	if base.Namespace == "" {
		base.Namespace = "default"
	}
	base.Origin = model.Origin{Kind: "ConsulService", Namespace: base.Namespace, Name: name, File: s.source}
	var list []instances.Instance
	var problems []string
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, byNode) // several agents may use one ID
	for _, e := range entries {
		if e == nil || e.Service == nil || e.Node == nil || e.Service.Kind != api.ServiceKindTypical {
			continue
		}
		in, bad := s.instance(e)
		list = append(list, in)
		for _, err := range bad {
			problems = append(problems, fmt.Sprintf("instance %s: %v", in.ID, err))
		}
		if v := virtual(e.Service); v != "" && len(base.Addresses) == 0 {
			base.Addresses = []string{v}
		}
	}
	r, more := instances.Join(base, list)
	return r, append(problems, more...)
}

func byNode(a, b *api.ServiceEntry) int {
	name := func(e *api.ServiceEntry) string {
		if e == nil || e.Node == nil {
			return ""
		}
		return e.Node.Node
	}
	return strings.Compare(name(a), name(b))
}

// virtual is the service's own address, by which clients may call it: Consul's, for services of its mesh, or one that was registered.
func virtual(svc *api.AgentService) string {
	for _, key := range []string{"virtual", "consul-virtual"} {
		if a := svc.TaggedAddresses[key].Address; a != "" {
			return a
		}
	}
	return ""
}

// instance makes an endpoint of an entry.
func (s scope) instance(e *api.ServiceEntry) (instances.Instance, []error) {
	svc := e.Service
	in := instances.Instance{
		ID: svc.ID, Labels: instances.Labels(svc.Service, svc.Tags, svc.Meta), Locality: locality(e),
		External: e.Node.Meta["external-node"] == "true" || svc.Meta["external"] != "" && svc.Meta["external"] != "false",
	}
	port := uint32(0)
	in.Address, port = s.address(e)
	in.Unhealthy, in.Weight = health(e)

	known := map[string]uint32{}
	mainName := ""
	for _, p := range svc.Ports {
		if p.Port > 0 && p.Default {
			mainName = p.Name
		} else if p.Port > 0 {
			known[p.Name] = uint32(p.Port)
		}
	}
	var bad []error
	if number := port; number != 0 || strings.HasPrefix(in.Address, "unix://") {
		if number == 0 {
			number = 80
		}
		main, err := instances.MainPort(in.Labels, mainName, number, port)
		if err != nil {
			bad = append(bad, err)
		} else {
			in.Ports = append(in.Ports, main)
		}
	}
	more, problems := instances.MorePorts(in.Labels, known)
	in.Ports = append(in.Ports, more...)
	return in, append(bad, problems...)
}

// address is where an instance is reached: its socket, the tagged address that is preferred, its own address, its node's.
func (s scope) address(e *api.ServiceEntry) (string, uint32) {
	svc := e.Service
	if svc.SocketPath != "" {
		return "unix://" + svc.SocketPath, 0
	}
	port := uint32(max(0, svc.DefaultPort()))
	if tagged, ok := svc.TaggedAddresses[s.tagged]; ok && s.tagged != "" && tagged.Address != "" {
		if tagged.Port > 0 {
			port = uint32(tagged.Port)
		}
		return tagged.Address, port
	}
	if svc.Address != "" {
		return svc.Address, port
	}
	if tagged := e.Node.TaggedAddresses[s.tagged]; s.tagged != "" && tagged != "" {
		return tagged, port
	}
	return e.Node.Address, port
}

// locality is the instance's own, else its node's, else the datacenter as a region.
func locality(e *api.ServiceEntry) model.Locality {
	for _, l := range []*api.Locality{e.Service.Locality, e.Node.Locality} {
		if l != nil && l.Region != "" {
			return model.Locality{Region: l.Region, Zone: l.Zone}
		}
	}
	return model.Locality{Region: e.Node.Datacenter}
}

// health joins an instance's checks and its node's: critical and maintenance take it out, warning gives it the weight for warnings.
func health(e *api.ServiceEntry) (unhealthy bool, weight uint32) {
	w := e.Service.Weights.Passing
	switch e.Checks.AggregatedStatus() {
	case api.HealthPassing:
	case api.HealthWarning:
		w = e.Service.Weights.Warning
	default:
		unhealthy = true
	}
	return unhealthy, uint32(min(max(w, 0), 65535))
}
