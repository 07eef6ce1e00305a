package shop

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/analyze"
)

func TestManifestsLoad(t *testing.T) {
	n := 0
	err := fs.WalkDir(FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		b, err := ForBlock(path, "127.99")
		if err != nil {
			return err
		}
		if strings.Contains(string(b), sampleBlock) {
			t.Errorf("%s still names %s", path, sampleBlock)
		}
		set, err := config.Load([]config.File{{Name: path, Data: b}}, config.LoadOptions{})
		if err != nil {
			t.Error(err)
		}
		if set.Len() == 0 {
			t.Errorf("%s holds no object", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 18 {
		t.Errorf("only %d manifests are embedded", n)
	}
}

// TestManifestsFit holds every manifest against the shop that it is made for: nothing is
// missing, and nothing in it is without effect, but for the mistake that is one.
func TestManifestsFit(t *testing.T) {
	load := func(pattern string) *config.Set {
		t.Helper()
		names, err := fs.Glob(FS, pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		var files []config.File
		for _, n := range names {
			b, err := FS.ReadFile(n)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, config.File{Name: n, Data: b})
		}
		set, err := config.Load(files, config.LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	shop := load("base/*").With(load("gateway/catalog.yaml")).With(load("mesh/catalog-subsets.yaml"))
	steps, err := fs.Glob(FS, "*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range steps {
		set := load(step)
		messages := append(analyze.Set(shop.With(set), analyze.Options{}), analyze.Effects(set.All())...)
		if strings.HasPrefix(step, "mistakes/") {
			if len(messages) != 1 || messages[0].Code != analyze.NotFound {
				t.Errorf("%s: %v", step, messages)
			}
			continue
		}
		for _, m := range messages {
			if m.Code == analyze.InvalidCredential && strings.HasPrefix(step, "gateway/https") {
				continue // the Secret is for the reader to make
			}
			t.Errorf("%s: %v", step, m)
		}
	}
}
