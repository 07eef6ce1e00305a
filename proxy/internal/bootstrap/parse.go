package bootstrap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Parse reads a bootstrap from YAML or JSON (JSON is YAML). Field names may be snake_case or
// lowerCamelCase. The error is an *xdsresource.Error that lists every field and type that is
// not known, each with its path; a file that is no YAML at all gives the YAML parser's error.
func Parse(raw []byte) (*bootstrapv3.Bootstrap, error) {
	asJSON, err := yaml.YAMLToJSONStrict(raw)
	if err != nil {
		return nil, fmt.Errorf("bootstrap is neither YAML nor JSON: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(asJSON))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	if tree == nil {
		tree, asJSON = map[string]any{}, []byte("{}")
	}
	m := &bootstrapv3.Bootstrap{}
	var problems []xdsresource.Problem
	unknownFields("", tree, m.ProtoReflect().Descriptor(), &problems)
	if len(problems) > 0 {
		return nil, &xdsresource.Error{Type: "bootstrap", Problems: problems}
	}
	if err := protojson.Unmarshal(asJSON, m); err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	return m, nil
}

// Merge lays overlay over base as Envoy merges --config-yaml into -c: single fields are
// replaced, messages merged, lists appended to. Either may be nil.
func Merge(base, overlay *bootstrapv3.Bootstrap) *bootstrapv3.Bootstrap {
	if base == nil {
		return overlay
	}
	if overlay != nil {
		proto.Merge(base, overlay)
	}
	return base
}

// unknownFields compares a JSON tree with a message and collects what the message does not
// have. protojson would stop at the first, and name no path.
func unknownFields(path string, v any, md protoreflect.MessageDescriptor, out *[]xdsresource.Problem) {
	obj, ok := v.(map[string]any)
	if !ok {
		return // a wrong type is protojson's to report
	}
	full := string(md.FullName())
	if full == "google.protobuf.Any" {
		url, _ := obj["@type"].(string)
		if url == "" {
			if len(obj) > 0 {
				*out = append(*out, xdsresource.Problem{Path: path, Reason: `"@type" is required`})
			}
			return
		}
		name := url[strings.LastIndexByte(url, '/')+1:]
		mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
		if err != nil {
			*out = append(*out, xdsresource.Problem{Path: path, Reason: fmt.Sprintf("type %s is not supported", url)})
			return
		}
		md = mt.Descriptor()
	}
	if strings.HasPrefix(string(md.FullName()), "google.protobuf.") {
		return
	}
	fields := md.Fields()
	for _, key := range sortedKeys(obj) {
		if key == "@type" {
			continue
		}
		fd := fields.ByJSONName(key)
		if fd == nil {
			fd = fields.ByTextName(key)
		}
		here := key
		if path != "" {
			here = path + "." + key
		}
		if fd == nil {
			*out = append(*out, xdsresource.Problem{Path: here, Reason: fmt.Sprintf("unknown field: %s has none of this name", md.FullName())})
			continue
		}
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() == nil {
				continue
			}
			if m, ok := obj[key].(map[string]any); ok {
				for _, k := range sortedKeys(m) {
					unknownFields(fmt.Sprintf("%s[%q]", here, k), m[k], fd.MapValue().Message(), out)
				}
			}
		case fd.Message() == nil:
		case fd.IsList():
			if list, ok := obj[key].([]any); ok {
				for i, e := range list {
					unknownFields(fmt.Sprintf("%s[%d]", here, i), e, fd.Message(), out)
				}
			}
		default:
			unknownFields(here, obj[key], fd.Message(), out)
		}
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
