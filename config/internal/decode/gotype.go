package decode

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/config/internal/field"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var (
	messageType     = reflect.TypeFor[proto.Message]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()
	timeType        = reflect.TypeFor[metav1.Time]()
	intOrStringType = reflect.TypeFor[intstr.IntOrString]()
)

// value decodes a node into a Go value by its json tags.
func (d *Decoder) value(n *yaml.Node, path *field.Path, v reflect.Value, t *Tree, depth int) {
	if n = d.enter(n, path, depth); n == nil || isNull(n) {
		return
	}
	if v.CanAddr() && v.Addr().Type().Implements(messageType) {
		d.message(n, path, v.Addr().Interface().(proto.Message).ProtoReflect(), t, depth)
		return
	}
	switch v.Type() {
	case timeType:
		if ts, ok := d.timestamp(n, path); ok {
			v.Set(reflect.ValueOf(metav1.Time{Time: ts.In(time.UTC)}))
		}
		return
	case intOrStringType:
		d.intOrString(n, path, v)
		return
	}
	if v.CanAddr() && v.Addr().Type().Implements(unmarshalerType) {
		d.unmarshaler(n, path, v)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		d.value(n, path, p.Elem(), t, depth)
		v.Set(p)
	case reflect.Struct:
		d.structType(n, path, v, t, depth)
	case reflect.Map:
		d.mapType(n, path, v, t, depth)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			if b, ok := d.bytes(n, path); ok {
				v.SetBytes(b)
			}
			return
		}
		d.slice(n, path, v, t, depth)
	case reflect.Interface:
		if x, ok := d.structValue(n, path, t, depth); ok {
			v.Set(reflect.ValueOf(x.AsInterface()))
		}
	case reflect.String:
		if s, ok := d.text(n, path); ok {
			v.SetString(s)
		}
	case reflect.Bool:
		if b, ok := d.boolean(n, path); ok {
			v.SetBool(b)
		}
	case reflect.Int32:
		if i, ok := d.integer(n, path, math.MinInt32, math.MaxInt32); ok {
			v.SetInt(i)
		}
	case reflect.Int, reflect.Int64:
		if i, ok := d.integer(n, path, math.MinInt64, math.MaxInt64); ok {
			v.SetInt(i)
		}
	default:
		d.Problem(n, path, "values of type %s are not supported", v.Type())
	}
}

func (d *Decoder) structType(n *yaml.Node, path *field.Path, v reflect.Value, t *Tree, depth int) {
	pairs, ok := d.mapping(n, path, depth)
	if !ok {
		return
	}
	fields := fieldsOf(v.Type())
	for _, p := range pairs {
		index, ok := fields[p.Key.Value]
		if !ok {
			var known []string
			for name := range fields {
				known = append(known, name)
			}
			d.unknownField(p.Key, path, known)
			continue
		}
		t.Kids = append(t.Kids, Tree{Name: p.Key.Value, Line: int32(p.Key.Line)})
		d.value(p.Value, path.Child(p.Key.Value), v.FieldByIndex(index), &t.Kids[len(t.Kids)-1], depth+1)
	}
}

func (d *Decoder) mapType(n *yaml.Node, path *field.Path, v reflect.Value, t *Tree, depth int) {
	pairs, ok := d.mapping(n, path, depth)
	if !ok {
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(pairs))
	for _, p := range pairs {
		t.Kids = append(t.Kids, Tree{Name: p.Key.Value, Line: int32(p.Key.Line)})
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(p.Value, path.Child(p.Key.Value), e, &t.Kids[len(t.Kids)-1], depth+1)
		out.SetMapIndex(reflect.ValueOf(p.Key.Value).Convert(v.Type().Key()), e)
	}
	v.Set(out)
}

func (d *Decoder) slice(n *yaml.Node, path *field.Path, v reflect.Value, t *Tree, depth int) {
	if n.Kind != yaml.SequenceNode {
		d.Problem(n, path, "got %s, expected a list; put a dash before each element", Describe(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	t.Kids = make([]Tree, len(n.Content))
	for i, e := range n.Content {
		t.Kids[i].Line = int32(e.Line)
		d.value(e, path.Index(i), out.Index(i), &t.Kids[i], depth+1)
	}
	v.Set(out)
}

func (d *Decoder) intOrString(n *yaml.Node, path *field.Path, v reflect.Value) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" {
		if i, ok := d.integer(n, path, math.MinInt32, math.MaxInt32); ok {
			v.Set(reflect.ValueOf(intstr.FromInt32(int32(i))))
		}
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		v.Set(reflect.ValueOf(intstr.FromString(n.Value)))
		return
	}
	d.Problem(n, path, "got %s, expected a number or a name", Describe(n))
}

// unmarshaler lets a type with a JSON form of its own (a quantity, a set of fields) read itself.
func (d *Decoder) unmarshaler(n *yaml.Node, path *field.Path, v reflect.Value) {
	x, ok := d.structValue(n, path, &Tree{}, 0)
	if !ok {
		return
	}
	b, err := json.Marshal(x.AsInterface())
	if err == nil {
		err = json.Unmarshal(b, v.Addr().Interface())
	}
	if err != nil {
		d.Problem(n, path, "%v", err)
	}
}

// fieldCache holds the json names of struct types; the types are fixed, so it only grows to
// the number of Kubernetes types in use.
var fieldCache sync.Map // reflect.Type -> map[string][]int

func fieldsOf(t reflect.Type) map[string][]int {
	if f, ok := fieldCache.Load(t); ok {
		return f.(map[string][]int)
	}
	out := map[string][]int{}
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && (f.Anonymous || strings.Contains(opts, "inline")):
			for n, index := range fieldsOf(f.Type) {
				out[n] = append([]int{i}, index...)
			}
		case name == "":
			out[f.Name] = []int{i}
		default:
			out[name] = []int{i}
		}
	}
	fieldCache.Store(t, out)
	return out
}
