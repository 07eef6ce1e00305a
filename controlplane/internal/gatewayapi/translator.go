package gatewayapi

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/config"
)

// Translator keeps the objects that Convert reads and says what is new in its result. Everything is converted again after a change of one of
// them: a route, a grant and a label of a namespace may change what any of the others come to. Note and Translate are for one goroutine; Status is
// for all.
type Translator struct {
	opts    Options
	now     func() time.Time
	objects map[config.Key]*config.Object
	last    map[config.Key]*config.Object
	bare    map[config.Key]json.RawMessage // the last status without times
	dirty   bool
	busy    bool // there was an object of the Gateway API

	mu     sync.Mutex
	status map[config.Key]json.RawMessage
}

// NewTranslator returns one that has seen no object. The clock is for the times of conditions.
func NewTranslator(opts Options, now func() time.Time) *Translator {
	return &Translator{opts: opts, now: now, objects: map[config.Key]*config.Object{}, last: map[config.Key]*config.Object{}}
}

// Note takes in changes of a store.
func (t *Translator) Note(changed []*config.Object, deleted []config.Key) {
	for _, o := range changed {
		if Watches(o.Kind) {
			t.objects[o.Key()] = o
			t.busy, t.dirty = t.busy || o.Kind.GatewayAPI(), true
		}
	}
	for _, k := range deleted {
		if Watches(k.Kind) {
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
	result := Convert(config.NewSet(list...), t.opts)
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
