package model

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// MTLSMode is a server's mTLS mode.
type MTLSMode uint8

// Server mTLS modes. MTLSUnset inherits; at the top it is PERMISSIVE.
const (
	MTLSUnset MTLSMode = iota
	MTLSDisable
	MTLSPermissive
	MTLSStrict
)

// String is Istio's spelling.
func (m MTLSMode) String() string {
	return [...]string{"UNSET", "DISABLE", "PERMISSIVE", "STRICT"}[m]
}

// PeerAuthentication says which connections a workload accepts.
type PeerAuthentication struct {
	Namespace string
	Name      string
	Selector  map[string]string // nil: the namespace; in the root namespace: the mesh
	Mode      MTLSMode
	Ports     map[uint32]MTLSMode // workload ports; only with a selector
	Created   time.Time
	Origin    Origin
	Rev       uint64
}

// Mesh is the mesh-wide configuration with defaults applied.
type Mesh struct {
	TrustDomain string // cluster.local
	// TrustDomainAliases are other trust domains, whose identities are taken for those of the mesh's own.
	TrustDomainAliases []string
	Domain             string // cluster.local
	RootNamespace      string // istio-system
	RegistryOnly       bool   // outboundTrafficPolicy
	// DynamicOutbound: requests to unknown hosts go to the host that they name (ALLOW_ANY_DYNAMIC_DNS), by OutboundTLS; nil: in plain text.
	DynamicOutbound bool
	OutboundTLS     *ClientTLS
	AccessLogFile   string // empty: none unless a Telemetry turns it on
	AccessLogText   string // empty: Istio's default format
	AccessLogJSON   bool
	AccessLogField  map[string]any // accessLogFormat when it is a JSON object and encoding is JSON
	ConnectTimeout  time.Duration  // 10s
	AutoMTLS        bool           // true
	Tracing         bool           // enableTracing, true
	TraceSampling   float64        // percent, 1
	// TraceTags and TracePathLength are those of defaultConfig.tracing; NoIstioTags: enableIstioTags is false there.
	TraceTags       []TraceTag
	TracePathLength uint32 // maxPathTagLength, 0: the proxy's
	// Tracer is the kind of tracer that is named there, without a service: spans go to TracerAddress, a host:port; "" for none.
	Tracer        *Provider
	TracerAddress string
	// TracerTLS is how TracerAddress is connected to (tlsSettings); nil: in plaintext, or as a service of the mesh's is.
	TracerTLS      *ClientTLS
	NoIstioTags    bool
	Keepalive      *Keepalive
	H2Upgrade      bool            // h2UpgradePolicy: UPGRADE
	DNSRefresh     time.Duration   // dnsRefreshRate, 60s
	DefaultPool    *ConnectionPool // defaultTrafficPolicy; nil: none
	DefaultOutlier *Outlier
	// DetectTimeout is protocolDetectionTimeout, 0: none; nil: not given.
	DetectTimeout *time.Duration
	// DefaultRetries is defaultHttpRetryPolicy; nil: Istio's.
	DefaultRetries *Retries
	// Providers are the extensionProviders that have an effect. The access log "envoy" exists without one.
	Providers []*Provider
	// NoStandardMetrics: defaultProviders.metrics names some, and Prometheus is not among them, which alone takes those that proxies keep.
	NoStandardMetrics bool
	// DefaultLogProviders and DefaultTraceProvider are defaultProviders.accessLogging and the first of defaultProviders.tracing.
	DefaultLogProviders                                   []string
	DefaultTraceProvider                                  string
	ServiceExportTo, VirtualServiceExportTo, RuleExportTo []string
	Locality                                              *LocalityLB // localityLbSetting; enabled when nothing is said
	Paths                                                 PathNormalization
	MTLS13                                                bool     // meshMTLS: servers take TLS 1.3 alone
	MTLSCiphers                                           []string // meshMTLS: those of servers up to TLS 1.2
	TLSCurves, TLSCiphers                                 []string // tlsDefaults: of all TLS but the mesh's own; nil: the proxy's
	TLS13                                                 bool     // tlsDefaults: servers with certificates of their own take TLS 1.3 alone where they say nothing
	NoListenerLog                                         bool     // disableEnvoyListenerLog
	// InboundStatName and OutboundStatName are patterns of clusters' names in statistics; "" for their own.
	InboundStatName, OutboundStatName string
	// InboundLocalhost (inboundTrafficPolicy LOCALHOST): what is redirected for a port of the workload's goes to the application on loopback;
	// otherwise to where the client was going.
	InboundLocalhost bool
	HTTPProxyPort    uint16 // proxyHttpPort, 0: none but where a node says so
	// OutboundPort and InboundPort are proxyListenPort and proxyInboundListenPort, for proxies that do not say where connections are redirected to.
	OutboundPort, InboundPort uint16
	// Discovery are discoverySelectors: objects of other namespaces than those that one of them chooses are as if they were not there. None: all count.
	Discovery []LabelSelector
	// Entries is serviceEntryVisibility; nil: ServiceEntries say it themselves.
	Entries *EntryVisibility
	// Probe asks workloads whose groups have none themselves (defaultConfig.readinessProbe); nil: they are not asked.
	Probe *ReadinessProbe
	// Agent is what defaultConfig says of how proxies are run.
	Agent AgentSettings
	// Topology is defaultConfig.gatewayTopology, for gateways that say nothing themselves.
	Topology Topology
	// Settings are defaultConfig.proxyHeaders and connectionSettings, for proxies that say nothing themselves.
	Settings ProxySettings
	// Runtime and StatsdAddress are defaultConfig.runtimeValues and statsdUdpAddress, of the bootstraps that agents make.
	Runtime       map[string]string
	StatsdAddress netip.AddrPort
	// AccessLogService is defaultConfig.envoyAccessLogService, nil for none, and LogService whether proxies log to it (enableEnvoyAccessLogService) where neither a Telemetry nor
	// a default provider says who logs.
	AccessLogService *RemoteService
	// MetricsService is defaultConfig.envoyMetricsService, of the bootstraps that agents make; nil for none.
	MetricsService *RemoteService
	LogService     bool
	// Sources are the addresses of configSources, which count at the start.
	Sources []string
	// Anchors are caCertificates: roots that are trusted beside those of the mesh's own authority.
	Anchors []TrustAnchor
	Rev     uint64
}

// RemoteService is a gRPC service outside of the mesh that proxies know by its address, as the mesh's ProxyConfig has it.
type RemoteService struct {
	Host      string // a name that proxies look up, or an address
	Port      uint32
	TLS       *ClientTLS // nil: plaintext
	Keepalive *Keepalive
}

// TrustAnchor is a root of others, or where to ask for some.
type TrustAnchor struct {
	PEM string // of one certificate; "" where URL says it
	URL string // of a SPIFFE bundle endpoint
	// Domains are the trust domains whose certificates it may sign; nil: all that the mesh knows of.
	Domains []string
}

// BundleURLs are the SPIFFE bundle endpoints of the mesh's anchors.
func (m *Mesh) BundleURLs() []string {
	var out []string
	for _, a := range m.Anchors {
		if a.URL != "" {
			out = append(out, a.URL)
		}
	}
	return out
}

// undeclaredDetection is how long a client may take to say its first bytes where nothing is said
// of a port's protocol.
const undeclaredDetection = time.Second

// Detection is how long a listener waits for the bytes by which a protocol is told; 0: as long
// as it takes. Istio waits for ever where nothing is said, so that servers that speak first need
// to be declared. Here a port that may be one of theirs (undeclared) is taken for opaque bytes
// after a moment, so that they never stall.
func (m *Mesh) Detection(undeclared bool) time.Duration {
	switch {
	case m.DetectTimeout != nil:
		return *m.DetectTimeout
	case undeclared:
		return undeclaredDetection
	}
	return 0
}

// TrustDomains are those of the mesh's identities: its own, then its aliases.
func (m *Mesh) TrustDomains() []string {
	return append([]string{m.TrustDomain}, m.TrustDomainAliases...)
}

// WithAliases adds to identities the same of the other trust domains of the mesh. What is no identity stays as it is.
func (m *Mesh) WithAliases(ids []string) []string {
	if len(m.TrustDomainAliases) == 0 {
		return ids
	}
	out := slices.Clone(ids)
	for _, id := range ids {
		of, err := spiffe.Parse(id)
		if err != nil {
			continue
		}
		for _, of.TrustDomain = range m.TrustDomainAliases {
			if s := of.String(); !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// PathNormalization is what becomes of a request's path before it is matched.
type PathNormalization uint8

// Normalizations. PathsMerged and PathsDecoded do what PathsNormal does, and more.
const (
	PathsNormal    PathNormalization = iota // RFC 3986, section 6
	PathsAsTheyAre                          // nothing
	PathsMerged                             // slashes that follow each other are one
	PathsDecoded                            // the same, and %2F and %5C are slashes
)

// Where redirected connections arrive, as in Istio.
const (
	DefaultOutboundPort = 15001
	DefaultInboundPort  = 15006
)

// CapturePorts are where a proxy takes redirected connections: where its node says that they come, else the mesh.
func (s *Snapshot) CapturePorts(p *Proxy) (outbound, inbound uint32) {
	return uint32(cmp.Or(p.Settings.OutboundPort, s.Mesh.OutboundPort)), uint32(cmp.Or(p.Settings.InboundPort, s.Mesh.InboundPort))
}

// DefaultMesh is the configuration of a mesh that says nothing.
func DefaultMesh() *Mesh {
	return &Mesh{
		TrustDomain: "cluster.local", Domain: "cluster.local", RootNamespace: "istio-system",
		ConnectTimeout: 10 * time.Second, AutoMTLS: true, Tracing: true, TraceSampling: 1, DNSRefresh: time.Minute,
		Locality: &LocalityLB{Enabled: true}, OutboundPort: DefaultOutboundPort, InboundPort: DefaultInboundPort,
	}
}
