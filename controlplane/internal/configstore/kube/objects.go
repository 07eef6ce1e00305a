package kube

import (
	"crypto/sha256"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
)

// held is one object of the server.
type held struct {
	version string         // metadata.resourceVersion
	object  *config.Object // in force; nil when no good form was seen
}

// objects are those of one kind. They are of the store's goroutine.
type objects struct {
	kind  *schema.Kind
	byKey map[config.Key]*held
	wrong map[config.Key]config.Problems // of those that are not valid now
}

func newObjects(k *schema.Kind) *objects {
	return &objects{k, map[config.Key]*held{}, map[config.Key]config.Problems{}}
}

// inForce is the form of an object that counts; nil for none.
func (s *objects) inForce(key config.Key) *config.Object {
	if h := s.byKey[key]; h != nil {
		return h.object
	}
	return nil
}

// set takes a new form of an object, and adds to the batch what follows from it. A form that is not valid leaves the last good one in force.
func (s *objects) set(u *unstructured.Unstructured, b *configstore.Batch) config.Key {
	key := config.Key{Kind: s.kind, Namespace: u.GetNamespace(), Name: u.GetName()}
	h := s.byKey[key]
	if h == nil {
		h = &held{}
		s.byKey[key] = h
	}
	if h.version != "" && h.version == u.GetResourceVersion() {
		return key
	}
	h.version = u.GetResourceVersion()
	o, err := parse(u)
	if err != nil {
		wrong := config.AsProblems(err)
		for i := range wrong {
			wrong[i].Key = key
		}
		s.wrong[key] = wrong
		return key
	}
	h.object = o
	delete(s.wrong, key)
	b.Changed = append(b.Changed, o)
	return key
}

// parse validates an object as it stands on the server.
func parse(u *unstructured.Unstructured) (*config.Object, error) {
	unstructured.RemoveNestedField(u.Object, "metadata", "managedFields") // the server's bookkeeping, and much
	data, err := u.MarshalJSON()
	if err != nil {
		return nil, err
	}
	o, err := config.FromJSON(data)
	if err != nil {
		return nil, err
	}
	o.ResourceVersion = u.GetResourceVersion()
	if svc, ok := o.Spec.(*corev1.Service); ok {
		// Where a load balancer is; a status that cannot be read says nothing.
		if status, ok := u.Object["status"].(map[string]any); ok {
			_ = runtime.DefaultUnstructuredConverter.FromUnstructured(status, &svc.Status)
		}
	}
	return o, nil
}

// remove takes an object away.
func (s *objects) remove(key config.Key, b *configstore.Batch) {
	if h := s.byKey[key]; h != nil && h.object != nil {
		b.Deleted = append(b.Deleted, key)
	}
	delete(s.byKey, key)
	delete(s.wrong, key)
}

// keep removes all objects but those.
func (s *objects) keep(keys map[config.Key]bool, b *configstore.Batch) {
	for key := range s.byKey {
		if !keys[key] {
			s.remove(key, b)
		}
	}
}

// mistakes are what is wrong, by object.
func (s *objects) mistakes() []configstore.Mistake {
	var out []configstore.Mistake
	for key, wrong := range s.wrong {
		for _, p := range wrong {
			out = append(out, configstore.Mistake{Problem: p, Kept: s.inForce(key) != nil})
		}
	}
	slices.SortFunc(out, func(a, b configstore.Mistake) int { return strings.Compare(said(a), said(b)) })
	return out
}

func said(m configstore.Mistake) string { return m.Key.String() + ": " + m.Error() }

// meshFile is the mesh configuration of Istio's ConfigMap, as a file; false when it has none. https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
func meshFile(o *config.Object) (config.File, bool) {
	cm, ok := o.Spec.(*corev1.ConfigMap)
	if !ok {
		return config.File{}, false
	}
	text, ok := cm.Data["mesh"]
	return config.File{Name: "ConfigMap " + o.Namespace + "/" + o.Name + ", mesh", Data: []byte(text)}, ok
}

func fileVersion(f config.File) string { return config.FileVersion(sha256.Sum256(f.Data)) }
