package kube

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Labels of pods and nodes that say something about a workload.
const (
	tlsModeLabel  = "security.istio.io/tlsMode" // "istio": the pod has a proxy
	localityLabel = "istio-locality"            // "region.zone.subzone", where the node's place is not meant
	subzoneLabel  = "topology.istio.io/subzone" // of nodes
)

// locality is where a node is, by the labels that Kubernetes knows, and Istio's for a subzone.
// https://kubernetes.io/docs/reference/labels-annotations-taints/#topologykubernetesioregion
func locality(n *corev1.Node) model.Locality {
	if n == nil {
		return model.Locality{}
	}
	return model.Locality{Region: n.Labels[corev1.LabelTopologyRegion], Zone: n.Labels[corev1.LabelTopologyZone], SubZone: n.Labels[subzoneLabel]}
}

// workload makes a workload of a pod; nil for one that has no address yet or has ended. A pod that is not ready, or on its way out, is known and gets
// no traffic.
func workload(p *corev1.Pod, at model.Locality) *model.Workload {
	if p.Status.PodIP == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return nil
	}
	w := &model.Workload{
		Namespace: p.Namespace, Name: p.Name, Address: p.Status.PodIP, Labels: p.Labels, ServiceAccount: p.Spec.ServiceAccountName,
		ContainerPorts: containerPorts(&p.Spec), Locality: at, Network: p.Labels[model.NetworkLabel],
		Unhealthy: p.DeletionTimestamp != nil || !ready(p), Origin: model.Origin{APIVersion: "v1", Kind: "Pod", Namespace: p.Namespace, Name: p.Name},
	}
	if text := p.Labels[localityLabel]; text != "" {
		w.Locality = model.ParseLocality(strings.ReplaceAll(text, ".", "/"))
	}
	if p.Labels[tlsModeLabel] == "istio" {
		w.TLS = model.TLSModeIstio
	}
	return w
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// containerPorts are the ports of TCP that containers name, those of sidecar containers included. The first of a name counts, as in Kubernetes.
func containerPorts(s *corev1.PodSpec) map[string]uint32 {
	var out map[string]uint32
	take := func(c *corev1.Container) {
		for _, port := range c.Ports {
			if port.Name == "" || port.Protocol != corev1.ProtocolTCP && port.Protocol != "" || port.ContainerPort < 1 || port.ContainerPort > 65535 {
				continue
			}
			if _, there := out[port.Name]; !there {
				if out == nil {
					out = map[string]uint32{}
				}
				out[port.Name] = uint32(port.ContainerPort)
			}
		}
	}
	for i := range s.Containers {
		take(&s.Containers[i])
	}
	for i := range s.InitContainers {
		if policy := s.InitContainers[i].RestartPolicy; policy != nil && *policy == corev1.ContainerRestartPolicyAlways {
			take(&s.InitContainers[i])
		}
	}
	return out
}

// placement makes the registration of a Service, namespace/name, of its slices. Which of the Service's own ports an endpoint serves, and whether its slices count at
// all, says the Service, which is an object like any other. placeOf says where a node is.
func placement(service, domain string, slices []*discoveryv1.EndpointSlice, placeOf func(node string) model.Locality) *model.Registration {
	ns, name, _ := strings.Cut(service, "/")
	r := &model.Registration{Placed: true, Service: &model.Service{
		Host: name + "." + ns + ".svc." + domain, Namespace: ns, Name: name, Origin: model.Origin{APIVersion: "v1", Kind: "Service", Namespace: ns, Name: name},
	}}
	for _, slice := range slices {
		if slice.AddressType == discoveryv1.AddressTypeFQDN {
			continue // Kubernetes' own proxy does not read them either
		}
		ports := portsOf(slice)
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if len(e.Addresses) == 0 {
				continue
			}
			at := model.Locality{}
			if e.NodeName != nil {
				at = placeOf(*e.NodeName)
			}
			if at.Zone == "" && e.Zone != nil {
				at.Zone = *e.Zone
			}
			r.Instances = append(r.Instances, model.Instance{
				// All addresses of an endpoint lead to the same; the first is to be used.
				Address: e.Addresses[0], Ports: ports, Namespace: ns, Locality: at, Unhealthy: e.Conditions.Ready != nil && !*e.Conditions.Ready,
				Origin: model.Origin{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice", Namespace: slice.Namespace, Name: slice.Name},
			})
		}
	}
	return r
}

// portsOf are the ports of TCP that a slice has, by the names of the Service's ports: "" for that of a Service with one. The first of a name counts.
func portsOf(slice *discoveryv1.EndpointSlice) map[string]uint32 {
	out := map[string]uint32{}
	for _, p := range slice.Ports {
		if p.Port == nil || *p.Port < 1 || *p.Port > 65535 || p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP {
			continue
		}
		name := ""
		if p.Name != nil {
			name = *p.Name
		}
		if _, there := out[name]; !there {
			out[name] = uint32(*p.Port)
		}
	}
	return out
}
