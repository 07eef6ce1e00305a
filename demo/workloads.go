package demo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	networkingpb "istio.io/api/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config/statedir"
	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// writeWorkloads tells the registry what runs: a WorkloadEntry for each instance, and none for what a former run has left.
func (p *plan) writeWorkloads() error {
	dir := statedir.WorkloadsDir(p.stateDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("workloads: %w", err)
	}
	current := map[string]bool{}
	for _, w := range p.workloads {
		text, err := w.entry()
		if err != nil {
			return err
		}
		current[w.Name+".yaml"] = true
		if err := runfile.WriteFile(filepath.Join(dir, w.Name+".yaml"), text, 0o644); err != nil {
			return fmt.Errorf("workload %s: %w", w.Name, err)
		}
	}
	old, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("workloads: %w", err)
	}
	for _, entry := range old {
		if !current[entry.Name()] && strings.HasSuffix(entry.Name(), ".yaml") {
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return fmt.Errorf("workloads: %w", err)
			}
		}
	}
	return nil
}

// entry is the workload as a WorkloadEntry. The labels say that it has a sidecar, as Istio's injector does.
func (w workload) entry() ([]byte, error) {
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
