package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"math"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// clusterInput is everything that an outbound cluster is made of.
type clusterInput struct {
	mesh *model.Mesh
	// nets are the mesh's networks, nil for one, and network the client's.
	nets    *model.Networks
	network string
	svc     *model.Service
	port    model.Port
	set     *model.EndpointSet // may be nil
	rule    *model.DestinationRule
	subset  *model.Subset
	policy  *model.TrafficPolicy // of rule, subset and port, merged; may be nil
	kind    clusterKind
	// literal: the proxy has no original destinations; an ORIGINAL_DST cluster takes the
	// address from a header (see allowAny).
	literal bool
	// passthrough: connections carry the mesh's TLS of somebody else, and nothing is added.
	passthrough bool
	client      *model.Proxy // for what depends on who asks: TLS credentials, priorities
	secrets     secretServers
}

type clusterKind uint8

const (
	kindEDS clusterKind = iota
	kindStrictDNS
	kindLogicalDNS
	kindOriginalDst
	kindDynamic
)

func (in *clusterInput) subsetName() string {
	if in.subset == nil {
		return ""
	}
	return in.subset.Name
}

// requests reports whether only requests go to the cluster: explicit proxies and gateways send
// nothing else to a port whose protocol is not named.
func (in *clusterInput) requests() bool {
	return in.port.Protocol.IsHTTP() || (in.port.Protocol == model.ProtocolAuto && in.literal)
}

// router reports whether the cluster is a gateway's.
func (in *clusterInput) router() bool { return in.client.Type == model.Router }

func (in *clusterInput) name() string {
	if in.passthrough {
		return sniName(in.port.Number, in.subsetName(), in.svc.Host)
	}
	return ClusterName(in.port.Number, in.subsetName(), in.svc.Host)
}

// key lists what build reads. Endpoints count for DNS clusters; for others only identities.
func (in *clusterInput) key() string {
	k := (&keyHash{}).num(in.mesh.Rev, in.svc.Rev, uint64(in.kind)).str(in.subsetName())
	if in.rule != nil {
		k.num(in.rule.Rev)
	}
	if in.set != nil {
		k.str(in.set.Accounts...)
		k.flag(in.set.Mutual)
		if in.kind == kindStrictDNS || in.kind == kindLogicalDNS {
			k.num(in.set.Rev)
			in.localityKey(k)
		}
	}
	in.secrets.key(k)
	return k.flag(in.passthrough, in.literal, in.router(), in.client.IPv6Only(), in.client.Lacks.Has(model.MetadataExchange)).str(in.client.SystemRoots).String()
}

// noOriginalDst reports whether the proxy never sees where a connection was going: explicit
// proxies and gateways.
func noOriginalDst(p *model.Proxy) bool {
	return p.Type == model.Router || p.Interception == model.InterceptNone
}

func clusterKindOf(svc *model.Service, policy *model.TrafficPolicy, p *model.Proxy) clusterKind {
	switch svc.Resolution {
	case model.ResolutionDNS:
		return kindStrictDNS
	case model.ResolutionDNSRR:
		return kindLogicalDNS
	case model.ResolutionDynamic:
		return kindDynamic
	case model.ResolutionPassthrough:
		// A gateway knows no original destination, and must not learn one from a header.
		if p.Type == model.Router {
			return kindEDS
		}
		return kindOriginalDst
	}
	if svc.Headless && !noOriginalDst(p) {
		return kindOriginalDst
	}
	if policy != nil && policy.LoadBalancer != nil && policy.LoadBalancer.Policy == model.LBPassthrough && !noOriginalDst(p) {
		return kindOriginalDst
	}
	return kindEDS
}

// clusterInputs returns what the clusters of a service are made of: for each port one for the
// service and one for each subset.
func clusterInputs(s *model.Snapshot, p *model.Proxy, svc *model.Service) []clusterInput {
	rule := s.Rule(svc.Host, svc.Namespace, p.Namespace, p.Labels)
	set, _ := s.Endpoints.Get(svc.Key())
	network, secrets := s.NetworkOf(p), secretServersOf(s, p)
	var out []clusterInput
	for _, port := range svc.Ports {
		in := clusterInput{mesh: s.Mesh, nets: s.Networks, network: network, svc: svc, port: port, set: set, rule: rule, literal: noOriginalDst(p), client: p, secrets: secrets}
		if rule != nil {
			in.policy = rule.PolicyFor(nil, port.Number)
		}
		in.kind = clusterKindOf(svc, in.policy, p)
		out = append(out, in)
		if rule == nil {
			continue
		}
		for i := range rule.Subsets {
			sub := in
			sub.subset = &rule.Subsets[i]
			sub.policy = rule.PolicyFor(sub.subset, port.Number)
			sub.kind = clusterKindOf(svc, sub.policy, p)
			out = append(out, sub)
		}
	}
	return append(out, passthroughInputs(s, p, svc, out)...)
}

func serviceClusters(s *model.Snapshot, p *model.Proxy, svc *model.Service) []Resource {
	if s.Concrete(svc, p.Namespace) != nil {
		return nil // those of the service that it stands for
	}
	inputs := clusterInputs(s, p, svc)
	out := make([]Resource, 0, len(inputs))
	for _, in := range inputs {
		out = append(out, Resource{Name: in.name(), Key: in.key(), build: func() proto.Message { return in.build() }})
	}
	return settledClusters(s, p, out)
}

func (in *clusterInput) build() *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:            in.name(),
		ConnectTimeout:  seconds(in.mesh.ConnectTimeout),
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{unlimited()}},
		LbPolicy:        clusterv3.Cluster_LEAST_REQUEST,
		CommonLbConfig:  &clusterv3.Cluster_CommonLbConfig{},
		Metadata:        metadata(in.istioMetadata(), in.origin()),
	}
	if pattern := in.mesh.OutboundStatName; pattern != "" {
		c.AltStatName = statName(pattern, in.svc, in.port, in.subsetName(), 0)
	}
	localityWeighted(c)
	in.discovery(c)
	in.applyPolicy(c)
	if in.passthrough {
		return c
	}
	in.protocolOptions(c)
	in.applyTLS(c)
	in.sendProxyHeader(c)
	if !speaksHTTP(in.port) && !in.svc.External && !in.client.Lacks.Has(model.MetadataExchange) {
		c.Filters = []*clusterv3.Filter{{Name: metadataExchangeFilter, TypedConfig: tcpMetadataExchange()}}
	}
	return c
}

// origin is the rule that shaped the cluster, else the service that it stands for.
func (in *clusterInput) origin() model.Origin {
	switch {
	case in.subset != nil:
		return in.subset.Origin
	case in.rule != nil:
		return in.rule.Origin
	}
	return in.svc.Origin
}

func (in *clusterInput) istioMetadata() map[string]any {
	m := map[string]any{"default_original_port": float64(in.port.Number), "services": servicesMetadata(in.svc)}
	if in.rule != nil {
		m["config"] = in.rule.Origin.IstioPath()
	}
	if in.subset != nil {
		m["subset"] = in.subset.Name
	}
	if in.svc.External {
		m["external"] = true
	}
	if t := in.tls(); t != nil && (t.Mode == model.TLSSimple || t.Mode == model.TLSMutual) {
		m["alpn_override"] = "false" // TLS of the user's own: not to be taken for the mesh's
	}
	return m
}

func (in *clusterInput) discovery(c *clusterv3.Cluster) {
	switch in.kind {
	case kindEDS:
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
		c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: adsSource(), ServiceName: in.name()}
	case kindStrictDNS, kindLogicalDNS:
		t := clusterv3.Cluster_STRICT_DNS
		if in.kind == kindLogicalDNS {
			t = clusterv3.Cluster_LOGICAL_DNS
		}
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: t}
		c.DnsLookupFamily = clusterv3.Cluster_V4_ONLY
		// With addresses of both families names are resolved to IPv4, as in Istio without dual
		// stack.
		if in.client.IPv6Only() {
			c.DnsLookupFamily = clusterv3.Cluster_V6_ONLY
		}
		c.DnsRefreshRate = seconds(in.mesh.DNSRefresh)
		c.RespectDnsTtl = true
		c.LoadAssignment = in.assignment()
		if in.kind == kindLogicalDNS && !oneEndpoint(c.LoadAssignment) {
			// LOGICAL_DNS takes exactly one endpoint; several become STRICT_DNS, which
			// resolves each.
			c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
		}
	case kindDynamic:
		o := dynamicServerName(in.tls())
		dynamicNames(c, dnsCache(in.svc.Host, in.client), !in.passthrough && !(o.AutoSni && o.AutoSanValidation))
	case kindOriginalDst:
		originalDst(c, in.literal)
		if t := in.port.Target; in.svc.Resolution == model.ResolutionPassthrough && t != 0 {
			if c.GetOriginalDstLbConfig() == nil {
				c.LbConfig = &clusterv3.Cluster_OriginalDstLbConfig_{OriginalDstLbConfig: &clusterv3.Cluster_OriginalDstLbConfig{}}
			}
			c.GetOriginalDstLbConfig().UpstreamPortOverride = u32(t)
		}
	}
}

func originalDst(c *clusterv3.Cluster, literal bool) {
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}
	c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
	c.CommonLbConfig = nil
	if literal {
		c.LbConfig = &clusterv3.Cluster_OriginalDstLbConfig_{OriginalDstLbConfig: &clusterv3.Cluster_OriginalDstLbConfig{UseHttpHeader: true}}
	}
}

// unlimited is Istio's default circuit breaker (D12).
func unlimited() *clusterv3.CircuitBreakers_Thresholds {
	return &clusterv3.CircuitBreakers_Thresholds{
		MaxConnections: u32(math.MaxUint32), MaxPendingRequests: u32(math.MaxUint32),
		MaxRequests: u32(math.MaxUint32), MaxRetries: u32(math.MaxUint32), TrackRemaining: true,
	}
}

// specialClusters are those that every proxy has: what nothing may reach, and what anything
// may.
func specialClusters(s *model.Snapshot, p *model.Proxy) []Resource {
	mesh := s.Mesh
	out := []Resource{{Name: BlackHoleCluster, Key: "1", build: func() proto.Message { return blackHole(mesh) }}}
	out[0].Key = (&keyHash{}).num(mesh.Rev).String()
	out = append(out, tracerClusters(s, p)...)
	out = append(out, accessLogClusters(s, p)...)
	out = append(out, keyServerClusters(s, p)...)
	if p.Type == model.Router {
		return out
	}
	literal := noOriginalDst(p)
	k := (&keyHash{}).num(mesh.Rev)
	if literal {
		k.num(1)
	}
	any := []Resource{{Name: PassthroughCluster, Key: k.String(), build: func() proto.Message { return passthrough(mesh, literal) }}}
	if mesh.DynamicOutbound {
		k := (&keyHash{}).num(mesh.Rev).flag(p.IPv6Only()).str(p.SystemRoots)
		any = append(any, Resource{Name: AnyHostCluster, Key: k.String(), build: func() proto.Message { return anyHost(mesh, p) }})
	}
	return append(out, settledClusters(s, p, any)...)
}

// blackHole has no endpoints: what is sent to it fails. Its form is fixed (D22).
func blackHole(mesh *model.Mesh) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 BlackHoleCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       seconds(mesh.ConnectTimeout),
	}
}

func passthrough(mesh *model.Mesh, literal bool) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:            PassthroughCluster,
		ConnectTimeout:  seconds(mesh.ConnectTimeout),
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{unlimited()}},
	}
	originalDst(c, literal)
	useDownstreamProtocol(c)
	return c
}
