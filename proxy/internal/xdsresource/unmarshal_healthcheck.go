package xdsresource

import (
	"encoding/hex"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	sinkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/health_check/event_sinks/file/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// healthChecks reads health_checks. Several have names, by which their statistics are told apart.
func (p *parser) healthChecks(path string, list []*corev3.HealthCheck) []*HealthCheck {
	out := make([]*HealthCheck, 0, len(list))
	seen := make(map[string]bool, len(list))
	for i, m := range list {
		here := at(path, i)
		switch name := m.GetName(); {
		case len(list) == 1:
		case name == "":
			p.bad(join(here, "name"), "is required where there are several health checks")
		case seen[name]:
			p.bad(join(here, "name"), "%q is the name of another health check of the cluster", name)
		}
		seen[m.GetName()] = true
		out = append(out, p.healthCheck(here, m))
	}
	return out
}

func (p *parser) healthCheck(path string, m *corev3.HealthCheck) *HealthCheck {
	h := &HealthCheck{
		Name:                  m.GetName(),
		EventLogs:             p.eventLogs(path, m),
		Timeout:               p.duration(join(path, "timeout"), m.GetTimeout(), 0),
		Interval:              p.duration(join(path, "interval"), m.GetInterval(), 0),
		InitialJitter:         p.duration(join(path, "initial_jitter"), m.GetInitialJitter(), 0),
		IntervalJitter:        p.duration(join(path, "interval_jitter"), m.GetIntervalJitter(), 0),
		IntervalJitterPercent: m.GetIntervalJitterPercent(),
		UnhealthyThreshold:    uint32Or(m.GetUnhealthyThreshold(), 0),
		HealthyThreshold:      uint32Or(m.GetHealthyThreshold(), 0),
		ReuseConnection:       boolOr(m.GetReuseConnection(), true),
		NoTrafficInterval:     p.duration(join(path, "no_traffic_interval"), m.GetNoTrafficInterval(), time.Minute),
		AlwaysLogFailures:     m.GetAlwaysLogHealthCheckFailures(),
		AlwaysLogSuccess:      m.GetAlwaysLogHealthCheckSuccess(),
		ALPN:                  m.GetTlsOptions().GetAlpnProtocols(),
	}
	h.NoTrafficHealthyInterval = p.duration(join(path, "no_traffic_healthy_interval"), m.GetNoTrafficHealthyInterval(), h.NoTrafficInterval)
	h.UnhealthyInterval = p.duration(join(path, "unhealthy_interval"), m.GetUnhealthyInterval(), h.Interval)
	h.UnhealthyEdgeInterval = p.duration(join(path, "unhealthy_edge_interval"), m.GetUnhealthyEdgeInterval(), h.UnhealthyInterval)
	h.HealthyEdgeInterval = p.duration(join(path, "healthy_edge_interval"), m.GetHealthyEdgeInterval(), h.Interval)
	if m.GetUnhealthyThreshold() == nil {
		p.bad(join(path, "unhealthy_threshold"), "is required")
	}
	if m.GetHealthyThreshold() == nil {
		p.bad(join(path, "healthy_threshold"), "is required")
	}
	if c := m.GetTransportSocketMatchCriteria(); c != nil {
		h.TransportMatch = map[string]string{}
		p.stringStruct(join(path, "transport_socket_match_criteria"), c, h.TransportMatch)
	}
	switch c := m.GetHealthChecker().(type) {
	case *corev3.HealthCheck_HttpHealthCheck_:
		h.HTTP = p.httpCheck(join(path, "http_health_check"), c.HttpHealthCheck)
	case *corev3.HealthCheck_TcpHealthCheck_:
		h.TCP = &TCPHealthCheck{
			Send:    p.payload(join(path, "tcp_health_check.send"), c.TcpHealthCheck.GetSend()),
			Receive: p.payloads(join(path, "tcp_health_check.receive"), c.TcpHealthCheck.GetReceive()),
		}
	case *corev3.HealthCheck_GrpcHealthCheck_:
		h.GRPC = &GRPCHealthCheck{
			ServiceName: c.GrpcHealthCheck.GetServiceName(), Authority: c.GrpcHealthCheck.GetAuthority(),
			Metadata: p.checkHeaders(join(path, "grpc_health_check.initial_metadata"), c.GrpcHealthCheck.GetInitialMetadata()),
		}
	default:
		p.bad(path, "http_health_check, tcp_health_check or grpc_health_check is required")
		h.TCP = &TCPHealthCheck{}
	}
	return h
}

// eventLogs are the files that get events: of event_log_path, and of sinks.
func (p *parser) eventLogs(path string, m *corev3.HealthCheck) []string {
	var out []string
	if v := m.GetEventLogPath(); v != "" { //nolint:staticcheck // the older form
		out = append(out, v)
	}
	for i, e := range m.GetEventLogger() {
		here := join(at(join(path, "event_logger"), i), "typed_config")
		var sink sinkv3.HealthCheckEventFileSink
		if e.GetTypedConfig() == nil {
			p.bad(here, "is required")
		} else if p.message(here, e.GetTypedConfig(), &sink) {
			out = append(out, sink.GetEventLogPath())
		}
	}
	return out
}

func (p *parser) httpCheck(path string, m *corev3.HealthCheck_HttpHealthCheck) *HTTPHealthCheck {
	h := &HTTPHealthCheck{
		Host: m.GetHost(), Path: m.GetPath(), Method: "GET",
		HTTP2:          m.GetCodecClientType() == typev3.CodecClientType_HTTP2,
		Send:           p.payload(join(path, "send"), m.GetSend()),
		Receive:        p.payloads(join(path, "receive"), m.GetReceive()),
		ResponseBuffer: uint64Or(m.GetResponseBufferSize(), 1024),
		AddHeaders:     p.checkHeaders(join(path, "request_headers_to_add"), m.GetRequestHeadersToAdd()),
		Expected:       p.statusRanges(join(path, "expected_statuses"), m.GetExpectedStatuses()),
		Retriable:      p.statusRanges(join(path, "retriable_statuses"), m.GetRetriableStatuses()),
	}
	if m.GetCodecClientType() == typev3.CodecClientType_HTTP3 {
		p.bad(join(path, "codec_client_type"), "HTTP3 is not supported")
	}
	if v := m.GetMethod(); v != corev3.RequestMethod_METHOD_UNSPECIFIED {
		h.Method = v.String()
	}
	switch h.Method {
	case "CONNECT":
		p.bad(join(path, "method"), "a health check cannot CONNECT")
	case "GET", "HEAD", "DELETE", "TRACE":
		if len(h.Send) > 0 {
			p.bad(join(path, "send"), "a request with the method %s has no payload", h.Method)
		}
	}
	if !strings.HasPrefix(h.Path, "/") || strings.ContainsAny(h.Path, " #\t") {
		p.bad(join(path, "path"), "%q is not a path: it begins with a slash and has no spaces", h.Path)
	}
	for _, n := range m.GetRequestHeadersToRemove() {
		h.RemoveHeaders = append(h.RemoveHeaders, strings.ToLower(n))
	}
	if len(h.Expected) == 0 {
		h.Expected = []StatusRange{{200, 201}}
	}
	if s := m.GetServiceNameMatcher(); s != nil {
		v := p.stringMatch(join(path, "service_name_matcher"), s)
		h.ServiceName = &v
	}
	total := 0
	for _, r := range h.Receive {
		total += len(r)
	}
	if h.ResponseBuffer > 0 && uint64(total) > h.ResponseBuffer {
		p.bad(join(path, "receive"), "%d bytes are expected, but response_buffer_size is %d", total, h.ResponseBuffer)
	}
	return h
}

func (p *parser) payload(path string, m *corev3.HealthCheck_Payload) []byte {
	switch v := m.GetPayload().(type) {
	case *corev3.HealthCheck_Payload_Text:
		raw, err := hex.DecodeString(v.Text)
		if err != nil {
			p.bad(join(path, "text"), "%q is not hexadecimal", v.Text)
		}
		return raw
	case *corev3.HealthCheck_Payload_Binary:
		return v.Binary
	}
	return nil
}

func (p *parser) payloads(path string, list []*corev3.HealthCheck_Payload) [][]byte {
	var out [][]byte
	for i, m := range list {
		raw := p.payload(at(path, i), m)
		if len(raw) == 0 {
			p.bad(at(path, i), "is empty")
		}
		out = append(out, raw)
	}
	return out
}

// checkHeaders reads headers of a check's request, which stand outside of any stream: their
// values are taken as they are.
func (p *parser) checkHeaders(path string, list []*corev3.HeaderValueOption) []CheckHeader {
	var out []CheckHeader
	for i, op := range p.headersToAdd(path, list) {
		if strings.Contains(op.Value, "%") {
			p.bad(join(at(path, i), "header.value"), "%q: operators are not supported in health checks", op.Value)
		}
		if strings.HasPrefix(op.Name, ":") {
			p.bad(join(at(path, i), "header.key"), "%q cannot be set here", op.Name)
		}
		if op.Action == AddIfAbsent || op.Action == OverwriteIfExists {
			p.bad(join(at(path, i), "append_action"), "only APPEND_IF_EXISTS_OR_ADD and OVERWRITE_IF_EXISTS_OR_ADD are supported in health checks")
		}
		out = append(out, CheckHeader{Name: op.Name, Value: op.Value, Append: op.Action == AppendIfExistsOrAdd})
	}
	return out
}

func (p *parser) statusRanges(path string, list []*typev3.Int64Range) []StatusRange {
	var out []StatusRange
	for i, r := range list {
		if r.GetStart() >= r.GetEnd() || r.GetStart() < 100 || r.GetEnd() > 600 {
			p.bad(at(path, i), "[%d, %d) is not a range of status codes", r.GetStart(), r.GetEnd())
			continue
		}
		out = append(out, StatusRange{int(r.GetStart()), int(r.GetEnd())})
	}
	return out
}
