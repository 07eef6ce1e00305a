package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a valid object.
func service(name string, port int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata:\n  name: %s\n  namespace: shop\nspec:\n  ports:\n  - name: http\n    port: %d\n", name, port)
}

type running struct {
	t       *testing.T
	dir     string
	store   *Store
	batches chan configstore.Batch
}

// run starts a store on a folder of its own.
func run(t *testing.T, opts Options, files map[string]string) *running {
	t.Helper()
	root := t.TempDir()
	opts.Dir = filepath.Join(root, "config")
	if opts.MeshFile != "" {
		opts.MeshFile = filepath.Join(root, opts.MeshFile)
	}
	r := &running{t: t, dir: opts.Dir, store: New(opts), batches: make(chan configstore.Batch, 100)}
	for name, text := range files {
		r.write(name, text)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.store.Run(ctx, func(b configstore.Batch) { r.batches <- b }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *running) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) remove(name string) {
	r.t.Helper()
	if err := os.RemoveAll(filepath.Join(r.dir, name)); err != nil {
		r.t.Fatal(err)
	}
}

// next returns the next batch as "+ns/name -ns/name mesh" words.
func (r *running) next() string {
	r.t.Helper()
	select {
	case b := <-r.batches:
		var words []string
		for _, o := range b.Changed {
			words = append(words, "+"+o.Name)
		}
		for _, k := range b.Deleted {
			words = append(words, "-"+k.Name)
		}
		if b.Mesh != nil {
			words = append(words, fmt.Sprintf("mesh%d", len(b.Mesh.Data)))
		}
		return strings.Join(words, " ")
	case <-time.After(time.Minute):
		r.t.Fatal("no batch within 30 s")
		return ""
	}
}

func (r *running) want(what string) {
	r.t.Helper()
	if got := r.next(); got != what {
		r.t.Fatalf("batch %q, want %q; mistakes: %v", got, what, r.store.Mistakes())
	}
}

// until waits for mistakes to be as wanted; they bring no batch.
func (r *running) until(what string, ok func([]configstore.Mistake) bool) {
	r.t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok(r.store.Mistakes()) {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("%s: not within 5 s; mistakes: %v", what, r.store.Mistakes())
		}
	}
}

func TestChangesAreDelivered(t *testing.T) {
	r := run(t, Options{Rescan: time.Hour}, map[string]string{"shop/service/web.yaml": service("web", 80), "README.md": "not read", ".hidden.yaml": "}"})
	r.want("+web")
	r.write("shop/service/web.yaml", service("web", 81))
	r.want("+web")
	r.write("deep/er/than/before.yml", service("a", 80)+"---\n"+service("b", 80))
	r.want("+a +b")
	r.write("deep/er/than/before.yml", service("a", 80))
	r.want("+a -b")
	r.remove("deep")
	r.want("-a")
	if err := os.Rename(filepath.Join(r.dir, "shop/service/web.yaml"), filepath.Join(r.dir, "web.json")); err != nil {
		t.Fatal(err)
	}
	r.want("+web") // its origin is another file now
	if got := r.store.Objects(); len(got) != 1 || got[0].Source.File != filepath.Join(r.dir, "web.json") {
		t.Errorf("objects: %v", got)
	}
}

func TestRescanFindsWhatNobodyReports(t *testing.T) {
	r := run(t, Options{Rescan: 20 * time.Millisecond}, nil)
	r.want("")
	// A link's target lies outside the tree and is not watched.
	target := filepath.Join(t.TempDir(), "target.yaml")
	if err := os.WriteFile(target, []byte(service("web", 80)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(r.dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	r.want("+web")
	if err := os.WriteFile(target, []byte(service("web", 99)), 0o644); err != nil { // same length, perhaps the same time
		t.Fatal(err)
	}
	r.want("+web")
}

func TestLastGoodFormStays(t *testing.T) {
	r := run(t, Options{Rescan: time.Hour}, map[string]string{"both.yaml": service("web", 80) + "---\n" + service("api", 80), "bad.yaml": "kind: Service\n"})
	r.want("+api +web")
	port := func(name string) int32 {
		o := r.store.objects[config.Key{Kind: schema.ByResource("services"), Namespace: "shop", Name: name}]
		if o == nil {
			return 0
		}
		return servicePort(o)
	}
	if m := r.store.Mistakes(); len(m) != 1 || m[0].Kept {
		t.Errorf("mistakes: %v", m)
	}

	// One object of a file turns bad: it stays as it was, the other one goes on.
	r.write("both.yaml", service("web", 8080)+"---\n"+strings.Replace(service("api", 81), "port:", "prot:", 1))
	r.want("+web")
	r.until("api is kept", func(m []configstore.Mistake) bool {
		return len(m) >= 2 && strings.Contains(fmt.Sprint(m), "both.yaml") && strings.Contains(fmt.Sprint(m), "prot")
	})
	r.store.mu.Lock()
	web, api := port("web"), port("api")
	r.store.mu.Unlock()
	if web != 8080 || api != 80 {
		t.Errorf("ports are %d and %d, want 8080 and 80", web, api)
	}

	// The YAML itself is broken: everything of the file stays, and another file's change is delivered.
	r.write("both.yaml", "a: [b\n")
	r.write("other.yaml", service("other", 80))
	r.want("+other")
	for _, m := range r.store.Mistakes() {
		if strings.HasSuffix(m.File, "both.yaml") && !m.Kept {
			t.Errorf("not marked as kept: %v", m)
		}
	}
	if len(r.store.Objects()) != 3 {
		t.Errorf("objects: %v", r.store.Objects())
	}

	// Mended: everything is as the files say, also what was left out meanwhile.
	r.write("both.yaml", service("api", 82))
	r.want("+api -web")
	r.remove("bad.yaml")
	r.until("all is well", func(m []configstore.Mistake) bool { return len(m) == 0 })
}

// TestWritingInPlace: a file that is emptied and then written, as shells and some editors do, never takes its objects away in between.
func TestWritingInPlace(t *testing.T) {
	r := run(t, Options{Rescan: time.Hour}, map[string]string{"web.yaml": service("web", 1)})
	r.want("+web")
	path := filepath.Join(r.dir, "web.yaml")
	for i := range 5 {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		// Another file's change is delivered while this one is empty.
		r.write("other.yaml", service("other", 1+i))
		r.want("+other")
		if _, err := f.WriteString(service("web", 2+i)); err != nil {
			t.Fatal(err)
		}
		f.Close()
		r.want("+web")
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	r.want("-web") // it stays empty, so it is meant
}

// TestReplacedFilesAreReadAtOnce: a file that is renamed to its name is complete, and quick successions of them are not waited out.
func TestReplacedFilesAreReadAtOnce(t *testing.T) {
	r := run(t, Options{Rescan: time.Hour}, nil)
	r.want("")
	begin := time.Now()
	for i := range 20 {
		r.write(".temp", service("web", 1+i))
		if err := os.Rename(filepath.Join(r.dir, ".temp"), filepath.Join(r.dir, "web.yaml")); err != nil {
			t.Fatal(err)
		}
		r.want("+web")
	}
	t.Logf("20 changes took %v", time.Since(begin))
}

func TestTwiceGiven(t *testing.T) {
	r := run(t, Options{Rescan: time.Hour}, map[string]string{"a.yaml": service("web", 1), "b.yaml": service("web", 2)})
	r.want("+web")
	if m := r.store.Mistakes(); len(m) != 1 || !strings.Contains(m[0].Text, "a.yaml") {
		t.Errorf("mistakes: %v", m)
	}
	r.remove("a.yaml")
	r.want("+web")
	if o := r.store.Objects(); servicePort(o[0]) != 2 {
		t.Errorf("the other file does not count")
	}
}

func TestAgeSurvivesAnEdit(t *testing.T) {
	r := run(t, Options{Rescan: time.Hour}, map[string]string{"web.yaml": service("web", 1)})
	r.want("+web")
	before := r.store.Objects()[0].Created
	r.write("web.yaml", service("web", 2))
	if err := os.Chtimes(filepath.Join(r.dir, "web.yaml"), time.Time{}, before.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	r.want("+web")
	if got := r.store.Objects()[0].Created; !got.Equal(before) {
		t.Errorf("the object's age changed from %v to %v", before, got)
	}
}

func TestKindsThatDoNotBelong(t *testing.T) {
	only := func(k *schema.Kind) error {
		if k.Name != "WorkloadEntry" {
			return fmt.Errorf("only WorkloadEntry belongs here")
		}
		return nil
	}
	r := run(t, Options{Rescan: time.Hour, Accept: only}, map[string]string{"web.yaml": service("web", 1)})
	r.want("")
	if m := r.store.Mistakes(); len(m) != 1 || !strings.Contains(m[0].Text, "only WorkloadEntry") {
		t.Errorf("mistakes: %v", m)
	}
}

func TestMeshFile(t *testing.T) {
	r := run(t, Options{Rescan: time.Hour, MeshFile: "mesh.yaml"}, nil)
	r.want("mesh0")
	r.write("../mesh.yaml", "accessLogFile: /dev/stdout\n")
	r.want("mesh27")
	r.write("../mesh.yaml", "accessLogFil: /dev/stdout\n")
	r.until("the mistake is seen", func(m []configstore.Mistake) bool { return len(m) == 1 && m[0].Kept })
	r.write("../mesh.yaml", "accessLogFile: /dev/stderr\n")
	r.want("mesh27")
	r.remove("../mesh.yaml")
	r.want("mesh0")
}

func TestUnreadableFolderKeepsItsObjects(t *testing.T) {
	r := run(t, Options{Rescan: 10 * time.Millisecond}, map[string]string{"sub/web.yaml": service("web", 1)})
	r.want("+web")
	moved := filepath.Join(filepath.Dir(r.dir), "away")
	if err := os.Rename(r.dir, moved); err != nil {
		t.Fatal(err)
	}
	r.until("the folder is missed", func(m []configstore.Mistake) bool { return len(m) == 1 })
	if len(r.store.Objects()) != 1 {
		t.Error("objects went with the folder")
	}
	if err := os.Rename(moved, r.dir); err != nil {
		t.Fatal(err)
	}
	r.until("the folder is back", func(m []configstore.Mistake) bool { return len(m) == 0 })
	r.write("sub/api.yaml", service("api", 1))
	r.want("+api")
}

func servicePort(o *config.Object) int32 { return o.Spec.(*corev1.Service).Spec.Ports[0].Port }

// TestReplacedByAnotherFile: a file goes and another comes; whatever of it a scan sees, there is no moment without either.
func TestReplacedByAnotherFile(t *testing.T) {
	dir := t.TempDir()
	var later time.Duration
	s := New(Options{Dir: dir, Now: func() time.Time { return time.Now().Add(later) }})
	write := func(name, object string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(service(object, 80)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(name string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string) {
		t.Helper()
		b := s.scan()
		var got []string
		for _, o := range b.Changed {
			got = append(got, "+"+o.Name)
		}
		for _, k := range b.Deleted {
			got = append(got, "-"+k.Name)
		}
		if strings.Join(got, " ") != what {
			t.Errorf("%v, want %q", got, what)
		}
		if m := s.Mistakes(); len(m) > 0 {
			t.Error(m)
		}
	}
	write("a.yaml", "a")
	want("+a")
	remove("a.yaml") // and the other has not been listed
	want("")
	write("b.yaml", "b") // nor settled
	want("")
	later = time.Minute
	want("+b -a")
	want("")
	// The same object in another file is one change.
	if err := os.Rename(filepath.Join(dir, "b.yaml"), filepath.Join(dir, "c.yaml")); err != nil {
		t.Fatal(err)
	}
	want("+b")
	want("")
	remove("c.yaml")
	want("")
	write("c.yaml", "b") // it is back
	want("+b")
	remove("c.yaml")
	want("")
	want("-b")
	// Somebody who never stops writing holds nothing up.
	write("d.yaml", "d")
	want("+d")
	remove("d.yaml")
	write("e.yaml", "e")
	for _, what := range []string{"", "", "-d"} {
		at := time.Now().Add(later)
		if err := os.Chtimes(filepath.Join(dir, "e.yaml"), at, at); err != nil {
			t.Fatal(err)
		}
		want(what)
		later += emptied * 2 / 3
	}
}
