package coverage

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/analyze"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/test/contract/decision"
)

// coreGroups are groups that have to be written and can only be "", that of Secrets, ConfigMaps and Services: nobody can tell whether one is set.
var coreGroups = []string{"to.group", "tls.frontend.default.validation.caCertificateRefs.group", "tls.frontend.perPort.tls.validation.caCertificateRefs.group"}

// TestGatewayAPIFields holds every field of the kinds of the Gateway API and of Ingress against the decision tables: an object of one of them sets it, or whoever
// sets it is told that it has no effect.
func TestGatewayAPIFields(t *testing.T) {
	tables, err := decision.ReadAll(decision.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range schema.All() {
		if !k.Translated() {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			shown := map[string]bool{}
			for _, table := range tables {
				for _, o := range table.Objects.List(k) {
					fieldsSet(reflect.ValueOf(o.Spec), "", shown)
				}
			}
			fields := goLeaves(reflect.TypeOf(k.New()), "")
			without := 0
			for _, f := range fields {
				if shown[f] || slices.Contains(coreGroups, f) {
					continue
				}
				spec := k.New()
				setField(reflect.ValueOf(spec).Elem(), strings.Split(f, "."))
				found := analyze.Effect(&config.Object{Kind: k, Name: "x", Namespace: "default", Spec: spec})
				if without++; !slices.ContainsFunc(found, func(m analyze.Message) bool { return within(f, m.Field) }) {
					t.Errorf("%s: no table of %s sets it, and nobody is told that it has no effect", f, decision.Dir)
				}
			}
			t.Logf("%d fields, %d without effect", len(fields), without)
		})
	}
}

// within reports whether a field is the one of a message, or part of it.
func within(field, reported string) bool {
	reported = strings.TrimPrefix(strings.ReplaceAll(reported, "[0]", ""), "spec.")
	return field == reported || strings.HasPrefix(field, reported+".")
}

// value is the type whose fields are those of a type: what a pointer, list or map holds.
func value(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t
}

// jsonName is how users write a field; "" for one whose own fields are those of the struct.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func join(prefix, name string) string { return strings.Trim(prefix+"."+name, ".") }

// goLeaves are the paths of a Go type's fields that hold values.
func goLeaves(t reflect.Type, prefix string) []string {
	t = value(t)
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[metav1.LabelSelector]() {
		return []string{prefix}
	}
	var out []string
	for i := range t.NumField() {
		out = append(out, goLeaves(t.Field(i).Type, join(prefix, jsonName(t.Field(i))))...)
	}
	return out
}

// fieldsSet notes the paths of the fields that hold something.
func fieldsSet(v reflect.Value, prefix string, into map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			if v.Elem().Kind() == reflect.Struct {
				fieldsSet(v.Elem(), prefix, into)
			} else {
				into[prefix] = true // a zero that was written
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			fieldsSet(v.Index(i), prefix, into)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[metav1.LabelSelector]() {
			into[prefix] = true
			return
		}
		for i := range v.NumField() {
			fieldsSet(v.Field(i), join(prefix, jsonName(v.Type().Field(i))), into)
		}
	default:
		if !v.IsZero() {
			into[prefix] = true
		}
	}
}

// setField gives the field at a path a value, and what is above it one element.
func setField(v reflect.Value, path []string) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setField(v.Elem(), path)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		setField(v.Index(0), path)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem())
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[metav1.LabelSelector]() {
			v.Field(0).Set(reflect.ValueOf(map[string]string{"a": "b"}))
			return
		}
		for i := range v.NumField() {
			name := jsonName(v.Type().Field(i))
			switch {
			case name == "" && slices.Contains(names(v.Type().Field(i).Type), path[0]):
				setField(v.Field(i), path)
				return
			case name == path[0]:
				setField(v.Field(i), path[1:])
				return
			}
		}
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint16:
		v.SetUint(1)
	}
}

// names are the first elements of a type's paths.
func names(t reflect.Type) []string {
	var out []string
	for _, leaf := range goLeaves(t, "") {
		first, _, _ := strings.Cut(leaf, ".")
		out = append(out, first)
	}
	return out
}
