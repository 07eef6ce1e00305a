package xdsresource

import (
	"math"
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/proxyprotocol"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
)

// ClusterType is cluster.v3.Cluster.DiscoveryType.
type ClusterType uint8

// Cluster types.
const (
	ClusterStatic ClusterType = iota
	ClusterStrictDNS
	ClusterLogicalDNS
	ClusterEDS
	ClusterOriginalDst
	ClusterAggregate
	// ClusterDynamic is envoy.clusters.dynamic_forward_proxy: its hosts are the names of a DNS cache.
	ClusterDynamic
)

// DNSFamily is cluster.v3.Cluster.DnsLookupFamily.
type DNSFamily uint8

// DNS families.
const (
	DNSAuto DNSFamily = iota
	DNSV4Only
	DNSV6Only
	DNSV4Preferred
	DNSAll
)

// Cluster is a validated cluster.v3.Cluster.
type Cluster struct {
	Name              string
	AltStatName       string // empty: Name
	ObservabilityName string
	Type              ClusterType
	EDSServiceName    string // for ClusterEDS; default Name
	EDSSource         ConfigSource
	// EDSFetchTimeout is how long a ClusterEDS waits for its first endpoints. 0: without end.
	EDSFetchTimeout time.Duration
	// Members are the clusters of a ClusterAggregate, in order of preference.
	Members []string
	// Names is the cache that a ClusterDynamic has its hosts from.
	Names *DNSCache
	// OriginalDstHeader is the header that a ClusterOriginalDst takes its host from where a
	// request has it, lower case; empty: none. OriginalDstPort replaces the port; 0: it does not.
	OriginalDstHeader string
	OriginalDstPort   uint16
	// OriginalDstMetadata is the path to a destination in dynamic metadata, which comes before the header; nil: none.
	OriginalDstMetadata []string
	// CleanupInterval is how long a host of a ClusterOriginalDst may go unused; default 5s.
	CleanupInterval time.Duration
	// Endpoints is load_assignment for static and DNS types.
	Endpoints      *Endpoints
	ConnectTimeout time.Duration // default 5s
	BufferLimit    uint32        // 0: 1 MiB

	LB             LoadBalancing
	PanicThreshold float64 // percent; default 50
	// CloseOnHostChange closes a cluster's connections when its hosts change.
	CloseOnHostChange bool
	// PoolPerDownstream keeps the connections of each client apart.
	PoolPerDownstream bool
	// CloseOnHealthFailure closes a host's connections when it becomes unhealthy.
	CloseOnHealthFailure bool
	// MergeWindow is how far apart changes of health, weight and metadata take effect at least; 0: none waits.
	MergeWindow time.Duration
	// IgnoreNewHosts leaves a new host out until its first health check is over.
	IgnoreNewHosts bool
	// OverrideStatus: hosts in such a state may be asked for by address.
	OverrideStatus HostStatuses

	DNS DNS

	// TrackBudgets and TrackSizes keep histograms of time-outs used up and of sizes (track_cluster_stats).
	TrackBudgets, TrackSizes bool

	// Breakers by priority: default, high.
	Breakers [2]Breakers
	Outlier  *OutlierDetection // nil: off
	// HealthChecks are what hosts are asked; where there are several, each has a name of its own. Empty: they are not asked.
	HealthChecks []*HealthCheck
	// RemoveHealthyHosts (ignore_health_on_host_removal): a host that discovery no longer names
	// goes at once, though it passes its health checks.
	RemoveHealthyHosts bool

	Transport                *UpstreamTransport     // nil: raw_buffer
	TransportMatches         []TransportSocketMatch // transport_socket_matches, first match wins
	HTTP                     UpstreamHTTP
	Bind                     *Bind // nil: the system chooses where connections come from
	TCPKeepalive             *TCPKeepalive
	Eyeballs                 Eyeballs
	MaxRequestsPerConnection uint32 // 0: unlimited
	// PreconnectRatio is how many connections a pool keeps for each request; at most 1: as many.
	PreconnectRatio float64
	// PredictiveRatio is how many connections the cluster keeps for each request, at the hosts that will be chosen next; at
	// most 1: none ahead.
	PredictiveRatio float64
	Metadata        Metadata
	// Filters are upstream network filters (Istio's metadata exchange).
	Filters []NetworkFilter
	Keys    ClusterKeys
}

// ClusterKeys are the runtime keys of clusters that have names of their own.
type ClusterKeys struct {
	// Maintenance is the percentage of requests that the cluster refuses
	// (upstream.maintenance_mode.<name>).
	Maintenance *runtimekey.Key
	// Panic overrides PanicThreshold when hosts change (upstream.healthy_panic_threshold).
	Panic *runtimekey.Key
	// UseRetry is the percentage of retries that may be made (upstream.use_retry).
	UseRetry *runtimekey.Key
	// ProbeMin and ProbeMax bound the time between health checks, in milliseconds
	// (health_check.min_interval, health_check.max_interval).
	ProbeMin, ProbeMax *runtimekey.Key
}

func (p *parser) clusterKeys(name string) ClusterKeys {
	k := p.dec.keys
	return ClusterKeys{
		Maintenance: k.Key("upstream.maintenance_mode." + name), Panic: k.Key("upstream.healthy_panic_threshold"),
		UseRetry: k.Key("upstream.use_retry"), ProbeMin: k.Key("health_check.min_interval"), ProbeMax: k.Key("health_check.max_interval"),
	}
}

// ProbeInterval bounds the time to the next health check.
func (k *ClusterKeys) ProbeInterval(d time.Duration) time.Duration {
	const most = math.MaxInt64 / uint64(time.Millisecond)
	least, longest := k.ProbeMin.Uint(0), k.ProbeMax.Uint(most)
	return max(min(d, time.Duration(min(longest, most))*time.Millisecond), time.Duration(min(least, most))*time.Millisecond)
}

// DefaultPort is the port of names that come without one, in a ClusterDynamic: 443 where the cluster speaks TLS, else 80.
func (c *Cluster) DefaultPort() uint16 {
	if c.Transport != nil && c.Transport.TLS != nil {
		return 443
	}
	return 80
}

// Panic is the panic threshold in percent that holds now.
func (c *Cluster) Panic() float64 {
	return min(100, float64(c.Keys.Panic.Uint(uint64(c.PanicThreshold))))
}

// DNS is how the names of a cluster are resolved.
type DNS struct {
	Family  DNSFamily
	Refresh time.Duration // default 5s
	// FailureBase and FailureMax space attempts after a failure, at random and growing;
	// 0: Refresh.
	FailureBase, FailureMax time.Duration
	Jitter                  time.Duration // at most this much later
	RespectTTL              bool
	// MinRefresh is the least interval where the lifetime of answers decides; 0: the proxy's own.
	MinRefresh time.Duration
	WarmAtOnce bool         // wait_for_warm_on_init: false
	Resolver   *DNSResolver // nil: the proxy's
}

// DNSResolver is how names are resolved where the system's way is not wanted.
type DNSResolver struct {
	Servers  []netip.AddrPort // none: those of the system
	Fallback bool             // the servers are for when the system has none
	TCP      bool             // ask over TCP only
	NoSearch bool             // names are whole: no search domain is appended
	Timeout  time.Duration    // of a query; 0: as the system has it
	Tries    int              // of a query; 0: as the system has it
}

// UpstreamHTTP is HttpProtocolOptions of a cluster.
type UpstreamHTTP struct {
	// Retry is the cluster's own policy, in place of the route's; nil: it has none. Hash are its hash policies, for balancers that have none of their own.
	Retry *RetryPolicy
	Hash  []HashPolicy
	// SNIHeader is the request's header that AutoSNI and AutoSANValidation go by where the request has it, instead of the authority; zero: none.
	SNIHeader                header.Key
	OutlierErrors            *Statuses     // for OutlierDetection.Errors
	IdleTimeout              time.Duration // default 1h; 0 disables
	MaxConnectionDuration    time.Duration
	MaxStreamDuration        time.Duration
	MaxRequestsPerConnection uint32
	MaxResponseHeadersKB     uint32
	MaxResponseHeaders       uint32 // how many; default 100
	Protocol                 UpstreamProtocol
	HTTP1                    HTTP1Options
	HTTP2                    HTTP2Options
	// AutoSNI and AutoSANValidation are upstream_http_protocol_options: the request's host
	// is the server name, and what the server's certificate must be for.
	AutoSNI, AutoSANValidation bool
}

// Breakers is cluster.v3.CircuitBreakers.Thresholds of one priority. Unlimited is
// math.MaxUint32.
type Breakers struct {
	MaxConnections, MaxPendingRequests, MaxRequests uint32  // default 1024
	MaxRetries                                      uint32  // default 3
	RetryBudgetPercent                              float64 // 0: none
	RetryBudgetMin                                  uint32
	RetryBudgetInterval                             time.Duration // 0: of the requests under way
	MaxConnectionsPerHost                           uint32        // per_host_thresholds; 0: unlimited
	TrackRemaining                                  bool
}

// OutlierDetection is a validated cluster.v3.OutlierDetection with defaults applied.
type OutlierDetection struct {
	Consecutive5xx                     uint32 // default 5; 0 disables
	ConsecutiveGatewayFailure          uint32 // default 5
	ConsecutiveLocalFailure            uint32 // default 5
	EnforcingConsecutive5xx            uint32 // percent; default 100
	EnforcingConsecutiveGatewayFailure uint32 // default 0
	EnforcingConsecutiveLocalFailure   uint32 // default 100
	SplitExternalLocal                 bool
	Interval                           time.Duration // default 10s
	BaseEjectionTime                   time.Duration // default 30s
	MaxEjectionTime                    time.Duration // default max(300s, base)
	MaxEjectionPercent                 uint32        // default 10
	AlwaysEjectOneHost                 bool
	EnforcingSuccessRate               uint32 // default 100
	SuccessRateMinimumHosts            uint32 // default 5
	SuccessRateRequestVolume           uint32 // default 100
	SuccessRateStdevFactor             uint32 // default 1900
	EnforcingLocalSuccessRate          uint32 // default 100
	FailurePercentageThreshold         uint32 // default 85
	FailurePercentageMinimumHosts      uint32 // default 5
	FailurePercentageRequestVolume     uint32 // default 50
	EnforcingFailurePercentage         uint32 // default 0
	EnforcingLocalFailurePercentage    uint32 // default 0
	MaxEjectionTimeJitter              time.Duration
	UnejectOnHealthCheck               bool // by an active health check that succeeds; default true
	DetectDegraded                     bool // a response with x-envoy-degraded marks its host as degraded, for as long as an ejection
	// Errors are the statuses that count as errors (HttpProtocolOptions.outlier_detection); nil: 500 and above.
	Errors *Statuses
}

// IPFamily is a preference between IPv4 and IPv6.
type IPFamily uint8

// Families. FamilyOfFirst is that of the address that stands first.
const (
	FamilyOfFirst IPFamily = iota
	FamilyV4
	FamilyV6
)

// Eyeballs is in which order the addresses of a host are tried, where it has several: Count of
// the preferred family, then one of the other, and again.
type Eyeballs struct {
	Family IPFamily
	Count  uint32 // 0: 1
}

// TCPKeepalive is core.v3.TcpKeepalive; zero fields keep the system's values.
type TCPKeepalive struct {
	Probes         uint32
	Time, Interval time.Duration
}

// TransportSocketMatch is cluster.v3.Cluster.TransportSocketMatch.
type TransportSocketMatch struct {
	Name  string
	Match map[string]string // endpoint metadata "envoy.transport_socket_match"
	// Transport is nil for raw_buffer.
	Transport *UpstreamTransport
}

// HealthStatus is core.v3.HealthStatus.
type HealthStatus uint8

// Health states as sent by EDS.
const (
	HealthUnknown HealthStatus = iota
	HealthHealthy
	HealthUnhealthy
	HealthDraining
	HealthTimeout
	HealthDegraded
)

// Endpoints is a validated endpoint.v3.ClusterLoadAssignment.
type Endpoints struct {
	ClusterName            string
	Localities             []LocalityEndpoints
	OverprovisioningFactor uint32 // default 140
	// WeightedPriorityHealth: a priority's health is by the weights of its hosts, not their number.
	WeightedPriorityHealth bool
	// StaleAfter is how long the endpoints are good without an update; 0: for ever.
	StaleAfter time.Duration
	// Drop is the share of requests that is refused; nil: none.
	Drop *FractionalPercent
}

// LocalityEndpoints is endpoint.v3.LocalityLbEndpoints.
type LocalityEndpoints struct {
	Region, Zone, SubZone string
	Weight                uint32 // 0: unset
	Priority              uint32
	Endpoints             []Endpoint
}

// Endpoint is endpoint.v3.LbEndpoint.
type Endpoint struct {
	Address  Address
	More     []Address // additional_addresses
	Hostname string
	Health   HealthStatus
	Weight   uint32 // default 1
	Metadata Metadata
	// LocalityMetadata is its locality's, by which transport_socket_matches choose where Metadata matches nothing.
	LocalityMetadata Metadata
	Check            *EndpointCheck // nil: nothing of the sort
	// TLVs are for the PROXY protocol's headers that this endpoint gets.
	TLVs []proxyprotocol.TLV
}

// EndpointCheck is endpoint.v3.Endpoint.HealthCheckConfig.
type EndpointCheck struct {
	Port     uint16  // 0: the endpoint's own
	Hostname string  // empty: as the health check says
	Address  Address // zero: the endpoint's own
	Disabled bool
}
