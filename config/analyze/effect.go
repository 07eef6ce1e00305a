package analyze

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	mesh "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

// Effect reports the fields of an object that are accepted and kept but do nothing yet. It walks
// every field that is set against the list of those that have an effect (effective), so that a
// field of a newer API version is reported until somebody supports it and says so there.
func Effect(o *config.Object) []Message {
	if cm, ok := o.Spec.(*corev1.ConfigMap); ok && config.IsMeshConfig(o.Key()) {
		return meshEffect(o, cm)
	}
	fields, handled := effective[o.Kind]
	if !handled {
		return nil // core kinds without fields of the mesh's
	}
	if len(fields) == 0 {
		return []Message{{Code: NoEffect, Severity: Warning, Key: o.Key(), File: o.Source.File, Line: o.Source.Line,
			Text: fmt.Sprintf("kind %s has no effect yet; the object is kept", o.Kind.Name)}}
	}
	w := &effectWalk{object: o, fields: fields, reasons: reasons[o.Kind]}
	switch spec := o.Spec.(type) {
	case proto.Message:
		w.message(spec.ProtoReflect(), "spec", "")
	default:
		root := ""
		if o.Kind.HasSpec {
			root = "spec"
		}
		w.value(reflect.ValueOf(spec).Elem(), root, "")
	}
	return w.messages
}

// meshEffect judges the mesh's settings in ConfigMap istio-system/istio.
func meshEffect(o *config.Object, cm *corev1.ConfigMap) []Message {
	mc, err := config.ParseMeshConfig(config.File{Data: []byte(cm.Data["mesh"])})
	if err != nil {
		return nil // Load refuses such an object
	}
	w := &effectWalk{object: o, fields: effectiveMesh}
	for _, m := range MeshConfig(mc) {
		w.report("data.mesh."+m.Field, m.Text)
	}
	unknownProviders(mc, w.report)
	for key := range cm.Data {
		if key != "mesh" && key != config.MeshNetworksKey {
			w.report("data."+key, noEffectYet)
		}
	}
	return w.messages
}

// MeshConfig reports the fields of a mesh configuration that are set and have no effect yet, each by its path. Only Field and Text of a message are set.
func MeshConfig(mc *mesh.MeshConfig) []Message {
	w := &effectWalk{fields: effectiveMesh, reasons: meshReasons}
	w.message(mc.ProtoReflect(), "", "")
	return w.messages
}

type effectWalk struct {
	object   *config.Object // nil: messages have no place
	fields   []string
	reasons  map[string]string
	messages []Message
}

// judge says what to do with a field: skip what is below it (it has an effect, or was reported)
// or go on.
func (w *effectWalk) judge(pattern, path string, value func() string) (descend bool) {
	for _, f := range w.fields {
		name, values, limited := strings.Cut(f, "=")
		switch {
		case name == pattern && !limited:
			return false
		case name == pattern:
			got := value()
			for _, v := range strings.Split(values, ",") {
				if strings.EqualFold(v, got) {
					return false
				}
			}
			if why := w.reasons[pattern+"="+got]; why != "" {
				w.report(path, got+" "+why)
			} else {
				w.report(path, fmt.Sprintf("%s %s; use %s", got, noEffectYet, strings.ReplaceAll(values, ",", ", ")))
			}
			return false
		case strings.HasPrefix(name, pattern+"."):
			descend = true
		}
	}
	if !descend {
		w.report(path, w.reason(pattern))
	}
	return descend
}

// reason says why a field has no effect.
func (w *effectWalk) reason(pattern string) string {
	if why := w.reasons[pattern]; why != "" {
		return why
	}
	return noEffectYet
}

func (w *effectWalk) report(path, text string) {
	o := w.object
	if o == nil {
		w.messages = append(w.messages, Message{Code: NoEffect, Severity: Warning, Field: path, Text: text})
		return
	}
	w.messages = append(w.messages, Message{Code: NoEffect, Severity: Warning, Key: o.Key(), Field: path, File: o.Source.File, Line: o.Position(path), Text: text})
}

// message walks the set fields of a proto in the order of their declaration. pattern is the path
// without indices and map keys.
func (w *effectWalk) message(m protoreflect.Message, path, pattern string) {
	fields := m.Descriptor().Fields()
	for i := 0; i < fields.Len(); i++ {
		fd := fields.Get(i)
		if !m.Has(fd) {
			continue
		}
		name := fd.JSONName()
		at, pat := strings.TrimPrefix(path+"."+name, "."), strings.TrimPrefix(pattern+"."+name, ".")
		v := m.Get(fd)
		if !w.judge(pat, at, func() string { return text(fd, v) }) || fd.Message() == nil {
			continue
		}
		switch {
		case fd.IsList():
			for j := 0; j < v.List().Len(); j++ {
				w.message(v.List().Get(j).Message(), indexed(at, j), pat)
			}
		case fd.IsMap():
			if fd.MapValue().Message() == nil {
				continue
			}
			v.Map().Range(func(k protoreflect.MapKey, e protoreflect.Value) bool {
				w.message(e.Message(), at+"."+k.String(), pat)
				return true
			})
		default:
			w.message(v.Message(), at, pat)
		}
	}
}

// text renders a value for comparison with the list.
func text(fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	if fd.Enum() != nil && !fd.IsList() {
		if e := fd.Enum().Values().ByNumber(v.Enum()); e != nil {
			return string(e.Name())
		}
	}
	return v.String()
}

// value walks the set fields of a Go type by its json tags.
func (w *effectWalk) value(v reflect.Value, path, pattern string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			w.value(v.Elem(), path, pattern)
		}
	case reflect.Slice:
		for i := 0; i < v.Len(); i++ {
			w.value(v.Index(i), indexed(path, i), pattern)
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			at, pat := path+"."+k.String(), pattern+"."+k.String()
			if w.judge(pat, at, func() string { return fmt.Sprint(v.MapIndex(k)) }) {
				w.value(v.MapIndex(k), at, pat)
			}
		}
	case reflect.Struct:
		t := v.Type()
		for i := 0; i < t.NumField(); i++ {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if name == "" && t.Field(i).Anonymous {
				w.value(v.Field(i), path, pattern) // its fields are the struct's own
				continue
			}
			if name == "" || name == "-" || v.Field(i).IsZero() || path == "" && (name == "metadata" || name == "status") {
				continue
			}
			at, pat := strings.TrimPrefix(path+"."+name, "."), strings.TrimPrefix(pattern+"."+name, ".")
			if w.judge(pat, at, func() string { return fmt.Sprint(v.Field(i)) }) {
				w.value(v.Field(i), at, pat)
			}
		}
	}
}

// Effects reports the fields without effect of all objects.
func Effects(objects []*config.Object) []Message {
	var out []Message
	for _, o := range objects {
		out = append(out, Effect(o)...)
	}
	return out
}

// HasEffect reports whether a kind does anything.
func HasEffect(k *schema.Kind) bool {
	fields, listed := effective[k]
	return !listed || len(fields) > 0
}
