package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// clusterInput is everything that an outbound cluster is made of.
type clusterInput struct {
	mesh   *model.Mesh
	svc    *model.Service
	port   model.Port
	set    *model.EndpointSet // may be nil
	rule   *model.DestinationRule
	subset *model.Subset
	policy *model.TrafficPolicy // of rule, subset and port, merged; may be nil
	kind   clusterKind
	// literal: the proxy has no original destinations; an ORIGINAL_DST cluster takes the
	// address from a header (see allowAny).
	literal bool
	own     bool           // model.Proxy.Own
	local   model.Locality // of the proxy, for priorities
}

type clusterKind uint8

const (
	kindEDS clusterKind = iota
	kindStrictDNS
	kindLogicalDNS
	kindOriginalDst
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

func (in *clusterInput) name() string {
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
		if in.kind == kindStrictDNS || in.kind == kindLogicalDNS {
			k.num(in.set.Rev)
			k.str(in.local.Region, in.local.Zone, in.local.SubZone)
		}
	}
	if in.literal {
		k.num(1)
	}
	if in.own {
		k.num(2)
	}
	return k.String()
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
	case model.ResolutionPassthrough:
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
	var out []clusterInput
	for _, port := range svc.Ports {
		in := clusterInput{mesh: s.Mesh, svc: svc, port: port, set: set, rule: rule, literal: noOriginalDst(p), own: p.Own, local: p.Locality}
		if rule != nil {
			in.policy = rule.Policy.ForPort(port.Number)
		}
		in.kind = clusterKindOf(svc, in.policy, p)
		out = append(out, in)
		if rule == nil {
			continue
		}
		for i := range rule.Subsets {
			sub := in
			sub.subset = &rule.Subsets[i]
			sub.policy = rule.Policy.Merge(sub.subset.Policy).ForPort(port.Number)
			sub.kind = clusterKindOf(svc, sub.policy, p)
			out = append(out, sub)
		}
	}
	return out
}

func serviceClusters(s *model.Snapshot, p *model.Proxy, svc *model.Service) []Resource {
	inputs := clusterInputs(s, p, svc)
	out := make([]Resource, 0, len(inputs))
	for _, in := range inputs {
		out = append(out, Resource{Name: in.name(), Key: in.key(), build: func() proto.Message { return in.build() }})
	}
	return out
}

func (in *clusterInput) build() *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:            in.name(),
		ConnectTimeout:  seconds(in.mesh.ConnectTimeout),
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{unlimited()}},
		LbPolicy:        clusterv3.Cluster_LEAST_REQUEST,
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{
			LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
				LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
			},
		},
		Metadata: metadata(in.istioMetadata(), in.origin()),
	}
	in.discovery(c)
	in.applyPolicy(c)
	in.protocolOptions(c)
	in.applyTLS(c)
	if !speaksHTTP(in.port) && !in.svc.External {
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
	return m
}

// dnsRefresh is Istio's default dnsRefreshRate.
const dnsRefresh = 60 * time.Second

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
		c.DnsRefreshRate = seconds(dnsRefresh)
		c.RespectDnsTtl = true
		c.LoadAssignment = in.assignment()
		if in.kind == kindLogicalDNS && !oneEndpoint(c.LoadAssignment) {
			// LOGICAL_DNS takes exactly one endpoint; several become STRICT_DNS, which
			// resolves each.
			c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
		}
	case kindOriginalDst:
		originalDst(c, in.literal)
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
	if p.Type == model.Router {
		return out
	}
	literal := noOriginalDst(p)
	k := (&keyHash{}).num(mesh.Rev)
	if literal {
		k.num(1)
	}
	return append(out, Resource{Name: PassthroughCluster, Key: k.String(), build: func() proto.Message { return passthrough(mesh, literal) }})
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

func (in *clusterInput) applyPolicy(c *clusterv3.Cluster) {
	pol := in.policy
	if pol == nil {
		pol = &model.TrafficPolicy{}
	}
	keep := in.mesh.Keepalive
	if cp := pol.ConnectionPool; cp != nil {
		th := c.CircuitBreakers.Thresholds[0]
		if cp.ConnectTimeout > 0 {
			c.ConnectTimeout = seconds(cp.ConnectTimeout)
		}
		if cp.MaxConnections > 0 {
			th.MaxConnections = u32(uint32(cp.MaxConnections))
		}
		if cp.MaxPendingRequests > 0 {
			th.MaxPendingRequests = u32(uint32(cp.MaxPendingRequests))
		}
		if cp.MaxRequests > 0 {
			th.MaxRequests = u32(uint32(cp.MaxRequests))
		}
		if cp.MaxRetries > 0 {
			th.MaxRetries = u32(uint32(cp.MaxRetries))
		}
		if cp.RetryBudgetPercent > 0 {
			th.RetryBudget = &clusterv3.CircuitBreakers_Thresholds_RetryBudget{BudgetPercent: percent(cp.RetryBudgetPercent)}
			if cp.RetryBudgetConcurrency > 0 {
				th.RetryBudget.MinRetryConcurrency = u32(cp.RetryBudgetConcurrency)
			}
		}
		if cp.Keepalive != nil {
			keep = cp.Keepalive
		}
	}
	if keep != nil {
		k := &corev3.TcpKeepalive{}
		if keep.Probes > 0 {
			k.KeepaliveProbes = u32(keep.Probes)
		}
		if keep.Time > 0 {
			k.KeepaliveTime = u32(uint32(keep.Time / time.Second))
		}
		if keep.Interval > 0 {
			k.KeepaliveInterval = u32(uint32(keep.Interval / time.Second))
		}
		c.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: k}
	}
	in.applyOutlier(c, pol.Outlier)
	if in.kind != kindOriginalDst {
		in.applyLoadBalancer(c, pol.LoadBalancer)
	}
}

func (in *clusterInput) applyOutlier(c *clusterv3.Cluster, o *model.Outlier) {
	if o == nil {
		return
	}
	enforced := func(v uint32) uint32 {
		if v > 0 {
			return 100
		}
		return 0
	}
	// Istio turns detection by success rate off: it is not part of its API.
	d := &clusterv3.OutlierDetection{EnforcingSuccessRate: u32(0)}
	if v := o.Consecutive5xx; v != nil {
		d.Consecutive_5Xx, d.EnforcingConsecutive_5Xx = u32(*v), u32(enforced(*v))
	}
	switch {
	case o.ConsecutiveGateway != nil:
		d.ConsecutiveGatewayFailure, d.EnforcingConsecutiveGatewayFailure = u32(*o.ConsecutiveGateway), u32(enforced(*o.ConsecutiveGateway))
	case o.ConsecutiveErrorsOld > 0:
		d.ConsecutiveGatewayFailure, d.EnforcingConsecutiveGatewayFailure = u32(o.ConsecutiveErrorsOld), u32(100)
	}
	if o.SplitLocal {
		d.SplitExternalLocalOriginErrors = true
		if v := o.ConsecutiveLocal; v != nil {
			d.ConsecutiveLocalOriginFailure, d.EnforcingConsecutiveLocalOriginFailure = u32(*v), u32(enforced(*v))
		}
		if !in.own { // our proxy has no such detector to switch off
			d.EnforcingLocalOriginSuccessRate = u32(0)
		}
	}
	if o.Interval > 0 {
		d.Interval = seconds(o.Interval)
	}
	if o.BaseEjection > 0 {
		d.BaseEjectionTime = seconds(o.BaseEjection)
	}
	if o.MaxEjectionPercent != nil {
		d.MaxEjectionPercent = u32(min(*o.MaxEjectionPercent, 100))
	}
	c.OutlierDetection = d
	if c.CommonLbConfig != nil {
		// minHealthPercent defaults to 0 and is written as such: with outlier detection,
		// panic routing is off unless asked for.
		c.CommonLbConfig.HealthyPanicThreshold = percent(float64(min(o.MinHealthPercent, 100)))
	}
}

func (in *clusterInput) applyLoadBalancer(c *clusterv3.Cluster, lb *model.LoadBalancer) {
	if lb == nil {
		return
	}
	var slow *clusterv3.Cluster_SlowStartConfig
	if lb.SlowStart > 0 && !in.own {
		slow = &clusterv3.Cluster_SlowStartConfig{SlowStartWindow: seconds(lb.SlowStart)}
	}
	switch lb.Policy {
	case model.LBRoundRobin:
		c.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		if slow != nil {
			c.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: slow}}
		}
	case model.LBRandom:
		c.LbPolicy = clusterv3.Cluster_RANDOM
	case model.LBRingHash:
		c.LbPolicy = clusterv3.Cluster_RING_HASH
		size := lb.MinRingSize
		if size == 0 {
			size = 1024 // Istio's default minimumRingSize
		}
		c.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{MinimumRingSize: u64(min(size, 8<<20))}}
	case model.LBMaglev:
		c.LbPolicy = clusterv3.Cluster_MAGLEV
		cfg := &clusterv3.Cluster_MaglevLbConfig{}
		if lb.TableSize > 0 {
			cfg.TableSize = u64(min(lb.TableSize, 5000011))
		}
		c.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: cfg}
	default:
		c.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		if slow != nil {
			c.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: slow}}
		}
	}
}

// idle returns a duration unless it was not given.
func idle(d time.Duration) *durationpb.Duration {
	if d <= 0 {
		return nil
	}
	return seconds(d)
}
