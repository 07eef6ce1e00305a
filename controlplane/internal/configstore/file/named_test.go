package file

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/config"
)

// TestNamedFilesAreAsTheWholeTree: a store that looks at no more than what changed has what one has that reads the whole tree each time.
func TestNamedFilesAreAsTheWholeTree(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { testNamedFiles(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func testNamedFiles(t *testing.T, rnd *rand.Rand) {
	dir := t.TempDir()
	now := func() time.Time { return time.Now().Add(time.Hour) } // all files have been left alone for long
	whole, named := New(Options{Dir: dir, Now: now}), New(Options{Dir: dir, Now: now})
	whole.scan()
	named.scan()
	inForce := map[config.Key]*config.Object{}
	files := []string{"a.yaml", "b.yaml", "c.yml", "sub/a.yaml", "sub/b.yaml", "other.txt", ".hidden.yaml"}
	texts := []string{
		"", service("a", 1), service("a", 2), service("b", 1), service("a", 3) + "---\n" + service("b", 3), service("c", 1) + "---\n" + service("c", 2),
		"kind: Service\n", "{ no yaml", service("b", 4) + "---\n" + strings.Replace(service("a", 4), "port: 4", "port: many", 1),
	}
	for step := range 60 {
		touched := []string{files[rnd.IntN(len(files))]}
		path := filepath.Join(dir, touched[0])
		what := ""
		switch rnd.IntN(6) {
		case 0:
			what = "remove"
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		case 1:
			to := files[rnd.IntN(len(files))]
			what = "rename to " + to
			if os.MkdirAll(filepath.Join(dir, "sub"), 0o755) != nil || os.Rename(path, filepath.Join(dir, to)) != nil {
				continue // there is no such file
			}
			touched = append(touched, to, "sub")
		case 2:
			what, touched = "remove the folder", []string{"sub"}
			if err := os.RemoveAll(filepath.Join(dir, "sub")); err != nil {
				t.Fatal(err)
			}
		default:
			text := texts[rnd.IntN(len(texts))]
			what = "write " + text
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if filepath.Dir(touched[0]) == "sub" {
				touched = append(touched, "sub")
			}
		}
		for range 2 { // what is missed is missed twice before it is gone
			whole.scan()
			inForce = mergeAll(whole.files, inForce)
			for _, name := range touched {
				named.suspects[filepath.Join(dir, name)] = false
			}
			if paths, known := named.named(func(path string) bool { return filepath.Base(path) == "sub" }); known {
				named.scanNamed(paths)
			} else {
				named.scan()
			}
		}
		if got, want := contents(named), contents(whole); got != want {
			t.Fatalf("step %d: %s %v: the store that looked at what was named has\n%s\nwant\n%s", step, what, touched, got, want)
		}
		if !maps.Equal(whole.objects, inForce) {
			t.Fatalf("step %d: %s %v: in force is\n%s\nwant %v", step, what, touched, contents(whole), inForce)
		}
	}
}

// mergeAll is what is in force by all files, and by what was before them.
func mergeAll(files map[string]*entry, before map[config.Key]*config.Object) map[config.Key]*config.Object {
	out := map[config.Key]*config.Object{}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		for _, o := range files[path].objects {
			if out[o.Key()] == nil {
				out[o.Key()] = o
			}
		}
	}
	for key, o := range before {
		if e := files[o.Source.File]; out[key] == nil && e != nil && slices.ContainsFunc(e.problems, func(p config.Problem) bool {
			return p.Key == key || p.Key.Name == ""
		}) {
			out[key] = o
		}
	}
	return out
}

// contents are a store's objects and mistakes.
func contents(s *Store) string {
	var b strings.Builder
	for _, o := range s.Objects() {
		fmt.Fprintf(&b, "%s port %d from %s\n", o.Key(), servicePort(o), o.Source)
	}
	for _, m := range s.Mistakes() {
		fmt.Fprintf(&b, "%s kept %v\n", m.Error(), m.Kept)
	}
	return b.String()
}
