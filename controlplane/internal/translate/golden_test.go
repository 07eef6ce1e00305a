package translate

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

var update = flag.Bool("update", false, "write testdata/*/out.* anew")

// node is a proxy in a scenario: node.json, or node-NAME.json where there are several.
type node struct {
	ID       string         `json:"id"`
	Cluster  string         `json:"cluster"`
	Region   string         `json:"region"`
	Zone     string         `json:"zone"`
	SubZone  string         `json:"subzone"`
	Metadata map[string]any `json:"metadata"`
}

func (n node) proxy(t testing.TB) *model.Proxy {
	t.Helper()
	p, err := model.ParseProxy(n.ID, n.Cluster, n.Metadata, model.Locality{Region: n.Region, Zone: n.Zone, SubZone: n.SubZone})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// load builds a scenario's snapshot from in.yaml and, where there is one, mesh.yaml.
func load(t testing.TB, dir string) (*snapshot.Builder, *model.Snapshot) {
	t.Helper()
	b := snapshot.New()
	if data, err := os.ReadFile(filepath.Join(dir, "mesh.yaml")); err == nil {
		m, _, err := snapshot.ParseMesh(config.File{Name: "mesh.yaml", Data: data}, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.SetMesh(m)
	}
	data, err := os.ReadFile(filepath.Join(dir, "in.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := config.Load([]config.File{{Name: "in.yaml", Data: data}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var events []snapshot.Event
	for _, o := range set.All() {
		events = append(events, snapshot.Set("config", o))
	}
	s, _ := b.Update(events...)
	return b, s
}

func readNode(t testing.TB, file string) node {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var n node
	if err := json.Unmarshal(data, &n); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return n
}

// resources are all resources of a proxy by type.
func resources(s *model.Snapshot, p *model.Proxy) map[string][]Resource {
	return map[string][]Resource{
		"listeners": Listeners(s, p),
		"clusters":  Clusters(s, p),
		"routes":    Routes(s, p, RouteNames(s, p)),
		"endpoints": Endpoints(s, p, EndpointNames(s, p)),
	}
}

type validator interface{ ValidateAll() error }

// check holds what must be true of every resource: it passes its proto's validation, has the
// name that it was announced with, and no name comes twice.
func check(t testing.TB, all map[string][]Resource) {
	t.Helper()
	for kind, list := range all {
		seen := map[string]bool{}
		for _, r := range list {
			if seen[r.Name] {
				t.Errorf("%s: %s comes twice", kind, r.Name)
			}
			seen[r.Name] = true
			m := r.Build()
			if err := m.(validator).ValidateAll(); err != nil {
				t.Errorf("%s %s: %v", kind, r.Name, err)
			}
			if err := validateAnys(m); err != nil {
				t.Errorf("%s %s: %v", kind, r.Name, err)
			}
			if named, ok := m.(interface{ GetName() string }); ok && named.GetName() != r.Name {
				t.Errorf("%s: announced as %q, is %q", kind, r.Name, named.GetName())
			}
		}
	}
}

func toYAML(t testing.TB, list []Resource) []byte {
	t.Helper()
	values := []any{}
	for _, r := range list {
		js, err := protojson.Marshal(r.Build())
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		var v any
		if err := json.Unmarshal(js, &v); err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	out, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGolden(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(dirs) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, in := range dirs {
		dir := filepath.Dir(in)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			b, s := load(t, dir)
			nodes, _ := filepath.Glob(filepath.Join(dir, "node*.json"))
			if len(nodes) == 0 {
				t.Fatal("no node*.json")
			}
			for _, file := range nodes {
				p := readNode(t, file).proxy(t)
				all := resources(s, p)
				check(t, all)
				if p.DNSCapture {
					all["names"] = []Resource{NameTable(s, p)}
				}
				name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "node"), ".json")
				for kind, list := range all {
					compare(t, filepath.Join(dir, "out"+name+"."+kind+".yaml"), toYAML(t, list))
				}
			}
			var lines []string
			for _, p := range b.Problems() {
				lines = append(lines, p.String())
			}
			sort.Strings(lines)
			compare(t, filepath.Join(dir, "out.problems.txt"), []byte(strings.Join(append(lines, ""), "\n")))
		})
	}
}

func compare(t *testing.T, file string, got []byte) {
	t.Helper()
	if len(bytes.TrimSpace(got)) == 0 || string(got) == "[]\n" {
		got = nil
	}
	want, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if bytes.Equal(got, want) {
		return
	}
	if !*update {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", file, firstDifference(string(want), string(got)))
		return
	}
	if got == nil {
		os.Remove(file)
	} else if err := os.WriteFile(file, got, 0o644); err != nil {
		t.Fatal(err)
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := 0; i < len(w) || i < len(g); i++ {
		at := func(l []string) string {
			if i < len(l) {
				return l[i]
			}
			return "(end)"
		}
		if at(w) != at(g) {
			var b strings.Builder
			for j := max(0, i-6); j < i; j++ {
				b.WriteString("  " + w[j] + "\n")
			}
			return b.String() + "- " + at(w) + "\n+ " + at(g)
		}
	}
	return "no difference"
}

// validateAnys validates the messages packed inside another, which validation does not reach.
func validateAnys(m proto.Message) error {
	var first error
	walkAnys(m.ProtoReflect(), func(inner proto.Message) {
		if v, ok := inner.(validator); ok && first == nil {
			first = v.ValidateAll()
		}
	})
	return first
}
