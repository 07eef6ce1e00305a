// Package derived keeps the objects of an API that is not Istio's, and what they come to: Istio's objects, from which the rest of the control plane goes
// on, and a status for each. What they come to is the API's own business (gatewayapi, ingress); here it is noted what has changed since the last time.
//
// It knows neither model nor Envoy, writes nothing, and opens nothing. Package controlplane and the APIs' packages import it.
package derived

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

// API is one whose objects come to others.
type API interface {
	// Owns reports whether a kind is one of the API itself.
	Owns(k *schema.Kind) bool
	// Watches reports whether objects of a kind change what Convert returns. It does of all that the API owns.
	Watches(k *schema.Kind) bool
	// Convert is a pure function of a set of objects. It goes on after a mistake: what cannot be served is left out and said in a status.
	Convert(set *config.Set) Result
}

// Result is what objects come to.
type Result struct {
	// Objects are those that were made, by key.
	Objects []*config.Object
	// Status of each object of the API that concerns this control plane, in JSON, without times of transitions.
	Status map[config.Key]json.RawMessage
}

// Translator keeps the objects that an API reads and says what is new in its result. Everything is converted again after a change of one of
// them: a route, a grant and a label of a namespace may change what any of the others come to. Status is for all goroutines; the other methods are for
// one.
type Translator struct {
	api     API
	now     func() time.Time
	objects map[config.Key]*config.Object
	last    map[config.Key]*config.Object
	bare    map[config.Key]json.RawMessage // the last status without times
	dirty   bool
	busy    bool // there was an object of the API

	mu     sync.Mutex
	status map[config.Key]json.RawMessage
}

// NewTranslator returns one that has seen no object. The clock is for the times of conditions.
func NewTranslator(api API, now func() time.Time) *Translator {
	return &Translator{api: api, now: now, objects: map[config.Key]*config.Object{}, last: map[config.Key]*config.Object{}}
}

// Owns reports whether a kind is one of the API itself.
func (t *Translator) Owns(k *schema.Kind) bool { return t.api.Owns(k) }

// Renew replaces the API by one that watches the same kinds and converts them otherwise: its settings have changed.
func (t *Translator) Renew(api API) { t.api, t.dirty = api, true }

// Note takes in changes of a store.
func (t *Translator) Note(changed []*config.Object, deleted []config.Key) {
	for _, o := range changed {
		if t.api.Watches(o.Kind) {
			t.objects[o.Key()] = o
			t.busy, t.dirty = t.busy || t.api.Owns(o.Kind), true
		}
	}
	for _, k := range deleted {
		if t.api.Watches(k.Kind) {
			delete(t.objects, k)
			t.dirty = true
		}
	}
}

// Translate returns the objects that have come or changed, and those that are gone, since it was called last.
func (t *Translator) Translate() (changed []*config.Object, deleted []config.Key) {
	if !t.dirty || !t.busy {
		t.dirty = false
		return nil, nil
	}
	t.dirty = false
	list := make([]*config.Object, 0, len(t.objects))
	for _, o := range t.objects {
		list = append(list, o)
	}
	result := t.api.Convert(config.NewSet(list...))
	next := make(map[config.Key]*config.Object, len(result.Objects))
	for _, o := range result.Objects {
		next[o.Key()] = o
		if old := t.last[o.Key()]; old == nil || !same(old, o) {
			changed = append(changed, o)
		}
	}
	for k := range t.last {
		if next[k] == nil {
			deleted = append(deleted, k)
		}
	}
	t.last = next
	t.stamp(result.Status)
	return changed, deleted
}

func same(a, b *config.Object) bool {
	if !a.Created.Equal(b.Created) || a.Source != b.Source || !maps.Equal(a.Annotations, b.Annotations) {
		return false
	}
	if x, ok := a.Spec.(proto.Message); ok {
		return proto.Equal(x, b.Spec.(proto.Message))
	}
	return reflect.DeepEqual(a.Spec, b.Spec)
}

// Status returns the status of an object in JSON, nil for one that has none here.
func (t *Translator) Status(k config.Key) json.RawMessage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status[k]
}

// stamp keeps the times of conditions that have not changed, and gives the others the present one.
func (t *Translator) stamp(status map[config.Key]json.RawMessage) {
	now := t.now().UTC().Format(time.RFC3339)
	t.mu.Lock()
	defer t.mu.Unlock()
	stamped := make(map[config.Key]json.RawMessage, len(status))
	for k, raw := range status {
		if old := t.status[k]; old != nil && bytes.Equal(raw, t.bare[k]) {
			stamped[k] = old
		} else {
			stamped[k] = withTimes(old, raw, now)
		}
	}
	t.status, t.bare = stamped, status
}

func withTimes(old, next json.RawMessage, now string) json.RawMessage {
	var was, is any
	if json.Unmarshal(next, &is) != nil || len(old) > 0 && json.Unmarshal(old, &was) != nil {
		panic("BUG: a status that is no JSON")
	}
	carryTimes(was, is, now)
	raw, err := json.Marshal(is)
	if err != nil {
		panic("BUG: a status that is no JSON: " + err.Error())
	}
	return raw
}

// carryTimes walks two statuses together. Elements of lists are told apart by what names them, so that one more in front moves no times.
func carryTimes(was, is any, now string) {
	switch is := is.(type) {
	case map[string]any:
		old, _ := was.(map[string]any)
		if _, condition := is["lastTransitionTime"]; condition {
			is["lastTransitionTime"] = now
			if old != nil && old["status"] == is["status"] {
				is["lastTransitionTime"] = old["lastTransitionTime"]
			}
			return
		}
		for k, v := range is {
			carryTimes(old[k], v, now)
		}
	case []any:
		old, _ := was.([]any)
		for _, v := range is {
			var match any
			for _, o := range old {
				if sameElement(o, v) {
					match = o
				}
			}
			carryTimes(match, v, now)
		}
	}
}

// sameElement compares what names an element: a condition's type, a listener's name, a parent's reference and controller.
func sameElement(a, b any) bool {
	x, ok := a.(map[string]any)
	y, also := b.(map[string]any)
	if !ok || !also {
		return false
	}
	for _, key := range []string{"type", "name", "parentRef", "controllerName"} {
		if !reflect.DeepEqual(x[key], y[key]) {
			return false
		}
	}
	return true
}
