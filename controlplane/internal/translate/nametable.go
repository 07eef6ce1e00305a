package translate

import (
	"net/netip"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/pkg/nametable"
)

// externalRegistry is Istio's name of the registry that ServiceEntries are in.
const externalRegistry = "External"

// Names returns what the agent of a proxy answers its workload's DNS queries from, a resource for each host that has an address, named after it. Each is a
// name table with what there is of the host (name_info), and of its instances where it is headless (table).
// https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/
func Names(s *model.Snapshot, p *model.Proxy) []Resource {
	var out []Resource
	for _, svc := range s.ScopeOf(p).Services() {
		if r, ok := namesOf(s, p, svc); ok {
			out = append(out, r)
		}
	}
	return out
}

// NamesOf returns what Names has of one host.
func NamesOf(s *model.Snapshot, p *model.Proxy, host string) []Resource {
	svc := s.ServiceFor(p, host)
	if svc == nil {
		return nil
	}
	if r, ok := namesOf(s, p, svc); ok {
		return []Resource{r}
	}
	return nil
}

// NameTable returns the same as one resource, which is what Istio's agents take.
func NameTable(s *model.Snapshot, p *model.Proxy) Resource {
	return Resource{Name: "default", build: func() proto.Message {
		all := &nametable.Table{Names: map[string]nametable.Info{}}
		for _, svc := range s.ScopeOf(p).Services() {
			for host, info := range tableOf(s, p, svc).all(svc.Host) {
				all.Names[host] = info
			}
		}
		return all.Message()
	}}
}

// hostNames is what is known of one host.
type hostNames struct {
	own       *nametable.Info
	instances map[string]nametable.Info
}

func (h hostNames) all(host string) map[string]nametable.Info {
	out := map[string]nametable.Info{}
	if h.own != nil {
		out[host] = *h.own
	}
	for name, info := range h.instances {
		out[name] = info
	}
	return out
}

func namesOf(s *model.Snapshot, p *model.Proxy, svc *model.Service) (Resource, bool) {
	names := tableOf(s, p, svc)
	if names.own == nil {
		return Resource{}, false
	}
	// All of the proxy that it depends on is in the addresses, which are few.
	k := (&keyHash{}).str(names.own.Registry, names.own.ShortName, names.own.Namespace).str(names.own.IPs...)
	for _, name := range sortedNames(names.instances) {
		k.str(name).str(names.instances[name].IPs...)
	}
	return Resource{Name: svc.Host, Key: k.String(), build: func() proto.Message {
		return (&nametable.Table{Own: names.own, Names: names.instances}).Message()
	}}, true
}

func sortedNames(m map[string]nametable.Info) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// tableOf is what is known of a service's host. Nothing, where it has no address: who asks is sent to the resolver of its own system.
func tableOf(s *model.Snapshot, p *model.Proxy, svc *model.Service) hostNames {
	to := svc // whose addresses count
	if concrete := s.Concrete(svc, p.Namespace); concrete != nil {
		to = concrete
	}
	info := nametable.Info{Registry: svc.Registry}
	switch {
	case svc.Mesh:
		// The agent makes the short forms of these: catalog, catalog.shop, catalog.shop.svc.
		info.Registry, info.ShortName, info.Namespace = nametable.Kubernetes, svc.Name, svc.Namespace
	case info.Registry == "":
		info.Registry = externalRegistry
	}
	for _, a := range to.AddressesFor(p) {
		if callable(p, a) {
			info.IPs = append(info.IPs, a)
		}
	}
	var instances map[string]nametable.Info
	if len(info.IPs) == 0 && (to.Headless || to.Resolution == model.ResolutionPassthrough) {
		set, _ := s.Endpoints.Get(to.Key())
		info.IPs, instances = calledByName(s, p, svc, info, set)
	}
	if len(info.IPs) == 0 {
		return hostNames{}
	}
	return hostNames{&info, instances}
}

// calledByName are the instances of a service whose clients find them by themselves: all addresses under the service's name, and those of each workload under its
// own, as Kubernetes gives the pods of a StatefulSet.
func calledByName(s *model.Snapshot, p *model.Proxy, svc *model.Service, info nametable.Info, set *model.EndpointSet) (ips []string, instances map[string]nametable.Info) {
	if set == nil {
		return nil, nil
	}
	network := s.NetworkOf(p)
	for i := range set.Instances {
		in := &set.Instances[i]
		of := s.Networks.Of(in.Network, in.Address)
		elsewhere := network != "" && of != "" && of != network // and not to be reached by its address
		if in.Unhealthy || elsewhere || !callable(p, in.Address) {
			continue
		}
		if !slices.Contains(ips, in.Address) {
			ips = append(ips, in.Address)
		}
		if !svc.Mesh || in.Workload == "" {
			continue
		}
		own := info
		own.ShortName, own.IPs = in.Workload+"."+info.ShortName, []string{in.Address}
		if instances == nil {
			instances = map[string]nametable.Info{}
		}
		name := in.Workload + "." + svc.Host
		if had := instances[name].IPs; len(had) > 0 && !slices.Contains(had, in.Address) {
			own.IPs = append(slices.Clone(had), in.Address)
		} else if len(had) > 0 {
			own.IPs = had
		}
		instances[name] = own
	}
	return ips, instances
}

// callable reports whether the text is an address of a family that the proxy has.
func callable(p *model.Proxy, text string) bool {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return false
	case a.Is4():
		return !p.IPv6Only()
	}
	return p.HasIPv6()
}
