package otlp

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
)

// template is a value with format strings in it.
type template struct {
	text *format.Formatter
	list []template
	keys []string // of a map, in order, with list
	kind byte     // 't'ext, 'l'ist, 'm'ap, 'c'onstant, 0: none
	// fixed is a constant.
	fixed *commonpb.AnyValue
}

func compile(v any) (template, error) {
	switch v := v.(type) {
	case nil:
		return template{}, nil
	case string:
		f, err := format.Compile(v)
		return template{kind: 't', text: f}, err
	case bool:
		return template{kind: 'c', fixed: &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: v}}}, nil
	case int64:
		return template{kind: 'c', fixed: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: v}}}, nil
	case float64:
		return template{kind: 'c', fixed: &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: v}}}, nil
	case []any:
		t := template{kind: 'l'}
		for i, e := range v {
			sub, err := compile(e)
			if err != nil {
				return t, fmt.Errorf("[%d]: %w", i, err)
			}
			t.list = append(t.list, sub)
		}
		return t, nil
	case map[string]any:
		t := template{kind: 'm', keys: slices.Sorted(maps.Keys(v))}
		for _, k := range t.keys {
			sub, err := compile(v[k])
			if err != nil {
				return t, fmt.Errorf("%s: %w", k, err)
			}
			t.list = append(t.list, sub)
		}
		return t, nil
	}
	return template{}, fmt.Errorf("a %T is not supported", v)
}

func (t *template) value(c *format.Context) *commonpb.AnyValue {
	switch t.kind {
	case 'c':
		return t.fixed
	case 't':
		return text(strings.ToValidUTF8(string(t.text.Append(nil, c)), "!"))
	case 'l':
		out := &commonpb.ArrayValue{}
		for i := range t.list {
			out.Values = append(out.Values, t.list[i].value(c))
		}
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: out}}
	case 'm':
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: &commonpb.KeyValueList{Values: t.pairs(c)}}}
	}
	return nil
}

// pairs are the members of a map.
func (t *template) pairs(c *format.Context) []*commonpb.KeyValue {
	var out []*commonpb.KeyValue
	for i, k := range t.keys {
		out = append(out, &commonpb.KeyValue{Key: k, Value: t.list[i].value(c)})
	}
	return out
}

func text(s string) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
}

func pair(k, v string) *commonpb.KeyValue { return &commonpb.KeyValue{Key: k, Value: text(v)} }
