package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"net/netip"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// inboundCluster is what the cluster of a served port is made of.
type inboundCluster struct {
	mesh *model.Mesh
	sp   servedPort
	// to is where the application listens; nil: where the client was going.
	to *corev3.Address
	// from are the addresses that connections come from (B10); none: any.
	from   []string
	pool   *model.ConnectionPool // nil: no limits
	origin model.Origin
}

// inboundClusters are one for each port, to the app.
func inboundClusters(s *model.Snapshot, p *model.Proxy) []Resource {
	if p.Type == model.Router {
		return nil
	}
	var out []Resource
	mesh, scope := s.Mesh, s.ScopeOf(p)
	for _, sp := range servedPorts(s, p) {
		in := inboundCluster{mesh: mesh, sp: sp, origin: sp.origin()}
		in.to, in.from = appEndpoint(mesh, p, &sp)
		k := (&keyHash{}).num(mesh.Rev, uint64(sp.target), uint64(sp.port.Number), uint64(sp.protocol())).str(in.to.String()).str(in.from...)
		for _, svc := range sp.services {
			k.num(svc.Rev)
		}
		if c := scope.Config(); c != nil {
			k.num(c.Rev)
		}
		if in.pool = scope.InboundPool(sp.target); in.pool == nil {
			var rule *model.DestinationRule
			if in.pool, rule = servicePool(s, p, &sp); rule != nil {
				k.num(rule.Rev)
			}
		}
		out = append(out, Resource{Name: inboundName(sp.target), Key: k.String(), build: func() proto.Message { return in.build() }})
	}
	if !p.OwnsPorts {
		k := (&keyHash{}).num(mesh.Rev).str(p.PassthroughSources()...).String()
		out = append(out, Resource{Name: InboundPassthrough, Key: k, build: func() proto.Message {
			c := &clusterv3.Cluster{
				Name: InboundPassthrough, ConnectTimeout: seconds(mesh.ConnectTimeout),
				CircuitBreakers:    &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{unlimited()}},
				UpstreamBindConfig: passthroughBind(p.PassthroughSources()),
			}
			originalDst(c, false)
			useDownstreamProtocol(c)
			return c
		}})
	}
	return settledClusters(s, p, out)
}

// servicePool is the connection pool that the destination rule of the port's first service asks for. It limits servers as it does
// clients; a rule for some workloads is for those as clients alone.
func servicePool(s *model.Snapshot, p *model.Proxy, sp *servedPort) (*model.ConnectionPool, *model.DestinationRule) {
	if len(sp.services) == 0 || s.ServiceFor(p, sp.services[0].Host) == nil {
		return nil, nil
	}
	svc := sp.services[0]
	rule := s.Rule(svc.Host, svc.Namespace, p.Namespace, nil)
	if rule == nil {
		return nil, nil
	}
	policy := rule.PolicyFor(nil, sp.port.Number)
	if policy == nil {
		return nil, nil
	}
	return policy.ConnectionPool, rule
}

// appEndpoint is where the app behind the proxy listens: as its Sidecar says, else as told by LATEEN_INBOUND, else on loopback;
// nil with redirection, where connections go on as they came unless the mesh says otherwise (inboundTrafficPolicy).
func appEndpoint(mesh *model.Mesh, p *model.Proxy, sp *servedPort) (to *corev3.Address, from []string) {
	explicit := p.OwnsPorts
	loopback := []string{passthroughSource}
	own := func(port uint32) (*corev3.Address, []string) {
		a := appAddress(p, port)
		if a.Addr().IsLoopback() && a.Addr().Is4() {
			from = loopback
		}
		return socketAddress(a.Addr().String(), uint32(a.Port())), from
	}
	var e model.IngressEndpoint
	if sp.ingress != nil {
		e = sp.ingress.Endpoint
	}
	switch {
	case e.Socket != "":
		return pipeAddress(e.Socket), nil
	case e.Port != 0 && e.Instance:
		if ip := instanceAddress(p, e.IPv6); ip != "" {
			if !e.IPv6 && !explicit {
				from = loopback
			}
			return socketAddress(ip, e.Port), from
		}
		return own(e.Port)
	case e.Port != 0 && e.IPv6:
		return socketAddress("::1", e.Port), nil
	case e.Port != 0, explicit:
		port := sp.target
		if e.Port != 0 {
			port = e.Port
		}
		return own(port)
	case mesh.InboundLocalhost && p.IPv6Only():
		return socketAddress("::1", sp.target), nil
	case mesh.InboundLocalhost:
		return own(sp.target)
	}
	return nil, p.PassthroughSources()
}

// appAddress is where the app listens whose port it is: as told by LATEEN_INBOUND, else the same port on loopback.
func appAddress(p *model.Proxy, port uint32) netip.AddrPort {
	if a, ok := p.Inbound[port]; ok {
		return netip.MustParseAddrPort(a) // checked by model.ParseProxy
	}
	return netip.AddrPortFrom(netip.MustParseAddr(p.Loopbacks()[0]), uint16(port))
}

// passthroughBind makes connections to the app come from 127.0.0.6 and ::6, so that a redirecting host
// can tell them from the app's own (B10).
func passthroughBind(from []string) *corev3.BindConfig {
	source := func(ip string) *corev3.SocketAddress {
		return &corev3.SocketAddress{Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 0}}
	}
	c := &corev3.BindConfig{SourceAddress: source(from[0])}
	for _, ip := range from[1:] {
		c.ExtraSourceAddresses = append(c.ExtraSourceAddresses, &corev3.ExtraSourceAddress{Address: source(ip)})
	}
	return c
}

func (in *inboundCluster) build() *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name: inboundName(in.sp.target), ConnectTimeout: seconds(in.mesh.ConnectTimeout),
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{unlimited()}},
		CommonLbConfig:  &clusterv3.Cluster_CommonLbConfig{},
		Metadata:        metadata(map[string]any{"services": servicesMetadata(in.sp.services...)}, in.origin),
	}
	if pattern := in.mesh.InboundStatName; pattern != "" && len(in.sp.services) > 0 {
		c.AltStatName = statName(pattern, in.sp.services[0], in.sp.port, "", in.sp.target)
	}
	if len(in.from) > 0 {
		c.UpstreamBindConfig = passthroughBind(in.from)
	}
	if in.to != nil {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		c.LoadAssignment = &endpointv3.ClusterLoadAssignment{
			ClusterName: c.Name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: in.to}},
			}}}},
		}
	} else {
		originalDst(c, false)
	}
	in.options(c)
	return c
}

// options say how many connections and requests the app gets, and in which version of HTTP: the port's, whatever clients speak.
func (in *inboundCluster) options(c *clusterv3.Cluster) {
	o, settings := &httpv3.HttpProtocolOptions{}, false
	h2 := &corev3.Http2ProtocolOptions{}
	if in.pool != nil {
		limitConnections(c, in.pool, in.mesh)
		o.CommonHttpProtocolOptions = connectionLife(in.pool)
		settings = o.CommonHttpProtocolOptions != nil
		keepPinging(h2, in.pool)
		if n := in.pool.MaxConcurrentStreams; n > 0 {
			h2.MaxConcurrentStreams = u32(uint32(n))
		}
	}
	switch protocol := in.sp.protocol(); {
	case protocol.IsHTTP2():
		explicitHTTP2(o, h2)
	case protocol == model.ProtocolAuto:
		downstreamProtocol(o, h2)
	case settings:
		explicitHTTP1(o)
	default:
		return
	}
	setHTTPOptions(c, o)
}
