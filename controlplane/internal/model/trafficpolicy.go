package model

import (
	"strings"
	"time"
)

// TrafficPolicy says how endpoints of a destination are used. Nil parts are defaults.
type TrafficPolicy struct {
	LoadBalancer   *LoadBalancer
	ConnectionPool *ConnectionPool
	Outlier        *Outlier
	TLS            *ClientTLS
	Tunnel         *Tunnel
	ProxyProtocol  ProxyProtocol
	RetryBudget    *RetryBudget
	Ports          []PortPolicy
}

// PortPolicy replaces a TrafficPolicy for one port.
type PortPolicy struct {
	Port   uint32
	Policy TrafficPolicy // without Tunnel, ProxyProtocol, RetryBudget and Ports
}

// forPort returns the settings for the port if there are any, else the policy itself.
func (p *TrafficPolicy) forPort(port uint32) (policy *TrafficPolicy, whole bool) {
	if p == nil {
		return nil, false
	}
	for i := range p.Ports {
		if p.Ports[i].Port == port {
			return &p.Ports[i].Policy, true
		}
	}
	return p, false
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
	Hash        *ConsistentHash // for LBRingHash and LBMaglev; nil otherwise
	MinRingSize uint64          // for LBRingHash; 0: Envoy's default
	TableSize   uint64          // for LBMaglev; 0: Envoy's default
	Warmup      *Warmup         // for LBDefault, LBRoundRobin and LBLeastRequest
	// Locality is localityLbSetting or zoneAwareLbSetting; nil: the mesh's.
	Locality *LocalityLB
}

// Warmup gives new endpoints less than their share for a while.
type Warmup struct {
	Window time.Duration
	// Simple: only the window was given (warmupDurationSecs); the rest is Envoy's default.
	Simple         bool
	MinimumPercent float64 // 10
	Aggression     float64 // 1: linear
}

// LocalityLB is locality-aware balancing.
type LocalityLB struct {
	Enabled bool
	// FailoverPriority are labels, most important first: "key" is compared with the client's
	// own label, "key=value" with the value.
	FailoverPriority []string
	Failover         []Failover
	Distribute       []Distribute
	// ZoneAware: zoneAwareLbSetting. Priorities go by region alone; within a region Envoy
	// keeps requests in the zone as far as the zones' capacity allows.
	ZoneAware *ZoneAware
}

// ClientLabels are the labels of a client that priorities depend on.
func (l *LocalityLB) ClientLabels() []string {
	if l == nil {
		return nil
	}
	var out []string
	for _, label := range l.FailoverPriority {
		if !strings.Contains(label, "=") {
			out = append(out, label)
		}
	}
	return out
}

// Failover says which region comes next when From's own endpoints fail.
type Failover struct{ From, To string }

// Distribute splits the traffic of clients in From by locality. Localities are
// "region/zone/subzone", "region/zone/*", "region/*" and "*"; the shares add up to 100.
type Distribute struct {
	From string
	To   []LocalityShare // sorted by locality
}

// LocalityShare is a percentage of a Distribute.
type LocalityShare struct {
	Locality string
	Percent  uint32
}

// ZoneAware is Envoy's zone-aware routing.
type ZoneAware struct {
	MinClusterSize uint32 // 0: Envoy's default of 6
}

// ConsistentHash says what is hashed; exactly one source is set.
type ConsistentHash struct {
	Header   string
	Cookie   *HashCookie
	SourceIP bool
	Query    string
}

// HashCookie is a cookie to hash. With a TTL it is made when the client has none; 0 makes one
// for the session.
type HashCookie struct {
	Name, Path string
	TTL        *time.Duration
	Attributes []HeaderValue // of a cookie that is made: name and value, in the order written
}

// ConnectionPool limits connections. Zero numbers and nil durations mean "not given".
type ConnectionPool struct {
	MaxConnections        int32
	ConnectTimeout        *time.Duration
	Keepalive             *Keepalive
	MaxConnectionDuration *time.Duration
	TCPIdleTimeout        *time.Duration
	MaxPendingRequests    int32
	MaxRequests           int32
	MaxRequestsPerConn    int32
	MaxRetries            int32
	IdleTimeout           *time.Duration
	H2Upgrade             H2Upgrade
	UseClientProtocol     bool
	MaxConcurrentStreams  int32
	HTTP2Keepalive        *HTTP2Keepalive
}

// H2Upgrade says whether HTTP/1.1 is spoken to as HTTP/2.
type H2Upgrade uint8

// Values of h2UpgradePolicy.
const (
	H2UpgradeDefault H2Upgrade = iota // the mesh's
	H2UpgradeNo
	H2UpgradeYes
)

// HTTP2Keepalive pings HTTP/2 connections. A nil part is Envoy's default.
type HTTP2Keepalive struct {
	Interval, Timeout *time.Duration
}

// RetryBudget bounds retries by the requests under way.
type RetryBudget struct {
	Percent        float64 // of active and pending requests
	MinConcurrency uint32
	Interval       time.Duration // requests that began in it count too; 0: those under way alone
}

// Tunnel carries connections through an HTTP proxy.
type Tunnel struct {
	Post       bool // by POST, otherwise CONNECT
	TargetHost string
	TargetPort uint32
}

// ProxyProtocol is the version of the PROXY header sent at the head of connections.
type ProxyProtocol uint8

// Versions of the PROXY protocol.
const (
	ProxyProtocolNone ProxyProtocol = iota
	ProxyProtocolV1
	ProxyProtocolV2
)

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
	Interval             *time.Duration
	BaseEjection         *time.Duration
	MaxEjectionPercent   *uint32
	MinHealthPercent     uint32
	ConsecutiveErrorsOld uint32   // deprecated consecutiveErrors: gateway errors in Istio
	HTTPErrorCodes       []uint32 // statuses that count as errors; nil: 5xx
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
	Mode              TLSKind
	ClientCertificate string // file
	PrivateKey        string
	CACertificates    string
	// Credential is the name of the secret resource with the certificate; that with the roots
	// has CASuffix after it. Empty: files.
	Credential         string
	SANs               []string
	SNI                string
	InsecureSkipVerify bool
	CRL                string
}

// Credentials are the names of the secret resources that the settings refer to.
func (t *ClientTLS) Credentials() []string {
	if t == nil || t.Credential == "" || t.Mode != TLSSimple && t.Mode != TLSMutual {
		return nil
	}
	var out []string
	if t.Mode == TLSMutual {
		out = append(out, t.Credential)
	}
	if !t.InsecureSkipVerify {
		out = append(out, t.Credential+CASuffix)
	}
	return out
}
