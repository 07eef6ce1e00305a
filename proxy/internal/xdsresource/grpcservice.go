package xdsresource

import (
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// GRPCCall is how a service is called by what is no filter: control planes, exporters of logs and
// spans. It is comparable; the zero value is a service that says nothing but its cluster.
type GRPCCall struct {
	// Authority of the calls; empty: the cluster's name.
	Authority string
	// MaxMessage bounds an answer in bytes; 0: the client's own bound.
	MaxMessage int
	// Metadata is sent with every call: lines "name: value".
	Metadata string
	// BackOffBase and BackOffMax bound the pause before a stream of a control plane is opened again;
	// 0: the client's own.
	BackOffBase, BackOffMax time.Duration
}

// Pairs lists the metadata: each name with its value behind it.
func (c GRPCCall) Pairs() (out []string) {
	for line := range strings.Lines(c.Metadata) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		out = append(out, name, value)
	}
	return out
}

// GRPCCall reads how a control plane is called, outside of any resource.
func (d *Decoder) GRPCCall(m *corev3.GrpcService) (GRPCCall, error) {
	p := &parser{dec: d}
	out := p.controlPlaneCall("", m)
	return out, p.finish("gRPC service", "")
}

// grpcCall reads all of a service but its cluster.
func (p *parser) grpcCall(path string, m *corev3.GrpcService) GRPCCall {
	e := m.GetEnvoyGrpc()
	out := GRPCCall{Authority: e.GetAuthority(), MaxMessage: int(e.GetMaxReceiveMessageLength().GetValue())}
	if m.GetRetryPolicy() != nil {
		p.bad(join(path, "retry_policy"), "this field is not supported; remove it")
	}
	var lines strings.Builder
	for _, kv := range p.initialMetadata(path, m) {
		lines.WriteString(kv[0] + ": " + kv[1] + "\n")
	}
	out.Metadata = lines.String()
	return out
}

// controlPlaneCall reads a service of a config source, whose streams have a back-off.
func (p *parser) controlPlaneCall(path string, m *corev3.GrpcService) GRPCCall {
	out := p.grpcCall(path, m)
	r := m.GetEnvoyGrpc().GetRetryPolicy()
	if r == nil {
		return out
	}
	here := join(path, "envoy_grpc.retry_policy")
	if r.GetNumRetries() != nil || r.GetRetryOn() != "" {
		p.bad(here, "only retry_back_off is read of it: a stream is opened again for as long as it takes")
	}
	b := r.GetRetryBackOff()
	here = join(here, "retry_back_off")
	out.BackOffBase = p.duration(join(here, "base_interval"), b.GetBaseInterval(), 0)
	out.BackOffMax = p.duration(join(here, "max_interval"), b.GetMaxInterval(), 10*out.BackOffBase)
	if out.BackOffMax < out.BackOffBase {
		p.bad(join(here, "max_interval"), "%v is shorter than base_interval %v", out.BackOffMax, out.BackOffBase)
	}
	return out
}

// initialMetadata lists what goes with every call, names in lower case.
func (p *parser) initialMetadata(path string, m *corev3.GrpcService) (out [][2]string) {
	for i, h := range m.GetInitialMetadata() {
		here := at(join(path, "initial_metadata"), i)
		switch name := strings.ToLower(h.GetKey()); {
		case len(h.GetRawValue()) > 0:
			p.bad(join(here, "raw_value"), "this field is not supported; use value")
		case strings.Contains(h.GetValue(), "%"):
			p.bad(join(here, "value"), "%q: format strings are not supported here", h.GetValue())
		default:
			out = append(out, [2]string{name, h.GetValue()})
		}
	}
	return out
}
