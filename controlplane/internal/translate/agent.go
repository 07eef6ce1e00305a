package translate

import (
	"maps"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshv1 "istio.io/api/mesh/v1alpha1"
	networkingv1 "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/controlplane/internal/envoyfilter"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// groupMetadata names, in the node of an agent that only asks how to run its proxy, the WorkloadGroup by which the proxy will register: with
// AUTO_REGISTER_GROUP the question alone would.
const groupMetadata = "LATEEN_GROUP"

// AgentConfig is what the agent of a proxy is told beside the proxy's own configuration, as one ProxyConfig: how the proxy is to be run (ProxyConfig objects and
// the mesh's defaultConfig), the probe of the WorkloadGroup by which the workload has registered or else of the mesh, and the roots of the mesh.
func AgentConfig(s *model.Snapshot, p *model.Proxy) []Resource {
	group, labels := groupOf(s, p)
	settings, revs := s.AgentSettings(p.Namespace, labels, group)
	k := (&keyHash{}).num(revs...)
	roots := trustAnchors(s, p)
	k.str(roots...)
	var probe *model.ReadinessProbe
	if group != nil && p.Group != "" {
		if probe = group.Probe; probe == nil {
			probe = s.Mesh.Probe
		}
		k.flag(true)
	}
	return []Resource{{Name: "default", Key: k.String(), build: func() proto.Message {
		out := &meshv1.ProxyConfig{
			ReadinessProbe: toProbe(probe), ProxyMetadata: settings.Variables, CaCertificatesPem: roots, DrainDuration: given(settings.DrainTime),
			TerminationDrainDuration: given(settings.TerminationDrain), FileFlushInterval: given(settings.FlushInterval), FileFlushMinSizeKb: settings.FlushKB,
			ProxyAdminPort: int32(settings.AdminPort), StatusPort: int32(settings.StatusPort), CustomConfigFile: settings.BootstrapFile,
		}
		switch c := settings.Cluster; {
		case c.Name != "":
			out.ClusterName = &meshv1.ProxyConfig_ServiceCluster{ServiceCluster: c.Name}
		case c.Rule != "":
			out.ClusterName = &meshv1.ProxyConfig_TracingServiceName_{TracingServiceName: meshv1.ProxyConfig_TracingServiceName(meshv1.ProxyConfig_TracingServiceName_value[c.Rule])}
		}
		if settings.Compression != nil {
			out.StatsCompression = wrapperspb.Bool(*settings.Compression)
		}
		if settings.Concurrency != nil {
			out.Concurrency = wrapperspb.Int32(*settings.Concurrency)
		}
		return out
	}}}
}

// given is nil for what is not said.
func given(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// groupOf is the WorkloadGroup of an agent's workload, nil for none, and the labels that the workload has or will have.
func groupOf(s *model.Snapshot, p *model.Proxy) (*model.WorkloadGroup, map[string]string) {
	name := p.Group
	if name == "" {
		name, _ = p.Metadata[groupMetadata].(string)
	}
	if name == "" {
		return nil, p.Labels
	}
	g, ok := s.WorkloadGroups.Get(p.Namespace + "/" + name)
	if !ok {
		return nil, p.Labels
	}
	labels := map[string]string{}
	for _, of := range []map[string]string{g.Template.Labels, g.Labels, p.Labels} { // as its WorkloadEntry has them
		maps.Copy(labels, of)
	}
	return g, labels
}

// BootstrapPatches are what is merged into a proxy's bootstrap, in one resource: what the mesh's ProxyConfig says of how it is run, and over that what EnvoyFilters say. It is
// empty where none does. Agents ask for it before they start their proxies.
func BootstrapPatches(s *model.Snapshot, p *model.Proxy) []Resource {
	as := *p
	_, as.Labels = groupOf(s, p)
	ps := envoyfilter.For(s, &as)
	return []Resource{{Name: "patches", Key: "bootstrap" + (&keyHash{}).num(s.Mesh.Rev).str(p.Settings.Key).String() + ps.BootstrapKey(), build: func() proto.Message {
		return ps.Bootstrap(settingsBootstrap(s, &as))
	}}}
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
