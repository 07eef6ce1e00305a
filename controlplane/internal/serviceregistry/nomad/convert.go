package nomad

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/instances"
)

// scope is what the services of one Nomad have in common.
type scope struct {
	domain string
	source string // for origins
}

// defaultPort is the port by which clients call a service when no tag says another: those of instances are drawn by lot.
const defaultPort = 80

// host is NAME.service.DOMAIN, and in another namespace than the default one NAME.service.NAMESPACE.ns.DOMAIN, as Consul's names are. Nomad
// has no names of its own.
func (s scope) host(namespace, name string) (string, bool) {
	if namespace == "" || namespace == "default" {
		return instances.Host(name, "service", s.domain)
	}
	return instances.Host(name, "service", namespace, "ns", s.domain)
}

// registration makes a mesh service of Nomad's registrations of one. unhealthy are allocations.
func (s scope) registration(namespace, name string, list []registration, unhealthy map[string]bool) (*model.Registration, []string) {
	host, ok := s.host(namespace, name)
	if !ok {
		return nil, []string{fmt.Sprintf("%q makes no host name; the service is left out", name)}
	}
	if namespace == "" {
		namespace = "default"
	}
	base := model.Service{
		Host: host, Name: name, Namespace: namespace, Registry: Registry,
		Origin: model.Origin{Kind: "NomadService", Namespace: namespace, Name: name, File: s.source},
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b registration) int { return strings.Compare(a.NodeID, b.NodeID) })
	var out []instances.Instance
	var problems []string
	for _, r := range list {
		in := instances.Instance{
			ID: r.ID, Address: r.Address, Labels: instances.Labels(name, r.Tags, nil), Locality: model.Locality{Region: r.Datacenter},
			Weight: 1, Unhealthy: unhealthy[r.AllocID],
		}
		var bad []error
		if r.Port > 0 {
			main, err := instances.MainPort(in.Labels, "", defaultPort, uint32(min(r.Port, 1<<16)))
			if err != nil {
				bad = append(bad, err)
			} else {
				in.Ports = append(in.Ports, main)
			}
		}
		more, badPorts := instances.MorePorts(in.Labels, nil)
		in.Ports = append(in.Ports, more...)
		for _, err := range append(bad, badPorts...) {
			problems = append(problems, fmt.Sprintf("instance %s: %v", r.ID, err))
		}
		out = append(out, in)
	}
	reg, more := instances.Join(base, out)
	return reg, append(problems, more...)
}
