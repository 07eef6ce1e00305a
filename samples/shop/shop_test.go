package shop

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/config"
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
