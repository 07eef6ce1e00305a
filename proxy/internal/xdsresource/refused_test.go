package xdsresource

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// TestRefusedFieldsAreDocumented holds docs/refused-fields.md against the tables: it names each field of a supported message that is
// refused, and no other.
func TestRefusedFieldsAreDocumented(t *testing.T) {
	want := refusedFields(t)
	got := documentedRefusals(t, "../../../docs/refused-fields.md")
	for _, message := range slices.Sorted(maps.Keys(want)) {
		if !slices.Equal(got[message], want[message]) {
			t.Errorf("docs/refused-fields.md: the row of %s must be\n| `%s` | %s |\nbut it lists %v", message, message, code(want[message]), got[message])
		}
	}
	for message := range got {
		if want[message] == nil {
			t.Errorf("docs/refused-fields.md: nothing of %s is refused: take its row out", message)
		}
	}
}

// refusedFields are the fields of messages that are supported in part, sorted.
func refusedFields(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for message, fields := range supportTable() {
		mt, err := protoregistry.GlobalTypes.FindMessageByName(message)
		if err != nil {
			t.Fatalf("%s: %v", message, err)
		}
		all := mt.Descriptor().Fields()
		for i := range all.Len() {
			if name := string(all.Get(i).Name()); fields[name] == unsupported && !removed(all.Get(i)) {
				out[string(message)] = append(out[string(message)], name)
			}
		}
		slices.Sort(out[string(message)])
	}
	maps.DeleteFunc(out, func(_ string, fields []string) bool { return len(fields) == 0 })
	return out
}

// removed reports a field that no configuration can set any more: the protos keep its number only.
func removed(fd protoreflect.FieldDescriptor) bool {
	return strings.HasPrefix(string(fd.Name()), "hidden_envoy_deprecated_")
}

func code(names []string) string { return "`" + strings.Join(names, "`, `") + "`" }

// documentedRefusals reads the rows of a page's tables: a message, its fields, and words for people.
func documentedRefusals(t *testing.T, path string) map[string][]string {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`envoy.") && !strings.Contains(cells[1], ".v1.") && !strings.Contains(cells[1], "`google.api.") && !strings.Contains(cells[1], "`xds.") {
			continue
		}
		message := strings.Trim(cells[1], " `")
		if out[message] != nil {
			t.Errorf("%s: %s stands twice", path, message)
		}
		for f := range strings.SplitSeq(cells[2], ",") {
			out[message] = append(out[message], strings.Trim(f, " `"))
		}
		slices.Sort(out[message])
	}
	return out
}
