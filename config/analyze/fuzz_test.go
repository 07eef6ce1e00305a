package analyze

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lateen-mesh/lateen/config"
)

// FuzzSet feeds what Load takes of arbitrary text to the analysis: it must not fail, and every
// message must name an object and a line.
func FuzzSet(f *testing.F) {
	f.Add([]byte(base))
	names, err := filepath.Glob("../../samples/shop/*/*.yaml")
	if err != nil || len(names) == 0 {
		f.Fatalf("no samples: %v", err)
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, _ := config.Load([]config.File{{Name: "f", Data: data}}, config.LoadOptions{})
		for _, m := range append(Set(set, Options{}), Effects(set.All())...) {
			if m.Line < 1 || m.Text == "" || m.Key.Kind == nil {
				t.Errorf("%+v", m)
			}
		}
	})
}
