package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestBadFiles loads each file of testdata/bad and compares all its mistakes with the .want file
// beside it. Refresh with: go test ./config -run TestBadFiles -update
func TestBadFiles(t *testing.T) {
	names, err := filepath.Glob("testdata/bad/*.bad.*")
	if err != nil || len(names) < 10 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	for _, name := range names {
		if filepath.Ext(name) == ".want" {
			continue
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Load([]File{{Name: filepath.Base(name), Data: data}}, LoadOptions{})
			if err == nil {
				t.Fatal("taken as good")
			}
			got := err.Error() + "\n"
			golden := strings.TrimSuffix(name, filepath.Ext(name)) + ".want"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}
