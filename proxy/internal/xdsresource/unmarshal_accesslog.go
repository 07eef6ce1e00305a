package xdsresource

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	otelv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	// The formatters of Envoy whose operators are built in: a file may name them.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/cel/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/metadata/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/req_without_query/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

func (p *parser) accessLogs(path string, in []*accesslogv3.AccessLog) []AccessLog {
	var out []AccessLog
	for i, m := range in {
		out = append(out, p.accessLog(at(path, i), m))
	}
	return out
}

//nolint:staticcheck // FileAccessLog.format and its JSON forms are deprecated and in wide use
func (p *parser) accessLog(path string, m *accesslogv3.AccessLog) AccessLog {
	log := AccessLog{Name: m.GetName()}
	if m.GetFilter() != nil {
		log.Filter = p.accessLogFilter(join(path, "filter"), m.GetFilter())
	}
	here := join(path, "typed_config")
	a := m.GetTypedConfig()
	switch {
	case a == nil:
		p.bad(path, "access logger %q needs a typed_config", m.GetName())
	case a.MessageIs(&streamv3.StdoutAccessLog{}):
		var s streamv3.StdoutAccessLog
		if p.message(here, a, &s) {
			log.Path = "/dev/stdout"
			p.logFormat(join(here, "log_format"), s.GetLogFormat(), &log)
		}
	case a.MessageIs(&streamv3.StderrAccessLog{}):
		var s streamv3.StderrAccessLog
		if p.message(here, a, &s) {
			log.Path = "/dev/stderr"
			p.logFormat(join(here, "log_format"), s.GetLogFormat(), &log)
		}
	case a.MessageIs(&filev3.FileAccessLog{}):
		var f filev3.FileAccessLog
		if !p.message(here, a, &f) {
			break
		}
		log.Path = f.GetPath()
		switch v := f.GetAccessLogFormat().(type) {
		case *filev3.FileAccessLog_Format:
			log.Text = v.Format
		case *filev3.FileAccessLog_JsonFormat:
			p.jsonFormat(join(here, "json_format"), v.JsonFormat, &log)
		case *filev3.FileAccessLog_TypedJsonFormat:
			log.TypedJSON = true
			p.jsonFormat(join(here, "typed_json_format"), v.TypedJsonFormat, &log)
		case *filev3.FileAccessLog_LogFormat:
			p.logFormat(join(here, "log_format"), v.LogFormat, &log)
		}
	case a.MessageIs(&alsv3.HttpGrpcAccessLogConfig{}):
		var g alsv3.HttpGrpcAccessLogConfig
		if p.message(here, a, &g) {
			s := p.alsCommon(join(here, "common_config"), g.GetCommonConfig(), true)
			s.RequestHeaders, s.ResponseHeaders = g.GetAdditionalRequestHeadersToLog(), g.GetAdditionalResponseHeadersToLog()
			s.ResponseTrailers = g.GetAdditionalResponseTrailersToLog()
			log.Service = s
		}
	case a.MessageIs(&alsv3.TcpGrpcAccessLogConfig{}):
		var g alsv3.TcpGrpcAccessLogConfig
		if p.message(here, a, &g) {
			log.Service = p.alsCommon(join(here, "common_config"), g.GetCommonConfig(), false)
		}
	case a.MessageIs(&otelv3.OpenTelemetryAccessLogConfig{}):
		var o otelv3.OpenTelemetryAccessLogConfig
		if p.message(here, a, &o) {
			log.Service = p.otlpAccessLog(here, &o)
		}
	default:
		p.bad(path, "access logger %q of type %s is not supported", m.GetName(), TypeName(a))
	}
	return log
}

//nolint:staticcheck // text_format is deprecated and in wide use
func (p *parser) logFormat(path string, m *corev3.SubstitutionFormatString, log *AccessLog) {
	if m == nil {
		return
	}
	log.OmitEmptyValues = m.GetOmitEmptyValues()
	switch f := m.GetFormat().(type) {
	case *corev3.SubstitutionFormatString_TextFormat:
		log.Text = f.TextFormat
	case *corev3.SubstitutionFormatString_TextFormatSource:
		log.Text = string(p.dataSource(join(path, "text_format_source"), f.TextFormatSource))
	case *corev3.SubstitutionFormatString_JsonFormat:
		log.TypedJSON = true
		p.jsonFormat(join(path, "json_format"), f.JsonFormat, log)
	}
}

func (p *parser) jsonFormat(path string, s *structpb.Struct, log *AccessLog) {
	log.JSON = s.AsMap()
	p.jsonValue(path, log.JSON)
}

// jsonValue refuses what a JSON format cannot hold.
func (p *parser) jsonValue(path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, sub := range v {
			p.jsonValue(join(path, k), sub)
		}
	case []any:
		for i, sub := range v {
			p.jsonValue(at(path, i), sub)
		}
	case string, float64, bool:
	default:
		p.bad(path, "must be a format string, a map or a list")
	}
}

func (p *parser) comparison(m *accesslogv3.ComparisonFilter) *ComparisonFilter {
	op := "EQ"
	switch m.GetOp() {
	case accesslogv3.ComparisonFilter_GE:
		op = "GE"
	case accesslogv3.ComparisonFilter_LE:
		op = "LE"
	case accesslogv3.ComparisonFilter_NE:
		op = "NE"
	}
	return &ComparisonFilter{Op: op, Value: m.GetValue().GetDefaultValue(), Key: p.dec.keys.Key(m.GetValue().GetRuntimeKey())}
}

func (p *parser) accessLogFilter(path string, m *accesslogv3.AccessLogFilter) *AccessLogFilter {
	f := &AccessLogFilter{}
	list := func(path string, in []*accesslogv3.AccessLogFilter) []*AccessLogFilter {
		var out []*AccessLogFilter
		for i, sub := range in {
			out = append(out, p.accessLogFilter(at(join(path, "filters"), i), sub))
		}
		return out
	}
	switch s := m.GetFilterSpecifier().(type) {
	case *accesslogv3.AccessLogFilter_StatusCodeFilter:
		f.StatusCode = p.comparison(s.StatusCodeFilter.GetComparison())
	case *accesslogv3.AccessLogFilter_DurationFilter:
		f.Duration = p.comparison(s.DurationFilter.GetComparison())
	case *accesslogv3.AccessLogFilter_NotHealthCheckFilter:
		f.NotHealthCheck = true
	case *accesslogv3.AccessLogFilter_TraceableFilter:
		f.Traceable = true
	case *accesslogv3.AccessLogFilter_RuntimeFilter:
		f.RuntimePercent = p.fraction(path, s.RuntimeFilter.GetPercentSampled())
		if f.RuntimePercent == nil {
			f.RuntimePercent = &FractionalPercent{Denominator: 100}
		}
		f.RuntimePercent.Key = p.dec.keys.Key(s.RuntimeFilter.GetRuntimeKey())
	case *accesslogv3.AccessLogFilter_AndFilter:
		f.And = list(join(path, "and_filter"), s.AndFilter.GetFilters())
	case *accesslogv3.AccessLogFilter_OrFilter:
		f.Or = list(join(path, "or_filter"), s.OrFilter.GetFilters())
	case *accesslogv3.AccessLogFilter_HeaderFilter:
		hm := p.headerMatcher(join(path, "header_filter.header"), s.HeaderFilter.GetHeader())
		f.Header = &hm
	case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
		f.ResponseFlag, f.ResponseFlags = true, s.ResponseFlagFilter.GetFlags()
	case *accesslogv3.AccessLogFilter_GrpcStatusFilter:
		f.GRPCStatus = &GRPCStatusFilter{Exclude: s.GrpcStatusFilter.GetExclude()}
		for _, st := range s.GrpcStatusFilter.GetStatuses() {
			f.GRPCStatus.Statuses = append(f.GRPCStatus.Statuses, int(st))
		}
	case *accesslogv3.AccessLogFilter_LogTypeFilter:
		f.LogType = &LogTypeFilter{Exclude: s.LogTypeFilter.GetExclude()}
		for _, t := range s.LogTypeFilter.GetTypes() {
			f.LogType.Types = append(f.LogType.Types, uint8(t))
		}
	case *accesslogv3.AccessLogFilter_MetadataFilter:
		mm := p.metadataMatcher(join(path, "metadata_filter.matcher"), s.MetadataFilter.GetMatcher())
		f.Metadata = &MetadataFilter{Matcher: mm, MatchIfMissing: boolOr(s.MetadataFilter.GetMatchIfKeyNotFound(), true)}
	case *accesslogv3.AccessLogFilter_ExtensionFilter:
		var m celv3.ExpressionFilter
		here := join(path, "extension_filter.typed_config")
		if s.ExtensionFilter.GetTypedConfig() == nil {
			p.bad(here, "is required")
		} else if p.message(here, s.ExtensionFilter.GetTypedConfig(), &m) {
			f.CEL = m.GetExpression()
			if _, err := CompileExpression(f.CEL); err != nil {
				p.bad(join(here, "expression"), "%q: %v", f.CEL, err)
			}
		}
	default:
		p.bad(path, "this access log filter is not supported")
	}
	return f
}
