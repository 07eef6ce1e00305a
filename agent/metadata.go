package agent

import (
	"fmt"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
	"github.com/lateen-mesh/lateen/pkg/version"
)

// capturePorts says where the proxy takes redirected connections, "OUTBOUND,INBOUND".
const (
	capturePorts        = "LATEEN_CAPTURE_PORTS"
	defaultCapturePorts = "15001,15006" // those of package capture, and of Istio
)

// nodeMetadata is what the node says of itself under Istio's keys. The control plane reads it; telemetry and peers see part of it.
func nodeMetadata(cfg Config) (*structpb.Struct, error) {
	domain := asked(cfg.identity()).TrustDomain
	meta := map[string]any{
		"CLUSTER_ID":        "Kubernetes",
		"MESH_ID":           domain,
		"APP_CONTAINERS":    "",
		"INTERCEPTION_MODE": "NONE",
		"PLATFORM_METADATA": map[string]any{},
		"WORKLOAD_NAME":     cfg.Name,
		trustByDomain:       "true",
	}
	if cfg.Type == Sidecar {
		// A workload calls a handful of a mesh's services, so its proxy is told of a host when a request names it. "false" in
		// cfg.Metadata has it told of everything, as Envoy is. Gateways are always: their routes are what they are for.
		meta["LATEEN_ON_DEMAND"] = "true"
	}
	if cfg.SystemRoots != "" {
		meta[systemRoots] = cfg.SystemRoots
	}
	if domain != spiffe.DefaultTrustDomain {
		meta["TRUST_DOMAIN"] = domain
	}
	for key, value := range cfg.Metadata {
		meta[key] = value
	}
	if meta["INTERCEPTION_MODE"] != "NONE" {
		// As the rules are that redirect to it, whatever the mesh says later.
		if _, said := meta[capturePorts]; !said {
			meta[capturePorts] = defaultCapturePorts
		}
	}
	if cfg.Group != "" {
		meta["AUTO_REGISTER_GROUP"], meta["LATEEN_HEALTH_CHECKS"] = cfg.Group, "true"
	}
	meta["NAME"] = cfg.Name
	meta["NAMESPACE"] = cfg.Namespace
	meta["SERVICE_ACCOUNT"] = cfg.ServiceAccount
	ips := cfg.IP.String()
	for _, ip := range cfg.MoreIPs {
		ips += "," + ip.String()
	}
	meta["INSTANCE_IPS"] = ips
	meta["ISTIO_VERSION"] = version.IstioCompat
	meta["LABELS"] = labels(meta)
	out, err := structpb.NewStruct(meta)
	if err != nil {
		return nil, fmt.Errorf("node metadata: %w", err)
	}
	return out, nil
}

// labels adds to the workload's labels what Istio's injector adds: that it speaks the mesh's TLS, and its canonical service, which
// telemetry groups by (https://istio.io/latest/docs/concepts/observability, canonical service).
func labels(meta map[string]any) map[string]any {
	given, _ := meta["LABELS"].(map[string]any)
	out := map[string]any{
		"security.istio.io/tlsMode":           "istio",
		"service.istio.io/canonical-name":     meta["WORKLOAD_NAME"],
		"service.istio.io/canonical-revision": "latest",
	}
	for _, key := range []string{"app", "app.kubernetes.io/name"} {
		if v, ok := given[key]; ok {
			out["service.istio.io/canonical-name"] = v
		}
	}
	for _, key := range []string{"version", "app.kubernetes.io/version"} {
		if v, ok := given[key]; ok {
			out["service.istio.io/canonical-revision"] = v
		}
	}
	for key, value := range given {
		out[key] = value
	}
	return out
}
