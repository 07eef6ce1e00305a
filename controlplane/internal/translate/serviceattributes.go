package translate

import (
	"cmp"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

const serviceName = "service.name"

// serviceAttributes are the attributes by which OpenTelemetry's conventions for Kubernetes tell services apart, by name, service.name among them; those without a value are left out.
// Each has what the pod's annotation resource.opentelemetry.io/NAME says, else what is known of the workload. The proto of MeshConfig has a pod's UID for service.instance.id, which
// no node tells: like Istio's injector this takes the names of namespace, pod and container.
// https://opentelemetry.io/docs/specs/semconv/non-normative/k8s-attributes/#service-attributes
func serviceAttributes(p *model.Proxy) [][2]string {
	annotations, _ := p.Metadata["ANNOTATIONS"].(map[string]any)
	said := func(name string) string {
		text, _ := annotations["resource.opentelemetry.io/"+name].(string)
		return text
	}
	container, _ := p.Metadata["APP_CONTAINERS"].(string)
	if strings.Contains(container, ",") {
		container = "" // of several none is the service
	}
	instance := ""
	if p.Name != "" {
		instance = strings.Trim(p.Namespace+"."+p.Name+"."+container, ".")
	}
	var out [][2]string
	for _, a := range [][2]string{
		{serviceName, cmp.Or(said(serviceName), p.Labels["app.kubernetes.io/instance"], p.Labels["app.kubernetes.io/name"], p.WorkloadName, p.Name, container, "unknown_service")},
		{"service.namespace", cmp.Or(said("service.namespace"), p.Namespace)},
		{"service.version", cmp.Or(said("service.version"), p.Labels["app.kubernetes.io/version"])},
		{"service.instance.id", cmp.Or(said("service.instance.id"), instance)},
	} {
		if a[1] != "" {
			out = append(out, a)
		}
	}
	return out
}
