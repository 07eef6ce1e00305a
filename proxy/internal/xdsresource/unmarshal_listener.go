package xdsresource

import (
	"crypto/sha256"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Names and types of the network filters that this package reads itself.
const (
	hcmType      = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	tcpProxyType = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
)

// Listener validates a listener. The error is an *Error with every problem.
func (d *Decoder) Listener(m *listenerv3.Listener) (*Listener, error) {
	p := &parser{dec: d}
	p.check("", m)
	l := p.listener(m)
	if err := p.finish("listener", m.GetName()); err != nil {
		return nil, err
	}
	return l, nil
}

//nolint:staticcheck // deprecated_v1.bind_to_port is what older control planes send
func (p *parser) listener(m *listenerv3.Listener) *Listener {
	l := &Listener{
		Name:                             m.GetName(),
		Address:                          p.address("address", m.GetAddress(), false),
		BindToPort:                       boolOr(m.GetBindToPort(), boolOr(m.GetDeprecatedV1().GetBindToPort(), true)),
		Socket:                           p.listenerSocket(m),
		IgnoreConnLimit:                  m.GetIgnoreGlobalConnLimit(),
		BypassOverload:                   m.GetBypassOverloadManager(),
		UseOriginalDst:                   boolOr(m.GetUseOriginalDst(), false),
		StatPrefix:                       m.GetStatPrefix(),
		DrainModifyOnly:                  m.GetDrainType() == listenerv3.Listener_MODIFY_ONLY,
		BufferLimit:                      uint32Or(m.GetPerConnectionBufferLimitBytes(), 0),
		ListenerFiltersTimeout:           p.duration("listener_filters_timeout", m.GetListenerFiltersTimeout(), 15*time.Second),
		ContinueOnListenerFiltersTimeout: m.GetContinueOnListenerFiltersTimeout(),
		AccessLogs:                       p.accessLogs("access_log", m.GetAccessLog()),
		Metadata:                         metadata(m.GetMetadata()),
	}
	if l.Name != "" {
		l.ConnectionLimit = p.dec.keys.Key("envoy.resource_limits.listener." + l.Name + ".connection_limit")
	}
	switch m.GetTrafficDirection() {
	case corev3.TrafficDirection_INBOUND:
		l.Direction = DirectionInbound
	case corev3.TrafficDirection_OUTBOUND:
		l.Direction = DirectionOutbound
	}
	for i, a := range m.GetAdditionalAddresses() {
		l.Addresses = append(l.Addresses, p.address(join(at("additional_addresses", i), "address"), a.GetAddress(), false))
	}
	for i, f := range m.GetListenerFilters() {
		p.listenerFilter(at("listener_filters", i), f, l)
	}
	if len(m.GetFilterChains()) == 0 && m.GetDefaultFilterChain() == nil {
		p.bad("filter_chains", "a listener needs at least one filter chain")
	}
	for i, fc := range m.GetFilterChains() {
		// Names may repeat, as in Envoy: Istio's control plane sends several "virtualInbound".
		here := at("filter_chains", i)
		l.FilterChains = append(l.FilterChains, p.filterChain(here, fc))
	}
	if fc := m.GetDefaultFilterChain(); fc != nil {
		l.Default = p.filterChain("default_filter_chain", fc)
	}
	return l
}

func (p *parser) listenerFilter(path string, f *listenerv3.ListenerFilter, l *Listener) {
	here := join(path, "typed_config")
	off := p.portPredicate(join(path, "filter_disabled"), f.GetFilterDisabled())
	kind := string(f.GetTypedConfig().MessageName())
	if f.GetTypedConfig() == nil {
		kind = f.GetName() // files of Envoy 1.19 and before name these filters without a configuration
	}
	switch kind {
	case "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector":
		var ti tlsinspectorv3.TlsInspector
		l.TLSInspector = p.message(here, f.GetTypedConfig(), &ti)
		l.MaxHello, l.CloseWithoutHello = uint32Or(ti.GetMaxClientHelloSize(), 0), ti.GetCloseConnectionOnClientHelloParsingErrors()
		l.JA3, l.JA4 = ti.GetEnableJa3Fingerprinting().GetValue(), ti.GetEnableJa4Fingerprinting().GetValue()
	case "envoy.filters.listener.tls_inspector":
		l.TLSInspector = true
	case "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector":
		l.HTTPInspector = p.message(here, f.GetTypedConfig(), &httpinspectorv3.HttpInspector{})
	case "envoy.filters.listener.http_inspector":
		l.HTTPInspector = true
	case "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol":
		if l.TLSInspector || l.HTTPInspector {
			p.bad(path, "must stand before tls_inspector and http_inspector: the header comes before what they look at")
		}
		l.ProxyProtocol = p.proxyProtocol(here, f.GetTypedConfig())
	case "envoy.filters.listener.proxy_protocol":
		l.ProxyProtocol = &ProxyProtocol{}
	case "envoy.extensions.filters.listener.original_dst.v3.OriginalDst":
		l.OriginalDst = p.message(here, f.GetTypedConfig(), &originaldstv3.OriginalDst{})
	case "envoy.filters.listener.original_dst":
		l.OriginalDst = true
	default:
		p.bad(path, "listener filter %q (%s) is not supported", f.GetName(), kind)
	}
	switch {
	case off == nil:
	case strings.Contains(kind, "tls_inspector"):
		l.TLSInspectorOff = off
	case strings.Contains(kind, "http_inspector"):
		l.HTTPInspectorOff = off
	default:
		p.bad(join(path, "filter_disabled"), "is supported for tls_inspector and http_inspector only")
	}
}

func (p *parser) proxyProtocol(path string, a *anypb.Any) *ProxyProtocol {
	var m proxyprotocolv3.ProxyProtocol
	if !p.message(path, a, &m) {
		return nil
	}
	out := &ProxyProtocol{
		AllowWithout: m.GetAllowRequestsWithoutProxyProtocol(), StatPrefix: m.GetStatPrefix(),
		ToFilterState: m.GetTlvLocation() == proxyprotocolv3.ProxyProtocol_FILTER_STATE,
		Pass:          p.tlvFilter(join(path, "pass_through_tlvs"), m.GetPassThroughTlvs()),
	}
	for _, v := range m.GetDisallowedVersions() {
		out.Disallowed[1+int(v)] = true // V1 is 0
	}
	if out.Disallowed[1] && out.Disallowed[2] {
		p.bad(join(path, "disallowed_versions"), "no version is left")
	}
	for i, r := range m.GetRules() {
		here := at(join(path, "rules"), i)
		if r.GetTlvType() > 255 {
			p.bad(join(here, "tlv_type"), "%d does not fit a byte", r.GetTlvType())
		}
		kv := r.GetOnTlvPresent()
		rule := TLVRule{Type: byte(r.GetTlvType()), Namespace: kv.GetMetadataNamespace(), Key: kv.GetKey()}
		rule.Base64 = kv.GetValueStringEncoding() == proxyprotocolv3.ProxyProtocol_KeyValuePair_BASE64
		if rule.Namespace == "" {
			rule.Namespace = "envoy.filters.listener.proxy_protocol"
		}
		out.Rules = append(out.Rules, rule)
	}
	return out
}

func (p *parser) filterChain(path string, m *listenerv3.FilterChain) *FilterChain {
	fc := &FilterChain{
		Name:                   m.GetName(),
		Match:                  p.chainMatch(join(path, "filter_chain_match"), m.GetFilterChainMatch()),
		TLS:                    p.downstreamTransportSocket(join(path, "transport_socket"), m.GetTransportSocket()),
		TransportSocketTimeout: p.duration(join(path, "transport_socket_connect_timeout"), m.GetTransportSocketConnectTimeout(), 0),
		Metadata:               metadata(m.GetMetadata()),
	}
	if raw, err := (proto.MarshalOptions{Deterministic: true}).Marshal(m); err == nil {
		fc.Fingerprint = sha256.Sum256(raw)
	}
	filters := m.GetFilters()
	if len(filters) == 0 {
		p.bad(join(path, "filters"), "a filter chain needs a terminal filter, such as envoy.filters.network.tcp_proxy")
	}
	for i, f := range filters {
		here := at(join(path, "filters"), i)
		if d := f.GetConfigDiscovery(); d != nil {
			if i == len(filters)-1 {
				p.bad(here, "filter %q cannot stand last: the terminal filter cannot come by discovery", f.GetName())
			}
			fc.Filters = append(fc.Filters, NetworkFilter{Name: f.GetName(), Discovery: p.filterDiscovery(join(here, "config_discovery"), d, true)})
			continue
		}
		fc.Filters = append(fc.Filters, NetworkFilter{
			Name:   f.GetName(),
			Type:   TypeName(f.GetTypedConfig()),
			Config: p.networkExtension(here, f.GetName(), f.GetTypedConfig(), i == len(filters)-1),
		})
	}
	return fc
}

// networkExtension reads the configuration of a network filter. last says whether it stands
// where the terminal filter must stand.
func (p *parser) networkExtension(path, name string, a *anypb.Any, last bool) any {
	here := join(path, "typed_config")
	if a == nil {
		p.bad(path, "network filter %q needs a typed_config", name)
		return nil
	}
	kind := TypeName(a)
	terminal, cfg := true, any(nil)
	switch kind {
	case hcmType:
		cfg = p.httpConnectionManager(here, a)
	case tcpProxyType:
		cfg = p.tcpProxy(here, a)
	default:
		ft, ok := p.dec.ext.Network[kind]
		if !ok {
			p.bad(path, "network filter %q of type %s is not supported", name, kind)
			return nil
		}
		terminal = ft.Terminal
		a, err := fromTypedStruct(a)
		if err == nil {
			cfg, err = ft.Parse(p.dec, a)
		}
		if err != nil {
			p.badErr(here, err)
		}
	}
	if terminal != last {
		if terminal {
			p.bad(path, "filter %q ends the chain and must stand last", name)
		} else if !strings.HasPrefix(path, "filters") { // upstream filter lists have no terminal filter
			p.bad(path, "filter %q cannot stand last: a terminal filter such as envoy.filters.network.tcp_proxy must follow", name)
		}
	}
	return cfg
}

func (p *parser) chainMatch(path string, m *listenerv3.FilterChainMatch) FilterChainMatch {
	out := FilterChainMatch{
		DestinationPort:      uint16(uint32Or(m.GetDestinationPort(), 0)),
		PrefixRanges:         p.cidrs(join(path, "prefix_ranges"), m.GetPrefixRanges()),
		TransportProtocol:    m.GetTransportProtocol(),
		ApplicationProtocols: m.GetApplicationProtocols(),
		DirectSourcePrefixes: p.cidrs(join(path, "direct_source_prefix_ranges"), m.GetDirectSourcePrefixRanges()),
		SourcePrefixes:       p.cidrs(join(path, "source_prefix_ranges"), m.GetSourcePrefixRanges()),
	}
	switch m.GetSourceType() {
	case listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK:
		out.SourceType = SourceSameIPOrLoopback
	case listenerv3.FilterChainMatch_EXTERNAL:
		out.SourceType = SourceExternal
	}
	switch out.TransportProtocol {
	case "", "raw_buffer", "tls":
	default:
		p.bad(join(path, "transport_protocol"), "%q is not supported, use raw_buffer or tls", out.TransportProtocol)
	}
	for i, n := range m.GetServerNames() {
		if strings.Contains(strings.TrimPrefix(n, "*."), "*") {
			p.bad(at(join(path, "server_names"), i), "%q: a wildcard may stand only as the first label", n)
		}
		out.ServerNames = append(out.ServerNames, strings.ToLower(n))
	}
	for _, port := range m.GetSourcePorts() {
		out.SourcePorts = append(out.SourcePorts, uint16(port))
	}
	return out
}
