package translate

//lint:file-ignore SA1019 Istio still sends common_config of OpenTelemetry's log, which every Envoy knows.

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	otelv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	otlpv1 "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

const (
	fileLogger        = "envoy.access_loggers.file"
	httpServiceLogger = "envoy.access_loggers.http_grpc"
	tcpServiceLogger  = "envoy.access_loggers.tcp_grpc"
	otlpLogger        = "envoy.access_loggers.open_telemetry"
	stdout            = "/dev/stdout"
	// builtinLog is the provider that exists without being declared: it writes to
	// meshConfig.accessLogFile, or to standard output.
	builtinLog = "envoy"
)

// DefaultLogFormat is Istio's default access log line (F3).
// https://istio.io/latest/docs/tasks/observability/logs/access-log/#default-access-log-format
const DefaultLogFormat = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% " +
	"%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% " +
	"%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" " +
	"\"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% " +
	"%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"

// defaultLogJSON is the same line as an object, for accessLogEncoding JSON.
var defaultLogJSON = map[string]any{
	"start_time": "%START_TIME%", "method": "%REQ(:METHOD)%", "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "protocol": "%PROTOCOL%",
	"response_code": "%RESPONSE_CODE%", "response_flags": "%RESPONSE_FLAGS%", "response_code_details": "%RESPONSE_CODE_DETAILS%",
	"connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%", "bytes_received": "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%",
	"duration": "%DURATION%", "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
	"user_agent": "%REQ(USER-AGENT)%", "request_id": "%REQ(X-REQUEST-ID)%", "authority": "%REQ(:AUTHORITY)%",
	"upstream_host": "%UPSTREAM_HOST%", "upstream_cluster": "%UPSTREAM_CLUSTER%", "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
	"downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%", "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
	"requested_server_name": "%REQUESTED_SERVER_NAME%", "route_name": "%ROUTE_NAME%",
	"upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}

// loggers are the access loggers of a proxy's listeners for one direction: of requests, of connections, and of the listener itself, which log connections that no
// filter chain or route took (flag NR).
type loggers struct{ requests, connections, listener []*accesslogv3.AccessLog }

func accessLogs(s *model.Snapshot, p *model.Proxy, d direction) (out loggers) {
	providers, byMesh := logProviders(s, p, d)
	for _, log := range providers {
		l := accessLog(s, p, log.provider)
		if l == nil {
			continue
		}
		noRoute := noRouteFilter()
		if log.filter != "" {
			l.Filter = expressionFilter(log.filter)
			noRoute = &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{
				AndFilter: &accesslogv3.AndFilter{Filters: []*accesslogv3.AccessLogFilter{noRoute, l.Filter}},
			}}
		}
		out.requests, out.connections = append(out.requests, l), append(out.connections, l)
		if !s.Mesh.NoListenerLog {
			out.listener = append(out.listener, &accesslogv3.AccessLog{Name: l.Name, ConfigType: l.ConfigType, Filter: noRoute})
		}
	}
	if byMesh && s.Mesh.LogService && s.Mesh.AccessLogService != nil {
		to := collector{accessLogCluster, s.Mesh.AccessLogService.Host}
		out.requests = append(out.requests, toService(&model.GRPCLog{HTTP: true}, to))
		out.connections = append(out.connections, toService(&model.GRPCLog{}, to))
		if !s.Mesh.NoListenerLog {
			l := toService(&model.GRPCLog{Name: "listener_envoy_accesslog"}, to)
			l.Filter = noRouteFilter()
			out.listener = append(out.listener, l)
		}
	}
	return out
}

func noRouteFilter() *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{
		FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NR"}}},
	}
}

// expressionFilter passes what a CEL expression is true of.
func expressionFilter(expression string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{ExtensionFilter: &accesslogv3.ExtensionFilter{
		Name:       "envoy.access_loggers.extension_filters.cel",
		ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: toAny(&celv3.ExpressionFilter{Expression: expression})},
	}}}
}

// providerLog is a provider that logs what its filter is true of; "": everything.
type providerLog struct{ provider, filter string }

// logProviders decides who logs: without a Telemetry that speaks of the direction, what the mesh says; with some, those providers that the most
// particular of them names, and of these the ones that no rule disables. A provider's filter is that of the last rule that names the provider or has a
// filter. byMesh says that it is the mesh's older settings alone that speak: neither a Telemetry nor default providers.
func logProviders(s *model.Snapshot, p *model.Proxy, d direction) (list []providerLog, byMesh bool) {
	unfiltered := func(names []string) (out []providerLog) {
		for _, n := range names {
			out = append(out, providerLog{provider: n})
		}
		return out
	}
	byDefault := s.Mesh.DefaultLogProviders
	if len(byDefault) == 0 && s.Mesh.AccessLogFile != "" {
		byDefault = []string{builtinLog}
	}
	var levels [][]model.AccessLogging
	said := false
	inScope := byDefault
	for _, t := range s.Telemetry(p.Namespace, p.Labels) {
		levels = append(levels, t.Logs)
		var named []string
		for _, l := range t.Logs {
			said = said || concerns(l.Mode, d)
			named = append(named, l.Providers...)
		}
		if len(named) > 0 {
			inScope = named
		}
	}
	if !said {
		return unfiltered(byDefault), len(s.Mesh.DefaultLogProviders) == 0
	}
	if len(inScope) == 0 {
		byDefault, inScope = []string{builtinLog}, []string{builtinLog}
	}
	var out []providerLog
	filters := map[string]string{}
	inherited := byDefault
	for _, rules := range levels {
		for _, l := range rules {
			if len(l.Providers) > 0 {
				inherited = l.Providers
			}
			if !concerns(l.Mode, d) {
				continue
			}
			for _, name := range inherited {
				at := slices.IndexFunc(out, func(l providerLog) bool { return l.provider == name })
				switch disabled := l.Disabled != nil && *l.Disabled; {
				case disabled && at >= 0:
					out = slices.Delete(out, at, at+1)
				case !disabled && at < 0 && slices.Contains(inScope, name):
					out = append(out, providerLog{provider: name})
				}
				if len(l.Providers) > 0 || l.Filter != "" {
					filters[name] = l.Filter
				}
			}
		}
	}
	for i := range out {
		out[i].filter = filters[out[i].provider]
	}
	return out, false
}

// accessLog is the logger of a provider; nil when there is none, or when its service has no cluster with the proxy.
func accessLog(s *model.Snapshot, p *model.Proxy, name string) *accesslogv3.AccessLog {
	pr := s.Mesh.Provider(name)
	switch {
	case pr == nil && name == builtinLog:
		return toFile(builtinFile(s.Mesh))
	case pr == nil:
		return nil // reported when the Telemetry was read
	case pr.File != nil:
		return toFile(pr.File)
	}
	to, ok := collectorOf(s, p, pr)
	switch {
	case ok && pr.GRPCLog != nil:
		return toService(pr.GRPCLog, to)
	case ok && pr.OTLPLog != nil:
		return toOTLP(pr.OTLPLog, to)
	}
	return nil
}

// builtinFile is the log that exists without a provider.
func builtinFile(mesh *model.Mesh) *model.FileLog {
	out := &model.FileLog{Path: mesh.AccessLogFile, Text: mesh.AccessLogText, JSON: mesh.AccessLogField}
	if out.Path == "" {
		out.Path = stdout
	}
	if mesh.AccessLogJSON && out.JSON == nil {
		out.JSON = defaultLogJSON
	}
	return out
}

func toFile(l *model.FileLog) *accesslogv3.AccessLog {
	cfg := &filev3.FileAccessLog{Path: l.Path}
	format := &corev3.SubstitutionFormatString{OmitEmptyValues: l.OmitEmpty}
	if l.JSON != nil {
		fields := l.JSON
		if len(fields) == 0 { // "labels: {}" asks for the default object
			fields = defaultLogJSON
		}
		format.Format = &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: toStruct(fields)}
	} else {
		text := cmp.Or(l.Text, DefaultLogFormat)
		if !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		format.Format = &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: text},
		}}
	}
	cfg.AccessLogFormat = &filev3.FileAccessLog_LogFormat{LogFormat: format}
	return logger(fileLogger, cfg)
}

// toService logs to an access log service of Envoy's.
func toService(l *model.GRPCLog, to collector) *accesslogv3.AccessLog {
	common := &alsv3.CommonGrpcAccessLogConfig{
		LogName: l.Name, GrpcService: to.grpc(), TransportApiVersion: corev3.ApiVersion_V3, FilterStateObjectsToLog: l.Objects,
	}
	if l.HTTP {
		common.LogName = cmp.Or(l.Name, "http_envoy_accesslog")
		return logger(httpServiceLogger, &alsv3.HttpGrpcAccessLogConfig{
			CommonConfig: common, AdditionalRequestHeadersToLog: l.RequestHeaders,
			AdditionalResponseHeadersToLog: l.ResponseHeaders, AdditionalResponseTrailersToLog: l.ResponseTrailers,
		})
	}
	common.LogName = cmp.Or(l.Name, "tcp_envoy_accesslog")
	return logger(tcpServiceLogger, &alsv3.TcpGrpcAccessLogConfig{CommonConfig: common})
}

// toOTLP logs by OpenTelemetry's protocol: the line as the body of a record, labels as its attributes.
func toOTLP(l *model.OTLPLog, to collector) *accesslogv3.AccessLog {
	text := func(v string) *otlpv1.AnyValue {
		return &otlpv1.AnyValue{Value: &otlpv1.AnyValue_StringValue{StringValue: v}}
	}
	cfg := &otelv3.OpenTelemetryAccessLogConfig{
		CommonConfig: &alsv3.CommonGrpcAccessLogConfig{
			LogName: cmp.Or(l.Name, "otel_envoy_accesslog"), GrpcService: to.grpc(), TransportApiVersion: corev3.ApiVersion_V3,
		},
		DisableBuiltinLabels: true, Body: text(cmp.Or(l.Text, DefaultLogFormat)),
	}
	for _, name := range slices.Sorted(maps.Keys(l.Labels)) {
		if cfg.Attributes == nil {
			cfg.Attributes = &otlpv1.KeyValueList{}
		}
		cfg.Attributes.Values = append(cfg.Attributes.Values, &otlpv1.KeyValue{Key: name, Value: text(l.Labels[name])})
	}
	return logger(otlpLogger, cfg)
}

func logger(name string, cfg proto.Message) *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{Name: name, ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: toAny(cfg)}}
}
