package model

import "time"

// DestinationRule is what happens to traffic for a host after routing. Rules of one namespace
// for one host are merged into one.
type DestinationRule struct {
	Namespace        string
	Name             string
	Host             string // FQDN or wildcard
	Policy           *TrafficPolicy
	Subsets          []Subset
	ExportTo         ExportTo
	WorkloadSelector map[string]string // nil: all workloads
	Created          time.Time
	Origin           Origin
	Rev              uint64
}

// Key is the key of a destination rule in Snapshot.DestinationRules.
func (d *DestinationRule) Key() string { return d.Namespace + "/" + d.Name }

// Subset is a named part of a service's endpoints.
type Subset struct {
	Name   string
	Labels map[string]string
	Policy *TrafficPolicy // nil: the rule's; otherwise its parts override the rule's
	Origin Origin
}

// Subset returns the named subset.
func (d *DestinationRule) Subset(name string) (Subset, bool) {
	for _, s := range d.Subsets {
		if s.Name == name {
			return s, true
		}
	}
	return Subset{}, false
}

// TrafficPolicy says how endpoints of a destination are used. Nil parts are inherited.
type TrafficPolicy struct {
	LoadBalancer   *LoadBalancer
	ConnectionPool *ConnectionPool
	Outlier        *Outlier
	TLS            *ClientTLS
	Ports          []PortPolicy
}

// PortPolicy overrides a TrafficPolicy for one port.
type PortPolicy struct {
	Port   uint32
	Policy TrafficPolicy
}

// ForPort returns the policy in force for a port: the port's own, and for parts that it does
// not set, Istio's rule: port-level settings replace the destination-level ones as a whole.
func (p *TrafficPolicy) ForPort(port uint32) *TrafficPolicy {
	if p == nil {
		return nil
	}
	for i := range p.Ports {
		if p.Ports[i].Port == port {
			out := p.Ports[i].Policy
			return &out
		}
	}
	return p
}

// Merge returns parent overridden by child, part by part.
func (p *TrafficPolicy) Merge(child *TrafficPolicy) *TrafficPolicy {
	if p == nil {
		return child
	}
	if child == nil {
		return p
	}
	out := *p
	if child.LoadBalancer != nil {
		out.LoadBalancer = child.LoadBalancer
	}
	if child.ConnectionPool != nil {
		out.ConnectionPool = child.ConnectionPool
	}
	if child.Outlier != nil {
		out.Outlier = child.Outlier
	}
	if child.TLS != nil {
		out.TLS = child.TLS
	}
	if child.Ports != nil {
		out.Ports = child.Ports
	}
	return &out
}

// LBPolicy is a load balancing policy.
type LBPolicy uint8

// Load balancing policies. LBDefault is LEAST_REQUEST.
const (
	LBDefault LBPolicy = iota
	LBRoundRobin
	LBLeastRequest
	LBRandom
	LBPassthrough
	LBRingHash
	LBMaglev
)

// LoadBalancer chooses endpoints.
type LoadBalancer struct {
	Policy      LBPolicy
	Hash        *ConsistentHash // for LBRingHash and LBMaglev
	MinRingSize uint64
	TableSize   uint64
	SlowStart   time.Duration // warm-up; 0: off
	// Locality is localityLbSetting; nil: the mesh's.
	Locality *LocalityLB
}

// LocalityLB is locality-aware balancing.
type LocalityLB struct {
	Enabled          bool
	FailoverPriority []string
	Failover         map[string]string // region to region
	Distribute       map[string]map[string]uint32
}

// ConsistentHash says what is hashed; exactly one source is set.
type ConsistentHash struct {
	Header     string
	CookieName string
	CookiePath string
	CookieTTL  *time.Duration
	SourceIP   bool
	Query      string
}

// ConnectionPool limits connections. Zero numbers mean "not given".
type ConnectionPool struct {
	MaxConnections         int32
	ConnectTimeout         time.Duration
	Keepalive              *Keepalive
	MaxConnectionDuration  time.Duration
	TCPIdleTimeout         *time.Duration
	MaxPendingRequests     int32
	MaxRequests            int32
	MaxRequestsPerConn     int32
	MaxRetries             int32
	IdleTimeout            time.Duration
	H2Upgrade              bool // h2UpgradePolicy: UPGRADE
	UseClientProtocol      bool
	MaxConcurrentStreams   int32
	RetryBudgetPercent     float64
	RetryBudgetConcurrency uint32
}

// Keepalive is TCP keep-alive.
type Keepalive struct {
	Probes         uint32
	Time, Interval time.Duration
}

// Outlier is outlier detection. Nil numbers are not given.
type Outlier struct {
	Consecutive5xx       *uint32
	ConsecutiveGateway   *uint32
	ConsecutiveLocal     *uint32
	SplitLocal           bool
	Interval             time.Duration
	BaseEjection         time.Duration
	MaxEjectionPercent   *uint32
	MinHealthPercent     uint32
	ConsecutiveErrorsOld uint32 // deprecated consecutiveErrors: gateway errors in Istio
}

// TLSKind is a client's TLS mode.
type TLSKind uint8

// Client TLS modes.
const (
	TLSDisable TLSKind = iota
	TLSSimple
	TLSMutual
	TLSIstioMutual
)

// ClientTLS is how a client connects.
type ClientTLS struct {
	Mode               TLSKind
	ClientCertificate  string // file
	PrivateKey         string
	CACertificates     string
	CredentialName     string
	SANs               []string
	SNI                string
	InsecureSkipVerify bool
	CRL                string
}
