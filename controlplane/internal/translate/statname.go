package translate

import (
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// statName fills in a pattern of inboundClusterStatName or outboundClusterStatName. target is the port at the workload, 0 for outbound clusters.
// https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig
func statName(pattern string, svc *model.Service, port model.Port, subset string, target uint32) string {
	name := svc.Host
	if svc.Mesh {
		name = svc.Name + "." + svc.Namespace
	}
	pairs := []string{
		"%SERVICE%", name, "%SERVICE_FQDN%", svc.Host, "%SERVICE_NAME%", svc.Name, "%SERVICE_PORT%", strconv.FormatUint(uint64(port.Number), 10),
		"%SERVICE_PORT_NAME%", port.Name, "%SUBSET_NAME%", subset,
	}
	if target != 0 {
		pairs = append(pairs, "%TARGET_PORT%", strconv.FormatUint(uint64(target), 10))
	}
	out := strings.NewReplacer(pairs...).Replace(pattern)
	// What is empty leaves no empty part behind.
	for strings.Contains(out, "..") {
		out = strings.ReplaceAll(out, "..", ".")
	}
	return strings.Trim(out, ".")
}
