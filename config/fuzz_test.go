package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad feeds arbitrary text to Load and checks what holds for any text: no panic, every
// mistake has a line inside the file, and what is taken can be written and read again with the
// same meaning.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.bad.yaml", "../samples/shop/*/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			f.Fatalf("%s: %v", pattern, err)
		}
		for _, n := range names {
			if strings.Contains(n, "alias-bomb") {
				continue // slow by design; TestBadFiles has it
			}
			b, err := os.ReadFile(n)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := Load([]File{{Name: "f", Data: data}}, LoadOptions{KeepText: true})
		if err != nil && len(AsProblems(err)) == 0 {
			t.Fatalf("%T is not Problems", err)
		}
		lines := strings.Count(string(data), "\n") + 2
		for _, p := range AsProblems(err) {
			if p.Text == "" || p.Line < 0 {
				t.Errorf("%+v", p)
			}
			// The YAML parser itself may point one line behind the end.
			if p.Line > lines && !strings.HasPrefix(p.Text, "not valid YAML") && !strings.HasPrefix(p.Field, "data.mesh") {
				t.Errorf("line %d of %d: %v", p.Line, lines, p)
			}
		}
		for _, o := range set.All() {
			text, err := o.Text()
			if err != nil {
				t.Fatalf("%s cannot be written: %v", o, err)
			}
			again, err := Load([]File{{Name: "g", Data: text}}, LoadOptions{Namespace: o.Namespace})
			if err != nil {
				t.Fatalf("%s was written as\n%s\nwhich is refused: %v", o, text, err)
			}
			if back := again.Lookup(o.Key()); back == nil || !Same(o, back) {
				t.Fatalf("%s changed when it was written:\n%s", o, text)
			}
		}
	})
}
