package kube

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"github.com/lateen-mesh/lateen/controlplane/internal/kube"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
)

// book holds what is known of a cluster, and says what changed. Its cost follows the change. It starts nothing and waits for nothing.
type book struct {
	domain string

	nodes  map[string]model.Locality             // by name
	places map[string]place                      // by key, of pods with an address
	onNode map[string]map[string]bool            // by node, the keys of its pods
	slices map[string]*discoveryv1.EndpointSlice // by key
	ofSvc  map[string]map[string]bool            // by key of the Service, the keys of its slices

	workloads map[string]*model.Workload     // by key, as they were told
	given     map[string]*model.Registration // by key of the Service, as they were told
}

// place is a pod, and the node that it is on.
type place struct {
	pod  *corev1.Pod
	node string
}

func newBook(domain string) *book {
	return &book{
		domain: domain, nodes: map[string]model.Locality{}, places: map[string]place{}, onNode: map[string]map[string]bool{},
		slices: map[string]*discoveryv1.EndpointSlice{}, ofSvc: map[string]map[string]bool{}, workloads: map[string]*model.Workload{}, given: map[string]*model.Registration{},
	}
}

// take applies what became of one resource's objects and returns what changes by that.
func (b *book) take(u kube.Update) watch.Delta {
	t := touched{pods: map[string]bool{}, services: map[string]bool{}}
	for _, o := range u.Objects {
		switch o := o.(type) {
		case *corev1.Pod:
			b.setPod(o.Namespace+"/"+o.Name, o, &t)
		case *corev1.Node:
			b.setNode(o.Name, o, &t)
		case *discoveryv1.EndpointSlice:
			b.setSlice(o.Namespace+"/"+o.Name, o, &t)
		}
	}
	for _, name := range u.Gone {
		b.remove(u.Resource, name, &t)
	}
	if u.All {
		for _, name := range b.beside(u) {
			b.remove(u.Resource, name, &t)
		}
	}
	return b.settle(t)
}

// touched are the keys of what may differ.
type touched struct{ pods, services map[string]bool }

// Names of the resources, as kube.Client has them.
const (
	podsResource   = "pods"
	nodesResource  = "nodes"
	slicesResource = "endpointslices.discovery.k8s.io"
)

func (b *book) remove(resource string, n cache.ObjectName, t *touched) {
	key := n.Namespace + "/" + n.Name
	switch resource {
	case podsResource:
		b.setPod(key, nil, t)
	case nodesResource:
		b.setNode(n.Name, nil, t)
	case slicesResource:
		b.setSlice(key, nil, t)
	}
}

// beside are what is known of a resource and not in an update that has all of it.
func (b *book) beside(u kube.Update) []cache.ObjectName {
	there := map[string]bool{}
	for _, o := range u.Objects {
		there[nameOf(o)] = true
	}
	var known []string
	switch u.Resource {
	case podsResource:
		known = slices.Collect(maps.Keys(b.places))
	case nodesResource:
		for name := range b.nodes {
			known = append(known, "/"+name)
		}
	case slicesResource:
		known = slices.Collect(maps.Keys(b.slices))
	}
	var out []cache.ObjectName
	for _, key := range known {
		if !there[key] {
			ns, name, _ := strings.Cut(key, "/")
			out = append(out, cache.ObjectName{Namespace: ns, Name: name})
		}
	}
	return out
}

func nameOf(o runtime.Object) string {
	m, err := meta.Accessor(o)
	if err != nil {
		return ""
	}
	return m.GetNamespace() + "/" + m.GetName()
}

func (b *book) setPod(key string, p *corev1.Pod, t *touched) {
	t.pods[key] = true
	if old, ok := b.places[key]; ok {
		delete(b.onNode[old.node], key)
		if len(b.onNode[old.node]) == 0 {
			delete(b.onNode, old.node)
		}
		delete(b.places, key)
	}
	if p == nil || workload(p, model.Locality{}) == nil {
		return
	}
	b.places[key] = place{brief(p), p.Spec.NodeName}
	put(b.onNode, p.Spec.NodeName, key)
}

// brief is what of a pod is kept: what workload reads.
func brief(p *corev1.Pod) *corev1.Pod {
	out := &corev1.Pod{}
	out.Namespace, out.Name, out.Labels, out.DeletionTimestamp = p.Namespace, p.Name, p.Labels, p.DeletionTimestamp
	out.Status = corev1.PodStatus{PodIP: p.Status.PodIP, Phase: p.Status.Phase}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			out.Status.Conditions = []corev1.PodCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	out.Spec = corev1.PodSpec{ServiceAccountName: p.Spec.ServiceAccountName}
	ports := func(list []corev1.Container) (out []corev1.Container) {
		for i := range list {
			if c := &list[i]; len(c.Ports) > 0 {
				out = append(out, corev1.Container{Ports: c.Ports, RestartPolicy: c.RestartPolicy})
			}
		}
		return out
	}
	out.Spec.Containers, out.Spec.InitContainers = ports(p.Spec.Containers), ports(p.Spec.InitContainers)
	return out
}

func (b *book) setNode(name string, n *corev1.Node, t *touched) {
	old, had := b.nodes[name]
	if n == nil {
		delete(b.nodes, name)
	} else {
		b.nodes[name] = locality(n)
	}
	if had == (n != nil) && old == b.nodes[name] {
		return // nodes report about themselves every few seconds
	}
	for key := range b.onNode[name] {
		t.pods[key] = true
	}
	for key := range b.ofSvc {
		t.services[key] = true // few, and nodes seldom move
	}
}

func (b *book) setSlice(key string, s *discoveryv1.EndpointSlice, t *touched) {
	if old := b.slices[key]; old != nil {
		svc := serviceOf(old)
		delete(b.ofSvc[svc], key)
		if len(b.ofSvc[svc]) == 0 {
			delete(b.ofSvc, svc)
		}
		delete(b.slices, key)
		t.services[svc] = true
	}
	// Those that Kubernetes makes of pods are of Services with a selector, which choose for themselves.
	if s == nil || s.Labels[discoveryv1.LabelManagedBy] == "endpointslice-controller.k8s.io" {
		return
	}
	b.slices[key] = s
	put(b.ofSvc, serviceOf(s), key)
	t.services[serviceOf(s)] = true
}

func serviceOf(s *discoveryv1.EndpointSlice) string {
	return s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
}

func put(m map[string]map[string]bool, group, key string) {
	if m[group] == nil {
		m[group] = map[string]bool{}
	}
	m[group][key] = true
}

// settle compares what was touched with what was told of it.
func (b *book) settle(t touched) watch.Delta {
	var d watch.Delta
	for _, key := range slices.Sorted(maps.Keys(t.pods)) {
		old := b.workloads[key]
		p, there := b.places[key]
		if !there {
			if old != nil {
				d.Gone = append(d.Gone, key)
				delete(b.workloads, key)
			}
			continue
		}
		w := workload(p.pod, b.nodes[p.node])
		if old == nil || !reflect.DeepEqual(old, w) {
			b.workloads[key] = w
			d.Placed = append(d.Placed, w)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(t.services)) {
		old := b.given[key]
		if len(b.ofSvc[key]) == 0 {
			if old != nil {
				d.Removed = append(d.Removed, old.Key())
				delete(b.given, key)
			}
			continue
		}
		var list []*discoveryv1.EndpointSlice
		for _, name := range slices.Sorted(maps.Keys(b.ofSvc[key])) {
			list = append(list, b.slices[name])
		}
		r := placement(key, b.domain, list, func(node string) model.Locality { return b.nodes[node] })
		if old == nil || !reflect.DeepEqual(old, r) {
			b.given[key] = r
			d.Changed = append(d.Changed, r)
		}
	}
	return d
}

// counts are of what was told: Services with slices that are not made of pods, pods, and endpoints of the former.
func (b *book) counts() (services, endpoints int) {
	endpoints = len(b.workloads)
	for _, r := range b.given {
		endpoints += len(r.Instances)
	}
	return len(b.given), endpoints
}

// all is everything that was told.
func (b *book) all() watch.Delta {
	var d watch.Delta
	for _, key := range slices.Sorted(maps.Keys(b.given)) {
		d.Changed = append(d.Changed, b.given[key])
	}
	for _, key := range slices.Sorted(maps.Keys(b.workloads)) {
		d.Placed = append(d.Placed, b.workloads[key])
	}
	return d
}
