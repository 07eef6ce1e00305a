package cel

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/lateen-mesh/lateen/pkg/cel"
)

// message is a protobuf message: it has the fields of its type and no others.
type message struct {
	kind   *types.Type
	fields []messageField // in the order of their numbers
}

type messageField struct {
	name string
	// value is what an expression gets, the default where the field is not set.
	value ref.Val
	set   bool
	// text appends the field in the text format of protobuf.
	text func(dst []byte) []byte
}

var (
	metadataType = types.NewObjectType("envoy.config.core.v3.Metadata", traits.IndexerType|traits.FieldTesterType)
	localityType = types.NewObjectType("envoy.config.core.v3.Locality", traits.IndexerType|traits.FieldTesterType)
)

// metadataMessage is config.core.v3.Metadata. Typed metadata is not kept here, so there is none.
func metadataMessage(m map[string]map[string]any) ref.Val {
	return &message{metadataType, []messageField{
		{"filter_metadata", types.NewDynamicMap(types.DefaultTypeAdapter, m), len(m) > 0, func(dst []byte) []byte {
			for _, k := range slices.Sorted(maps.Keys(m)) {
				dst = append(dst, "filter_metadata { "...)
				dst = appendTextString(dst, "key", k)
				dst = append(dst, "value { "...)
				dst = append(appendTextStruct(dst, m[k]), "} } "...)
			}
			return dst
		}},
		{"typed_filter_metadata", types.NewStringInterfaceMap(types.DefaultTypeAdapter, nil), false, nil},
	}}
}

// localityMessage is config.core.v3.Locality.
func localityMessage(region, zone, subZone string) ref.Val {
	m := &message{kind: localityType}
	for _, f := range [...][2]string{{"region", region}, {"zone", zone}, {"sub_zone", subZone}} {
		m.fields = append(m.fields, stringField(f[0], f[1]))
	}
	return m
}

func stringField(name, value string) messageField {
	return messageField{name, types.String(value), value != "", func(dst []byte) []byte { return appendTextString(dst, name, value) }}
}

func (m *message) field(key ref.Val) *messageField {
	name, _ := key.(types.String)
	for i := range m.fields {
		if m.fields[i].name == string(name) {
			return &m.fields[i]
		}
	}
	return nil
}

// Get implements traits.Indexer.
func (m *message) Get(key ref.Val) ref.Val {
	if f := m.field(key); f != nil {
		return f.value
	}
	return types.NewErrFromString("no such field")
}

// IsSet implements traits.FieldTester.
func (m *message) IsSet(key ref.Val) ref.Val {
	if f := m.field(key); f != nil {
		return types.Bool(f.set)
	}
	return types.NewErrFromString("no such field")
}

// Type, Value, Equal and the conversions implement ref.Val.
func (m *message) Type() ref.Type                              { return m.kind }
func (m *message) Value() any                                  { return m }
func (m *message) ConvertToType(t ref.Type) ref.Val            { return cel.Convert(m, t) }
func (m *message) ConvertToNative(t reflect.Type) (any, error) { return nil, cel.NoNative(m, t) }

// Equal implements ref.Val.
func (m *message) Equal(other ref.Val) ref.Val {
	o, ok := other.(*message)
	if !ok || o.kind != m.kind || len(o.fields) != len(m.fields) {
		return types.False
	}
	for i := range m.fields {
		if m.fields[i].set != o.fields[i].set || m.fields[i].value.Equal(o.fields[i].value) != types.True {
			return types.False
		}
	}
	return types.True
}

// AppendText implements cel.Message: it appends the fields that are set in the text format, on one line.
func (m *message) AppendText(dst []byte) []byte {
	for i := range m.fields {
		if m.fields[i].set {
			dst = m.fields[i].text(dst)
		}
	}
	return dst
}

func appendTextString(dst []byte, field, value string) []byte {
	dst = append(append(dst, field...), `: "`...)
	for i := range len(value) {
		switch c := value[i]; {
		case c == '"' || c == '\'' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c < ' ' || c >= 0x7f:
			dst = append(dst, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, `" `...)
}

// appendTextStruct appends the fields of a google.protobuf.Struct.
func appendTextStruct(dst []byte, m map[string]any) []byte {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		dst = append(dst, "fields { "...)
		dst = appendTextString(dst, "key", k)
		dst = append(dst, "value { "...)
		dst = append(appendTextValue(dst, m[k]), "} } "...)
	}
	return dst
}

// appendTextValue appends the field of a google.protobuf.Value that is set.
func appendTextValue(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null_value: NULL_VALUE "...)
	case bool:
		return append(strconv.AppendBool(append(dst, "bool_value: "...), v), ' ')
	case string:
		return appendTextString(dst, "string_value", v)
	case map[string]any:
		return append(appendTextStruct(append(dst, "struct_value { "...), v), "} "...)
	case []any:
		dst = append(dst, "list_value { "...)
		for _, x := range v {
			dst = append(appendTextValue(append(dst, "values { "...), x), "} "...)
		}
		return append(dst, "} "...)
	}
	if n, ok := types.DefaultTypeAdapter.NativeToValue(v).ConvertToType(types.DoubleType).(types.Double); ok {
		return append(cel.AppendNumber(append(dst, "number_value: "...), float64(n)), ' ')
	}
	return dst
}

// AppendJSON implements cel.Message.
func (m *message) AppendJSON(dst []byte, quote func(dst, s []byte) []byte) ([]byte, bool) {
	dst = append(dst, '{')
	first := true
	fields := slices.Clone(m.fields)
	slices.SortFunc(fields, func(a, b messageField) int { return strings.Compare(a.name, b.name) })
	for _, f := range fields {
		if !f.set {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(quote(dst, []byte(f.name)), ':')
		var ok bool
		if dst, ok = cel.AppendJSON(dst, f.value, quote); !ok {
			return dst, false
		}
	}
	return append(dst, '}'), true
}
