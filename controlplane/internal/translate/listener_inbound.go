package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"slices"
	"strconv"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// inboundListeners serve the workload's ports: a listener each on the workload's address
// without interception, else one for all, by original destination, which proxies of equal
// workloads share. A Sidecar may have it otherwise for a port.
func inboundListeners(s *model.Snapshot, p *model.Proxy) []Resource {
	ports := servedPorts(s, p)
	if p.OwnsPorts || slices.ContainsFunc(ports, func(sp servedPort) bool { return sp.bindsPort(p) }) {
		return listenerResources(buildInbound(s, p, ports), "")
	}
	k := telemetryKey((&keyHash{}).num(s.Mesh.Rev, uint64(s.MTLS(p.Namespace, p.Labels, 0)), uint64(p.Lacks)), s, p, inbound).str(p.Wildcards()...).str(p.Settings.Key)
	policyKey(k, s, p)
	for _, sp := range ports {
		k.num(uint64(sp.target), uint64(sp.port.Number), uint64(sp.port.Protocol), uint64(sp.mode))
		for _, svc := range sp.services {
			k.num(svc.Rev)
		}
	}
	if c := s.SidecarFor(p); c != nil {
		k.num(c.Rev)
	}
	return []Resource{{Name: virtualInbound, Key: k.String(), build: func() proto.Message { return buildInbound(s, p, ports)[0] }}}
}

func buildInbound(s *model.Snapshot, p *model.Proxy, ports []servedPort) []*listenerv3.Listener {
	f := newFilters(s, p, inbound)
	var out []*listenerv3.Listener
	for _, sp := range ports {
		ip, own := sp.listener(p)
		if !own || reserved(s, p, sp.target) || p.Unprivileged && sp.target < 1024 {
			continue
		}
		name := listenerName(ip, sp.target)
		l := &listenerv3.Listener{
			Name: name, Address: socketAddress(ip, sp.target), TrafficDirection: trafficDirection(inbound),
			FilterChains: (&inboundChains{filters: f, sp: sp, prefix: name}).build(),
			Metadata:     metadata(nil, sp.origin()),
		}
		l.ListenerFilters = inspectors(l.FilterChains)
		l.ContinueOnListenerFiltersTimeout = true
		l.ListenerFiltersTimeout = seconds(s.Mesh.Detection(!sp.port.Protocol.IsHTTP()))
		out = append(out, f.finish(l))
	}
	if p.OwnsPorts {
		return out
	}
	any := p.Wildcards()
	_, inboundPort := s.CapturePorts(p)
	l := &listenerv3.Listener{
		Name: virtualInbound, Address: socketAddress(any[0], inboundPort), AdditionalAddresses: additional(any[1:], inboundPort), TrafficDirection: trafficDirection(inbound),
	}
	// Connections to the port itself would loop.
	blackhole := &listenerv3.FilterChain{
		Name:             "virtualInbound-blackhole",
		FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: u32(inboundPort)},
		Filters:          f.toOne(BlackHoleCluster),
	}
	l.FilterChains = append(l.FilterChains, blackhole)
	for _, sp := range ports {
		if sp.bindsPort(p) {
			continue
		}
		l.FilterChains = append(l.FilterChains, (&inboundChains{filters: f, sp: sp, prefix: listenerName(any[0], sp.target), byPort: true}).build()...)
	}
	// Ports that no service names: what arrives is detected and passed on.
	rest := servedPort{port: model.Port{Protocol: model.ProtocolAuto}, mode: s.MTLS(p.Namespace, p.Labels, 0)}
	l.FilterChains = append(l.FilterChains, (&inboundChains{filters: f, sp: rest, prefix: virtualInbound}).build()...)
	l.ListenerFilters = append([]*listenerv3.ListenerFilter{restoreOriginalDst()}, inspectors(l.FilterChains)...)
	l.ContinueOnListenerFiltersTimeout = true
	l.ListenerFiltersTimeout = seconds(s.Mesh.Detection(true))
	return append([]*listenerv3.Listener{f.finish(l)}, out...)
}

// inboundRoute is the inline route configuration of a port.
func inboundRoute(sp servedPort) *routev3.RouteConfiguration {
	name := sp.cluster()
	a := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name}, Timeout: seconds(notimeout)}
	a.MaxGrpcTimeout = seconds(notimeout)
	r := &routev3.Route{Name: "default", Match: routeMatch(nil), Action: &routev3.Route_Route{Route: a}}
	vhost := "inbound|http|" + strconv.FormatUint(uint64(sp.port.Number), 10)
	if len(sp.services) > 0 {
		r.Decorator = &routev3.Decorator{Operation: hostPort(sp.services[0].Host, sp.port.Number) + "/*"}
		r.Metadata = metadata(nil, sp.services[0].Origin)
	}
	return &routev3.RouteConfiguration{
		Name: name, ValidateClusters: boolean(false),
		VirtualHosts: []*routev3.VirtualHost{{Name: vhost, Domains: []string{"*"}, Routes: []*routev3.Route{r}}},
	}
}
