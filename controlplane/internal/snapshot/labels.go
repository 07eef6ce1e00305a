package snapshot

import (
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// labelIndex finds which workloads a selector chooses, and which services choose a workload,
// without looking at the rest of the namespace. Keys are a namespace with one label.
type labelIndex struct {
	// workloads by each of their labels.
	workloads map[labelKey]map[string]bool
	// services by the first of their selector's labels: a workload that is chosen has it.
	services map[labelKey]map[string]bool
}

type labelKey struct{ namespace, name, value string }

func newLabelIndex() labelIndex {
	return labelIndex{workloads: map[labelKey]map[string]bool{}, services: map[labelKey]map[string]bool{}}
}

func put(m map[labelKey]map[string]bool, k labelKey, member string) {
	if m[k] == nil {
		m[k] = map[string]bool{}
	}
	m[k][member] = true
}

func drop(m map[labelKey]map[string]bool, k labelKey, member string) {
	delete(m[k], member)
	if len(m[k]) == 0 {
		delete(m, k)
	}
}

func (x labelIndex) workload(d diff[model.Workload]) {
	if d.old != nil {
		for k, v := range d.old.Labels {
			drop(x.workloads, labelKey{d.old.Namespace, k, v}, d.key)
		}
	}
	if d.new != nil {
		for k, v := range d.new.Labels {
			put(x.workloads, labelKey{d.new.Namespace, k, v}, d.key)
		}
	}
}

func (x labelIndex) service(d diff[model.Service]) {
	for _, k := range firstLabels(d.old) {
		drop(x.services, k, d.key)
	}
	for _, k := range firstLabels(d.new) {
		put(x.services, k, d.key)
	}
}

// firstLabels are the first label of each of the service's selectors.
func firstLabels(s *model.Service) []labelKey {
	if s == nil {
		return nil
	}
	var out []labelKey
	for _, part := range s.Definitions() {
		if len(part.Selector) > 0 {
			k := sortedKeys(part.Selector)[0]
			out = append(out, labelKey{part.Namespace, k, part.Selector[k]})
		}
	}
	return out
}

// chosen returns the workloads that a service selects, by name.
func (x labelIndex) chosen(s *model.Snapshot, svc *model.Service) []*model.Workload {
	if len(svc.Selector) == 0 {
		return nil
	}
	var fewest map[string]bool
	first := true
	for k, v := range svc.Selector {
		set := x.workloads[labelKey{svc.Namespace, k, v}]
		if first || len(set) < len(fewest) {
			fewest, first = set, false
		}
	}
	var out []*model.Workload
	for key := range fewest {
		if w, ok := s.Workloads.Get(key); ok && model.LabelsMatch(svc.Selector, w.Labels) {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b *model.Workload) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// choosing calls f with the keys of services that may select the workload.
func (x labelIndex) choosing(w *model.Workload, f func(key string)) {
	for k, v := range w.Labels {
		for key := range x.services[labelKey{w.Namespace, k, v}] {
			f(key)
		}
	}
}
