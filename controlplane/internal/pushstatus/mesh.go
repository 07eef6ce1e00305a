package pushstatus

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// ofMesh finds what is at odds whoever is connected.
func ofMesh(snap *model.Snapshot) Status {
	out := Status{}
	subsets(out, snap)
	domains(out, snap)
	clusters(out, snap)
	endpoints(out, snap)
	return out
}

// subsets finds those that an older rule for the same host, and for the same workloads, has too: the older one's counts.
func subsets(out Status, snap *model.Snapshot) {
	rules := slices.Clone(snap.DestinationRules.Values())
	slices.SortStableFunc(rules, func(a, b *model.DestinationRule) int { return a.Created.Compare(b.Created) })
	type subset struct{ namespace, host, selector, name string }
	seen := map[subset]*model.DestinationRule{}
	for _, r := range rules {
		for _, s := range r.Subsets {
			key := subset{r.Namespace, r.Host, fmt.Sprint(r.WorkloadSelector), s.Name}
			switch old := seen[key]; old {
			case nil:
				seen[key] = r
			case r: // its own mistake, which is reported as such
			default:
				out.add(duplicateSubset, s.Name+"."+r.Host, Event{Message: fmt.Sprintf(
					"Duplicate subset %s found while merging destination rules for %s: that of %s counts, not that of %s", s.Name, r.Host, old.Key(), r.Key())})
			}
		}
	}
}

// domains finds virtual services for a host that, for sidecars of some namespace, an older one has.
func domains(out Status, snap *model.Snapshot) {
	for i, rules := range snap.MeshRules.Values() {
		host := snap.MeshRules.Keys()[i]
		for j, r := range rules {
			old := slices.IndexFunc(rules[:j], func(old *model.VirtualService) bool { return meet(old.ExportTo, r.ExportTo) })
			if old >= 0 {
				out.add(duplicateDomain, r.Key()+"/"+host, Event{Message: fmt.Sprintf("duplicate domain from virtual service: %s has %s, whose rules of %s do not count", rules[old].Key(), host, r.Key())})
			}
		}
	}
}

// clusters finds ports of a host that several ServiceEntries define, or one and a Service.
func clusters(out Status, snap *model.Snapshot) {
	type definition struct {
		svc    *model.Service
		number uint32
	}
	byHost := map[string][]definition{}
	for _, svc := range snap.Services.Values() {
		for _, d := range svc.Definitions() {
			for _, p := range d.Ports {
				for _, old := range byHost[svc.Host] {
					if old.number == p.Number && !(old.svc.Mesh && d.Mesh) && meet(old.svc.ExportTo, d.ExportTo) {
						name := cluster(svc.Host, p.Number)
						out.add(duplicateCluster, name, Event{Message: fmt.Sprintf("Duplicate cluster %s found while pushing CDS: %s and %s define it", name, old.svc.Origin, d.Origin)})
					}
				}
				byHost[svc.Host] = append(byHost[svc.Host], definition{d, p.Number})
			}
		}
	}
}

// endpoints finds ports of services that have none.
func endpoints(out Status, snap *model.Snapshot) {
	for _, svc := range snap.Services.Values() {
		if svc.Alias != "" || svc.Resolution == model.ResolutionPassthrough || svc.Resolution == model.ResolutionDynamic {
			continue
		}
		metric := noInstances
		if svc.Resolution != model.ResolutionStatic {
			metric = dnsNoEndpoints
		}
		has := map[uint32]bool{}
		if set, ok := snap.Endpoints.Get(svc.Key()); ok {
			for i := range set.Instances {
				has[set.Instances[i].ServicePort] = true
			}
		}
		for _, p := range svc.Ports {
			if !has[p.Number] && p.Protocol != model.ProtocolUDP {
				out.add(metric, cluster(svc.Host, p.Number), Event{})
			}
		}
	}
}

// ofListeners finds services of bytes without an address that share a port: the oldest one's listener takes all connections of clients that see both.
func ofListeners(out Status, snap *model.Snapshot, proxies []*model.Proxy) {
	sidecars := slices.DeleteFunc(slices.Clone(proxies), func(p *model.Proxy) bool { return p.Type != model.Sidecar || p.GRPC })
	if len(sidecars) == 0 {
		return
	}
	type claim struct {
		svc  *model.Service
		port model.Port
	}
	byPort := map[uint32][]claim{}
	for _, svc := range snap.Services.Values() {
		if len(svc.Addresses)+len(svc.Ranges) > 0 || svc.CalledByPod() || svc.Alias != "" {
			continue
		}
		for _, p := range svc.Ports {
			switch p.Protocol {
			case model.ProtocolTCP, model.ProtocolMongo, model.ProtocolMySQL:
				byPort[p.Number] = append(byPort[p.Number], claim{svc, p})
			}
		}
	}
	for number, claims := range byPort {
		if len(claims) < 2 {
			continue
		}
		slices.SortStableFunc(claims, func(a, b claim) int {
			return cmp.Or(a.svc.Created.Compare(b.svc.Created), strings.Compare(a.svc.Key(), b.svc.Key()))
		})
		for _, p := range sidecars {
			var first *model.Service
			for _, c := range claims {
				switch {
				case snap.ServiceFor(p, c.svc.Host) != c.svc || len(c.svc.AddressesFor(p)) > 0:
				case first == nil:
					first = c.svc
				default:
					key, name := fmt.Sprintf("0.0.0.0:%d", number), p.Name+"."+p.Namespace
					out.add(conflictOutbound, key, Event{Proxy: name, Message: fmt.Sprintf("Listener=%s Accepted=%s Rejected=%s", key, first.Host, c.svc.Host)})
				}
			}
		}
	}
}

func cluster(host string, port uint32) string { return fmt.Sprintf("outbound|%d||%s", port, host) }

// meet reports whether somebody sees both of two objects.
func meet(a, b model.ExportTo) bool {
	if a == nil || b == nil {
		return (a == nil || len(a) > 0) && (b == nil || len(b) > 0)
	}
	return slices.ContainsFunc(a, func(ns string) bool {
		return ns == "*" && len(b) > 0 || slices.Contains(b, "*") || slices.Contains(b, ns)
	})
}
