package decode

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/config/internal/field"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// message decodes a mapping into a proto message. Field names are accepted in both spellings
// that the proto's JSON form allows: lowerCamelCase and the proto's own.
func (d *Decoder) message(n *yaml.Node, path *field.Path, m protoreflect.Message, t *Tree, depth int) {
	if n = d.enter(n, path, depth); n == nil {
		return
	}
	if d.wellKnown(n, path, m, t, depth) {
		return
	}
	pairs, ok := d.mapping(n, path, depth)
	if !ok {
		return
	}
	fields := m.Descriptor().Fields()
	seen := map[protoreflect.FieldNumber]*yaml.Node{}
	oneofs := map[protoreflect.Name]string{}
	for _, p := range pairs {
		fd := lookup(fields, p.Key.Value)
		if fd == nil {
			d.unknownField(p.Key, path, jsonNames(fields))
			continue
		}
		at := path.Child(fd.JSONName())
		if first := seen[fd.Number()]; first != nil {
			d.Problem(p.Key, at, "given twice, first on line %d as %s; remove one", first.Line, first.Value)
			continue
		}
		seen[fd.Number()] = p.Key
		t.Kids = append(t.Kids, Tree{Name: fd.JSONName(), Line: int32(p.Key.Line)})
		if isNull(p.Value) && !takesNull(fd) {
			continue // as in protojson: null is "not set"
		}
		if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
			if other := oneofs[o.Name()]; other != "" {
				d.Problem(p.Key, at, "only one of %s and %s can be set", other, fd.JSONName())
				continue
			}
			oneofs[o.Name()] = fd.JSONName()
		}
		d.field(p.Value, at, m, fd, &t.Kids[len(t.Kids)-1], depth+1)
	}
}

// lookup finds a field by its JSON name or its proto name.
func lookup(fields protoreflect.FieldDescriptors, name string) protoreflect.FieldDescriptor {
	if fd := fields.ByJSONName(name); fd != nil {
		return fd
	}
	return fields.ByTextName(name)
}

func jsonNames(fields protoreflect.FieldDescriptors) []string {
	out := make([]string, fields.Len())
	for i := range out {
		out[i] = fields.Get(i).JSONName()
	}
	return out
}

func takesNull(fd protoreflect.FieldDescriptor) bool {
	return fd.Message() != nil && !fd.IsList() && !fd.IsMap() && fd.Message().FullName() == "google.protobuf.Value"
}

// field decodes the value of one field, which may be a list or a map.
func (d *Decoder) field(n *yaml.Node, path *field.Path, m protoreflect.Message, fd protoreflect.FieldDescriptor, t *Tree, depth int) {
	switch {
	case fd.IsList():
		if n = d.enter(n, path, depth); n == nil {
			return
		}
		if n.Kind != yaml.SequenceNode {
			d.Problem(n, path, "got %s, expected a list; put a dash before each element", Describe(n))
			return
		}
		list := m.Mutable(fd).List()
		t.Kids = make([]Tree, len(n.Content))
		for i, e := range n.Content {
			t.Kids[i].Line = int32(e.Line)
			v, ok := d.single(e, path.Index(i), fd, list.NewElement, &t.Kids[i], depth+1)
			if !ok {
				v = list.NewElement() // keeps the indices of those that follow right
			}
			list.Append(v)
		}
	case fd.IsMap():
		if n = d.enter(n, path, depth); n == nil {
			return
		}
		pairs, ok := d.mapping(n, path, depth)
		if !ok {
			return
		}
		mp := m.Mutable(fd).Map()
		for _, p := range pairs {
			at := path.Child(p.Key.Value)
			key, ok := d.mapKey(p.Key, at, fd.MapKey())
			if !ok {
				continue
			}
			t.Kids = append(t.Kids, Tree{Name: p.Key.Value, Line: int32(p.Key.Line)})
			if v, ok := d.single(p.Value, at, fd.MapValue(), mp.NewValue, &t.Kids[len(t.Kids)-1], depth+1); ok {
				mp.Set(key, v)
			}
		}
	default:
		if v, ok := d.single(n, path, fd, func() protoreflect.Value { return m.NewField(fd) }, t, depth); ok {
			m.Set(fd, v)
		}
	}
}

func (d *Decoder) mapKey(n *yaml.Node, path *field.Path, fd protoreflect.FieldDescriptor) (protoreflect.MapKey, bool) {
	if fd.Kind() == protoreflect.StringKind {
		return protoreflect.ValueOfString(n.Value).MapKey(), true
	}
	// Quoted numbers are normal here: in JSON a key is always text.
	bits := 64
	if strings.HasSuffix(fd.Kind().String(), "32") {
		bits = 32
	}
	v, err := strconv.ParseUint(n.Value, 10, bits)
	if err != nil {
		d.Problem(n, path, "the key %q must be a whole number", shorten(n.Value))
		return protoreflect.MapKey{}, false
	}
	switch fd.Kind() {
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(v)).MapKey(), true
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(v).MapKey(), true
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(v)).MapKey(), true
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(v)).MapKey(), true
	}
	d.Problem(n, path, "maps with keys of type %s are not supported", fd.Kind())
	return protoreflect.MapKey{}, false
}

// single decodes one value that is neither list nor map.
func (d *Decoder) single(n *yaml.Node, path *field.Path, fd protoreflect.FieldDescriptor, fresh func() protoreflect.Value, t *Tree, depth int) (protoreflect.Value, bool) {
	if fd.Message() != nil {
		// What could be read of it stays, so that its rules can be checked as well.
		v := fresh()
		d.message(n, path, v.Message(), t, depth)
		return v, true
	}
	if n = d.enter(n, path, depth); n == nil {
		return protoreflect.Value{}, false
	}
	switch fd.Kind() {
	case protoreflect.StringKind:
		s, ok := d.text(n, path)
		return protoreflect.ValueOfString(s), ok
	case protoreflect.BoolKind:
		b, ok := d.boolean(n, path)
		return protoreflect.ValueOfBool(b), ok
	case protoreflect.EnumKind:
		return d.enum(n, path, fd.Enum())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		i, ok := d.integer(n, path, math.MinInt32, math.MaxInt32)
		return protoreflect.ValueOfInt32(int32(i)), ok
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		i, ok := d.integer(n, path, math.MinInt64, math.MaxInt64)
		return protoreflect.ValueOfInt64(i), ok
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		i, ok := d.integer(n, path, 0, math.MaxUint32)
		return protoreflect.ValueOfUint32(uint32(i)), ok
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		i, ok := d.integer(n, path, 0, math.MaxInt64)
		return protoreflect.ValueOfUint64(uint64(i)), ok
	case protoreflect.FloatKind:
		f, ok := d.number(n, path)
		return protoreflect.ValueOfFloat32(float32(f)), ok
	case protoreflect.DoubleKind:
		f, ok := d.number(n, path)
		return protoreflect.ValueOfFloat64(f), ok
	case protoreflect.BytesKind:
		b, ok := d.bytes(n, path)
		return protoreflect.ValueOfBytes(b), ok
	}
	d.Problem(n, path, "values of type %s are not supported", fd.Kind())
	return protoreflect.Value{}, false
}

func (d *Decoder) enum(n *yaml.Node, path *field.Path, ed protoreflect.EnumDescriptor) (protoreflect.Value, bool) {
	values := ed.Values()
	if n.Kind == yaml.ScalarNode {
		if v := values.ByName(protoreflect.Name(n.Value)); v != nil {
			return protoreflect.ValueOfEnum(v.Number()), true
		}
		if n.ShortTag() == "!!int" {
			if i, err := strconv.ParseInt(n.Value, 10, 32); err == nil {
				if v := values.ByNumber(protoreflect.EnumNumber(i)); v != nil {
					return protoreflect.ValueOfEnum(v.Number()), true
				}
			}
		}
	}
	var known []string
	for i := 0; i < values.Len(); i++ {
		known = append(known, string(values.Get(i).Name()))
	}
	d.Problem(n, path, "got %s, expected one of %s", Describe(n), strings.Join(known, ", "))
	return protoreflect.Value{}, false
}

// wellKnown decodes the messages that have a JSON form of their own.
func (d *Decoder) wellKnown(n *yaml.Node, path *field.Path, m protoreflect.Message, t *Tree, depth int) bool {
	name := m.Descriptor().FullName()
	if name.Parent() != "google.protobuf" {
		return false
	}
	set := func(src proto.Message) { proto.Merge(m.Interface(), src) }
	switch name {
	case "google.protobuf.Duration":
		if dur, ok := d.duration(n, path); ok {
			set(durationpb.New(dur))
		}
	case "google.protobuf.Timestamp":
		if ts, ok := d.timestamp(n, path); ok {
			set(timestamppb.New(ts))
		}
	case "google.protobuf.Struct":
		if v, ok := d.structValue(n, path, t, depth); ok {
			if v.GetStructValue() == nil {
				d.Problem(n, path, "got %s, expected fields (a mapping)", Describe(n))
			} else {
				set(v.GetStructValue())
			}
		}
	case "google.protobuf.Value":
		if v, ok := d.structValue(n, path, t, depth); ok {
			set(v)
		}
	case "google.protobuf.ListValue":
		if v, ok := d.structValue(n, path, t, depth); ok {
			if v.GetListValue() == nil {
				d.Problem(n, path, "got %s, expected a list", Describe(n))
			} else {
				set(v.GetListValue())
			}
		}
	case "google.protobuf.Any":
		d.any(n, path, m, t, depth)
	default:
		fields := m.Descriptor().Fields()
		if !strings.HasSuffix(string(name), "Value") || fields.Len() != 1 {
			return false
		}
		// BoolValue, UInt32Value and the like: the bare value.
		d.field(n, path, m, fields.Get(0), t, depth)
	}
	return true
}

// any decodes a typed message by its @type through protojson: such content is Envoy's, whose
// mistakes are reported without a line of their own.
func (d *Decoder) any(n *yaml.Node, path *field.Path, m protoreflect.Message, t *Tree, depth int) {
	v, ok := d.structValue(n, path, t, depth)
	if !ok {
		return
	}
	b, err := protojson.Marshal(v)
	if err == nil {
		a := &anypb.Any{}
		if err = protojson.Unmarshal(b, a); err == nil {
			proto.Merge(m.Interface(), a)
			return
		}
	}
	d.Problem(n, path, "not a typed message (@type and its fields): %s", strings.TrimPrefix(err.Error(), "proto:\u00a0"))
}

// structValue decodes free-form content.
func (d *Decoder) structValue(n *yaml.Node, path *field.Path, t *Tree, depth int) (*structpb.Value, bool) {
	if n = d.enter(n, path, depth); n == nil {
		return nil, false
	}
	switch n.Kind {
	case yaml.MappingNode:
		out := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		good := true
		for _, p := range d.pairs(n, path, depth) {
			t.Kids = append(t.Kids, Tree{Name: p.Key.Value, Line: int32(p.Key.Line)})
			v, ok := d.structValue(p.Value, path.Child(p.Key.Value), &t.Kids[len(t.Kids)-1], depth+1)
			good = good && ok
			out.Fields[p.Key.Value] = v
		}
		return structpb.NewStructValue(out), good
	case yaml.SequenceNode:
		out := &structpb.ListValue{}
		good := true
		t.Kids = make([]Tree, len(n.Content))
		for i, e := range n.Content {
			t.Kids[i].Line = int32(e.Line)
			v, ok := d.structValue(e, path.Index(i), &t.Kids[i], depth+1)
			good = good && ok
			out.Values = append(out.Values, v)
		}
		return structpb.NewListValue(out), good
	}
	switch n.ShortTag() {
	case "!!null":
		return structpb.NewNullValue(), true
	case "!!bool":
		b, ok := d.boolean(n, path)
		return structpb.NewBoolValue(b), ok
	case "!!int", "!!float":
		f, ok := d.number(n, path)
		return structpb.NewNumberValue(f), ok
	}
	s, ok := d.text(n, path)
	return structpb.NewStringValue(s), ok
}

func (d *Decoder) bytes(n *yaml.Node, path *field.Path) ([]byte, bool) {
	s, ok := d.text(n, path)
	if !ok {
		return nil, false
	}
	b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		d.Problem(n, path, "not base64; encode it, for example with `base64 -w0`")
		return nil, false
	}
	return b, true
}

func (d *Decoder) timestamp(n *yaml.Node, path *field.Path) (time.Time, bool) {
	if n.Kind == yaml.ScalarNode {
		if ts, err := time.Parse(time.RFC3339, n.Value); err == nil {
			return ts, true
		}
	}
	d.Problem(n, path, "got %s, expected a time such as 2025-01-31T12:00:00Z", Describe(n))
	return time.Time{}, false
}
