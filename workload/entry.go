package workload

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	networkingpb "istio.io/api/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Entry is the workload as a WorkloadEntry, in YAML. The labels say that it has a sidecar, as Istio's injector does.
func (w Workload) Entry() ([]byte, error) {
	labels := map[string]string{"security.istio.io/tlsMode": "istio"}
	for key, value := range w.Labels {
		labels[key] = value
	}
	raw, err := protojson.Marshal(&networkingpb.WorkloadEntry{Address: w.IP, Labels: labels, ServiceAccount: w.ServiceAccount})
	if err != nil {
		return nil, fmt.Errorf("workload %s: %w", w.Name, err)
	}
	var spec map[string]any
	if err := yaml.Unmarshal(raw, &spec); err != nil {
		return nil, fmt.Errorf("workload %s: %w", w.Name, err)
	}
	text, err := yaml.Marshal(struct {
		metav1.TypeMeta
		Metadata map[string]any `json:"metadata"`
		Spec     map[string]any `json:"spec"`
	}{
		metav1.TypeMeta{APIVersion: "networking.istio.io/v1", Kind: "WorkloadEntry"},
		map[string]any{"name": w.Name, "namespace": w.Namespace, "labels": labels}, spec,
	})
	if err != nil {
		return nil, fmt.Errorf("workload %s: %w", w.Name, err)
	}
	return text, nil
}
