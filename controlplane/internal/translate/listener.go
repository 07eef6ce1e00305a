package translate

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/envoyfilter"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// reserved reports whether a proxy's own machinery listens on a port, so that no service's listener may take it on the same address.
func reserved(s *model.Snapshot, p *model.Proxy, port uint32) bool {
	switch port {
	case 15000, 15004, 15008, 15020, 15021, 15080, 15090:
		return true
	}
	outbound, inbound := s.CapturePorts(p)
	return port == outbound || port == inbound
}

// Listeners returns all listeners of a proxy: inbound, then outbound, or those of a gateway;
// in a stable order.
func Listeners(s *model.Snapshot, p *model.Proxy) []Resource {
	out := InboundListeners(s, p)
	own := len(out)
	for _, r := range OutboundListeners(s, p) {
		// A Sidecar may ask for one socket in both directions: the workload's own port comes first.
		if !slices.ContainsFunc(out[:own], func(in Resource) bool { return in.Name == r.Name }) {
			out = append(out, r)
		}
	}
	return out
}

// InboundListeners returns those that a sidecar serves its workload with.
func InboundListeners(s *model.Snapshot, p *model.Proxy) []Resource {
	if p.Type == model.Router {
		return nil
	}
	return patchListeners(s, p, envoyfilter.For(s, p), envoyfilter.Inbound, inboundListeners(s, p))
}

// OutboundListeners returns those that a sidecar's workload calls others by, or all of a gateway.
func OutboundListeners(s *model.Snapshot, p *model.Proxy) []Resource {
	all := outboundListeners
	if p.Type == model.Router {
		all = buildGatewayListeners
	}
	return patchListeners(s, p, envoyfilter.For(s, p), outboundContext(p), listenerResources(all(s, p), ""))
}

// OutboundKey is what proxies of one Scope have in common whose OutboundListeners are the same,
// which is so for all but a few of those whose connections are redirected. False: the proxy's are
// its own, since they are at its own address. pods is CalledPods of its namespace.
func OutboundKey(s *model.Snapshot, p *model.Proxy, pods map[string]bool) (key string, shared bool) {
	if p.Type == model.Router || p.Interception == model.InterceptNone {
		return "", false
	}
	k := telemetryKey(&keyHash{}, s, p, outbound).flag(p.Unprivileged).str(envoyfilter.For(s, p).ListenerKey(envoyfilter.Outbound))
	for _, ip := range p.IPs {
		if pods[ip] {
			k.str(ip) // the workload does not call itself by its own address
		}
	}
	return k.String(), true
}

// CalledPods are the addresses of instances that clients in a namespace call one by one: each has
// a listener with all sidecars but that of the instance itself.
func CalledPods(s *model.Snapshot, namespace string) map[string]bool {
	out := map[string]bool{}
	for _, svc := range s.VisibleServices(namespace) {
		if !svc.CalledByPod() {
			continue
		}
		if set, ok := s.Endpoints.Get(svc.Key()); ok {
			for i := range set.Instances {
				out[set.Instances[i].Address] = true
			}
		}
	}
	return out
}

// telemetryKey identifies what a workload's listeners of a direction log and trace, beside the mesh's own
// configuration.
func telemetryKey(k *keyHash, s *model.Snapshot, p *model.Proxy, d direction) *keyHash {
	for _, t := range s.Telemetry(p.Namespace, p.Labels) {
		k.num(t.Rev)
	}
	for _, pr := range s.Mesh.Providers {
		to, _ := collectorOf(s, p, pr)
		k.str(to.cluster)
	}
	sp := spansOf(s, p, d)
	sp.key(k, p)
	return k
}

// listenerResources wraps listeners that were built from what a key stands for; "" for none.
func listenerResources(all []*listenerv3.Listener, key string) []Resource {
	out := make([]Resource, 0, len(all))
	for _, l := range all {
		out = append(out, Resource{Name: l.Name, Key: key, build: func() proto.Message { return l }})
	}
	return out
}

func trafficDirection(d direction) corev3.TrafficDirection {
	if d == inbound {
		return corev3.TrafficDirection_INBOUND
	}
	return corev3.TrafficDirection_OUTBOUND
}
