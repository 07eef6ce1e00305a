package snapshot

import (
	"cmp"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	meshconfig "istio.io/api/mesh/v1alpha1"

	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/analyze"
	"github.com/lateen-mesh/lateen/config/validate"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Environment is the control plane's: the value of a variable, and whether it is set.
type Environment func(name string) (value string, set bool)

// ParseMesh reads an istio.mesh.v1alpha1.MeshConfig in YAML or JSON over Istio's defaults. It
// refuses unknown fields and values (config.Problems); what is known and has no effect yet is a Problem. Empty
// input gives the defaults.
// env is what headers that name a variable (envName) have of it; nil: there are no variables.
// https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
func ParseMesh(f config.File, env Environment) (*model.Mesh, []Problem, error) {
	in, err := config.ParseMeshConfig(f)
	if err != nil {
		return nil, nil, err
	}
	// Protos do not tell "false" from "not given", Istio's defaults do: look at the text.
	given := map[string]any{}
	if err := yaml.Unmarshal(f.Data, &given); err != nil {
		return nil, nil, fmt.Errorf("%s: mesh config: %w", f.Name, err)
	}
	m := model.DefaultMesh()
	p := &problems{at: func(field string) model.Origin {
		return model.Origin{Kind: "MeshConfig", Name: "mesh", File: f.Name, Field: field}
	}}
	if in.TrustDomain != "" {
		m.TrustDomain = in.TrustDomain
	}
	m.TrustDomainAliases = aliasesOf(m.TrustDomain, in.TrustDomainAliases)
	if in.RootNamespace != "" {
		m.RootNamespace = in.RootNamespace
	}
	if o := in.OutboundTrafficPolicy; o != nil {
		if _, set := nested(given, "outboundTrafficPolicy", "mode"); set {
			m.RegistryOnly = o.Mode == meshconfig.MeshConfig_OutboundTrafficPolicy_REGISTRY_ONLY
			m.DynamicOutbound = o.Mode == meshconfig.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY_DYNAMIC_DNS
		}
		switch {
		case o.Tls == nil:
		case m.DynamicOutbound:
			m.OutboundTLS = clientTLS(o.Tls, "outboundTrafficPolicy.tls", p)
			m.OutboundTLS.Credential = "" // which analyze says: files are for every proxy, a credential is not
		default:
			p.add("outboundTrafficPolicy.tls", "has no effect: it is for mode ALLOW_ANY_DYNAMIC_DNS")
		}
	}
	m.InboundLocalhost = in.InboundTrafficPolicy.GetMode() == meshconfig.MeshConfig_InboundTrafficPolicy_LOCALHOST
	m.AccessLogFile, m.AccessLogText = in.AccessLogFile, in.AccessLogFormat
	if in.AccessLogEncoding == meshconfig.MeshConfig_JSON {
		m.AccessLogJSON = true
		if in.AccessLogFormat != "" {
			m.AccessLogField = map[string]any{}
			if err := json.Unmarshal([]byte(in.AccessLogFormat), &m.AccessLogField); err != nil {
				return nil, nil, fmt.Errorf("%s: mesh config: accessLogFormat: with accessLogEncoding JSON it must be a JSON object: %w", f.Name, err)
			}
			m.AccessLogText = ""
		}
	}
	if in.ConnectTimeout != nil && in.ConnectTimeout.AsDuration() > 0 {
		m.ConnectTimeout = in.ConnectTimeout.AsDuration()
	}
	if in.EnableAutoMtls != nil {
		m.AutoMTLS = in.EnableAutoMtls.Value
	}
	if _, set := given["enableTracing"]; set {
		m.Tracing = in.EnableTracing
	}
	m.Agent, m.Probe = agentSettings(in.DefaultConfig), readinessProbe(in.DefaultConfig.GetReadinessProbe())
	if t := in.DefaultConfig.GetTracing(); t != nil {
		if _, set := nested(given, "defaultConfig", "tracing", "sampling"); set {
			m.TraceSampling = min(max(t.Sampling, 0), 100)
		}
		m.TraceTags, m.TracePathLength = meshTags(t.GetCustomTags()), t.GetMaxPathTagLength()
		m.Tracer, m.TracerAddress = addressTracer(t)
		m.TracerTLS = clientTLS(t.GetTlsSettings(), "defaultConfig.tracing.tlsSettings", p)
		m.NoIstioTags = t.GetEnableIstioTags() != nil && !t.GetEnableIstioTags().GetValue()
	}
	if t := in.DefaultConfig.GetGatewayTopology(); t != nil {
		m.Topology = model.Topology{
			TrustedProxies: t.NumTrustedProxies, ForwardClientCert: model.ForwardClientCert(t.ForwardClientCertDetails), ProxyProtocol: t.ProxyProtocol != nil,
		}
	}
	m.Settings = model.ProxySettings{Headers: in.DefaultConfig.GetProxyHeaders(), Connections: in.DefaultConfig.GetConnectionSettings()}
	m.Runtime = cloneMap(in.DefaultConfig.GetRuntimeValues())
	m.StatsdAddress, _ = netip.ParseAddrPort(in.DefaultConfig.GetStatsdUdpAddress()) // validation knows that it is one
	m.AccessLogService, m.LogService = remoteService(in.DefaultConfig.GetEnvoyAccessLogService(), "defaultConfig.envoyAccessLogService", p), in.EnableEnvoyAccessLogService
	m.MetricsService = remoteService(in.DefaultConfig.GetEnvoyMetricsService(), "defaultConfig.envoyMetricsService", p)
	if m.LogService && m.AccessLogService == nil {
		p.add("enableEnvoyAccessLogService", "has no effect: defaultConfig.envoyAccessLogService.address is missing, which says where the service is")
	}
	for _, s := range in.ConfigSources {
		m.Sources = append(m.Sources, s.GetAddress())
	}
	m.Anchors = anchors(in)
	m.Keepalive = keepalive(in.TcpKeepalive)
	if in.ProtocolDetectionTimeout != nil {
		m.DetectTimeout = ptr(duration(in.ProtocolDetectionTimeout))
	}
	m.ServiceExportTo, m.VirtualServiceExportTo = slices.Clone(in.DefaultServiceExportTo), slices.Clone(in.DefaultVirtualServiceExportTo)
	m.RuleExportTo = slices.Clone(in.DefaultDestinationRuleExportTo)
	if in.LocalityLbSetting != nil {
		m.Locality = localityLB(in.LocalityLbSetting)
	}
	if in.ZoneAwareLbSetting != nil {
		m.Locality = zoneAware(in.ZoneAwareLbSetting) // as in a DestinationRule, where it wins too
	}
	m.Paths = pathNormalizations[in.PathNormalization.GetNormalization()]
	m.MTLS13 = in.MeshMTLS.GetMinProtocolVersion() == meshconfig.MeshConfig_TLSConfig_TLSV1_3
	m.MTLSCiphers = cipherSuites(in.MeshMTLS.GetCipherSuites(), "meshMTLS", p)
	m.TLSCurves, m.TLSCiphers = slices.Clone(in.TlsDefaults.GetEcdhCurves()), cipherSuites(in.TlsDefaults.GetCipherSuites(), "tlsDefaults", p)
	m.TLS13 = in.TlsDefaults.GetMinProtocolVersion() == meshconfig.MeshConfig_TLSConfig_TLSV1_3
	m.NoListenerLog = in.DisableEnvoyListenerLog
	m.InboundStatName, m.OutboundStatName = in.InboundClusterStatName, in.OutboundClusterStatName
	m.H2Upgrade = in.H2UpgradePolicy == meshconfig.MeshConfig_UPGRADE
	if d := duration(in.DnsRefreshRate); d > 0 {
		m.DNSRefresh = d
	}
	m.DefaultPool, m.DefaultOutlier = connectionPool(in.DefaultTrafficPolicy.GetConnectionPool()), outlier(in.DefaultTrafficPolicy.GetOutlierDetection())
	if in.DefaultHttpRetryPolicy != nil {
		m.DefaultRetries = retries(in.DefaultHttpRetryPolicy)
	}
	m.HTTPProxyPort = uint16(in.ProxyHttpPort) // validation knows that it is one
	m.OutboundPort, m.InboundPort = cmp.Or(uint16(in.ProxyListenPort), m.OutboundPort), cmp.Or(uint16(in.ProxyInboundListenPort), m.InboundPort)
	if m.OutboundPort != model.DefaultOutboundPort || m.InboundPort != model.DefaultInboundPort {
		setVariable(&m.Agent, capturePortsVariable, fmt.Sprintf("%d,%d", m.OutboundPort, m.InboundPort))
	}
	if in.EnablePrometheusMerge != nil && !in.EnablePrometheusMerge.Value {
		setVariable(&m.Agent, mergeVariable, "false")
	}
	meshProviders(in, m, env, p)
	for _, s := range in.DiscoverySelectors {
		m.Discovery = append(m.Discovery, labelSelector(s))
	}
	m.Entries = entryVisibility(in.ServiceEntryVisibility, p)
	for _, found := range analyze.MeshConfig(in) {
		p.add(found.Field, "%s", found.Text)
	}
	return m, p.list, nil
}

// remoteService is nil where no address is given. Validation knows that it is HOST:PORT.
func remoteService(in *meshconfig.RemoteService, field string, p *problems) *model.RemoteService {
	host, text, err := net.SplitHostPort(in.GetAddress())
	if err != nil {
		return nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil
	}
	return &model.RemoteService{Host: host, Port: uint32(port), TLS: clientTLS(in.GetTlsSettings(), field+".tlsSettings", p), Keepalive: keepalive(in.GetTcpKeepalive())}
}

// anchors are the roots of caCertificates and of defaultConfig.caCertificatesPem, each by itself. Validation knows that they are some.
func anchors(in *meshconfig.MeshConfig) []model.TrustAnchor {
	var out []model.TrustAnchor
	add := func(text string, domains []string) {
		for _, root := range pems(text) {
			out = append(out, model.TrustAnchor{PEM: root, Domains: domains})
		}
	}
	for _, c := range in.CaCertificates {
		domains := slices.Clone(c.TrustDomains)
		if url := c.GetSpiffeBundleUrl(); url != "" {
			out = append(out, model.TrustAnchor{URL: validate.BundleURL(url), Domains: domains})
		}
		add(c.GetPem(), domains)
	}
	for _, text := range in.DefaultConfig.GetCaCertificatesPem() {
		add(text, nil)
	}
	return out
}

// pems are the certificates of a PEM text, each in PEM.
func pems(text string) []string {
	var out []string
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out
		}
		out = append(out, string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})))
	}
}

// aliasesOf are the trust domains beside the mesh's own, each once.
func aliasesOf(own string, list []string) []string {
	var out []string
	for _, d := range list {
		if d != own && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// pathNormalizations are ours for Istio's; the default is BASE.
var pathNormalizations = map[meshconfig.MeshConfig_ProxyPathNormalization_NormalizationType]model.PathNormalization{
	meshconfig.MeshConfig_ProxyPathNormalization_NONE:                     model.PathsAsTheyAre,
	meshconfig.MeshConfig_ProxyPathNormalization_MERGE_SLASHES:            model.PathsMerged,
	meshconfig.MeshConfig_ProxyPathNormalization_DECODE_AND_MERGE_SLASHES: model.PathsDecoded,
}

// nested finds a value below maps.
func nested(m map[string]any, path ...string) (any, bool) {
	var v any = m
	for _, name := range path {
		inner, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = inner[name]; !ok {
			return nil, false
		}
	}
	return v, true
}
