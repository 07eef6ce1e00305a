package translate

import (
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
	passthrough := false
	if !ok {
		if port, subset, host, passthrough = parseSNIName(name); !passthrough {
			return Resource{}, false
		}
	}
	empty := Resource{Name: name, Key: "empty", build: func() proto.Message {
		return &endpointv3.ClusterLoadAssignment{ClusterName: name}
	}}
	svc := s.ServiceFor(p, host)
	if svc == nil {
		return empty, true
	}
	for _, in := range clusterInputs(s, p, svc) {
		if in.port.Number != port || in.subsetName() != subset || in.kind != kindEDS || in.passthrough != passthrough {
			continue
		}
		k := (&keyHash{}).num(in.mesh.Rev)
		in.localityKey(k)
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

func toLocality(l model.Locality) *corev3.Locality {
	return &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.SubZone}
}

func lbEndpoint(e *model.Instance) *endpointv3.LbEndpoint {
	addr := socketAddress(e.Address, e.Port)
	if path, ok := socketPath(e.Address); ok {
		addr = pipeAddress(path)
	}
	fields := map[string]*structpb.Struct{"istio": toStruct(map[string]any{"workload": workloadField(e)})}
	if e.TLS == model.TLSModeIstio {
		fields["envoy.transport_socket_match"] = toStruct(map[string]any{"tlsMode": "istio"})
	}
	return &endpointv3.LbEndpoint{
		HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: addr}},
		HealthStatus:        corev3.HealthStatus_HEALTHY,
		LoadBalancingWeight: u32(weight(e)),
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
