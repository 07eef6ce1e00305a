package translate

import (
	"sort"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// endpoints finds the load assignment of an EDS name.
func endpoints(s *model.Snapshot, p *model.Proxy, name string) (Resource, bool) {
	port, subset, host, ok := ParseClusterName(name)
	if !ok {
		return Resource{}, false
	}
	empty := Resource{Name: name, Key: "empty", build: func() proto.Message {
		return &endpointv3.ClusterLoadAssignment{ClusterName: name}
	}}
	svc := s.Service(host, p.Namespace)
	if svc == nil {
		return empty, true
	}
	for _, in := range clusterInputs(s, p, svc) {
		if in.port.Number != port || in.subsetName() != subset || in.kind != kindEDS {
			continue
		}
		k := (&keyHash{}).num(in.mesh.Rev).str(in.local.Region, in.local.Zone, in.local.SubZone)
		if in.set != nil {
			k.num(in.set.Rev)
		}
		if in.rule != nil {
			k.num(in.rule.Rev)
		}
		return Resource{Name: name, Key: k.String(), build: func() proto.Message { return in.assignment() }}, true
	}
	return empty, true
}

func edsNames(s *model.Snapshot, p *model.Proxy, svc *model.Service) []string {
	var out []string
	for _, in := range clusterInputs(s, p, svc) {
		if in.kind == kindEDS {
			out = append(out, in.name())
		}
	}
	return out
}

// assignment groups the endpoints of the cluster's port and subset by locality.
func (in *clusterInput) assignment() *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: in.name()}
	if in.set == nil {
		return out
	}
	groups := map[model.Locality]*endpointv3.LocalityLbEndpoints{}
	var order []model.Locality
	for i := range in.set.Instances {
		e := &in.set.Instances[i]
		if e.ServicePort != in.port.Number || (in.subset != nil && !model.LabelsMatch(in.subset.Labels, e.Labels)) {
			continue
		}
		g := groups[e.Locality]
		if g == nil {
			g = &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Region: e.Locality.Region, Zone: e.Locality.Zone, SubZone: e.Locality.SubZone}}
			groups[e.Locality] = g
			order = append(order, e.Locality)
		}
		g.LbEndpoints = append(g.LbEndpoints, lbEndpoint(e))
	}
	sort.Slice(order, func(i, j int) bool { return localityString(order[i]) < localityString(order[j]) })
	for _, l := range order {
		g := groups[l]
		total := uint32(0)
		for _, e := range g.LbEndpoints {
			total += e.LoadBalancingWeight.GetValue()
		}
		g.LoadBalancingWeight = u32(total)
		out.Endpoints = append(out.Endpoints, g)
	}
	in.prioritize(out)
	return out
}

func localityString(l model.Locality) string { return l.Region + "/" + l.Zone + "/" + l.SubZone }

// prioritize prefers near localities, as Istio does where outlier detection can tell that
// they fail. The priorities are numbered without gaps, which Envoy demands.
func (in *clusterInput) prioritize(a *endpointv3.ClusterLoadAssignment) {
	if in.policy == nil || in.policy.Outlier == nil || in.local.Region == "" || len(a.Endpoints) < 2 {
		return
	}
	setting := in.mesh.Locality
	if lb := in.policy.LoadBalancer; lb != nil && lb.Locality != nil {
		setting = lb.Locality
	}
	if setting != nil && (!setting.Enabled || len(setting.Distribute) > 0) {
		return
	}
	rank := func(l *corev3.Locality) uint32 {
		switch {
		case l.Region != in.local.Region:
			if setting != nil && setting.Failover[in.local.Region] == l.Region {
				return 3
			}
			return 4
		case l.Zone != in.local.Zone:
			return 2
		case l.SubZone != in.local.SubZone:
			return 1
		}
		return 0
	}
	used := [5]bool{}
	for _, g := range a.Endpoints {
		used[rank(g.Locality)] = true
	}
	for _, g := range a.Endpoints {
		for r := uint32(0); r < rank(g.Locality); r++ {
			if used[r] {
				g.Priority++
			}
		}
	}
}

func lbEndpoint(e *model.Instance) *endpointv3.LbEndpoint {
	addr := socketAddress(e.Address, e.Port)
	if path, ok := strings.CutPrefix(e.Address, "unix://"); ok {
		addr = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
	}
	fields := map[string]*structpb.Struct{"istio": toStruct(map[string]any{"workload": workloadField(e)})}
	if e.TLS == model.TLSModeIstio {
		fields["envoy.transport_socket_match"] = toStruct(map[string]any{"tlsMode": "istio"})
	}
	weight := e.Weight
	if weight == 0 {
		weight = 1
	}
	return &endpointv3.LbEndpoint{
		HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: addr}},
		HealthStatus:        corev3.HealthStatus_HEALTHY,
		LoadBalancingWeight: u32(weight),
		Metadata:            &corev3.Metadata{FilterMetadata: fields},
	}
}

// workloadField is Istio's "name;namespace;canonical-service;canonical-revision;cluster" of an
// endpoint, by which telemetry names a destination that does not speak for itself.
func workloadField(e *model.Instance) string {
	first := func(keys ...string) string {
		for _, k := range keys {
			if v := e.Labels[k]; v != "" {
				return v
			}
		}
		return ""
	}
	name := e.Workload
	service := first("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
	if service == "" {
		service = name
	}
	revision := first("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
	if revision == "" {
		revision = "latest" // D26
	}
	return strings.Join([]string{name, e.Namespace, service, revision, "Kubernetes"}, ";")
}

func oneEndpoint(a *endpointv3.ClusterLoadAssignment) bool {
	return len(a.Endpoints) == 1 && len(a.Endpoints[0].LbEndpoints) == 1
}
