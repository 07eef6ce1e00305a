package xdsresource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/lateen-mesh/lateen/proxy/internal/yamljson"
)

// FromText reads a message from YAML or JSON (JSON is YAML). Field names may be snake_case or
// lowerCamelCase. The error is an *Error of the given kind that lists every field and type
// that is not known, each with its path; m then holds the rest, so that a caller can find what
// else is wrong. What is no YAML at all gives the YAML parser's error. With lenient, unknown
// fields are left out and returned instead; unknown types stay errors.
func FromText(kind string, raw []byte, m proto.Message, lenient bool) (unknown []Problem, err error) {
	asJSON, err := yamljson.Convert(raw)
	if err != nil {
		return nil, fmt.Errorf("%s is neither YAML nor JSON: %w", kind, err)
	}
	// Most files are right, and then one pass over them is enough. What is wrong, and where, takes the tree.
	if protojson.Unmarshal(asJSON, m) == nil {
		return nil, nil
	}
	proto.Reset(m)
	dec := json.NewDecoder(bytes.NewReader(asJSON))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	if tree == nil {
		tree, asJSON = map[string]any{}, []byte("{}")
	}
	var found unknowns
	found.walk("", tree, m.ProtoReflect().Descriptor())
	if len(found.all) > 0 {
		if asJSON, err = json.Marshal(tree); err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
	}
	problems := found.types
	if !lenient {
		problems = found.all
	}
	err = protojson.Unmarshal(asJSON, m)
	switch {
	case len(problems) > 0:
		if err != nil {
			problems = append(problems, Problem{Reason: err.Error()})
		}
		return nil, &Error{Type: kind, Problems: problems}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return found.all, nil
}

// unknowns takes out of a JSON tree what its message does not know, and remembers it. protojson
// would stop at the first, and name no path.
type unknowns struct {
	all   []Problem // in order of the tree
	types []Problem // those that no leniency lets through
}

// badType empties an Any of a type that is not known.
func (u *unknowns) badType(obj map[string]any, path, reason string) {
	clear(obj)
	p := Problem{Path: path, Reason: reason}
	u.all, u.types = append(u.all, p), append(u.types, p)
}

func (u *unknowns) walk(path string, v any, md protoreflect.MessageDescriptor) {
	obj, ok := v.(map[string]any)
	if !ok {
		return // a wrong type is protojson's to report
	}
	if md.FullName() == "google.protobuf.Any" {
		url, _ := obj["@type"].(string)
		if url == "" {
			if len(obj) > 0 {
				u.badType(obj, path, `"@type" is required`)
			}
			return
		}
		name := url[strings.LastIndexByte(url, '/')+1:]
		mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
		if err != nil {
			u.badType(obj, path, fmt.Sprintf("type %s is not supported", url))
			return
		}
		md = mt.Descriptor()
	}
	if strings.HasPrefix(string(md.FullName()), "google.protobuf.") {
		return
	}
	for _, key := range sortedKeys(obj) {
		if key == "@type" {
			continue
		}
		fd := md.Fields().ByJSONName(key)
		if fd == nil {
			fd = md.Fields().ByTextName(key)
		}
		here := join(path, key)
		if fd == nil {
			delete(obj, key)
			u.all = append(u.all, Problem{Path: here, Reason: fmt.Sprintf("unknown field: %s has none of this name", md.FullName())})
			continue
		}
		if reason := wrongValue(md, fd, key, obj[key]); reason != "" {
			delete(obj, key)
			p := Problem{Path: here, Reason: reason}
			u.all, u.types = append(u.all, p), append(u.types, p)
			continue
		}
		u.field(here, obj[key], fd)
	}
}

// wrongValue says what is wrong with the value of a field that holds no message of the configuration's own: a word that the enum does not
// have, a string for a number, a malformed duration. protojson finds it, given the field alone, and would name a line of what the file
// became instead of its path.
func wrongValue(md protoreflect.MessageDescriptor, fd protoreflect.FieldDescriptor, key string, v any) string {
	if m := fd.Message(); m != nil && (fd.IsMap() || !strings.HasPrefix(string(m.FullName()), "google.protobuf.") || m.FullName() == "google.protobuf.Any") {
		return ""
	}
	mt, err := protoregistry.GlobalTypes.FindMessageByName(md.FullName())
	if err != nil {
		return ""
	}
	raw, err := json.Marshal(map[string]any{key: v})
	if err != nil {
		return err.Error()
	}
	if err = protojson.Unmarshal(raw, mt.New().Interface()); err == nil {
		return ""
	}
	_, reason, ok := strings.Cut(err.Error(), "): ")
	if !ok {
		reason = err.Error()
	}
	if e := fd.Enum(); e != nil && e.Values().Len() <= 12 {
		var names []string
		for i := range e.Values().Len() {
			names = append(names, string(e.Values().Get(i).Name()))
		}
		reason += "; it is one of " + strings.Join(names, ", ")
	}
	return reason
}

func (u *unknowns) field(path string, v any, fd protoreflect.FieldDescriptor) {
	switch {
	case fd.IsMap():
		if m, ok := v.(map[string]any); ok && fd.MapValue().Message() != nil {
			for _, k := range sortedKeys(m) {
				u.walk(fmt.Sprintf("%s[%q]", path, k), m[k], fd.MapValue().Message())
			}
		}
	case fd.Message() == nil:
	case fd.IsList():
		if list, ok := v.([]any); ok {
			for i, e := range list {
				u.walk(at(path, i), e, fd.Message())
			}
		}
	default:
		u.walk(path, v, fd.Message())
	}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// dropUnknown takes fields that this program's protos do not know out of a message and of
// what is packed in it (--ignore-unknown-dynamic-fields).
func dropUnknown(m protoreflect.Message) {
	if len(m.GetUnknown()) > 0 {
		m.SetUnknown(nil)
	}
	if a, ok := m.Interface().(interface {
		UnmarshalNew() (proto.Message, error)
		MarshalFrom(proto.Message) error
	}); ok {
		if inner, err := a.UnmarshalNew(); err == nil {
			dropUnknown(inner.ProtoReflect())
			_ = a.MarshalFrom(inner) // what was just read can be written
		}
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool {
					dropUnknown(e.Message())
					return true
				})
			}
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				dropUnknown(v.List().Get(i).Message())
			}
		default:
			dropUnknown(v.Message())
		}
		return true
	})
}
