package xdsresource

import (
	"net/netip"
	"slices"
	"strings"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	customv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/custom_header/v3"
	xffv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/xff/v3"
)

// IPDetection is one of original_ip_detection_extensions: a way to tell who the client is.
type IPDetection struct {
	// Header is the one that has the address; "": x-forwarded-for has it.
	Header string
	// Trusted: who is found by Header may be internal.
	Trusted bool
	// RejectStatus answers a request in whose Header there is no address; 0: the next way is tried.
	RejectStatus int

	// Of x-forwarded-for: the address TrustedHops from the right, or with TrustedProxies that of the first from the right that is none of
	// them, if the connection comes from one of them.
	TrustedHops    uint32
	TrustedProxies []netip.Prefix
	// AppendXFF: the connection's address is appended, when the client was found by this.
	AppendXFF bool
}

// ProxyStatus is ProxyStatusConfig: what the header Proxy-Status of RFC 9209 says of an answer that is an error.
type ProxyStatus struct {
	Name                                        string // "": the server's name; see NodeID
	NodeID                                      bool   // the name is the node's
	NoDetails, NoTermination, NoFlags, SetsCode bool
}

// hcmEdge reads what says who the client is, and what is told to it and of it.
func (p *parser) hcmEdge(path string, m *hcmv3.HttpConnectionManager, h *HTTPConnectionManager) {
	exts := join(path, "original_ip_detection_extensions")
	for i, x := range m.GetOriginalIpDetectionExtensions() {
		here := join(at(exts, i), "typed_config")
		var c customv3.CustomHeaderConfig
		if TypeName(x.GetTypedConfig()) == "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig" {
			if p.message(here, x.GetTypedConfig(), &c) {
				h.Detection = append(h.Detection, customDetection(&c))
			}
			continue
		}
		var xff xffv3.XffConfig
		if p.message(here, x.GetTypedConfig(), &xff) {
			if xff.GetXffNumTrustedHops() > 0 && xff.GetXffTrustedCidrs() != nil {
				p.bad(join(here, "xff_trusted_cidrs"), "stands beside xff_num_trusted_hops; only one of them may be set")
			}
			h.Detection = append(h.Detection, IPDetection{
				TrustedHops:    xff.GetXffNumTrustedHops(),
				TrustedProxies: p.cidrs(join(here, "xff_trusted_cidrs.cidrs"), xff.GetXffTrustedCidrs().GetCidrs()),
				AppendXFF:      !boolOr(xff.GetSkipXffAppend(), true),
			})
		}
	}
	if len(h.Detection) > 0 && (h.UseRemoteAddress || h.XFFTrustedHops > 0) {
		p.bad(exts, "stand beside use_remote_address or xff_num_trusted_hops; only one of them may say who the client is")
	}
	for i, x := range m.GetEarlyHeaderMutationExtensions() {
		var e earlyv3.HeaderMutation
		here := join(at(join(path, "early_header_mutation_extensions"), i), "typed_config")
		if p.message(here, x.GetTypedConfig(), &e) {
			h.EarlyMutations = append(h.EarlyMutations, p.headerMutations(join(here, "mutations"), e.GetMutations())...)
		}
	}
	h.AddUserAgent, h.AppendLocalOverload = boolOr(m.GetAddUserAgent(), false), m.GetAppendLocalOverload()
	h.HTTPSPorts = p.ports(join(path, "forward_proto_config.https_destination_ports"), m.GetForwardProtoConfig().GetHttpsDestinationPorts())
	h.HTTPPorts = p.ports(join(path, "forward_proto_config.http_destination_ports"), m.GetForwardProtoConfig().GetHttpDestinationPorts())
	common := join(path, "common_http_protocol_options")
	h.DurationJitter = p.jitter(join(common, "max_connection_duration_jitter"), m.GetCommonHttpProtocolOptions().GetMaxConnectionDurationJitter())
	h.DrainJitter = p.jitter(join(path, "drain_timeout_jitter"), m.GetDrainTimeoutJitter())
	h.EndWithRequest = m.GetHttp1SafeMaxConnectionDuration()
	if c := m.GetProxyStatusConfig(); c != nil {
		h.ProxyStatus = &ProxyStatus{
			Name: c.GetLiteralProxyName(), NodeID: c.GetUseNodeId(), NoDetails: c.GetRemoveDetails(),
			NoTermination: c.GetRemoveConnectionTerminationDetails(), NoFlags: c.GetRemoveResponseFlags(), SetsCode: c.GetSetRecommendedResponseCode(),
		}
	}
}

func customDetection(c *customv3.CustomHeaderConfig) IPDetection {
	d := IPDetection{Header: strings.ToLower(c.GetHeaderName()), Trusted: c.GetAllowExtensionToSetAddressAsTrusted()}
	if s := c.GetRejectWithStatus(); s != nil {
		if d.RejectStatus = int(s.GetCode()); d.RejectStatus < 400 || d.RejectStatus > 511 { // as the field has it
			d.RejectStatus = 403
		}
	}
	return d
}

func (p *parser) ports(path string, in []uint32) []uint16 {
	var out []uint16
	for i, n := range in {
		if n == 0 || n > 65535 {
			p.bad(at(path, i), "%d is no port", n)
		}
		out = append(out, uint16(n))
	}
	return out
}

// ProtoOf is the protocol of a port that the PROXY protocol has told, proto for one that forward_proto_config does not name.
func (h *HTTPConnectionManager) ProtoOf(port uint16, proto string) string {
	switch {
	case slices.Contains(h.HTTPSPorts, port):
		return "https"
	case slices.Contains(h.HTTPPorts, port):
		return "http"
	}
	return proto
}
