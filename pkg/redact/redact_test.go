package redact

import (
	"bytes"
	"strings"
	"testing"

	bootstrappb "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerpb "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tracepb "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmpb "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	samplerpb "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// listener has an HTTP connection manager with a tracer.
func listener(t *testing.T, tracer proto.Message) *listenerpb.Listener {
	t.Helper()
	return &listenerpb.Listener{Name: "l", FilterChains: []*listenerpb.FilterChain{{Filters: []*listenerpb.Filter{{ConfigType: &listenerpb.Filter_TypedConfig{TypedConfig: pack(t, &hcmpb.HttpConnectionManager{
		StatPrefix: "stays", Tracing: &hcmpb.HttpConnectionManager_Tracing{Provider: &tracepb.Tracing_Http{Name: "t", ConfigType: &tracepb.Tracing_Http_TypedConfig{TypedConfig: pack(t, tracer)}}},
	})}}}}}}
}

func TestHeaders(t *testing.T) {
	header := &corepb.HeaderValue{Key: "x-key", Value: "secret"}
	service := &corepb.GrpcService{InitialMetadata: []*corepb.HeaderValue{header, {Key: "x-raw", RawValue: []byte("secret")}, {Key: "x-empty"}}}
	for name, m := range map[string]proto.Message{
		"HTTP": listener(t, &tracepb.ZipkinConfig{CollectorService: &corepb.HttpService{RequestHeadersToAdd: []*corepb.HeaderValueOption{{Header: header}, {}}}}),
		"sampler": listener(t, &tracepb.OpenTelemetryConfig{Sampler: &corepb.TypedExtensionConfig{TypedConfig: pack(t, &samplerpb.DynatraceSamplerConfig{
			HttpService: &corepb.HttpService{RequestHeadersToAdd: []*corepb.HeaderValueOption{{Header: header}}},
		})}}),
		"gRPC":      listener(t, &tracepb.OpenTelemetryConfig{GrpcService: service}),
		"bootstrap": &bootstrappb.Bootstrap{DynamicResources: &bootstrappb.Bootstrap_DynamicResources{AdsConfig: &corepb.ApiConfigSource{GrpcServices: []*corepb.GrpcService{service}}}},
		// A map of Anys.
		"metadata": &listenerpb.Listener{Metadata: &corepb.Metadata{TypedFilterMetadata: map[string]*anypb.Any{"m": pack(t, service)}}},
	} {
		t.Run(name, func(t *testing.T) {
			in := pack(t, m)
			before := proto.Clone(in)
			out, err := Headers(in)
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(in, before) {
				t.Error("what was given has changed")
			}
			text, err := protojson.Marshal(out)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(out.Value, []byte("secret")) || !strings.Contains(string(text), Hidden) || !strings.Contains(string(text), "x-key") {
				t.Errorf("%s", text)
			}
			if name == "gRPC" && strings.Count(string(text), Hidden) != 2 {
				t.Errorf("a header without a value has one: %s", text)
			}
		})
	}
	token := pack(t, listener(t, &tracepb.SkyWalkingConfig{ClientConfig: &tracepb.ClientConfig{
		ServiceName: "stays", BackendTokenSpecifier: &tracepb.ClientConfig_BackendToken{BackendToken: "secret"},
	}}))
	if out, err := Headers(token); err != nil || bytes.Contains(out.Value, []byte("secret")) || !bytes.Contains(out.Value, []byte(Hidden)) || !bytes.Contains(out.Value, []byte("stays")) {
		t.Errorf("the token of a tracer: %v, %v", out, err)
	}
	plain := pack(t, listener(t, &tracepb.ZipkinConfig{CollectorCluster: "c"}))
	if out, err := Headers(plain); err != nil || out != plain {
		t.Errorf("what has no such header is made anew: %v", err)
	}
	unknown := &anypb.Any{TypeUrl: "type.googleapis.com/nobody.knows.This", Value: []byte("x")}
	if out, err := Headers(unknown); err != nil || out != unknown {
		t.Errorf("a type that nobody knows: %v", err)
	}
	if _, err := Headers(&anypb.Any{TypeUrl: plain.TypeUrl, Value: []byte{0xff}}); err == nil {
		t.Error("bytes that are no listener are taken")
	}
	if out, err := Headers(nil); out != nil || err != nil {
		t.Errorf("nothing is %v, %v", out, err)
	}
}
