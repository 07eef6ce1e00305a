package xdsresource

import (
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// defaultLB is round robin with Envoy's defaults.
func defaultLB() LoadBalancing {
	return LoadBalancing{
		Choices: 2, Bias: Double{Default: 1}, RingMinSize: 1024, RingMaxSize: 8 << 20, MaglevTableSize: 65537,
		SlowStart: SlowStart{Aggression: Double{Default: 1}, MinWeight: 0.1},
		Zone:      ZoneAware{RoutingEnabled: 100, MinClusterSize: 6},
	}
}

// clusterLB reads the policy of a cluster in either form.
func (p *parser) clusterLB(m *clusterv3.Cluster, c *Cluster) {
	c.LB, c.Keys = defaultLB(), p.clusterKeys(m.GetName())
	common := m.GetCommonLbConfig()
	c.PanicThreshold = p.percent(common.GetHealthyPanicThreshold(), 50)
	c.CloseOnHostChange = common.GetCloseConnectionsOnHostSetChange()
	c.MergeWindow = p.duration("common_lb_config.update_merge_window", common.GetUpdateMergeWindow(), 0)
	c.IgnoreNewHosts = common.GetIgnoreNewHostsUntilFirstHc()
	c.OverrideStatus = overrideStatuses(common.GetOverrideHostStatus())
	defer func() {
		z := &c.LB.Zone // a typed policy replaces it
		z.EnabledKey, z.MinSizeKey = p.dec.keys.Key("upstream.zone_routing.enabled"), p.dec.keys.Key("upstream.zone_routing.min_cluster_size")
	}()
	if m.GetLoadBalancingPolicy() != nil {
		p.lbPolicies("load_balancing_policy", m.GetLoadBalancingPolicy(), &c.LB, 0)
	} else {
		p.legacyLB(m, &c.LB)
	}
	if (c.LB.Policy == LBClusterProvided) != (c.Type == ClusterOriginalDst || c.Type == ClusterAggregate || c.Type == ClusterDynamic) {
		p.bad("lb_policy", "CLUSTER_PROVIDED goes with type ORIGINAL_DST and with aggregate and dynamic forward proxy clusters, and only with these")
	}
}

// legacyLB reads lb_policy and the fields beside it.
func (p *parser) legacyLB(m *clusterv3.Cluster, out *LoadBalancing) {
	switch m.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
		p.legacySlowStart("round_robin_lb_config.slow_start_config", m.GetRoundRobinLbConfig().GetSlowStartConfig(), out)
	case clusterv3.Cluster_LEAST_REQUEST:
		out.Policy = LBLeastRequest
		l := m.GetLeastRequestLbConfig()
		out.Choices = uint32Or(l.GetChoiceCount(), 2)
		p.bias("least_request_lb_config.active_request_bias", l.GetActiveRequestBias(), out)
		p.legacySlowStart("least_request_lb_config.slow_start_config", l.GetSlowStartConfig(), out)
	case clusterv3.Cluster_RANDOM:
		out.Policy = LBRandom
	case clusterv3.Cluster_RING_HASH:
		out.Policy = LBRingHash
		r := m.GetRingHashLbConfig()
		p.ringSizes("ring_hash_lb_config", r.GetMinimumRingSize(), r.GetMaximumRingSize(), out)
		out.Murmur = r.GetHashFunction() == clusterv3.Cluster_RingHashLbConfig_MURMUR_HASH_2
	case clusterv3.Cluster_MAGLEV:
		out.Policy = LBMaglev
		p.maglevSize("maglev_lb_config.table_size", m.GetMaglevLbConfig().GetTableSize(), out)
	case clusterv3.Cluster_CLUSTER_PROVIDED:
		out.Policy = LBClusterProvided
	default:
		p.bad("lb_policy", "%v needs a load_balancing_policy", m.GetLbPolicy())
	}
	common := m.GetCommonLbConfig()
	if h := common.GetConsistentHashingLbConfig(); h != nil {
		out.HashHostname = h.GetUseHostnameForHashing()
		out.HashBalanceFactor = uint32Or(h.GetHashBalanceFactor(), 0)
	}
	out.LocalityWeighted = common.GetLocalityWeightedLbConfig() != nil
	if z := common.GetZoneAwareLbConfig(); z != nil {
		out.Zone.RoutingEnabled = wholePercent(z.GetRoutingEnabled(), 100)
		out.Zone.MinClusterSize = uint32(min(uint64Or(z.GetMinClusterSize(), 6), 1<<31))
		out.Zone.FailTrafficOnPanic = z.GetFailTrafficOnPanic()
	}
	if s := m.GetLbSubsetConfig(); s != nil && len(s.GetSubsetSelectors()) > 0 { // without selectors Envoy turns it off
		if out.Policy == LBClusterProvided {
			p.bad("lb_subset_config", "does not go with the policy CLUSTER_PROVIDED")
			return
		}
		out.Subset = p.subset("lb_subset_config", subsetProto{
			int32(s.GetFallbackPolicy()), s.GetDefaultSubset(), s.GetLocalityWeightAware(), s.GetScaleLocalityWeight(),
			s.GetPanicModeAny(), s.GetListAsAny(), int32(s.GetMetadataFallbackPolicy()), false,
		})
		for i, sel := range s.GetSubsetSelectors() {
			p.selector(at("lb_subset_config.subset_selectors", i), sel.GetKeys(), sel.GetSingleHostPerSubset(),
				int32(sel.GetFallbackPolicy()), sel.GetFallbackKeysSubset(), out.Subset)
		}
	}
}

func (p *parser) legacySlowStart(path string, s *clusterv3.Cluster_SlowStartConfig, out *LoadBalancing) {
	if s != nil {
		p.slowStart(path, s.GetSlowStartWindow(), s.GetAggression(), s.GetMinWeightPercent(), out)
	}
}

func (p *parser) slowStart(path string, window *durationpb.Duration, aggression *corev3.RuntimeDouble, least *typev3.Percent, out *LoadBalancing) {
	out.SlowStart.Window = p.duration(join(path, "slow_start_window"), window, 0).Truncate(time.Millisecond)
	if aggression != nil {
		out.SlowStart.Aggression = p.runtimeDouble(aggression, 1)
		if v := out.SlowStart.Aggression.Default; v <= 0 {
			p.bad(join(path, "aggression"), "must be greater than 0, not %v", v)
		}
	}
	out.SlowStart.MinWeight = p.percent(least, 10) / 100
}

func (p *parser) bias(path string, b *corev3.RuntimeDouble, out *LoadBalancing) {
	if b == nil {
		return
	}
	if out.Bias = p.runtimeDouble(b, 1); out.Bias.Default < 0 {
		p.bad(path, "must not be negative, this is %v", out.Bias.Default)
	}
}

func (p *parser) ringSizes(path string, least, most *wrapperspb.UInt64Value, out *LoadBalancing) {
	out.RingMinSize, out.RingMaxSize = uint64Or(least, 1024), uint64Or(most, 8<<20)
	if out.RingMinSize > out.RingMaxSize {
		p.bad(join(path, "minimum_ring_size"), "%d is greater than the maximum, %d", out.RingMinSize, out.RingMaxSize)
	}
}

func (p *parser) maglevSize(path string, v *wrapperspb.UInt64Value, out *LoadBalancing) {
	if out.MaglevTableSize = uint64Or(v, 65537); !prime(out.MaglevTableSize) {
		p.bad(path, "%d is not a prime number", out.MaglevTableSize)
	}
}

// subsetProto is what the two forms of a subset configuration have in common; their enums
// have the same numbers.
type subsetProto struct {
	fallback                                          int32
	def                                               *structpb.Struct
	localityAware, scaleLocality, panicAny, listAsAny bool
	metadataFallback                                  int32
	redundant                                         bool
}

func (p *parser) subset(path string, m subsetProto) *Subset {
	s := &Subset{
		Default:             NewMetadataMatch(m.def.AsMap()),
		LocalityWeightAware: m.localityAware, ScaleLocalityWeight: m.scaleLocality,
		PanicModeAny: m.panicAny, ListAsAny: m.listAsAny, FallbackList: m.metadataFallback == 1,
		AllowRedundantKeys: m.redundant,
	}
	s.Fallback = [...]SubsetFallback{SubsetNoFallback, SubsetAnyEndpoint, SubsetDefault}[max(0, min(m.fallback, 2))]
	if m.panicAny && s.Fallback == SubsetNoFallback {
		p.bad(join(path, "panic_mode_any"), "needs a fallback_policy other than NO_FALLBACK")
	}
	return s
}

func (p *parser) selector(path string, keys []string, single bool, fallback int32, fallbackKeys []string, out *Subset) {
	s := SubsetSelector{
		Keys: sortedSet(keys), SingleHost: single, FallbackKeys: sortedSet(fallbackKeys),
		Fallback: SubsetFallback(max(0, min(fallback, int32(SubsetKeys)))),
	}
	switch {
	case len(s.Keys) == 0:
		p.bad(join(path, "keys"), "at least one key is needed")
	case single && len(s.Keys) != 1:
		p.bad(join(path, "single_host_per_subset"), "goes with exactly one key")
	case s.Fallback == SubsetKeys && len(s.FallbackKeys) == 0:
		p.bad(join(path, "fallback_keys_subset"), "is required by fallback_policy KEYS_SUBSET")
	case s.Fallback != SubsetKeys && len(s.FallbackKeys) > 0:
		p.bad(join(path, "fallback_keys_subset"), "goes only with fallback_policy KEYS_SUBSET")
	}
	for _, k := range s.FallbackKeys {
		if !slices.Contains(s.Keys, k) {
			p.bad(join(path, "fallback_keys_subset"), "%q is not among the selector's keys", k)
		}
	}
	if len(s.FallbackKeys) > 0 && len(s.FallbackKeys) == len(s.Keys) {
		p.bad(join(path, "fallback_keys_subset"), "must leave at least one of the keys out")
	}
	out.Selectors = append(out.Selectors, s)
}

func sortedSet(in []string) []string {
	out := slices.Clone(in)
	slices.Sort(out)
	return slices.Compact(out)
}

// overrideStatuses are the states of hosts that a request may name. Envoy looks at what a
// host is good for only: unknown is healthy, and every way to be out is unhealthy.
func overrideStatuses(s *corev3.HealthStatusSet) HostStatuses {
	if s == nil {
		return 1<<HealthHealthy | 1<<HealthDegraded
	}
	var out HostStatuses
	for _, st := range s.GetStatuses() {
		switch st {
		case corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_HEALTHY:
			out |= 1 << HealthHealthy
		case corev3.HealthStatus_DEGRADED:
			out |= 1 << HealthDegraded
		default:
			out |= 1 << HealthUnhealthy
		}
	}
	return out
}

func uint64Or(v *wrapperspb.UInt64Value, def uint64) uint64 {
	if v == nil {
		return def
	}
	return v.GetValue()
}

// wholePercent is a percentage rounded as Envoy rounds it.
func wholePercent(v *typev3.Percent, def uint32) uint32 {
	if v == nil {
		return def
	}
	return uint32(v.GetValue() + 0.5)
}

func prime(n uint64) bool {
	if n < 2 {
		return false
	}
	for i := uint64(2); i*i <= n; i++ {
		if n%i == 0 {
			return false
		}
	}
	return true
}
