package snapshot

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networkingv1beta1 "istio.io/api/networking/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config/validate"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// ProxyConfigAnnotation holds a ProxyConfig of MeshConfig's form, in YAML, for the workloads of a WorkloadGroup (spec.metadata.annotations).
const ProxyConfigAnnotation = "proxy.istio.io/config"

// Variables by which agents learn what they put into their nodes: the mesh's id, what a host says in PROXY_CONFIG that the control plane reads.
const (
	meshIDVariable     = "ISTIO_META_MESH_ID"
	nodeConfigVariable = "ISTIO_METAJSON_PROXY_CONFIG"
	// capturePortsVariable says where redirected connections are to arrive: who redirects them asks the proxy.
	capturePortsVariable = "ISTIO_META_LATEEN_CAPTURE_PORTS"
	// mergeVariable is "false" where agents do not merge applications' metrics with their proxies' (enablePrometheusMerge). They follow it while they run.
	mergeVariable = "ISTIO_META_LATEEN_PROMETHEUS_MERGE"
)

// proxyConfig converts a ProxyConfig.
func proxyConfig(o object, s *networkingv1beta1.ProxyConfig, p *problems) *model.ProxyConfig {
	if s.GetImage() != nil {
		p.add("spec.image", "has no effect: the proxy is the program that runs already")
	}
	for _, name := range slices.Sorted(maps.Keys(s.GetEnvironmentVariables())) {
		if !strings.HasPrefix(name, "ISTIO_META_") && !strings.HasPrefix(name, "ISTIO_METAJSON_") && name != "ISTIO_DUAL_STACK" {
			p.add("spec.environmentVariables", "%s has no effect: only ISTIO_META_, ISTIO_METAJSON_ and ISTIO_DUAL_STACK have one here", name)
		}
	}
	c := &model.ProxyConfig{
		Namespace: o.Namespace, Name: o.Name, Selector: cloneMap(s.GetSelector().GetMatchLabels()), Created: o.Created, Origin: o.origin(),
		Settings: model.AgentSettings{Variables: cloneMap(s.GetEnvironmentVariables())},
	}
	if n := s.GetConcurrency(); n != nil {
		c.Settings.Concurrency = ptr(n.GetValue())
	}
	return c
}

// agentSettings are the settings in MeshConfig's form of a ProxyConfig.
func agentSettings(in *meshconfig.ProxyConfig) model.AgentSettings {
	out := model.AgentSettings{
		Variables: cloneMap(in.GetProxyMetadata()), DrainTime: duration(in.GetDrainDuration()), TerminationDrain: duration(in.GetTerminationDrainDuration()),
		FlushInterval: duration(in.GetFileFlushInterval()), FlushKB: in.GetFileFlushMinSizeKb(),
		AdminPort: uint16(in.GetProxyAdminPort()), StatusPort: uint16(in.GetStatusPort()), // validation knows that they are ports
		BootstrapFile: in.GetCustomConfigFile(),
	}
	if n := in.GetConcurrency(); n != nil {
		out.Concurrency = ptr(n.GetValue())
	}
	if c := in.GetStatsCompression(); c != nil {
		out.Compression = ptr(c.GetValue())
	}
	switch name := in.GetClusterName().(type) {
	case *meshconfig.ProxyConfig_ServiceCluster:
		out.Cluster.Name = name.ServiceCluster
	case *meshconfig.ProxyConfig_TracingServiceName_:
		out.Cluster.Rule = name.TracingServiceName.String()
	}
	if id := in.GetMeshId(); id != "" && out.Variables[meshIDVariable] == "" {
		setVariable(&out, meshIDVariable, id)
	}
	return out
}

// annotatedSettings reads ProxyConfigAnnotation. What cannot be read has no effect, as in Istio, and is named.
func annotatedSettings(text string, p *problems) model.AgentSettings {
	const at = "spec.metadata.annotations"
	var in meshconfig.ProxyConfig
	js, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = protojson.Unmarshal(js, &in)
	}
	if err == nil && in.GetConcurrency().GetValue() < 0 {
		err = fmt.Errorf("concurrency: %d is negative", in.GetConcurrency().GetValue())
	}
	if err != nil {
		p.add(at, "%s has no effect: %s", ProxyConfigAnnotation, strings.ReplaceAll(err.Error(), "\u00a0", " "))
		return model.AgentSettings{}
	}
	for _, wrong := range validate.ProxyConfig(&in) {
		p.add(at, "%s has no effect: %s: %s", ProxyConfigAnnotation, wrong.Field, wrong.Text)
		return model.AgentSettings{}
	}
	own := &meshconfig.ProxyConfig{}
	in.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch f.Name() {
		case "concurrency", "proxy_metadata", "drain_duration", "termination_drain_duration", "file_flush_interval", "file_flush_min_size_kb", "mesh_id", "proxy_admin_port", "status_port",
			"service_cluster", "tracing_service_name", "stats_compression", "custom_config_file":
		case "gateway_topology", "proxy_headers", "connection_settings":
			own.ProtoReflect().Set(f, v)
		default:
			p.add(at, "%s: %s has no effect there", ProxyConfigAnnotation, f.JSONName())
		}
		return true
	})
	out := agentSettings(&in)
	if proto.Size(own) > 0 {
		text, err := protojson.Marshal(own)
		if err != nil {
			p.add(at, "%s has no effect: %v", ProxyConfigAnnotation, err)
			return model.AgentSettings{}
		}
		setVariable(&out, nodeConfigVariable, string(text))
	}
	return out
}

func setVariable(s *model.AgentSettings, name, value string) {
	if s.Variables == nil {
		s.Variables = map[string]string{}
	}
	s.Variables[name] = value
}
