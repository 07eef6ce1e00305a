package kube

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"github.com/lateen-mesh/lateen/controlplane/internal/kube"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
)

// told applies deltas as their receiver does.
type told struct {
	services  map[string]*model.Registration
	workloads map[string]*model.Workload
}

func (s *told) apply(t *testing.T, d watch.Delta) {
	for _, r := range d.Changed {
		s.services[r.Key()] = r
	}
	for _, key := range d.Removed {
		if s.services[key] == nil {
			t.Errorf("%s is removed, which was not there", key)
		}
		delete(s.services, key)
	}
	for _, w := range d.Placed {
		s.workloads[w.Key()] = w
	}
	for _, key := range d.Gone {
		if s.workloads[key] == nil {
			t.Errorf("%s is gone, which was not there", key)
		}
		delete(s.workloads, key)
	}
}

// TestHistories: after any history, what was told is what a registry says that sees the end alone, and nothing is told twice.
func TestHistories(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		final := map[string]map[string]runtime.Object{podsResource: {}, nodesResource: {}, slicesResource: {}}
		resources := []string{podsResource, nodesResource, slicesResource}
		b := newBook("cluster.local")
		s := told{map[string]*model.Registration{}, map[string]*model.Workload{}}
		for range 120 {
			res := resources[rng.IntN(len(resources))]
			u := kube.Update{Resource: res}
			switch rng.IntN(6) {
			case 0: // it goes
				for key := range final[res] {
					ns, name, _ := strings.Cut(key, "/")
					u.Gone = []cache.ObjectName{{Namespace: ns, Name: name}}
					delete(final[res], key)
					break
				}
			case 1: // a list, after a break in which some went and some came
				u.All = true
				for key := range final[res] {
					if rng.IntN(3) == 0 {
						delete(final[res], key)
					}
				}
				o := random(rng, res)
				final[res][nameOf(o)] = o
				for _, o := range final[res] {
					u.Objects = append(u.Objects, o)
				}
			default:
				o := random(rng, res)
				final[res][nameOf(o)] = o
				u.Objects = []runtime.Object{o}
			}
			s.apply(t, b.take(u))
			// The same once more says nothing.
			if d := b.take(u); u.Gone == nil && len(d.Changed)+len(d.Placed)+len(d.Removed)+len(d.Gone) > 0 {
				t.Fatalf("seed %d: %s told twice: %s", seed, res, dump(d))
			}
		}
		fresh := newBook("cluster.local")
		for _, res := range resources {
			u := kube.Update{Resource: res, All: true}
			for _, o := range final[res] {
				u.Objects = append(u.Objects, o)
			}
			fresh.take(u)
		}
		want := told{map[string]*model.Registration{}, map[string]*model.Workload{}}
		want.apply(t, fresh.all())
		if dump(s.services) != dump(want.services) || dump(s.workloads) != dump(want.workloads) {
			t.Fatalf("seed %d: told\n%s\n%s\nwant\n%s\n%s", seed, dump(s.services), dump(s.workloads), dump(want.services), dump(want.workloads))
		}
		if dump(b.all()) != dump(fresh.all()) {
			t.Fatalf("seed %d: all is %s, want %s", seed, dump(b.all()), dump(fresh.all()))
		}
	}
}

// random makes an object of a few names, so that histories meet.
func random(rng *rand.Rand, resource string) runtime.Object {
	name := func(list string) string { all := strings.Fields(list); return all[rng.IntN(len(all))] }
	ns := name("shop bank")
	switch resource {
	case podsResource:
		p := &corev1.Pod{}
		p.Namespace, p.Name, p.Spec.NodeName = ns, name("a b c"), name("n1 n2 n3")
		p.Status.Phase = corev1.PodPhase(name("Running Running Running Pending Succeeded"))
		if rng.IntN(4) > 0 {
			p.Status.PodIP = fmt.Sprintf("10.0.0.%d", rng.IntN(3))
		}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionStatus(name("True False"))}}
		return p
	case nodesResource:
		n := &corev1.Node{}
		n.Name, n.Labels = name("n1 n2 n3"), map[string]string{corev1.LabelTopologyRegion: name("east west")}
		return n
	}
	e := &discoveryv1.EndpointSlice{}
	e.Namespace, e.Name, e.Labels = ns, name("s1 s2 s3"), map[string]string{discoveryv1.LabelServiceName: name("db web")}
	if rng.IntN(4) == 0 {
		e.Labels[discoveryv1.LabelManagedBy] = "endpointslice-controller.k8s.io"
	}
	port, node := int32(8080), name("n1 n2")
	e.Ports = []discoveryv1.EndpointPort{{Port: &port}}
	e.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{fmt.Sprintf("192.0.2.%d", rng.IntN(3))}, NodeName: &node}}
	return e
}

// TestQuietNodes: nodes report about themselves every few seconds, which concerns nobody.
func TestQuietNodes(t *testing.T) {
	b := newBook("cluster.local")
	node := func(region, heartbeat string) *corev1.Node {
		n := &corev1.Node{}
		n.Name, n.ResourceVersion, n.Labels = "n1", heartbeat, map[string]string{corev1.LabelTopologyRegion: region}
		return n
	}
	pod := read[corev1.Pod](t, `{metadata: {name: a, namespace: shop}, spec: {nodeName: n1}, status: {podIP: 10.0.0.1, phase: Running}}`)
	b.take(kube.Update{Resource: nodesResource, All: true, Objects: []runtime.Object{node("east", "1")}})
	b.take(kube.Update{Resource: podsResource, All: true, Objects: []runtime.Object{pod}})
	if d := b.take(kube.Update{Resource: nodesResource, Objects: []runtime.Object{node("east", "2")}}); len(d.Placed) > 0 {
		t.Errorf("a heartbeat tells of %s", dump(d))
	}
	d := b.take(kube.Update{Resource: nodesResource, Objects: []runtime.Object{node("west", "3")}})
	if i := slices.IndexFunc(d.Placed, func(w *model.Workload) bool { return w.Name == "a" }); i < 0 || d.Placed[i].Locality.Region != "west" {
		t.Errorf("a node that moved tells of %s", dump(d))
	}
}
