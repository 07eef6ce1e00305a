package translate

import (
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

const (
	fileLogger = "envoy.access_loggers.file"
	stdout     = "/dev/stdout"
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

// accessLogs returns the access loggers of a proxy's listeners for one direction, and those of
// the listener itself, which log connections that no filter chain or route took (flag NR).
func accessLogs(s *model.Snapshot, p *model.Proxy, d direction) (streams, listener []*accesslogv3.AccessLog) {
	for _, prov := range logProviders(s, p, d) {
		l, ok := fileLog(s.Mesh, prov)
		if !ok {
			continue
		}
		streams = append(streams, l)
		if s.Mesh.NoListenerLog {
			continue
		}
		noRoute, _ := fileLog(s.Mesh, prov)
		noRoute.Filter = &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
			ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NR"}},
		}}
		listener = append(listener, noRoute)
	}
	return streams, listener
}

// logProviders decides who logs: without a Telemetry, meshConfig.accessLogFile; with one, what
// it says for the direction, the workload's over the namespace's over the mesh's.
func logProviders(s *model.Snapshot, p *model.Proxy, d direction) []string {
	providers := s.Mesh.DefaultLogProviders
	if len(providers) == 0 && s.Mesh.AccessLogFile != "" {
		providers = []string{builtinLog}
	}
	disabled := false
	said := false
	for _, t := range s.Telemetry(p.Namespace, p.Labels) {
		for _, l := range t.Logs {
			if (l.Mode == model.LogClient && d == inbound) || (l.Mode == model.LogServer && d != inbound) {
				continue
			}
			said = true
			if len(l.Providers) > 0 {
				providers = l.Providers
			}
			// A rule that does not say is an enabled one.
			disabled = l.Disabled != nil && *l.Disabled
		}
	}
	if disabled {
		return nil
	}
	if said && len(providers) == 0 {
		return []string{builtinLog}
	}
	return providers
}

func fileLog(mesh *model.Mesh, provider string) (*accesslogv3.AccessLog, bool) {
	pr, ok := mesh.Providers[provider]
	if !ok {
		if provider != builtinLog {
			return nil, false // reported when the Telemetry was read
		}
		pr = model.LogProvider{Path: mesh.AccessLogFile, Text: mesh.AccessLogText, JSON: mesh.AccessLogField}
		if pr.Path == "" {
			pr.Path = stdout
		}
		if mesh.AccessLogJSON && pr.JSON == nil {
			pr.JSON = defaultLogJSON
		}
	}
	cfg := &filev3.FileAccessLog{Path: pr.Path}
	format := &corev3.SubstitutionFormatString{OmitEmptyValues: pr.OmitEmpty}
	if pr.JSON != nil {
		format.Format = &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: toStruct(pr.JSON)}
	} else {
		text := pr.Text
		if text == "" {
			text = DefaultLogFormat
		}
		if !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		format.Format = &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: text},
		}}
	}
	cfg.AccessLogFormat = &filev3.FileAccessLog_LogFormat{LogFormat: format}
	return &accesslogv3.AccessLog{Name: fileLogger, ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: toAny(cfg)}}, true
}
