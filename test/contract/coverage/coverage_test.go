package coverage

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	mesh "istio.io/api/mesh/v1alpha1"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/analyze"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/test/contract/decision"
)

// covered is a message with a table.
type covered struct {
	name    string
	message proto.Message
	// of are those of its messages that a decision table has, or a golden scenario, by its folder.
	of     func(*decision.Table) []proto.Message
	golden func(dir string) ([]proto.Message, error)
	// reported are the fields, by their paths, that are said to have no effect when they are set as in the message.
	reported func(proto.Message) []string
}

// kinds are those with a table.
func kinds() []covered {
	out := []covered{meshConfig()}
	for _, k := range []*schema.Kind{
		schema.VirtualService, schema.DestinationRule, schema.Gateway, schema.ServiceEntry, schema.WorkloadEntry, schema.WorkloadGroup, schema.EnvoyFilter,
		schema.Sidecar, schema.ProxyConfig, schema.AuthorizationPolicy, schema.RequestAuthentication, schema.PeerAuthentication,
	} {
		out = append(out, ofKind(k))
	}
	return out
}

func ofKind(k *schema.Kind) covered {
	specs := func(set *config.Set) []proto.Message {
		out := []proto.Message{}
		for _, o := range set.List(k) {
			out = append(out, o.Spec.(proto.Message))
		}
		return out
	}
	return covered{
		name: k.Name, message: k.New().(proto.Message),
		of: func(t *decision.Table) []proto.Message { return specs(t.Objects) },
		golden: func(dir string) ([]proto.Message, error) {
			file := filepath.Join(dir, "in.yaml")
			raw, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			set, err := config.Load([]config.File{{Name: file, Data: raw}}, config.LoadOptions{})
			return specs(set), err
		},
		reported: func(m proto.Message) []string {
			var out []string
			for _, found := range analyze.Effect(&config.Object{Kind: k, Name: "x", Namespace: "default", Spec: m}) {
				out = append(out, strings.TrimPrefix(found.Field, "spec."))
			}
			return out
		},
	}
}

// meshConfig is the mesh's configuration, which is no object.
func meshConfig() covered {
	parse := func(raw []byte) ([]proto.Message, error) {
		mc, err := config.ParseMeshConfig(config.File{Name: "mesh.yaml", Data: raw})
		return []proto.Message{mc}, err
	}
	return covered{
		name: "MeshConfig", message: &mesh.MeshConfig{},
		of: func(t *decision.Table) []proto.Message {
			out, err := parse(t.Mesh)
			if err != nil {
				return []proto.Message{}
			}
			return out
		},
		golden: func(dir string) ([]proto.Message, error) {
			raw, err := os.ReadFile(filepath.Join(dir, "mesh.yaml"))
			if err != nil {
				return nil, err
			}
			return parse(raw)
		},
		reported: func(m proto.Message) []string {
			var out []string
			for _, found := range analyze.MeshConfig(m.(*mesh.MeshConfig)) {
				out = append(out, found.Field)
			}
			return out
		},
	}
}

const (
	module = "../../.."
	golden = module + "/controlplane/internal/translate/testdata"
)

// references are what an entry names: one, or a list.
type references []string

func (r *references) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*r = references{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(r))
}

func TestEveryFieldIsShown(t *testing.T) {
	tables, err := decision.ReadAll(decision.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds() {
		t.Run(kind.name, func(t *testing.T) {
			raw, err := os.ReadFile(kind.name + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			entries := map[string]references{}
			if err := yaml.UnmarshalStrict(raw, &entries); err != nil {
				t.Fatal(err)
			}
			open, reported := entries["open"], entries["reported"]
			delete(entries, "open")
			delete(entries, "reported")
			for _, f := range reported {
				if _, twice := entries[f]; twice {
					t.Errorf("%s: has an entry and is in reported as well", f)
				}
				entries[f] = nil
			}
			fields := leaves(kind.message.ProtoReflect().Descriptor(), "")
			c := &checker{t: t, kind: kind, tables: tables}
			used := map[string]bool{}
			for _, f := range fields {
				key := entryFor(entries, f)
				switch {
				case key == "" && !slices.Contains(open, f):
					t.Errorf("%s: no test shows it; write a row and name it in %s.yaml", f, kind.name)
				case key != "" && slices.Contains(open, f):
					t.Errorf("%s: has an entry and is in open as well", f)
				case key != "":
					used[key] = true
					if slices.Contains(reported, key) {
						c.checkReported(f)
						continue
					}
					c.check(f, entries[key])
				}
			}
			for key := range entries {
				if !used[key] {
					t.Errorf("%s: there is no such field, or a longer entry covers it", key)
				}
			}
			for _, f := range open {
				if !slices.Contains(fields, f) {
					t.Errorf("open: there is no field %s", f)
				}
			}
			t.Logf("%d fields, %d open", len(fields), len(open))
		})
	}
}

// entryFor is the entry of a field, else of the nearest field above it with ".*"; "" for none.
func entryFor(entries map[string]references, field string) string {
	if _, ok := entries[field]; ok {
		return field
	}
	for f := field; f != ""; {
		f = f[:max(strings.LastIndexByte(f, '.'), 0)]
		if _, ok := entries[f+".*"]; ok {
			return f + ".*"
		}
	}
	return ""
}

// leaves are the paths of a message's fields that hold values, by the names that users write. Lists and maps do not show in a path.
func leaves(d protoreflect.MessageDescriptor, prefix string) []string {
	var out []string
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		path := strings.TrimPrefix(prefix+"."+fd.JSONName(), ".")
		if m := inner(fd); m != nil {
			out = append(out, leaves(m, path)...)
		} else {
			out = append(out, path)
		}
	}
	return out
}

// inner is the message below a field; nil for values, which durations and wrappers are too.
func inner(fd protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	m := fd.Message()
	if fd.IsMap() {
		m = fd.MapValue().Message()
	}
	if m == nil || m.FullName().Parent() == "google.protobuf" {
		return nil
	}
	return m
}

type checker struct {
	t      *testing.T
	kind   covered
	tables []*decision.Table
}

// check finds what an entry names and, among objects, one that sets the field.
func (c *checker) check(field string, refs references) {
	set, objects := false, false
	for _, ref := range refs {
		found, err := c.objects(ref)
		if err != nil {
			c.t.Errorf("%s: %v", field, err)
			continue
		}
		if found == nil {
			return // a Go test; whether it sets the field it alone knows
		}
		objects = true
		for _, m := range found {
			set = set || sets(m.ProtoReflect(), strings.Split(field, "."))
		}
	}
	if objects && !set {
		c.t.Errorf("%s: no %s of %s sets it", field, c.kind.name, strings.Join(refs, ", "))
	}
}

var testName = regexp.MustCompile(`^(\S+_test\.go) (Test\w+)$`)

// checkReported sets a field and nothing else, and wants it, or what it is part of, to be reported by its path; "" stands for all of a kind.
func (c *checker) checkReported(field string) {
	m := c.kind.message.ProtoReflect().New()
	path := strings.Split(field, ".")
	set(m, path)
	for _, found := range c.kind.reported(m.Interface()) {
		at := index.ReplaceAllString(found, "")
		if at == "" || at == field || strings.HasPrefix(field, at+".") {
			return
		}
	}
	c.t.Errorf("%s: it is set and nobody says that it has no effect", field)
}

var index = regexp.MustCompile(`\[\d+\]|\.KEY\b`)

// set gives a field some value that is not the one that it has by default.
func set(m protoreflect.Message, path []string) {
	fd := m.Descriptor().Fields().ByJSONName(path[0])
	some := func(fd protoreflect.FieldDescriptor) protoreflect.Value {
		switch fd.Kind() {
		case protoreflect.BoolKind:
			return protoreflect.ValueOfBool(true)
		case protoreflect.EnumKind:
			return protoreflect.ValueOfEnum(fd.Enum().Values().Get(fd.Enum().Values().Len() - 1).Number())
		case protoreflect.StringKind:
			return protoreflect.ValueOfString("x")
		case protoreflect.BytesKind:
			return protoreflect.ValueOfBytes([]byte("x"))
		case protoreflect.Int32Kind:
			return protoreflect.ValueOfInt32(1)
		case protoreflect.Int64Kind:
			return protoreflect.ValueOfInt64(1)
		case protoreflect.Uint32Kind:
			return protoreflect.ValueOfUint32(1)
		case protoreflect.Uint64Kind:
			return protoreflect.ValueOfUint64(1)
		case protoreflect.DoubleKind:
			return protoreflect.ValueOfFloat64(1)
		case protoreflect.FloatKind:
			return protoreflect.ValueOfFloat32(1)
		}
		panic("no value for " + fd.FullName())
	}
	switch {
	case fd.IsList():
		list := m.Mutable(fd).List()
		if fd.Message() == nil {
			list.Append(some(fd))
		} else if e := list.AppendMutable(); len(path) > 1 {
			set(e.Message(), path[1:])
		}
	case fd.IsMap():
		entries, key := m.Mutable(fd).Map(), protoreflect.ValueOfString("KEY").MapKey()
		if fd.MapValue().Message() == nil {
			entries.Set(key, some(fd.MapValue()))
		} else if e := entries.Mutable(key); len(path) > 1 {
			set(e.Message(), path[1:])
		}
	case fd.Message() == nil:
		m.Set(fd, some(fd))
	default:
		if e := m.Mutable(fd); len(path) > 1 {
			set(e.Message(), path[1:])
		}
	}
}

// objects are those of a row's file or a golden scenario, nil for a Go test.
func (c *checker) objects(ref string) ([]proto.Message, error) {
	if m := testName.FindStringSubmatch(ref); m != nil {
		raw, err := os.ReadFile(filepath.Join(module, m[1]))
		if err != nil {
			return nil, err
		}
		if !strings.Contains(string(raw), "func "+m[2]+"(t *testing.T)") {
			return nil, fmt.Errorf("%s has no test %s", m[1], m[2])
		}
		return nil, nil
	}
	if name, ok := strings.CutPrefix(ref, "golden "); ok {
		return c.kind.golden(filepath.Join(golden, name))
	}
	file, row, ok := strings.Cut(ref, ": ")
	if !ok {
		return nil, fmt.Errorf("%q is neither FILE: ROW, golden SCENARIO nor FILE_test.go TestName", ref)
	}
	for _, table := range c.tables {
		if table.Name == file {
			if slices.ContainsFunc(table.Rows, func(r decision.Row) bool { return r.Name == row }) {
				return c.kind.of(table), nil
			}
			return nil, fmt.Errorf("decisions/%s.yaml has no row %q", file, row)
		}
	}
	return nil, fmt.Errorf("there is no decisions/%s.yaml", file)
}

// sets reports whether a field is given somewhere in a message.
func sets(m protoreflect.Message, path []string) bool {
	fd := m.Descriptor().Fields().ByJSONName(path[0])
	if fd == nil || !m.Has(fd) {
		return false
	}
	if len(path) == 1 {
		return true
	}
	v, found := m.Get(fd), false
	switch {
	case fd.IsList():
		for i := range v.List().Len() {
			found = found || sets(v.List().Get(i).Message(), path[1:])
		}
	case fd.IsMap():
		v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool {
			found = sets(e.Message(), path[1:])
			return !found
		})
	default:
		found = sets(v.Message(), path[1:])
	}
	return found
}
