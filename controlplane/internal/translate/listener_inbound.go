package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"net/netip"
	"sort"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// servedPort is a port of the proxy's own workload, with the services that it serves there;
// the first of them names routes and statistics.
type servedPort struct {
	target   uint32
	services []*model.Service
	port     model.Port // of the first service
	mode     model.MTLSMode
}

// servedPorts returns what the proxy's workload serves, by port.
func servedPorts(s *model.Snapshot, p *model.Proxy) []servedPort {
	w := s.WorkloadOf(p)
	if w == nil {
		return nil
	}
	labels := w.Labels
	byPort := map[uint32]*servedPort{}
	keys, _ := s.ServicesOf.Get(w.Key())
	for _, key := range keys {
		svc, ok := s.Services.Get(key)
		set, ok2 := s.Endpoints.Get(key)
		if !ok || !ok2 {
			continue
		}
		for i := range set.Instances {
			in := &set.Instances[i]
			if in.Workload != w.Name || in.Namespace != w.Namespace || in.Port == 0 {
				continue
			}
			sp := byPort[in.Port]
			if sp == nil {
				port, _ := svc.Port(in.ServicePort)
				sp = &servedPort{target: in.Port, port: port, mode: s.MTLS(w.Namespace, labels, in.Port)}
				byPort[in.Port] = sp
			}
			if len(sp.services) == 0 || sp.services[len(sp.services)-1] != svc {
				sp.services = append(sp.services, svc)
			}
		}
	}
	out := make([]servedPort, 0, len(byPort))
	for _, sp := range byPort {
		out = append(out, *sp)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].target < out[j].target })
	return out
}

// inboundClusters are one for each port, to the app.
func inboundClusters(s *model.Snapshot, p *model.Proxy) []Resource {
	if p.Type == model.Router {
		return nil
	}
	var out []Resource
	mesh := s.Mesh
	for _, sp := range servedPorts(s, p) {
		app := appAddress(p, sp.target)
		k := (&keyHash{}).num(mesh.Rev, uint64(sp.target), uint64(sp.port.Number), uint64(sp.port.Protocol)).str(app.String(), p.Interception)
		for _, svc := range sp.services {
			k.num(svc.Rev)
		}
		out = append(out, Resource{Name: inboundName(sp.target), Key: k.String(), build: func() proto.Message {
			return inboundCluster(mesh, p.Interception == model.InterceptNone, sp, app)
		}})
	}
	if p.Interception != model.InterceptNone {
		k := (&keyHash{}).num(mesh.Rev).String()
		out = append(out, Resource{Name: InboundPassthrough, Key: k, build: func() proto.Message {
			c := &clusterv3.Cluster{
				Name: InboundPassthrough, ConnectTimeout: seconds(mesh.ConnectTimeout),
				CircuitBreakers:    &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{unlimited()}},
				UpstreamBindConfig: passthroughBind(),
			}
			originalDst(c, false)
			useDownstreamProtocol(c)
			return c
		}})
	}
	return out
}

// appAddress is where the app behind the proxy listens: as told by LATEEN_INBOUND, else the
// same port on loopback.
func appAddress(p *model.Proxy, port uint32) netip.AddrPort {
	if a, ok := p.Inbound[port]; ok {
		return netip.MustParseAddrPort(a) // checked by model.ParseProxy
	}
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
}

// passthroughBind makes connections to the app come from 127.0.0.6, so that a redirecting host
// can tell them from the app's own (B10).
func passthroughBind() *corev3.BindConfig {
	return &corev3.BindConfig{SourceAddress: &corev3.SocketAddress{
		Address: passthroughSource, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 0},
	}}
}

func inboundCluster(mesh *model.Mesh, explicit bool, sp servedPort, app netip.AddrPort) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name: inboundName(sp.target), ConnectTimeout: seconds(mesh.ConnectTimeout),
		CircuitBreakers:    &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{unlimited()}},
		CommonLbConfig:     &clusterv3.Cluster_CommonLbConfig{},
		UpstreamBindConfig: passthroughBind(),
		Metadata:           metadata(map[string]any{"services": servicesMetadata(sp.services...)}, sp.services[0].Origin),
	}
	if explicit {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		c.LoadAssignment = &endpointv3.ClusterLoadAssignment{
			ClusterName: c.Name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socketAddress(app.Addr().String(), uint32(app.Port()))}},
			}}}},
		}
		if !app.Addr().IsLoopback() || !app.Addr().Is4() {
			c.UpstreamBindConfig = nil // 127.0.0.6 reaches loopback only
		}
	} else {
		originalDst(c, false)
	}
	switch {
	case sp.port.Protocol.IsHTTP2():
		o := &httpv3.HttpProtocolOptions{}
		explicitHTTP2(o, &corev3.Http2ProtocolOptions{})
		setHTTPOptions(c, o)
	case sp.port.Protocol == model.ProtocolAuto:
		useDownstreamProtocol(c)
	}
	return c
}

// inboundListeners serve the workload's ports: a listener each on the workload's address
// without interception, else one for all, by original destination, which proxies of equal
// workloads share.
func inboundListeners(s *model.Snapshot, p *model.Proxy) []Resource {
	ports := servedPorts(s, p)
	if p.Interception == model.InterceptNone {
		return listenerResources(buildInbound(s, p, ports), "")
	}
	k := (&keyHash{}).num(s.Mesh.Rev, uint64(s.MTLS(p.Namespace, p.Labels, 0))).num(telemetryRevs(s, p)...)
	for _, sp := range ports {
		k.num(uint64(sp.target), uint64(sp.port.Number), uint64(sp.port.Protocol), uint64(sp.mode))
		for _, svc := range sp.services {
			k.num(svc.Rev)
		}
	}
	return []Resource{{Name: virtualInbound, Key: k.String(), build: func() proto.Message { return buildInbound(s, p, ports)[0] }}}
}

func buildInbound(s *model.Snapshot, p *model.Proxy, ports []servedPort) []*listenerv3.Listener {
	logs, noRoute := accessLogs(s, p, inbound)
	if p.Interception == model.InterceptNone {
		var out []*listenerv3.Listener
		for _, sp := range ports {
			if reservedPorts[sp.target] {
				continue
			}
			name := listenerName(p.IP, sp.target)
			l := &listenerv3.Listener{
				Name: name, Address: socketAddress(p.IP, sp.target), TrafficDirection: trafficDirection(inbound),
				FilterChains: (&inboundChains{s: s, p: p, logs: logs, sp: sp, prefix: name}).build(),
				Metadata:     metadata(nil, sp.services[0].Origin),
			}
			l.ListenerFilters = inspectors(l.FilterChains)
			l.ContinueOnListenerFiltersTimeout = true
			l.ListenerFiltersTimeout = seconds(s.Mesh.Detection(!sp.port.Protocol.IsHTTP()))
			out = append(out, listenerLogs(l, noRoute))
		}
		return out
	}
	l := &listenerv3.Listener{
		Name: virtualInbound, Address: socketAddress("0.0.0.0", inboundPort), TrafficDirection: trafficDirection(inbound),
	}
	// Connections to the port itself would loop.
	blackhole := &listenerv3.FilterChain{
		Name:             "virtualInbound-blackhole",
		FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: u32(inboundPort)},
		Filters:          tcpFilters(inbound, BlackHoleCluster, toCluster(BlackHoleCluster), logs),
	}
	l.FilterChains = append(l.FilterChains, blackhole)
	for _, sp := range ports {
		l.FilterChains = append(l.FilterChains, (&inboundChains{s: s, p: p, logs: logs, sp: sp, prefix: listenerName("0.0.0.0", sp.target), byPort: true}).build()...)
	}
	// Ports that no service names: what arrives is detected and passed on.
	rest := servedPort{port: model.Port{Protocol: model.ProtocolAuto}, mode: s.MTLS(p.Namespace, p.Labels, 0)}
	l.FilterChains = append(l.FilterChains, (&inboundChains{s: s, p: p, logs: logs, sp: rest, prefix: virtualInbound}).build()...)
	l.ListenerFilters = append([]*listenerv3.ListenerFilter{restoreOriginalDst()}, inspectors(l.FilterChains)...)
	l.ContinueOnListenerFiltersTimeout = true
	l.ListenerFiltersTimeout = seconds(s.Mesh.Detection(true))
	return []*listenerv3.Listener{listenerLogs(l, noRoute)}
}

// inboundRoute is the inline route configuration of a port.
func inboundRoute(sp servedPort) *routev3.RouteConfiguration {
	name := inboundName(sp.target)
	if len(sp.services) == 0 {
		name = InboundPassthrough
	}
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
