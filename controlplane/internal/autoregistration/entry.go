package autoregistration

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Annotations of an entry, with Istio's names.
const (
	groupAnnotation        = "istio.io/autoRegistrationGroup"
	controllerAnnotation   = "istio.io/workloadController" // the control plane that the proxy is or was connected to
	connectedAtAnnotation  = "istio.io/connectedAt"
	disconnectedAnnotation = "istio.io/disconnectedAt"
	checksAnnotation       = "proxy.istio.io/health-checks-enabled"
)

// localityLabel, on a node, says where it runs; the entry has a field for that.
const localityLabel = "istio-locality"

// maxName is Kubernetes' bound on names.
const maxName = 253

var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// entryName is Istio's: GROUP-ADDRESS, or GROUP-ADDRESS-NETWORK, cut at the front where it is too long. What it is made of the client says, and it becomes
// the name of a file.
func entryName(p *model.Proxy) (string, error) {
	parts := []string{p.Group, strings.ReplaceAll(p.IPs[0], ":", "-")}
	if p.Network != "" {
		parts = append(parts, p.Network)
	}
	name := strings.ToLower(strings.Join(parts, "-"))
	if len(name) > maxName {
		name = strings.TrimLeft(name[len(name)-maxName:], "-.")
	}
	for what, text := range map[string]string{"namespace": p.Namespace, "name of its WorkloadEntry": name} {
		if !validName.MatchString(text) {
			return "", fmt.Errorf("%q cannot be the %s: want lower-case letters, digits, dashes and dots", text, what)
		}
	}
	return name, nil
}

// entry is a WorkloadEntry of a registered workload. Zero times are left out of it.
type entry struct {
	namespace, name string
	group           *model.WorkloadGroup
	probed          bool           // the mesh had a probe for groups without one
	workload        model.Workload // labels included
	annotations     map[string]string
	checks          bool // it has no traffic before it was said to be well

	created, connected, disconnected time.Time
	controller                       string
	health                           config.Condition // Type "" for none
}

// newEntry makes the entry of a proxy from its group. probed: the mesh has a probe for groups without one. Labels of the node win over those of spec.metadata, and these over the template's.
func newEntry(name string, p *model.Proxy, g *model.WorkloadGroup, probed bool) entry {
	w := g.Template
	w.Address = p.IPs[0]
	w.Labels = map[string]string{}
	for _, labels := range []map[string]string{g.Template.Labels, g.Labels, p.Labels} {
		maps.Copy(w.Labels, labels)
	}
	delete(w.Labels, localityLabel)
	if p.Network != "" {
		w.Network = p.Network
	}
	if p.Locality != (model.Locality{}) {
		w.Locality = p.Locality
	}
	if w.ServiceAccount == "" {
		w.ServiceAccount = p.ServiceAccount // what its certificate says, by which clients know it
	}
	e := entry{namespace: p.Namespace, name: name, group: g, probed: probed, workload: w, annotations: map[string]string{groupAnnotation: g.Name}}
	maps.Copy(e.annotations, g.Annotations)
	e.checks = p.Probed || (g.Probe != nil || probed) && p.AsksForProbe
	return e
}

// key is the entry's in Snapshot.Workloads.
func (e *entry) key() string { return e.namespace + "/" + e.name }

// yaml is the entry as an object.
func (e *entry) yaml() ([]byte, error) {
	annotations := maps.Clone(e.annotations)
	for key, value := range map[string]string{
		controllerAnnotation: e.controller, connectedAtAnnotation: stamp(e.connected), disconnectedAnnotation: stamp(e.disconnected),
	} {
		if value != "" {
			annotations[key] = value
		}
	}
	if e.checks {
		annotations[checksAnnotation] = "true"
	}
	w := e.workload
	spec := map[string]any{"address": w.Address, "labels": w.Labels}
	for key, value := range map[string]string{"network": w.Network, "locality": w.Locality.String(), "serviceAccount": w.ServiceAccount} {
		if value != "" {
			spec[key] = value
		}
	}
	if len(w.Ports) > 0 {
		spec["ports"] = w.Ports
	}
	if w.Weight > 0 {
		spec["weight"] = w.Weight
	}
	owner := map[string]any{"apiVersion": e.group.APIVersion, "kind": "WorkloadGroup", "name": e.group.Name, "uid": e.group.UID, "controller": true}
	object := map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry", "spec": spec,
		"metadata": map[string]any{
			"name": e.name, "namespace": e.namespace, "labels": w.Labels, "annotations": annotations,
			"creationTimestamp": e.created.UTC().Format(time.RFC3339), "ownerReferences": []any{owner},
		},
	}
	if e.health.Type != "" {
		object["status"] = map[string]any{"conditions": []config.Condition{e.health}}
	}
	text, err := yaml.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("WorkloadEntry %s: %w", e.key(), err)
	}
	return text, nil
}

// stamp is a time as Istio writes it, "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// healthCondition is what an agent said, as a condition. Agents speak up when something has changed.
func healthCondition(healthy bool, message string, now time.Time) config.Condition {
	c := config.Condition{Type: config.ConditionHealthy, Status: "True", LastProbeTime: now.UTC(), LastTransitionTime: now.UTC()}
	if !healthy {
		c.Status, c.Message = "False", message
	}
	return c
}
