package analyze

import (
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config/schema"
)

// TestEffectiveFieldsExist keeps the list free of misspelt and outdated names.
func TestEffectiveFieldsExist(t *testing.T) {
	lists := map[string][]string{}
	protos := map[string]proto.Message{}
	for kind, fields := range effective {
		if m, ok := kind.New().(proto.Message); ok && kind.HasSpec {
			lists[kind.Name], protos[kind.Name] = fields, m
		}
	}
	lists["MeshConfig"], protos["MeshConfig"] = effectiveMesh, &mesh.MeshConfig{}
	for kind, fields := range lists {
		m := protos[kind]
		for _, f := range fields {
			name, values, _ := strings.Cut(f, "=")
			fd := find(m.ProtoReflect().Descriptor(), strings.Split(name, "."))
			switch {
			case fd == nil:
				t.Errorf("%s has no field %s", kind, name)
			case values != "" && fd.Enum() != nil:
				for _, v := range strings.Split(values, ",") {
					if fd.Enum().Values().ByName(protoreflect.Name(v)) == nil {
						t.Errorf("%s: %s has no value %s", kind, name, v)
					}
				}
			}
		}
	}
}

func find(d protoreflect.MessageDescriptor, names []string) protoreflect.FieldDescriptor {
	fd := d.Fields().ByJSONName(names[0])
	if fd == nil || len(names) == 1 {
		return fd
	}
	next := fd.Message()
	if fd.IsMap() {
		next = fd.MapValue().Message()
	}
	if next == nil {
		return nil
	}
	return find(next, names[1:])
}

// TestEveryIstioKindIsJudged makes sure that a new kind is not taken for one that works.
func TestEveryIstioKindIsJudged(t *testing.T) {
	for _, k := range schema.All() {
		if _, ok := effective[k]; !ok && k.Istio() {
			t.Errorf("%s is not in the list of effective fields; list the fields that work, or none", k)
		}
	}
}

// TestReasonsAreOfFieldsWithoutEffect: a reason for a field that there is not, or that has an effect, is never read.
func TestReasonsAreOfFieldsWithoutEffect(t *testing.T) {
	check := func(kind string, spec any, fields []string, reasons map[string]string) {
		for f := range reasons {
			f, value, _ := strings.Cut(f, "=")
			if value != "" {
				continue // the field itself has an effect, with other values
			}
			there := false
			if m, ok := spec.(proto.Message); ok {
				there = find(m.ProtoReflect().Descriptor(), strings.Split(f, ".")) != nil
			} else {
				there = hasField(reflect.TypeOf(spec), strings.Split(f, "."))
			}
			if !there {
				t.Errorf("%s has no field %s", kind, f)
			}
			for _, e := range fields {
				name, _, limited := strings.Cut(e, "=")
				if !limited && (name == f || strings.HasPrefix(f, name+".")) || strings.HasPrefix(name, f+".") {
					t.Errorf("%s: %s has a reason why it has no effect, and %s has one", kind, f, name)
				}
			}
		}
	}
	for kind, of := range reasons {
		check(kind.Name, kind.New(), effective[kind], of)
	}
	check("MeshConfig", &mesh.MeshConfig{}, effectiveMesh, meshReasons)
}

// TestEveryFieldWithoutEffectHasAReason: "has no effect yet" alone would leave users without knowing what to do.
func TestEveryFieldWithoutEffectHasAReason(t *testing.T) {
	var walk func(kind string, fields []string, reasons map[string]string, d protoreflect.MessageDescriptor, prefix string)
	walk = func(kind string, fields []string, reasons map[string]string, d protoreflect.MessageDescriptor, prefix string) {
		for i := range d.Fields().Len() {
			fd := d.Fields().Get(i)
			at := strings.TrimPrefix(prefix+"."+fd.JSONName(), ".")
			whole, parts := false, false
			for _, f := range fields {
				name, values, limited := strings.Cut(f, "=")
				whole = whole || name == at
				parts = parts || strings.HasPrefix(name, at+".")
				for j := 0; name == at && limited && fd.Enum() != nil && j < fd.Enum().Values().Len(); j++ {
					v := string(fd.Enum().Values().Get(j).Name())
					if !strings.Contains(","+values+",", ","+v+",") && reasons[at+"="+v] == "" {
						t.Errorf("%s: %s=%s has neither an effect nor a reason", kind, at, v)
					}
				}
			}
			switch next := fd.Message(); {
			case whole:
			case !parts:
				if reasons[at] == "" {
					t.Errorf("%s: %s has neither an effect nor a reason; write one in reasons.go", kind, at)
				}
			default:
				if fd.IsMap() {
					next = fd.MapValue().Message()
				}
				walk(kind, fields, reasons, next, at)
			}
		}
	}
	for kind, fields := range effective {
		if m, ok := kind.New().(proto.Message); ok && kind.HasSpec && len(fields) > 0 {
			walk(kind.Name, fields, reasons[kind], m.ProtoReflect().Descriptor(), "")
		}
	}
	walk("MeshConfig", effectiveMesh, meshReasons, (&mesh.MeshConfig{}).ProtoReflect().Descriptor(), "")
}
