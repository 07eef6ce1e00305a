package runtimekey

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// TestValues: what a text can be read as. The expectations are Envoy's.
func TestValues(t *testing.T) {
	for _, tt := range []struct {
		text  string
		uint  string
		float string
		bool  string
		share string
	}{
		{"7", "7", "7", "true", "7/100"},
		{"0", "0", "0", "false", "0/100"},
		{" 17 \n", "17", "17", "true", "17/100"},
		{"250", "250", "250", "true", "100/100"}, // more than all is all
		{"1.5", "-", "1.5", "-", "-"},
		{"-3", "-", "-3", "-", "-"},
		{"True", "-", "-", "true", "-"},
		{"false", "-", "-", "false", "-"},
		{"numerator: 3\ndenominator: TEN_THOUSAND", "-", "-", "-", "3/10000"},
		{`{"numerator": 3}`, "-", "-", "-", "3/100"},
		{"numerator: 3\ndenominator: DOZEN", "-", "-", "-", "-"},
		{"numerator: 3\nnominator: 4", "-", "-", "-", "-"},
		{"numerator: " + strings.Repeat(" ", 300) + "3", "-", "-", "-", "-"},
		{"some text", "-", "-", "-", "-"},
		{"", "-", "-", "-", "-"},
	} {
		reg := NewRegistry()
		k := reg.Key("k")
		reg.set(map[string]*Value{"k": Parse(tt.text)})
		// A value that is not there leaves the default, whichever it is.
		got := struct{ uint, float, bool, share string }{"-", "-", "-", "-"}
		if a, b := k.Uint(1000), k.Uint(1001); a == b {
			got.uint = fmt.Sprint(a)
		}
		if a, b := k.Float(1000), k.Float(1001); a == b {
			got.float = fmt.Sprint(a)
		}
		if a, b := k.Bool(false), k.Bool(true); a == b {
			got.bool = fmt.Sprint(a)
		}
		if n, d := k.Share(1, 777); d != 777 {
			got.share = fmt.Sprintf("%d/%d", n, d)
		}
		if want := (struct{ uint, float, bool, share string }{tt.uint, tt.float, tt.bool, tt.share}); got != want {
			t.Errorf("%q: %v, want %v", tt.text, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	var none *Registry
	if k := none.Key("a"); k != nil || k.Uint(3) != 3 || !k.Bool(true) || k.Float(0.5) != 0.5 || k.Name() != "" {
		t.Error("a nil key has a value")
	}
	reg := NewRegistry()
	if reg.Key("") != nil {
		t.Error("the empty name is a key")
	}
	a := reg.Key("a")
	if reg.Key("a") != a {
		t.Error("a name has two keys")
	}
	told := 0
	reg.Watch(func() { told++ })
	reg.set(map[string]*Value{"a": Parse("5"), "b": Parse("6")})
	if a.Uint(0) != 5 || reg.Key("b").Uint(0) != 6 {
		t.Error("a key that is there, or one that comes later, does not have the value")
	}
	reg.set(nil)
	if a.Uint(1) != 1 || told != 2 {
		t.Errorf("a value stayed, or %d changes were told of", told)
	}
	if n := testing.AllocsPerRun(100, func() { a.Share(1, 100) }); n != 0 {
		t.Errorf("%v allocations to read a key", n)
	}
}

// TestForgotten: keys of configurations that are gone do not fill the registry.
func TestForgotten(t *testing.T) {
	reg := NewRegistry()
	held := reg.Key("held")
	for i := range 10000 {
		reg.Key(fmt.Sprint(i))
		if i%1000 == 0 {
			runtime.GC()
		}
	}
	runtime.GC()
	reg.Key("last")
	if n := len(reg.keys); n > 5000 {
		t.Errorf("%d keys are remembered", n)
	}
	if reg.Key("held") != held {
		t.Error("a key that is held was forgotten")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func texts(m map[string]*Value) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = v.Text
	}
	return out
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "flat"), "1\n")
	write(t, filepath.Join(dir, "a", "b", "deep"), "# why\n  17  \n# and\n")
	write(t, filepath.Join(dir, "dotted.key"), "x")
	write(t, filepath.Join(dir, "..2026_11", "hidden"), "x")
	if err := os.Symlink(filepath.Join(dir, "flat"), filepath.Join(dir, "linked")); err != nil {
		t.Fatal(err)
	}
	got, there, err := readDisk(dir)
	if want := map[string]string{"flat": "1", "a.b.deep": "  17", "dotted.key": "x", "linked": "1"}; err != nil || !there || !maps.Equal(texts(got), want) {
		t.Errorf("%v %v %v, want %v", texts(got), there, err, want)
	}
	if _, there, err := readDisk(filepath.Join(dir, "nowhere")); there || err != nil {
		t.Errorf("a directory that is not there: %v %v", there, err)
	}
	write(t, filepath.Join(dir, "big"), strings.Repeat("x", maxFile+1))
	if _, _, err := readDisk(dir); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a large file: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "big")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "round")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readDisk(dir); err == nil || !strings.Contains(err.Error(), "levels deep") {
		t.Errorf("a directory in itself: %v", err)
	}
}

func TestLayers(t *testing.T) {
	root := t.TempDir()
	st := stats.NewStore(stats.Options{})
	reg := NewRegistry()
	k := reg.Key("k")
	write(t, filepath.Join(root, "v1", "k"), "2")
	link := filepath.Join(root, "current")
	if err := os.Symlink(filepath.Join(root, "v1"), link); err != nil {
		t.Fatal(err)
	}
	r := New([]Source{
		{Name: "base", Values: map[string]*Value{"k": Parse("1"), "base": Parse("1")}},
		{Name: "disk", Kind: Disk, Root: link, Path: link},
		{Name: "remote", Kind: RTDS, Resource: "r"},
		{Name: "admin", Kind: Admin},
	}, reg, st)
	stat := func(name string) int64 {
		t.Helper()
		snap, err := st.Snapshot(t.Context(), stats.Query{})
		if err != nil {
			t.Fatal(err)
		}
		v, ok := snap.Value(name)
		if !ok {
			t.Fatalf("no statistic %s", name)
		}
		return v
	}
	want := func(step string, value uint64, stats map[string]int64) {
		t.Helper()
		if got := k.Uint(0); got != value {
			t.Errorf("%s: %d, want %d", step, got, value)
		}
		for name, v := range stats {
			if got := stat("runtime." + name); got != v {
				t.Errorf("%s: runtime.%s is %d, want %d", step, name, got, v)
			}
		}
	}
	want("disk over static", 2, map[string]int64{"num_keys": 2, "num_layers": 4, "load_success": 1, "load_error": 0, "override_dir_not_exists": 1, "admin_overrides_active": 0})
	r.SetRemote("r", map[string]*Value{"k": Parse("3")})
	want("RTDS over disk", 3, map[string]int64{"load_success": 2})
	if !r.Modify(map[string]string{"k": "4"}) {
		t.Error("there is an admin layer")
	}
	want("the admin API over all", 4, map[string]int64{"admin_overrides_active": 1})
	var names []string
	for _, l := range r.Layers() {
		names = append(names, l.Name+"="+l.Values["k"].Text)
	}
	if want := []string{"base=1", "disk=2", "remote=3", "admin=4"}; !slices.Equal(names, want) {
		t.Errorf("layers are %v, want %v", names, want)
	}
	r.Modify(map[string]string{"k": ""})
	want("taken back", 3, map[string]int64{"admin_overrides_active": 0})
	r.SetRemote("r", nil)
	// The tree is replaced at once, by moving a link.
	write(t, filepath.Join(root, "v2", "k"), "20")
	next := filepath.Join(root, "next")
	if err := os.Symlink(filepath.Join(root, "v2"), next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, link); err != nil {
		t.Fatal(err)
	}
	r.Reload()
	want("a new tree", 20, nil)
	// One that cannot be read is left out.
	write(t, filepath.Join(root, "v2", "big"), strings.Repeat("x", maxFile+1))
	r.Reload()
	want("a bad tree", 1, map[string]int64{"load_error": 1, "num_layers": 3})
	if New([]Source{{Name: "s"}}, NewRegistry(), stats.NewStore(stats.Options{})).Modify(map[string]string{"k": "1"}) {
		t.Error("there is no admin layer")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"1", "true", "1.5", "numerator: 3", "{numerator: 1, denominator: MILLION}", "numerator: &a [*a]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := Parse(s)
		if v.Text != s {
			t.Error("the text is not kept")
		}
		switch v.denominator {
		case 0, 100, 10000, 1000000:
		default:
			t.Errorf("%q has denominator %d", s, v.denominator)
		}
	})
}
