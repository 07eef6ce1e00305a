package translate

import (
	"strconv"

	"google.golang.org/protobuf/proto"
	meshv1 "istio.io/api/mesh/v1alpha1"
	networkingv1 "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// AgentConfig is what the agent of a proxy is told beside the proxy's own configuration, as one ProxyConfig: the probe of the WorkloadGroup by which the
// workload has registered.
func AgentConfig(s *model.Snapshot, p *model.Proxy) []Resource {
	var probe *model.ReadinessProbe
	key := "none"
	if g, ok := s.WorkloadGroups.Get(p.Namespace + "/" + p.Group); ok && p.Group != "" {
		probe, key = g.Probe, strconv.FormatUint(g.Rev, 10)
	}
	return []Resource{{Name: "default", Key: key, build: func() proto.Message { return &meshv1.ProxyConfig{ReadinessProbe: toProbe(probe)} }}}
}

func toProbe(in *model.ReadinessProbe) *networkingv1.ReadinessProbe {
	if in == nil {
		return nil
	}
	out := &networkingv1.ReadinessProbe{
		InitialDelaySeconds: in.InitialDelay, TimeoutSeconds: in.Timeout, PeriodSeconds: in.Period,
		SuccessThreshold: in.SuccessThreshold, FailureThreshold: in.FailureThreshold,
	}
	switch {
	case in.HTTP != nil:
		get := &networkingv1.HTTPHealthCheckConfig{Path: in.HTTP.Path, Host: in.HTTP.Host, Scheme: in.HTTP.Scheme, Port: in.HTTP.Port}
		for _, h := range in.HTTP.Headers {
			get.HttpHeaders = append(get.HttpHeaders, &networkingv1.HTTPHeader{Name: h[0], Value: h[1]})
		}
		out.HealthCheckMethod = &networkingv1.ReadinessProbe_HttpGet{HttpGet: get}
	case in.TCP != nil:
		out.HealthCheckMethod = &networkingv1.ReadinessProbe_TcpSocket{TcpSocket: &networkingv1.TCPHealthCheckConfig{Host: in.TCP.Host, Port: in.TCP.Port}}
	case in.Exec != nil:
		out.HealthCheckMethod = &networkingv1.ReadinessProbe_Exec{Exec: &networkingv1.ExecHealthCheckConfig{Command: in.Exec}}
	case in.GRPC != nil:
		out.HealthCheckMethod = &networkingv1.ReadinessProbe_Grpc{Grpc: &networkingv1.GrpcHealthCheckConfig{Port: in.GRPC.Port, Service: in.GRPC.Service}}
	}
	return out
}
