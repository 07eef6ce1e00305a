package translate

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// preferClose is what a service's trafficDistribution means.
var preferClose = &model.LocalityLB{Enabled: true, FailoverPriority: []string{model.NetworkLabel, model.RegionLabel, model.ZoneLabel, model.SubZoneLabel}}

// locality is the setting in force; nil when locality plays no part. A rule's replaces the
// service's and the mesh's as a whole.
func (in *clusterInput) locality() *model.LocalityLB {
	l := in.mesh.Locality
	if in.svc.PreferClose {
		l = preferClose
	}
	if lb := in.balancer(); lb != nil && lb.Locality != nil {
		l = lb.Locality
	}
	if l == nil || !l.Enabled {
		return nil
	}
	return l
}

// localityKey adds what of the client assignments depend on.
func (in *clusterInput) localityKey(k *keyHash) {
	l := in.client.Locality
	k.str(l.Region, l.Zone, l.SubZone)
	for _, label := range in.locality().ClientLabels() {
		k.str(in.client.Label(label))
	}
	if in.nets != nil {
		k.num(in.nets.Rev).str(in.network).str(slices.Sorted(maps.Keys(in.client.NetworkView))...)
	}
}

func localityWeighted(c *clusterv3.Cluster) {
	c.CommonLbConfig.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
		LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
	}
}

// applyLocality replaces the shares of localities by Envoy's zone-aware routing where that is
// asked for.
func (in *clusterInput) applyLocality(c *clusterv3.Cluster) {
	l := in.locality()
	if c.CommonLbConfig == nil || l == nil || l.ZoneAware == nil {
		return
	}
	z := &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig{}
	if n := l.ZoneAware.MinClusterSize; n > 0 {
		z.MinClusterSize = u64(uint64(n))
	}
	c.CommonLbConfig.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig_{ZoneAwareLbConfig: z}
}

// group is the endpoints of one locality and priority.
type group struct {
	locality  model.Locality
	rank      uint32 // to become a priority
	weight    uint32 // of the locality; 0: the sum of its endpoints'
	endpoints []*model.Instance
}

// groups puts the endpoints of the cluster in groups by locality, and gives these ranks and
// weights by the locality setting.
func (in *clusterInput) groups() []*group {
	var out []*group
	byLocality := map[model.Locality]*group{}
	for i := range in.set.Instances {
		e := &in.set.Instances[i]
		// An endpoint that its registry's checks fail is left out, as Istio does: in Envoy's panic mode it would get traffic.
		if e.Unhealthy || e.ServicePort != in.port.Number || (in.subset != nil && !model.LabelsMatch(in.subset.Labels, e.Labels)) || !in.reaches(e) || in.passthrough && e.TLS != model.TLSModeIstio {
			continue
		}
		g := byLocality[e.Locality]
		if g == nil {
			g = &group{locality: e.Locality}
			byLocality[e.Locality] = g
			out = append(out, g)
		}
		g.endpoints = append(g.endpoints, e)
	}
	out = in.acrossNetworks(out)
	slices.SortFunc(out, func(a, b *group) int { return cmp.Compare(a.locality.String(), b.locality.String()) })
	l := in.locality()
	switch {
	case l == nil:
	case len(l.Distribute) > 0:
		out = distribute(l.Distribute, in.client.Locality, out)
	// Without outlier detection nobody would notice that a locality fails.
	case in.outlier() != nil || l == preferClose:
		if len(l.FailoverPriority) > 0 {
			out = in.byLabels(l.FailoverPriority, out)
		}
		if len(l.FailoverPriority) == 0 || len(l.Failover) > 0 || l.ZoneAware != nil {
			byDistance(l, in.client.Locality, out)
		}
		prioritize(out)
	}
	return out
}

// reaches reports whether an endpoint can be in a cluster of this kind: names only where they
// are resolved, sockets of the proxy's own host only where nothing is.
func (in *clusterInput) reaches(e *model.Instance) bool {
	if strings.HasPrefix(e.Address, "unix://") {
		return in.kind == kindEDS
	}
	if e.Address == "" {
		return in.nets != nil // by a gateway, if at all
	}
	_, err := netip.ParseAddr(e.Address)
	return err == nil || in.kind != kindEDS
}

// distribute gives localities the shares that the client's own is to have of them, and drops
// the others. Several localities of one share divide it by their weights.
func distribute(settings []model.Distribute, client model.Locality, groups []*group) []*group {
	i := slices.IndexFunc(settings, func(d model.Distribute) bool { return client.Matches(d.From) })
	if i < 0 {
		return groups
	}
	var out []*group
	left := groups
	for _, share := range settings[i].To {
		var rest, mine []*group
		total := uint64(0)
		for _, g := range left {
			if g.locality.Matches(share.Locality) {
				mine = append(mine, g)
				total += uint64(g.sum())
			} else {
				rest = append(rest, g)
			}
		}
		left = rest
		for _, g := range mine {
			// Rounded up, as Istio does: no locality may vanish.
			if w := (uint64(g.sum())*uint64(share.Percent) + total - 1) / total; w > 0 {
				g.weight = uint32(w)
				out = append(out, g)
			}
		}
	}
	slices.SortFunc(out, func(a, b *group) int { return cmp.Compare(a.locality.String(), b.locality.String()) })
	return out
}

// byDistance adds to ranks how far a locality is from the client: the same sub-zone, zone,
// region, a region to fail over to, any other. With zone-aware routing Envoy sees to zones.
func byDistance(l *model.LocalityLB, client model.Locality, groups []*group) {
	const far = 5
	for _, g := range groups {
		rank := uint32(0)
		switch {
		case g.locality.Region != client.Region:
			rank = 3
			if i := slices.IndexFunc(l.Failover, func(f model.Failover) bool { return f.From == client.Region }); i >= 0 && l.Failover[i].To != g.locality.Region {
				rank = 4
			}
		case l.ZoneAware != nil:
		case g.locality.Zone != client.Zone:
			rank = 2
		case g.locality.SubZone != client.SubZone:
			rank = 1
		}
		g.rank = g.rank*far + rank
	}
}

// byLabels splits groups by how many of the labels, from the first, an endpoint has in common
// with the client ("key") or has as given ("key=value").
func (in *clusterInput) byLabels(labels []string, groups []*group) []*group {
	var out []*group
	for _, g := range groups {
		split := map[uint32]*group{}
		for _, e := range g.endpoints {
			rank := uint32(0)
			for i, label := range labels {
				key, want, given := strings.Cut(label, "=")
				if !given {
					want = in.client.Label(key)
				}
				if e.Label(key) != want {
					rank = uint32(len(labels) - i)
					break
				}
			}
			if split[rank] == nil {
				split[rank] = &group{locality: g.locality, rank: rank}
				out = append(out, split[rank])
			}
			split[rank].endpoints = append(split[rank].endpoints, e)
		}
	}
	slices.SortStableFunc(out, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.locality.String(), b.locality.String()), cmp.Compare(a.rank, b.rank))
	})
	return out
}

// prioritize turns ranks into priorities without gaps, which Envoy demands.
func prioritize(groups []*group) {
	var ranks []uint32
	for _, g := range groups {
		ranks = append(ranks, g.rank)
	}
	slices.Sort(ranks)
	ranks = slices.Compact(ranks)
	for _, g := range groups {
		i, _ := slices.BinarySearch(ranks, g.rank)
		g.rank = uint32(i)
	}
}

// sum is the weight of the group's endpoints together.
func (g *group) sum() uint32 {
	total := uint64(0)
	for _, e := range g.endpoints {
		total += uint64(weight(e))
	}
	return uint32(min(total, maxWeight))
}

// maxWeight is what Envoy lets the weights of one level add up to.
const maxWeight = 1<<32 - 1

func weight(e *model.Instance) uint32 { return max(e.Weight, 1) }

// assignment is the load assignment of the cluster.
func (in *clusterInput) assignment() *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: in.name()}
	if in.set == nil {
		return out
	}
	for _, g := range in.groups() {
		l := &endpointv3.LocalityLbEndpoints{Locality: toLocality(g.locality), Priority: g.rank, LoadBalancingWeight: u32(cmp.Or(g.weight, g.sum()))}
		for _, e := range g.endpoints {
			l.LbEndpoints = append(l.LbEndpoints, lbEndpoint(e))
		}
		out.Endpoints = append(out.Endpoints, l)
	}
	return out
}
