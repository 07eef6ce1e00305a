package xdsresource

import (
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	providedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/cluster_provided/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	overridev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/override_host/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	robinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	subsetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/subset/v3"
	wrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// maxPolicyDepth bounds policies within policies: subset, wrr_locality and the
// policy that picks.
const maxPolicyDepth = 4

// lbPolicies takes the first policy of a list that this proxy knows, as Envoy does; the rest
// are for proxies that know less.
func (p *parser) lbPolicies(path string, m *clusterv3.LoadBalancingPolicy, out *LoadBalancing, depth int) {
	if depth >= maxPolicyDepth {
		p.bad(path, "policies are nested too deep")
		return
	}
	var unknown []string
	for i, pol := range m.GetPolicies() {
		a := pol.GetTypedExtensionConfig().GetTypedConfig()
		here := join(at(join(path, "policies"), i), "typed_extension_config.typed_config")
		plain, err := fromTypedStruct(a)
		if err != nil {
			p.bad(here, "%v", err)
			return
		}
		if p.lbPolicy(here, plain, out, depth) {
			return
		}
		unknown = append(unknown, string(plain.MessageName()))
	}
	p.bad(join(path, "policies"), "none of the policies is supported: %s", strings.Join(unknown, ", "))
}

// lbPolicy reads one policy; false when its type is not known.
func (p *parser) lbPolicy(path string, a *anypb.Any, out *LoadBalancing, depth int) bool {
	switch a.MessageName() {
	case "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin":
		var m robinv3.RoundRobin
		if p.message(path, a, &m) {
			out.Policy = LBRoundRobin
			p.typedSlowStart(join(path, "slow_start_config"), m.GetSlowStartConfig(), out)
			p.localityLB(join(path, "locality_lb_config"), m.GetLocalityLbConfig(), out)
		}
	case "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest":
		var m leastv3.LeastRequest
		if p.message(path, a, &m) {
			out.Policy = LBLeastRequest
			out.Choices = uint32Or(m.GetChoiceCount(), 2)
			out.FullScan = boolOr(m.GetEnableFullScan(), false) || m.GetSelectionMethod() == leastv3.LeastRequest_FULL_SCAN //nolint:staticcheck // the older form
			p.bias(join(path, "active_request_bias"), m.GetActiveRequestBias(), out)
			p.typedSlowStart(join(path, "slow_start_config"), m.GetSlowStartConfig(), out)
			p.localityLB(join(path, "locality_lb_config"), m.GetLocalityLbConfig(), out)
		}
	case "envoy.extensions.load_balancing_policies.random.v3.Random":
		var m randomv3.Random
		if p.message(path, a, &m) {
			out.Policy = LBRandom
			p.localityLB(join(path, "locality_lb_config"), m.GetLocalityLbConfig(), out)
		}
	case "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash":
		var m ringv3.RingHash
		if p.message(path, a, &m) {
			out.Policy = LBRingHash
			out.Murmur = m.GetHashFunction() == ringv3.RingHash_MURMUR_HASH_2
			p.ringSizes(path, m.GetMinimumRingSize(), m.GetMaximumRingSize(), out)
			out.HashHostname = m.GetUseHostnameForHashing()               //nolint:staticcheck // the older form
			out.HashBalanceFactor = uint32Or(m.GetHashBalanceFactor(), 0) //nolint:staticcheck // as above
			p.consistentHashing(join(path, "consistent_hashing_lb_config"), m.GetConsistentHashingLbConfig(), out)
			out.LocalityWeighted = m.GetLocalityWeightedLbConfig() != nil
		}
	case "envoy.extensions.load_balancing_policies.maglev.v3.Maglev":
		var m maglevv3.Maglev
		if p.message(path, a, &m) {
			out.Policy = LBMaglev
			p.maglevSize(join(path, "table_size"), m.GetTableSize(), out)
			p.consistentHashing(join(path, "consistent_hashing_lb_config"), m.GetConsistentHashingLbConfig(), out)
			out.LocalityWeighted = m.GetLocalityWeightedLbConfig() != nil
		}
	case "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided":
		var m providedv3.ClusterProvided
		if p.message(path, a, &m) {
			out.Policy = LBClusterProvided
		}
	case "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality":
		var m wrrv3.WrrLocality
		if p.message(path, a, &m) {
			p.lbPolicies(join(path, "endpoint_picking_policy"), m.GetEndpointPickingPolicy(), out, depth+1)
			out.LocalityWeighted = true
		}
	case "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost":
		p.overridePolicy(path, a, out, depth)
	case "envoy.extensions.load_balancing_policies.subset.v3.Subset":
		p.subsetPolicy(path, a, out, depth)
	default:
		return false
	}
	return true
}

func (p *parser) typedSlowStart(path string, s *commonv3.SlowStartConfig, out *LoadBalancing) {
	if s != nil {
		p.slowStart(path, s.GetSlowStartWindow(), s.GetAggression(), s.GetMinWeightPercent(), out)
	}
}

func (p *parser) localityLB(path string, l *commonv3.LocalityLbConfig, out *LoadBalancing) {
	out.LocalityWeighted = l.GetLocalityWeightedLbConfig() != nil
	if z := l.GetZoneAwareLbConfig(); z != nil {
		out.Zone = ZoneAware{
			RoutingEnabled:     wholePercent(z.GetRoutingEnabled(), 100),
			MinClusterSize:     uint32(min(uint64Or(z.GetMinClusterSize(), 6), 1<<31)),
			FailTrafficOnPanic: z.GetFailTrafficOnPanic(),
			ByWeight:           z.GetLocalityBasis() == commonv3.LocalityLbConfig_ZoneAwareLbConfig_HEALTHY_HOSTS_WEIGHT,
		}
		if f := z.GetForceLocalZone(); f != nil {
			out.Zone.ForceMin = max(uint32Or(f.GetMinSize(), 1), 1)
		} else if z.GetForceLocalityDirectRouting() { //nolint:staticcheck // still read by Envoy
			out.Zone.ForceMin = 1
		}
	}
}

func (p *parser) consistentHashing(path string, h *commonv3.ConsistentHashingLbConfig, out *LoadBalancing) {
	if h != nil {
		out.HashPolicies = p.hashPolicies(join(path, "hash_policy"), h.GetHashPolicy())
		out.HashHostname = h.GetUseHostnameForHashing()
		out.HashBalanceFactor = uint32Or(h.GetHashBalanceFactor(), 0)
	}
}

func (p *parser) subsetPolicy(path string, a *anypb.Any, out *LoadBalancing, depth int) {
	var m subsetv3.Subset
	if !p.message(path, a, &m) {
		return
	}
	if out.Subset != nil {
		p.bad(path, "a subset policy within a subset policy is not supported")
		return
	}
	s := p.subset(path, subsetProto{
		int32(m.GetFallbackPolicy()), m.GetDefaultSubset(), m.GetLocalityWeightAware(), m.GetScaleLocalityWeight(),
		m.GetPanicModeAny(), m.GetListAsAny(), int32(m.GetMetadataFallbackPolicy()), m.GetAllowRedundantKeys(),
	})
	for i, sel := range m.GetSubsetSelectors() {
		p.selector(at(join(path, "subset_selectors"), i), sel.GetKeys(), sel.GetSingleHostPerSubset(),
			int32(sel.GetFallbackPolicy()), sel.GetFallbackKeysSubset(), s)
	}
	out.Subset = s
	p.lbPolicies(join(path, "subset_lb_policy"), m.GetSubsetLbPolicy(), out, depth+1)
	if out.Policy == LBClusterProvided {
		p.bad(join(path, "subset_lb_policy"), "cluster_provided does not go with subsets")
	}
}

func (p *parser) overridePolicy(path string, a *anypb.Any, out *LoadBalancing, depth int) {
	var m overridev3.OverrideHost
	if !p.message(path, a, &m) {
		return
	}
	if out.Override != nil {
		p.bad(path, "an override_host policy within another one is not supported")
		return
	}
	o := &OverrideHosts{}
	for i, s := range m.GetOverrideHostSources() {
		if (s.GetHeader() != "") == (s.GetMetadata() != nil) {
			p.bad(at(join(path, "override_host_sources"), i), "set header or metadata, one of them")
		}
		src := OverrideSource{Header: strings.ToLower(s.GetHeader())}
		if s.GetMetadata() != nil {
			src.Metadata = metadataKey(s.GetMetadata())
		}
		o.Sources = append(o.Sources, src)
	}
	if m.GetSelectedHostKey() != nil {
		o.Selected = metadataKey(m.GetSelectedHostKey())
	}
	out.Override = o
	p.lbPolicies(join(path, "fallback_policy"), m.GetFallbackPolicy(), out, depth+1)
	if out.Policy == LBClusterProvided {
		p.bad(join(path, "fallback_policy"), "cluster_provided has no hosts that could be named")
	}
}
