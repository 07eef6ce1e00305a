package xdsresource

import (
	"net/url"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
)

// GRPCTarget is core.v3.GrpcService with envoy_grpc, where a filter calls it.
type GRPCTarget struct {
	Cluster          string
	Authority        string            // "": the cluster's name
	Timeout          time.Duration     // 0: none
	Metadata         map[string]string // initial_metadata
	MaxMessage       int               // max_receive_message_length in bytes; 0: as the client has it
	SkipEnvoyHeaders bool
}

// HTTPTarget is core.v3.HttpUri: whom a filter asks by HTTP.
type HTTPTarget struct {
	Cluster   string
	URL       string
	Authority string
	Path      string // with the query; "/" where the URL has none
	Timeout   time.Duration
}

// Retry is core.v3.RetryPolicy: what Envoy's own clients take of one.
type Retry struct {
	On        RetryOn       // retry_on; of JWKS Envoy has conditions of its own
	Num       uint32        // default 1
	Base, Max time.Duration // defaults 1s, and ten times Base
	PerTry    time.Duration // as in Envoy an attempt takes no longer than the longest back-off
}

// GRPCTarget reads a service that a filter calls. google_grpc is refused as every field is that is
// not supported.
func (r *FilterReader) GRPCTarget(path string, m *corev3.GrpcService) GRPCTarget {
	e := m.GetEnvoyGrpc()
	out := GRPCTarget{
		Cluster: e.GetClusterName(), Authority: e.GetAuthority(), MaxMessage: int(e.GetMaxReceiveMessageLength().GetValue()),
		SkipEnvoyHeaders: e.GetSkipEnvoyHeaders(), Timeout: r.p.duration(join(path, "timeout"), m.GetTimeout(), 0),
	}
	if m.GetGoogleGrpc() == nil && out.Cluster == "" {
		r.Bad(join(path, "envoy_grpc.cluster_name"), "is required")
	}
	if e.GetRetryPolicy() != nil {
		r.Bad(join(path, "envoy_grpc.retry_policy"), "this field is not supported; remove it")
	}
	if m.GetRetryPolicy() != nil {
		r.Bad(join(path, "retry_policy"), "this field is not supported; remove it")
	}
	for _, kv := range r.p.initialMetadata(path, m) {
		if out.Metadata == nil {
			out.Metadata = map[string]string{}
		}
		out.Metadata[kv[0]] = kv[1]
	}
	return out
}

// HTTPTarget reads a URI with the cluster that serves it.
func (r *FilterReader) HTTPTarget(path string, m *corev3.HttpUri) HTTPTarget {
	out := HTTPTarget{Cluster: m.GetCluster(), URL: m.GetUri(), Timeout: r.p.duration(join(path, "timeout"), m.GetTimeout(), 0)}
	rest := out.URL
	if _, after, ok := strings.Cut(rest, "://"); ok { // the cluster knows whether TLS is spoken
		rest = after
	}
	if u, err := url.Parse("http://" + rest); err != nil {
		r.Bad(join(path, "uri"), "%q: %v", out.URL, err)
	} else if out.Authority, out.Path = u.Host, u.RequestURI(); out.Authority == "" {
		r.Bad(join(path, "uri"), "%q has no host", out.URL)
	}
	if out.Cluster == "" {
		r.Bad(join(path, "cluster"), "is required")
	}
	return out
}

// Retry reads a retry policy; nil is no retry.
func (r *FilterReader) Retry(path string, m *corev3.RetryPolicy) *Retry {
	if m == nil {
		return nil
	}
	on, unknown := ParseRetryOn(m.GetRetryOn())
	for _, word := range unknown {
		r.Bad(join(path, "retry_on"), "%q is no retry condition", word)
	}
	if other := on &^ calloutRetries; other != 0 {
		r.Bad(join(path, "retry_on"), "only 5xx, gateway-error, reset, connect-failure, refused-stream and retriable-4xx are supported here")
	}
	out := &Retry{On: on, Num: uint32Or(m.GetNumRetries(), 1), Base: time.Second}
	b, here := m.GetRetryBackOff(), join(path, "retry_back_off")
	out.Base = max(r.p.duration(join(here, "base_interval"), b.GetBaseInterval(), out.Base), time.Millisecond)
	out.Max = r.p.duration(join(here, "max_interval"), b.GetMaxInterval(), 10*out.Base)
	if out.Max < out.Base {
		r.Bad(join(here, "max_interval"), "%v is shorter than base_interval %v", out.Max, out.Base)
	}
	out.PerTry = out.Max
	return out
}

// calloutRetries are the conditions that package asyncclient knows.
const calloutRetries = Retry5xx | RetryGatewayError | RetryReset | RetryConnectFailure | RetryRefusedStream | Retry4xx

// Check judges a message that is at hand: fields that are not supported, and the proto's own rules.
func (r *FilterReader) Check(path string, m proto.Message) { r.p.check(path, m) }
