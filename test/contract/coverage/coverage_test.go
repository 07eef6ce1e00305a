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
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/test/contract/decision"
)

// kinds are those with a table.
var kinds = []*schema.Kind{
	schema.VirtualService, schema.DestinationRule, schema.Gateway, schema.ServiceEntry, schema.WorkloadEntry, schema.WorkloadGroup, schema.EnvoyFilter,
	schema.Sidecar,
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
	for _, kind := range kinds {
		t.Run(kind.Name, func(t *testing.T) {
			raw, err := os.ReadFile(kind.Name + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			entries := map[string]references{}
			if err := yaml.UnmarshalStrict(raw, &entries); err != nil {
				t.Fatal(err)
			}
			open := entries["open"]
			delete(entries, "open")
			fields := leaves(kind.New().(proto.Message).ProtoReflect().Descriptor(), "")
			c := &checker{t: t, kind: kind, tables: tables}
			used := map[string]bool{}
			for _, f := range fields {
				key := entryFor(entries, f)
				switch {
				case key == "" && !slices.Contains(open, f):
					t.Errorf("%s: no test shows it; write a row and name it in %s.yaml", f, kind.Name)
				case key != "" && slices.Contains(open, f):
					t.Errorf("%s: has an entry and is in open as well", f)
				case key != "":
					used[key] = true
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
	kind   *schema.Kind
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
		for _, o := range found.List(c.kind) {
			set = set || sets(o.Spec.(proto.Message).ProtoReflect(), strings.Split(field, "."))
		}
	}
	if objects && !set {
		c.t.Errorf("%s: no %s of %s sets it", field, c.kind.Name, strings.Join(refs, ", "))
	}
}

var testName = regexp.MustCompile(`^(\S+_test\.go) (Test\w+)$`)

// objects are those of a row's file or a golden scenario, nil for a Go test.
func (c *checker) objects(ref string) (*config.Set, error) {
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
		file := filepath.Join(golden, name, "in.yaml")
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		return config.Load([]config.File{{Name: file, Data: raw}}, config.LoadOptions{})
	}
	file, row, ok := strings.Cut(ref, ": ")
	if !ok {
		return nil, fmt.Errorf("%q is neither FILE: ROW, golden SCENARIO nor FILE_test.go TestName", ref)
	}
	for _, table := range c.tables {
		if table.Name == file {
			if slices.ContainsFunc(table.Rows, func(r decision.Row) bool { return r.Name == row }) {
				return table.Objects, nil
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
