package up

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/statedir"
	"github.com/lateen-mesh/lateen/localmesh"
	"github.com/lateen-mesh/lateen/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const twoApps = `
apps:
- name: catalog-v1
  namespace: shop
  serviceAccount: catalog
  labels: {app: catalog, version: v1}
  ports: [3000]
  command: [./catalog, "--listen=$(HOST):$(PORT)", "$$(HOST)", "$(NOBODY)"]
  env: {B: "2", A: "1"}
  replicas: 2
- name: users
  ports: ["8000"]
  sidecar: false
  command: ["true"]
`

func place(t *testing.T) localmesh.Place {
	t.Helper()
	return localmesh.Place{Site: workload.Site{Executable: "/bin/sh"}, StateDir: t.TempDir(), Block: "127.77", Ports: localmesh.Ports{8080, 8443, 31400}}
}

func TestWorkloads(t *testing.T) {
	list, err := parseApps("lateen.yaml", []byte(twoApps))
	if err != nil {
		t.Fatal(err)
	}
	s := slots{}
	got, err := s.workloads(list.Apps, place(t), "/mesh")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].Name != "catalog-v1-1" || got[1].Name != "catalog-v1-2" || got[1].IP != "127.77.1.2" || got[0].App != "catalog" || got[2].Type != workload.Outside {
		t.Fatalf("%+v", got)
	}
	if want := []string{"/mesh/catalog", "--listen=127.77.3.1:3000", "$(HOST)", "$(NOBODY)"}; !slices.Equal(got[0].Command, want) {
		t.Errorf("command %v, want %v", got[0].Command, want)
	}
	if !slices.Equal(got[0].Env, []string{"A=1", "B=2"}) || got[0].Ports[0].String() != "3000=127.77.3.1:3000" || got[0].ServiceAccount != "catalog" {
		t.Errorf("%+v", got[0])
	}
	if got[2].Namespace != "default" || got[2].Labels["app"] != "users" || got[2].AppAddress() != "127.77.2.3:8000" || !filepath.IsAbs(got[2].Command[0]) {
		t.Errorf("%+v", got[2])
	}
}

func TestAppsRefused(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"apps: [{name: a, command: [x], port: 1}]", `:1: apps[0].port: unknown field; known here: name, namespace,`},
		{"apps:\n- name: a\n  command: [x]\n- name: b\n  commands: [x]\nimage: {}\n", `:5: apps[1].commands: unknown field`},
		{"images: {a: {command: [x], cmd: y}}", `:1: images.a.cmd: unknown field; known here: command, env`},
		{"apps: [{name: a}]", "command is missing"},
		{"apps: [{name: A, command: [x]}]", "lower-case"},
		{"apps: [{name: a, command: [x], replicas: 33}]", "0 to 32"},
		{"apps: [{name: a, command: [x], replicas: 2, ports: ['80=90']}]", "$(HOST):$(PORT)"},
		{"apps: [{name: a, command: [x], ports: [0]}]", "APP-PORT"},
		{"apps: [{name: a, command: [x], ports: [80, 80]}]", "80 is there twice"},
		{"apps: [{name: a, command: [x], env: {A=B: c}}]", "no name of a variable"},
		{"apps: [{name: a, command: [x]}, {name: a, command: [x]}]", "another app"},
		{"apps: [{name: a, gateway: true, command: [x]}]", "a gateway has neither"},
		{"images: {nginx: {env: {A: b}}}", "nginx: command is missing"},
		{"images: {nginx: [nginx]}", "lateen.yaml"},
		{"objects: [../other]", "below this folder"},
		{"apps: {", "lateen.yaml"},
	} {
		if _, err := parseApps("lateen.yaml", []byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.text, err, tc.want)
		}
	}
}

func FuzzApps(f *testing.F) {
	f.Add([]byte(twoApps))
	f.Add([]byte(`apps: [{name: a, command: [$(], ports: [1, "2=[::1]:3"]}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := parseApps("lateen.yaml", raw)
		if err != nil {
			return
		}
		got, err := slots{}.workloads(list.Apps, localmesh.Place{Block: "127.77"}, "/")
		if err != nil {
			return // more instances than addresses
		}
		for _, w := range got {
			if err := w.Validate(); err != nil || len(w.Command) == 0 && w.Type != workload.Router {
				t.Errorf("%+v: %v", w, err)
			}
		}
	})
}

// An instance keeps its addresses when others come and go.
func TestSlots(t *testing.T) {
	s := slots{}
	for _, step := range []struct {
		names []string
		want  slots
	}{
		{[]string{"a", "b", "c"}, slots{"a": 1, "b": 2, "c": 3}},
		{[]string{"c", "a"}, slots{"a": 1, "c": 3}},
		{[]string{"d", "e", "c", "a"}, slots{"a": 1, "d": 2, "c": 3, "e": 4}},
	} {
		if err := s.assign(step.names); err != nil || !maps.Equal(s, step.want) {
			t.Errorf("%v: %v %v, want %v", step.names, s, err, step.want)
		}
	}
	if err := s.assign(make([]string, 0)); err != nil || len(s) != 0 {
		t.Errorf("none: %v %v", s, err)
	}
}

func service(name, port string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: shop}\nspec:\n  selector: {app: x}\n  ports: [{name: http, port: " + port + "}]\n"
}

// What the folder held and holds no more goes; what others have applied stays; a mistake changes nothing.
func TestObjects(t *testing.T) {
	p, dir := place(t), t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.WriteConfig([]config.File{{Name: "other", Data: []byte(service("other", "80"))}}, "shop"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	f, err := New(dir, &out)
	if err != nil {
		t.Fatal(err)
	}
	names := func() []string {
		t.Helper()
		set, err := statedir.Read(p.StateDir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, o := range set.All() {
			names = append(names, o.Name)
		}
		slices.Sort(names)
		return names
	}
	write("a.yaml", service("a", "80"))
	write("b.yaml", service("b", "80"))
	write(AppsFile, "apps: []\n")
	write(MeshFile, "accessLogFile: /dev/stdout\n")
	if _, err := f.Prepare(p); err != nil {
		t.Fatal(err)
	}
	if got := names(); !slices.Equal(got, []string{"a", "b", "istio-ingressgateway", "other"}) {
		t.Errorf("at first %v", got)
	}
	if mc := statedir.Mesh(p.StateDir); mc.GetAccessLogFile() != "/dev/stdout" {
		t.Errorf("settings %v", mc)
	}
	before, err := f.fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	write("c.yaml", service("c", "no"))
	if after, err := f.fingerprint(); err != nil || after == before {
		t.Errorf("a change is not seen: %v", err)
	}
	if _, _, err := f.load(p); len(config.AsProblems(err)) == 0 || !strings.Contains(err.Error(), "c.yaml") {
		t.Errorf("a mistake: %v", err)
	}
	if got := names(); !slices.Equal(got, []string{"a", "b", "istio-ingressgateway", "other"}) {
		t.Errorf("after a mistake %v", got)
	}
	write("c.yaml", service("c", "81"))
	_, done, err := f.load(p)
	if err != nil {
		t.Fatal(err)
	}
	if got := names(); !slices.Equal(got, []string{"a", "c", "istio-ingressgateway", "other"}) {
		t.Errorf("in the end %v", got)
	}
	if got := done.describe(); !slices.Equal(got, []string{"service/c created", "service/b deleted"}) {
		t.Errorf("said %q", got)
	}
}

func TestNoFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, file + "none"} {
		if _, err := New(dir, nil); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// The sample of docs/run.md is right, and says what the page says.
func TestSample(t *testing.T) {
	p := place(t)
	f, err := New("../samples/hello", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Prepare(p)
	if err != nil || len(got) != 1 || got[0].Name != "catalog-v1-1" {
		t.Errorf("%+v %v", got, err)
	}
	var table bytes.Buffer
	if err := f.Table(&table, p); err != nil || !strings.Contains(table.String(), "127.77.1.1:3000") {
		t.Errorf("%v\n%s", err, table.String())
	}
}

// An app whose program is not there is named, once whatever its replicas.
func TestAbsentProgramsAreNamed(t *testing.T) {
	list := []workload.Workload{
		{Deployment: "here", Command: []string{"/bin/sh"}}, {Deployment: "gone", Command: []string{"/no/such/program"}}, {Deployment: "gone", Command: []string{"/no/such/program"}},
		{Deployment: "gateway"},
	}
	if got := absent(list); len(got) != 1 || !strings.Contains(got[0], "app gone: there is no program /no/such/program") {
		t.Errorf("got %q", got)
	}
}
