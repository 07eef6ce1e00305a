package xdsresource

import (
	"net/url"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	otelv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
)

// grpcService reads a service that is named by its cluster.
func (p *parser) grpcService(path string, m *corev3.GrpcService) GRPCService {
	out := GRPCService{Cluster: m.GetEnvoyGrpc().GetClusterName(), Call: p.grpcCall(path, m)}
	if out.Cluster == "" {
		p.bad(join(path, "envoy_grpc.cluster_name"), "is required")
	}
	if m.GetEnvoyGrpc().GetRetryPolicy() != nil {
		p.bad(join(path, "envoy_grpc.retry_policy"), "belongs to services of config sources; remove it")
	}
	return out
}

func (p *parser) httpService(path string, m *corev3.HttpService) HTTPService {
	u := m.GetHttpUri()
	out := HTTPService{
		Cluster: u.GetCluster(), URL: u.GetUri(), Timeout: p.duration(join(path, "http_uri.timeout"), u.GetTimeout(), 0),
		Headers: map[string]string{},
	}
	if out.Cluster == "" {
		p.bad(join(path, "http_uri.cluster"), "is required")
	}
	switch {
	case out.URL == "":
		p.bad(join(path, "http_uri.uri"), "is required, a URL like http://collector:4318/v1/logs")
	case !strings.Contains(out.URL, "://"): // as Istio writes it
		out.URL = "http://" + out.URL
	}
	if _, err := url.Parse(out.URL); err != nil {
		p.bad(join(path, "http_uri.uri"), "%q is no URL like http://collector:4318/v1/logs", u.GetUri())
	}
	for i, h := range m.GetRequestHeadersToAdd() {
		if v := h.GetHeader().GetValue(); strings.Contains(v, "%") {
			p.bad(at(join(path, "request_headers_to_add"), i)+".header.value", "%q: format strings are not supported here", v)
		}
		out.Headers[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	return out
}

// alsCommon reads what both forms of the gRPC access log share.
func (p *parser) alsCommon(path string, m *alsv3.CommonGrpcAccessLogConfig, http bool) *GRPCAccessLog {
	return &GRPCAccessLog{
		HTTP: http, LogName: m.GetLogName(), Service: p.grpcService(join(path, "grpc_service"), m.GetGrpcService()),
		FlushInterval: p.duration(join(path, "buffer_flush_interval"), m.GetBufferFlushInterval(), time.Second),
		BufferSize:    uint32Or(m.GetBufferSizeBytes(), 16384), CustomTags: p.customTags(join(path, "custom_tags"), m.GetCustomTags()),
		FilterState: m.GetFilterStateObjectsToLog(),
	}
}

func (p *parser) otlpAccessLog(path string, m *otelv3.OpenTelemetryAccessLogConfig) *OTLPAccessLog {
	out := &OTLPAccessLog{
		LogName: m.GetLogName(), StatPrefix: m.GetStatPrefix(), NoBuiltinTags: m.GetDisableBuiltinLabels(),
		FlushInterval: p.duration(join(path, "buffer_flush_interval"), m.GetBufferFlushInterval(), time.Second),
		BufferSize:    uint32Or(m.GetBufferSizeBytes(), 16384), CustomTags: p.customTags(join(path, "custom_tags"), m.GetCustomTags()),
		Body: p.anyValue(join(path, "body"), m.GetBody()), Attributes: p.keyValues(join(path, "attributes"), m.GetAttributes()),
		Resource: p.keyValues(join(path, "resource_attributes"), m.GetResourceAttributes()),
	}
	out.Detected, out.FilterState = p.detectResource(join(path, "resource_detectors"), m.GetResourceDetectors()), m.GetFilterStateObjectsToLog()
	switch {
	case m.GetHttpService() != nil:
		s := p.httpService(join(path, "http_service"), m.GetHttpService())
		out.HTTP = &s
	case m.GetGrpcService() != nil:
		s := p.grpcService(join(path, "grpc_service"), m.GetGrpcService())
		out.GRPC = &s
	case m.GetCommonConfig() != nil:
		c := p.alsCommon(join(path, "common_config"), m.GetCommonConfig(), false)
		out.GRPC, out.FlushInterval, out.BufferSize = &c.Service, c.FlushInterval, c.BufferSize
		out.CustomTags = append(out.CustomTags, c.CustomTags...)
		if out.LogName == "" {
			out.LogName = c.LogName
		}
	default:
		p.bad(path, "one of grpc_service, http_service and common_config is required")
	}
	return out
}

// anyValue reads OpenTelemetry's value as plain Go; strings are format strings.
func (p *parser) anyValue(path string, v *commonpb.AnyValue) any {
	switch x := v.GetValue().(type) {
	case nil:
		return nil
	case *commonpb.AnyValue_StringValue:
		return x.StringValue
	case *commonpb.AnyValue_BoolValue:
		return x.BoolValue
	case *commonpb.AnyValue_IntValue:
		return x.IntValue
	case *commonpb.AnyValue_DoubleValue:
		return x.DoubleValue
	case *commonpb.AnyValue_ArrayValue:
		var out []any
		for i, e := range x.ArrayValue.GetValues() {
			out = append(out, p.anyValue(at(path, i), e))
		}
		return out
	case *commonpb.AnyValue_KvlistValue:
		return p.keyValues(path, x.KvlistValue)
	}
	p.bad(path, "must be a string, a number, a boolean, a list or a map of such")
	return nil
}

func (p *parser) keyValues(path string, l *commonpb.KeyValueList) map[string]any {
	if l == nil {
		return nil
	}
	out := map[string]any{}
	for _, kv := range l.GetValues() {
		out[kv.GetKey()] = p.anyValue(join(path, kv.GetKey()), kv.GetValue())
	}
	return out
}

func (p *parser) customTags(path string, in []*tracingv3.CustomTag) []CustomTag {
	var out []CustomTag
	for i, m := range in {
		here := at(path, i)
		t := CustomTag{Name: m.GetTag()}
		switch s := m.GetType().(type) {
		case *tracingv3.CustomTag_Literal_:
			t.Literal = s.Literal.GetValue()
		case *tracingv3.CustomTag_Environment_:
			t.Environment, t.Default = s.Environment.GetName(), s.Environment.GetDefaultValue()
		case *tracingv3.CustomTag_RequestHeader:
			t.Header, t.Default = s.RequestHeader.GetName(), s.RequestHeader.GetDefaultValue()
		case *tracingv3.CustomTag_Metadata_:
			p.metadataTag(join(here, "metadata"), s.Metadata, &t)
		case *tracingv3.CustomTag_Value:
			t.Value = s.Value
		default:
			p.bad(here, "this kind of tag is not supported")
		}
		out = append(out, t)
	}
	return out
}

func (p *parser) metadataTag(path string, m *tracingv3.CustomTag_Metadata, t *CustomTag) {
	switch k := m.GetKind(); {
	case k.GetRequest() != nil:
		t.MetadataKind = "REQUEST"
	case k.GetRoute() != nil:
		t.MetadataKind = "ROUTE"
	case k.GetCluster() != nil:
		t.MetadataKind = "CLUSTER"
	case k.GetHost() != nil:
		t.MetadataKind = "HOST"
	default:
		p.bad(join(path, "kind"), "is required: request, route, cluster or host")
	}
	t.MetadataKey, t.Default = m.GetMetadataKey().GetKey(), m.GetDefaultValue()
	for _, s := range m.GetMetadataKey().GetPath() {
		t.MetadataPath = append(t.MetadataPath, s.GetKey())
	}
}
