package xdsresource

import (
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// httpConnectionManager reads the filter that most listeners end in.
func (p *parser) httpConnectionManager(path string, a *anypb.Any) *HTTPConnectionManager {
	var m hcmv3.HttpConnectionManager
	if !p.message(path, a, &m) {
		return nil
	}
	h := &HTTPConnectionManager{
		StatPrefix:                   m.GetStatPrefix(),
		ServerName:                   m.GetServerName(),
		ServerHeader:                 ServerHeader(m.GetServerHeaderTransformation()),
		UseRemoteAddress:             boolOr(m.GetUseRemoteAddress(), false),
		XFFTrustedHops:               m.GetXffNumTrustedHops(),
		SkipXFFAppend:                m.GetSkipXffAppend(),
		AppendXFPort:                 m.GetAppendXForwardedPort(),
		Via:                          m.GetVia(),
		GenerateRequestID:            boolOr(m.GetGenerateRequestId(), true),
		PreserveExternalRequestID:    m.GetPreserveExternalRequestId(),
		AlwaysSetRequestIDInResponse: m.GetAlwaysSetRequestIdInResponse(), RouteResolutionStats: m.GetRecordRouteResolutionStats(),
		ForwardClientCert:     ForwardClientCert(m.GetForwardClientCertDetails()),
		Proxy100Continue:      m.GetProxy_100Continue(),
		NormalizePath:         boolOr(m.GetNormalizePath(), false),
		MergeSlashes:          m.GetMergeSlashes(),
		StripMatchingHostPort: m.GetStripMatchingHostPort(),
		StripAnyHostPort:      m.GetStripAnyHostPort(),
		StripTrailingHostDot:  m.GetStripTrailingHostDot(),
		StreamIdleTimeout:     p.duration(join(path, "stream_idle_timeout"), m.GetStreamIdleTimeout(), 5*time.Minute),
		RequestTimeout:        p.duration(join(path, "request_timeout"), m.GetRequestTimeout(), 0),
		RequestHeadersTimeout: p.duration(join(path, "request_headers_timeout"), m.GetRequestHeadersTimeout(), 0),
		MaxRequestHeadersKB:   uint32Or(m.GetMaxRequestHeadersKb(), 60),
		AccessLogs:            p.accessLogs(join(path, "access_log"), m.GetAccessLog()),
	}
	if c := m.GetInternalAddressConfig(); c != nil {
		h.InternalUnix = c.GetUnixSockets()
		h.InternalAddresses = p.cidrs(join(path, "internal_address_config.cidr_ranges"), c.GetCidrRanges())
	}
	h.StreamFlushTimeout = p.duration(join(path, "stream_flush_timeout"), m.GetStreamFlushTimeout(), h.StreamIdleTimeout)
	h.Scheme = m.GetSchemeHeaderTransformation().GetSchemeToOverwrite()
	p.hcmLogOptions(path, &m, h)
	if h.ServerName == "" {
		h.ServerName = "envoy"
	}
	switch m.GetCodecType() {
	case hcmv3.HttpConnectionManager_AUTO:
		h.Codec = CodecAuto
	case hcmv3.HttpConnectionManager_HTTP1:
		h.Codec = CodecHTTP1
	case hcmv3.HttpConnectionManager_HTTP2:
		h.Codec = CodecHTTP2
	default:
		p.bad(join(path, "codec_type"), "%v is not supported; AUTO, HTTP1 and HTTP2 are", m.GetCodecType())
	}
	if h.StripMatchingHostPort && h.StripAnyHostPort {
		p.bad(join(path, "strip_any_host_port"), "stands beside strip_matching_host_port; only one of them may be set")
	}
	switch m.GetPathWithEscapedSlashesAction() {
	case hcmv3.HttpConnectionManager_IMPLEMENTATION_SPECIFIC_DEFAULT, hcmv3.HttpConnectionManager_KEEP_UNCHANGED:
		h.EscapedSlashes = EscapedSlashesKeep
	case hcmv3.HttpConnectionManager_REJECT_REQUEST:
		h.EscapedSlashes = EscapedSlashesReject
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT:
		h.EscapedSlashes = EscapedSlashesUnescapeRedirect
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD:
		h.EscapedSlashes = EscapedSlashesUnescapeForward
	}
	if d := m.GetSetCurrentClientCertDetails(); d != nil {
		h.XFCCSubject, h.XFCCCert, h.XFCCChain = boolOr(d.GetSubject(), false), d.GetCert(), d.GetChain()
		h.XFCCDNS, h.XFCCURI = d.GetDns(), d.GetUri()
	}
	p.hcmEdge(path, &m, h)
	p.hcmProtocol(path, &m, h)
	p.hcmRoutes(path, &m, h)
	p.hcmFilters(path, &m, h)
	p.hcmUpgrades(path, &m, h)
	p.hcmLocalReply(join(path, "local_reply_config"), m.GetLocalReplyConfig(), h)
	if t := m.GetTracing(); t != nil {
		h.Tracing = p.tracing(join(path, "tracing"), t)
	}
	if x := m.GetRequestIdExtension(); x.GetTypedConfig() != nil {
		here := join(path, "request_id_extension.typed_config")
		var u uuidv3.UuidRequestIdConfig
		if p.message(here, x.GetTypedConfig(), &u) {
			if !boolOr(u.GetPackTraceReason(), true) { // the default is what is built
				p.bad(here, "pack_trace_reason cannot be turned off")
			}
			if h.Tracing != nil && !boolOr(u.GetUseRequestIdForTraceSampling(), true) {
				h.Tracing.Always = true
			}
		}
	}
	return h
}

// hcmLogOptions reads when access logs have further entries. The older fields count where the newer are not set, as in Envoy.
func (p *parser) hcmLogOptions(path string, m *hcmv3.HttpConnectionManager, h *HTTPConnectionManager) {
	o := m.GetAccessLogOptions()
	here := join(path, "access_log_options.access_log_flush_interval")
	interval := o.GetAccessLogFlushInterval()
	if o == nil {
		here, interval = join(path, "access_log_flush_interval"), m.GetAccessLogFlushInterval()
	}
	h.LogInterval = p.duration(here, interval, 0)
	if interval != nil && h.LogInterval < time.Millisecond {
		p.bad(here, "%v is less than 1 ms", h.LogInterval)
	}
	h.LogOnStart, h.LogOnTunnel = o.GetFlushAccessLogOnNewRequest(), o.GetFlushLogOnTunnelSuccessfullyEstablished()
	if o == nil {
		h.LogOnStart = m.GetFlushAccessLogOnNewRequest()
	}
}

func (p *parser) hcmProtocol(path string, m *hcmv3.HttpConnectionManager, h *HTTPConnectionManager) {
	common := join(path, "common_http_protocol_options")
	o := m.GetCommonHttpProtocolOptions()
	h.IdleTimeout = p.duration(join(common, "idle_timeout"), o.GetIdleTimeout(), time.Hour)
	h.MaxConnectionDuration = p.duration(join(common, "max_connection_duration"), o.GetMaxConnectionDuration(), 0)
	h.MaxStreamDuration = p.duration(join(common, "max_stream_duration"), o.GetMaxStreamDuration(), 0)
	h.MaxHeadersCount = uint32Or(o.GetMaxHeadersCount(), 100)
	h.MaxRequestsPerConnection = uint32Or(o.GetMaxRequestsPerConnection(), 0)
	switch o.GetHeadersWithUnderscoresAction() {
	case corev3.HttpProtocolOptions_REJECT_REQUEST:
		h.Underscores = UnderscoresReject
	case corev3.HttpProtocolOptions_DROP_HEADER:
		h.Underscores = UnderscoresDrop
	}
	if o.GetMaxResponseHeadersKb() != nil {
		p.bad(join(common, "max_response_headers_kb"), "belongs to a cluster's protocol options")
	}
	if h.Codec != CodecHTTP2 {
		p.noHTTP1StreamErrors(path, m)
	}
	h.HTTP2 = p.http2(join(path, "http2_protocol_options"), m.GetHttp2ProtocolOptions(), m.GetStreamErrorOnInvalidHttpMessage())
	h.DrainTimeout = p.duration(join(path, "drain_timeout"), m.GetDrainTimeout(), 5*time.Second)
	h.DelayedCloseTimeout = p.duration(join(path, "delayed_close_timeout"), m.GetDelayedCloseTimeout(), time.Second)
	if o := m.GetHttpProtocolOptions(); o != nil {
		h.HTTP1, h.AcceptHTTP10, h.AllowChunkedLength = p.http1(join(path, "http_protocol_options"), o)
		h.DefaultHostForHTTP10 = o.GetDefaultHostForHttp_10()
	}
}

// noHTTP1StreamErrors refuses what would keep a connection open after an invalid message, where HTTP/1 may be spoken.
func (p *parser) noHTTP1StreamErrors(path string, m *hcmv3.HttpConnectionManager) {
	own := m.GetHttpProtocolOptions().GetOverrideStreamErrorOnInvalidHttpMessage()
	if !boolOr(own, boolOr(m.GetStreamErrorOnInvalidHttpMessage(), false)) {
		return
	}
	here := join(path, "stream_error_on_invalid_http_message")
	if own != nil {
		here = join(path, "http_protocol_options.override_stream_error_on_invalid_http_message")
	}
	p.bad(here, "cannot be turned on for HTTP/1: a connection is closed after an invalid message; http2_protocol_options.override_stream_error_on_invalid_http_message is for HTTP/2 alone")
}

// http1 reads HTTP/1 options of either side, with those that only a server has beside them.
func (p *parser) http1(path string, o *corev3.Http1ProtocolOptions) (out HTTP1Options, accept10, chunkedLength bool) {
	out = HTTP1Options{EnableTrailers: o.GetEnableTrailers()}
	for i, m := range o.GetIgnoreHttp_11Upgrade() {
		out.IgnoreUpgrade = append(out.IgnoreUpgrade, p.stringMatch(at(join(path, "ignore_http_11_upgrade"), i), m))
	}
	if !boolOr(o.GetAllowAbsoluteUrl(), true) {
		p.bad(join(path, "allow_absolute_url"), "cannot be turned off: RFC 9112, section 3.2.2, wants servers to take the absolute form")
	}
	out.ProperCaseWords = o.GetHeaderKeyFormat().GetProperCaseWords() != nil
	if f := o.GetHeaderKeyFormat().GetStatefulFormatter(); f != nil {
		out.PreserveCase = p.preserveCase(join(path, "header_key_format.stateful_formatter"), f)
	}
	return out, o.GetAcceptHttp_10(), o.GetAllowChunkedLength()
}

func (p *parser) hcmRoutes(path string, m *hcmv3.HttpConnectionManager, h *HTTPConnectionManager) {
	switch r := m.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_RouteConfig:
		h.Routes = p.routeConfig(join(path, "route_config"), r.RouteConfig)
		p.noVHDS(join(path, "route_config"), r.RouteConfig)
	case *hcmv3.HttpConnectionManager_Rds:
		h.RouteConfigName = r.Rds.GetRouteConfigName()
		h.RouteSource, h.RouteFetchTimeout = p.source(join(path, "rds.config_source"), r.Rds.GetConfigSource())
	case *hcmv3.HttpConnectionManager_ScopedRoutes:
		h.Scopes = p.scopedRoutes(join(path, "scoped_routes"), r.ScopedRoutes)
	default:
		p.bad(path, "routes are required: rds, route_config or scoped_routes")
	}
}

func (p *parser) hcmFilters(path string, m *hcmv3.HttpConnectionManager, h *HTTPConnectionManager) {
	filters := m.GetHttpFilters()
	if len(filters) == 0 {
		p.bad(join(path, "http_filters"), "at least envoy.filters.http.router is needed")
	}
	for i, f := range filters {
		here := at(join(path, "http_filters"), i)
		last := i == len(filters)-1
		if d := f.GetConfigDiscovery(); d != nil {
			if last {
				p.bad(here, "filter %q cannot stand last: envoy.filters.http.router must follow, with a typed_config", f.GetName())
			}
			h.Filters = append(h.Filters, HTTPFilter{Name: f.GetName(), Disabled: f.GetDisabled(), Discovery: p.filterDiscovery(join(here, "config_discovery"), d, false)})
			continue
		}
		kind, ft, ok := p.dec.httpFilterType(f)
		if !ok {
			what := "no typed_config"
			if f.GetTypedConfig() != nil {
				what = "type " + kind
			}
			p.bad(here, "HTTP filter %q (%s) is not supported", f.GetName(), what)
			continue
		}
		if ft.Terminal != last {
			if ft.Terminal {
				p.bad(here, "the router must be the last filter")
			} else {
				p.bad(here, "filter %q cannot stand last: envoy.filters.http.router must follow", f.GetName())
			}
		}
		if ft.Terminal && f.GetDisabled() {
			p.bad(join(here, "disabled"), "the router cannot be disabled")
		}
		a, err := fromTypedStruct(f.GetTypedConfig())
		if err != nil {
			p.bad(join(here, "typed_config"), "%v", err)
			continue
		}
		cfg, err := ft.Parse(p.dec, a)
		if err != nil {
			p.badErr(join(here, "typed_config"), err)
			continue
		}
		h.Filters = append(h.Filters, HTTPFilter{Name: f.GetName(), Type: kind, Config: cfg, Disabled: f.GetDisabled()})
	}
}

// httpFilterType finds a filter by the type of its configuration, or by name where it has none.
func (d *Decoder) httpFilterType(f *hcmv3.HttpFilter) (kind string, ft HTTPFilterType, ok bool) {
	if a := f.GetTypedConfig(); a != nil {
		kind = TypeName(a)
		ft, ok = d.ext.HTTP[kind]
		return kind, ft, ok
	}
	for kind, ft := range d.ext.HTTP {
		if ft.OptionalConfig && ft.Name == f.GetName() {
			return kind, ft, true
		}
	}
	return "", HTTPFilterType{}, false
}

func (p *parser) hcmUpgrades(path string, m *hcmv3.HttpConnectionManager, h *HTTPConnectionManager) {
	for i, u := range m.GetUpgradeConfigs() {
		if h.UpgradeTypes == nil {
			h.UpgradeTypes = map[string]bool{}
		}
		kind := strings.ToLower(u.GetUpgradeType())
		if kind == "" {
			p.bad(join(at(join(path, "upgrade_configs"), i), "upgrade_type"), "is required")
		}
		h.UpgradeTypes[kind] = boolOr(u.GetEnabled(), true)
	}
}

func (p *parser) hcmLocalReply(path string, m *hcmv3.LocalReplyConfig, h *HTTPConnectionManager) {
	if m == nil {
		return
	}
	h.LocalReplyBody = p.bodyFormat(join(path, "body_format"), m.GetBodyFormat())
	for i, mp := range m.GetMappers() {
		here := at(join(path, "mappers"), i)
		out := LocalReplyMapper{
			StatusCode:   uint32Or(mp.GetStatusCode(), 0),
			Format:       p.bodyFormat(join(here, "body_format_override"), mp.GetBodyFormatOverride()),
			HeadersToAdd: p.headersToAdd(join(here, "headers_to_add"), mp.GetHeadersToAdd()),
		}
		if mp.GetFilter() != nil {
			out.Filter = p.accessLogFilter(join(here, "filter"), mp.GetFilter())
		}
		if mp.GetBody() != nil {
			body := string(p.dataSource(join(here, "body"), mp.GetBody()))
			out.Body = &body
		}
		h.LocalReplies = append(h.LocalReplies, out)
	}
}

// bodyFormat reads the format of an answer of our own; nil: there is none.
func (p *parser) bodyFormat(path string, m *corev3.SubstitutionFormatString) *BodyFormat {
	if m == nil {
		return nil
	}
	var log AccessLog
	p.logFormat(path, m, &log)
	out := &BodyFormat{Text: log.Text, JSON: log.JSON, OmitEmpty: log.OmitEmptyValues, ContentType: m.GetContentType()}
	if out.ContentType == "" {
		if out.ContentType = "text/plain"; out.JSON != nil {
			out.ContentType = "application/json"
		}
	}
	return out
}

// textFormat reads a format that must be text.
func (p *parser) textFormat(path string, m *corev3.SubstitutionFormatString) string {
	var log AccessLog
	p.logFormat(path, m, &log)
	if log.JSON != nil {
		p.bad(join(path, "json_format"), "text is supported here only")
	}
	return log.Text
}
