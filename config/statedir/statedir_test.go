package statedir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

var noon = time.Date(2025, 4, 18, 12, 0, 0, 0, time.UTC)

func service(name string, port string) config.File {
	return config.File{Name: name + ".yaml", Data: []byte("# " + name + "\napiVersion: v1\nkind: Service\nmetadata:\n  name: " + name +
		"\nspec:\n  ports:\n  - name: http\n    port: " + port + " # a port\n")}
}

func mustApply(t *testing.T, dir string, now time.Time, files ...config.File) []Change {
	t.Helper()
	p, err := Prepare(dir, files, PrepareOptions{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	return p.Changes
}

func mustRead(t *testing.T, dir string) *config.Set {
	t.Helper()
	set, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestApplyKeepsTextAndCounts(t *testing.T) {
	dir := t.TempDir()
	if c := mustApply(t, dir, noon, service("a", "80")); c[0].Verb != Created {
		t.Errorf("%v", c[0].Verb)
	}
	if c := mustApply(t, dir, noon.Add(time.Hour), service("a", "80")); c[0].Verb != Unchanged {
		t.Errorf("%v", c[0].Verb)
	}
	if c := mustApply(t, dir, noon.Add(time.Hour), service("a", "81")); c[0].Verb != Configured {
		t.Errorf("%v", c[0].Verb)
	}
	b, err := os.ReadFile(filepath.Join(dir, "config/default/service/a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := `# a
apiVersion: v1
kind: Service
metadata:
  name: a
  namespace: default
  creationTimestamp: 2025-04-18T12:00:00Z
  generation: 2
spec:
  ports:
  - name: http
    port: 81 # a port
`
	if string(b) != want {
		t.Errorf("got\n%s", b)
	}
	o := mustRead(t, dir).Get(schema.Service, "default", "a")
	if !o.Created.Equal(noon) || o.Generation != 2 {
		t.Errorf("created %v, generation %d", o.Created, o.Generation)
	}
}

func TestMistakesApplyNothing(t *testing.T) {
	dir := t.TempDir()
	_, err := Prepare(dir, []config.File{service("a", "80"), service("b", "http")}, PrepareOptions{Now: noon})
	var ps config.Problems
	if !errors.As(err, &ps) || len(ps) != 1 || ps[0].File != "b.yaml" || ps[0].Line != 9 {
		t.Fatalf("%v", err)
	}
	if mustRead(t, dir).Len() != 0 {
		t.Error("something was written")
	}
}

// TestFailureTakesBack lets the second of two files fail: its folder's place is taken by a file
// that appears after everything was prepared.
func TestFailureTakesBack(t *testing.T) {
	dir := t.TempDir()
	mustApply(t, dir, noon, service("a", "80"))
	before, err := os.ReadFile(filepath.Join(dir, "config/default/service/a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	first := &step{path: filepath.Join(dir, "config/default/service/a.yaml"), mode: 0o644, add: [][]byte{[]byte("changed")}}
	second := &step{path: filepath.Join(dir, "config/default/service/b.yaml"), mode: 0o644, add: [][]byte{[]byte("new")}}
	for _, s := range []*step{first, second} {
		if err := s.prepare(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(second.path, 0o755); err != nil {
		t.Fatal(err)
	}
	tr := transaction{steps: []*step{first, second}}
	if err := tr.swap(); err == nil {
		t.Fatal("renaming a file over a folder worked")
	}
	tr.clean()
	after, err := os.ReadFile(first.path)
	if err != nil || string(after) != string(before) {
		t.Errorf("%v\n%s", err, after)
	}
	left, err := filepath.Glob(filepath.Join(dir, "config/default/service/.*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestHandMadeFileKeepsItsOthers(t *testing.T) {
	dir := t.TempDir()
	// A file at the very place where an applied object goes, with another object in it.
	path := filepath.Join(dir, "config/default/service/a.yaml")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	text := string(service("a", "80").Data) + "---\n" + string(service("other", "90").Data)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	mustApply(t, dir, noon, service("a", "81"))
	set := mustRead(t, dir)
	if set.Len() != 2 || set.Get(schema.Service, "default", "other") == nil {
		t.Fatalf("%d objects", set.Len())
	}
	if err := Delete(dir, set, []config.Key{{Kind: schema.Service, Namespace: "default", Name: "a"}}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || !strings.Contains(string(b), "# other") {
		t.Errorf("%v\n%s", err, b)
	}
	if err := Delete(dir, mustRead(t, dir), []config.Key{{Kind: schema.Service, Namespace: "default", Name: "other"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the empty file stays: %v", err)
	}
}

func TestBrokenFileIsNotLost(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config/default/service/a.yaml")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("a: [\n---\nb: [\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := Prepare(dir, []config.File{service("a", "80")}, PrepareOptions{Now: noon})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(); err == nil || !strings.Contains(err.Error(), "mend or move it first") {
		t.Errorf("%v", err)
	}
	// A single broken object is mended by applying it.
	if err := os.WriteFile(path, []byte("# broken\na: [\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustApply(t, dir, noon, service("a", "80"))
}

func TestSecretsAreForTheOwner(t *testing.T) {
	dir := t.TempDir()
	mustApply(t, dir, noon, config.File{Name: "s.yaml", Data: []byte("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: b}\n")})
	info, err := os.Stat(filepath.Join(dir, "config/default/secret/s.yaml"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestWritersTakeTurns(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	var mu sync.Mutex
	inside := 0
	for range 8 {
		wg.Go(func() {
			unlock, err := Lock(dir)
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			mu.Lock()
			inside++
			if inside > 1 {
				t.Error("two writers at once")
			}
			mu.Unlock()
			mustApply(t, dir, noon, service("a", "80"))
			mu.Lock()
			inside--
			mu.Unlock()
		})
	}
	wg.Wait()
}
