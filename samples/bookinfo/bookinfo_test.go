package bookinfo

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/analyze"
)

// Each manifest fits Bookinfo with its subsets, and nothing of it is without effect. The ones of a step replace each other, so each is held
// against the application on its own.
func TestManifestsFit(t *testing.T) {
	read := func(path string) config.File {
		t.Helper()
		b, err := FS.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return config.File{Name: path, Data: b}
	}
	base := []config.File{read("platform/kube/bookinfo.yaml")}
	n := 0
	err := fs.WalkDir(FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == "lateen.yaml" || strings.HasPrefix(path, "platform/") {
			return err
		}
		n++
		files := append([]config.File{read(path)}, base...)
		if strings.HasPrefix(path, "networking/virtual-service") {
			files = append(files, read("networking/destination-rule-all.yaml"))
		}
		set, err := config.Load(files, config.LoadOptions{})
		if err != nil {
			t.Error(err)
		}
		for _, m := range append(analyze.Set(set, analyze.Options{}), analyze.Effects(set.All())...) {
			if m.Severity != analyze.Info {
				t.Errorf("%s: %s", path, m)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 7 {
		t.Errorf("only %d manifests are embedded", n)
	}
}
