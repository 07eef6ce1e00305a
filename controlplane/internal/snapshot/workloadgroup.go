package snapshot

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// workloadGroup converts a WorkloadGroup.
func (b *Builder) workloadGroup(o object, s *networking.WorkloadGroup, p *problems) *model.WorkloadGroup {
	g := &model.WorkloadGroup{
		Namespace: o.Namespace, Name: o.Name, APIVersion: o.APIVersion, UID: o.UID,
		Labels: cloneMap(s.GetMetadata().GetLabels()), Annotations: cloneMap(s.GetMetadata().GetAnnotations()),
		Created: o.Created, Origin: o.origin(),
	}
	t := s.GetTemplate()
	if t == nil {
		t = &networking.WorkloadEntry{}
	}
	g.Template = *b.workload(o, t, t.Labels)
	if t.Address != "" {
		p.add("spec.template.address", "has no effect: each workload of the group has the address with which it registers")
		g.Template.Address = ""
	}
	g.Probe = readinessProbe(s.Probe)
	if text := g.Annotations[ProxyConfigAnnotation]; text != "" {
		g.Settings = annotatedSettings(text, p)
	}
	return g
}

// HealthChecksAnnotation is on a WorkloadEntry whose workload is asked whether it is well: without a condition Healthy it is not, yet.
const HealthChecksAnnotation = "proxy.istio.io/health-checks-enabled"

// healthy says whether a WorkloadEntry may have traffic.
func healthy(o object) bool {
	if !strings.EqualFold(o.Annotations[HealthChecksAnnotation], "true") {
		return true
	}
	return o.Condition(config.ConditionHealthy).Status == "True"
}

func readinessProbe(in *networking.ReadinessProbe) *model.ReadinessProbe {
	if in == nil {
		return nil
	}
	out := &model.ReadinessProbe{
		InitialDelay: in.InitialDelaySeconds, Timeout: in.TimeoutSeconds, Period: in.PeriodSeconds,
		SuccessThreshold: in.SuccessThreshold, FailureThreshold: in.FailureThreshold,
	}
	switch m := in.HealthCheckMethod.(type) {
	case *networking.ReadinessProbe_HttpGet:
		out.HTTP = &model.HTTPProbe{Path: m.HttpGet.GetPath(), Host: m.HttpGet.GetHost(), Scheme: m.HttpGet.GetScheme(), Port: m.HttpGet.GetPort()}
		for _, h := range m.HttpGet.GetHttpHeaders() {
			out.HTTP.Headers = append(out.HTTP.Headers, [2]string{h.GetName(), h.GetValue()})
		}
	case *networking.ReadinessProbe_TcpSocket:
		out.TCP = &model.TCPProbe{Host: m.TcpSocket.GetHost(), Port: m.TcpSocket.GetPort()}
	case *networking.ReadinessProbe_Exec:
		out.Exec = append([]string{}, m.Exec.GetCommand()...)
	case *networking.ReadinessProbe_Grpc:
		out.GRPC = &model.GRPCProbe{Port: m.Grpc.GetPort(), Service: m.Grpc.GetService()}
	}
	return out
}
