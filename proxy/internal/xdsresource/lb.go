package xdsresource

import (
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
)

// LBPolicy is cluster.v3.Cluster.LbPolicy.
type LBPolicy uint8

// Load balancing policies.
const (
	LBRoundRobin LBPolicy = iota
	LBLeastRequest
	LBRandom
	LBRingHash
	LBMaglev
	LBClusterProvided
)

// LoadBalancing says how a cluster spreads requests over its endpoints. lb_policy with its
// *_lb_config fields and the typed load_balancing_policy both end in it.
type LoadBalancing struct {
	Policy LBPolicy

	// LEAST_REQUEST.
	Choices  uint32 // default 2
	FullScan bool   // look at all hosts, not at Choices drawn ones
	Bias     Double // active_request_bias; default 1

	SlowStart SlowStart

	// RING_HASH and MAGLEV.
	RingMinSize, RingMaxSize uint64 // default 1024, 8M
	Murmur                   bool   // ring's hash is MURMUR_HASH_2, not XX_HASH
	MaglevTableSize          uint64 // default 65537
	HashHostname             bool   // use_hostname_for_hashing
	HashBalanceFactor        uint32 // percent, at least 100; 0: load is not bounded
	// HashPolicies are consistent_hashing_lb_config.hash_policy, in place of the route's; none: the route's.
	HashPolicies []HashPolicy

	LocalityWeighted bool
	Zone             ZoneAware
	Subset           *Subset // nil: all endpoints are one set
	// Override takes hosts that the request names before the policy is asked; nil: it does not.
	Override *OverrideHosts
}

// OverrideHosts is override_host.v3.OverrideHost: where a request names hosts by address, in order.
type OverrideHosts struct {
	Sources []OverrideSource
	// Selected is where the chosen host's address is left in the dynamic metadata: a filter's name, and a path. nil: nowhere.
	Selected []string
}

// OverrideSource is a list of addresses in a header, or in the dynamic metadata (a filter's name, and a path).
type OverrideSource struct {
	Header   string // lower case
	Metadata []string
}

// HashTable reports whether the policy looks hosts up in a table.
func (l *LoadBalancing) HashTable() bool { return l.Policy == LBRingHash || l.Policy == LBMaglev }

// SlowStart lets a host that has become healthy take its share little by little.
type SlowStart struct {
	Window     time.Duration // 0: off
	Aggression Double        // default 1
	MinWeight  float64       // share of the weight to begin with; default 0.1
}

// ZoneAware is how requests stay in the proxy's own locality. It acts where the bootstrap
// names a local cluster, and not where localities are weighted.
type ZoneAware struct {
	RoutingEnabled uint32 // percent of requests; default 100
	MinClusterSize uint32 // default 6
	// These override the two: upstream.zone_routing.enabled and upstream.zone_routing.min_cluster_size.
	EnabledKey, MinSizeKey *runtimekey.Key
	FailTrafficOnPanic     bool
	ByWeight               bool // localities count by the weights of their hosts, not by their number
	// ForceMin: all requests stay in the own locality while it has so many healthy hosts; 0: they need not.
	ForceMin uint32
}

// SubsetFallback is what happens when no subset fits a request.
type SubsetFallback uint8

// Fallbacks. SubsetNotDefined leaves it to the cluster's own.
const (
	SubsetNotDefined SubsetFallback = iota
	SubsetNoFallback
	SubsetAnyEndpoint
	SubsetDefault
	SubsetKeys
)

// Subset is lb_subset_config: endpoints grouped by their metadata "envoy.lb".
type Subset struct {
	Fallback            SubsetFallback
	Default             *MetadataMatch
	Selectors           []SubsetSelector
	LocalityWeightAware bool
	ScaleLocalityWeight bool
	PanicModeAny        bool
	ListAsAny           bool
	FallbackList        bool // metadata_fallback_policy
	AllowRedundantKeys  bool
}

// SubsetSelector makes a subset of every combination of values of its keys.
type SubsetSelector struct {
	Keys         []string // sorted
	SingleHost   bool
	Fallback     SubsetFallback
	FallbackKeys []string // sorted; for SubsetKeys
}

// HostStatuses is a set of HealthStatus.
type HostStatuses uint8

// Has reports whether s is in the set.
func (h HostStatuses) Has(s HealthStatus) bool { return h>>s&1 != 0 }
