package autoregistration

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// group is every field of a WorkloadGroup but the probe's.
const group = `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: db, namespace: shop, uid: 3fa2}
spec:
  metadata:
    labels: {app: db, tier: data, istio-locality: old}
    annotations: {team: blue}
  template:
    address: 10.9.9.9
    ports: {http: 8080, grpc: 9090}
    labels: {tier: template, zone: red}
    network: vm-network
    locality: eu/eu-1/a
    weight: 7
    serviceAccount: db
  probe: {tcpSocket: {port: 8080}}
`

// mesh is a registrar whose files are read back by hand, with a clock of its own.
type mesh struct {
	*Registrar
	t       *testing.T
	dir     string
	now     time.Time
	builder *snapshot.Builder
}

func newMesh(t *testing.T, dir string, objects string) *mesh {
	t.Helper()
	m := &mesh{t: t, dir: dir, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), builder: snapshot.New()}
	m.Registrar = New(Options{Dir: dir, Instance: "istiod-1", Now: func() time.Time { return m.now }})
	if err := m.Load(); err != nil {
		t.Fatal(err)
	}
	m.apply(objects)
	return m
}

// apply puts objects, and all entries, into the mesh.
func (m *mesh) apply(text string) {
	m.t.Helper()
	set, err := config.Load([]config.File{{Name: "objects.yaml", Data: []byte(text)}}, config.LoadOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	var events []snapshot.Event
	for _, o := range set.All() {
		events = append(events, snapshot.Set("config", o))
	}
	s, _ := m.builder.Update(events...)
	m.Update(s)
}

// entry reads the one entry of the workload at 10.1.0.5; nil for none.
func (m *mesh) entry() *config.Object {
	m.t.Helper()
	raw, err := os.ReadFile(filepath.Join(m.dir, "registered/shop/db-10.1.0.5.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		m.t.Fatal(err)
	}
	set, err := config.Load([]config.File{{Name: "entry", Data: raw}}, config.LoadOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	return set.List(schema.WorkloadEntry)[0]
}

func proxy(metadata map[string]any) *model.Proxy {
	all := map[string]any{"AUTO_REGISTER_GROUP": "db", "LABELS": map[string]any{"version": "v2", "app": "mine"}}
	for k, v := range metadata {
		all[k] = v
	}
	p, err := model.ParseProxy("sidecar~10.1.0.5~host-1.shop~shop.svc.cluster.local", "", all, model.Locality{})
	if err != nil {
		panic(err)
	}
	p.Verified, p.ServiceAccount = true, "db"
	return p
}

// connect connects without waiting for the entry to be read, which nobody does here.
func (m *mesh) connect(p *model.Proxy) (*model.Proxy, func()) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	q, leave, err := m.Connect(ctx, p)
	if err != nil {
		m.t.Fatal(err)
	}
	return q, leave
}

func TestEntry(t *testing.T) {
	m := newMesh(t, t.TempDir(), group)
	for name, c := range map[string]struct {
		node map[string]any
		at   model.Locality
		want string
	}{
		"of the group": {want: `
metadata: {labels: {app: mine, tier: data, version: v2, zone: red}, annotations: {team: blue, istio.io/autoRegistrationGroup: db,
  istio.io/connectedAt: "2026-01-02T03:04:05Z", istio.io/workloadController: istiod-1}}
spec: {address: 10.1.0.5, labels: {app: mine, tier: data, version: v2, zone: red}, ports: {http: 8080, grpc: 9090}, network: vm-network,
  locality: eu/eu-1/a, weight: 7, serviceAccount: db}`},
		"of the node, which asks for the probe": {node: map[string]any{"LATEEN_HEALTH_CHECKS": "true"}, at: model.Locality{Region: "us"}, want: `
metadata: {labels: {app: mine, tier: data, version: v2, zone: red}, annotations: {team: blue, istio.io/autoRegistrationGroup: db,
  istio.io/connectedAt: "2026-01-02T03:04:05Z", istio.io/workloadController: istiod-1, proxy.istio.io/health-checks-enabled: "true"}}
spec: {address: 10.1.0.5, labels: {app: mine, tier: data, version: v2, zone: red}, ports: {http: 8080, grpc: 9090}, network: vm-network,
  locality: us, weight: 7, serviceAccount: db}`},
	} {
		t.Run(name, func(t *testing.T) {
			m.t = t
			p := proxy(c.node)
			p.Locality = c.at
			served, leave := m.connect(p)
			defer leave()
			o := m.entry()
			got, err := o.Map()
			if err != nil {
				t.Fatal(err)
			}
			meta := got["metadata"].(map[string]any)
			if meta["name"] != "db-10.1.0.5" || meta["namespace"] != "shop" {
				t.Errorf("it is %s/%s", meta["namespace"], meta["name"])
			}
			for _, other := range []string{"name", "namespace", "creationTimestamp"} {
				delete(meta, other)
			}
			same(t, map[string]any{"metadata": meta, "spec": got["spec"]}, c.want)
			if served.Entry != "db-10.1.0.5" || served.Network != "vm-network" || served.Label("tier") != "data" || p.Entry != "" {
				t.Errorf("served as %+v", served)
			}
		})
	}
	raw, err := os.ReadFile(filepath.Join(m.dir, "registered/shop/db-10.1.0.5.yaml"))
	if err != nil || !strings.Contains(string(raw), "ownerReferences:\n  - apiVersion: networking.istio.io/v1\n    controller: true\n    kind: WorkloadGroup\n    name: db\n    uid: 3fa2\n") {
		t.Errorf("no owner in\n%s %v", raw, err)
	}
	if found := m.builder.Problems(); len(found) != 1 || !strings.Contains(found[0].String(), "spec.template.address: has no effect") {
		t.Errorf("problems: %v", found)
	}
}

// same compares by what YAML says.
func same(t *testing.T, got any, want string) {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(want), &value); err != nil {
		t.Fatal(err)
	}
	a, err := yaml.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	b, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if string(a) != string(b) {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
}

func TestEntryName(t *testing.T) {
	for _, c := range []struct{ group, ip, network, want string }{
		{"db", "10.1.0.5", "", "db-10.1.0.5"},
		{"db", "10.1.0.5", "vm", "db-10.1.0.5-vm"},
		{"db", "fd00::5", "", "db-fd00--5"},
		{strings.Repeat("g", 260), "10.1.0.5", "", strings.Repeat("g", 253-9) + "-10.1.0.5"},
		{"db", "10.1.0.5", "../../x", "cannot be the name"},
		{"../db", "10.1.0.5", "", "cannot be the name"},
	} {
		got, err := entryName(&model.Proxy{Group: c.group, IPs: []string{c.ip}, Network: c.network, Namespace: "shop"})
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestRefused(t *testing.T) {
	m := newMesh(t, t.TempDir(), group)
	for want, change := range map[string]func(*model.Proxy){
		"there is no such WorkloadGroup":             func(p *model.Proxy) { p.Group = "other" },
		"has not proved who it is":                   func(p *model.Proxy) { p.Verified = false },
		`is for service account "db", and`:           func(p *model.Proxy) { p.ServiceAccount = "web" },
		"its WorkloadEntry would not be valid":       func(p *model.Proxy) { p.Labels = map[string]string{"a": "not a label's value!"} },
		"WorkloadGroup elsewhere/db: there is no":    func(p *model.Proxy) { p.Namespace = "elsewhere" },
		`"db-10.1.0.5-a/b" cannot be the name of it`: func(p *model.Proxy) { p.Network = "a/b" },
	} {
		p := proxy(nil)
		change(p)
		if _, _, err := m.Connect(t.Context(), p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if m.entry() != nil {
		t.Error("there is an entry")
	}
	other := proxy(nil)
	other.Group = ""
	if q, leave, err := m.Connect(t.Context(), other); err != nil || q != other {
		t.Errorf("without a group: %v", err)
	} else {
		leave()
	}
	nowhere := New(Options{Instance: "istiod-1"})
	nowhere.Update(m.snap)
	if _, _, err := nowhere.Connect(t.Context(), proxy(nil)); err == nil || !strings.Contains(err.Error(), "--workloads-dir") {
		t.Errorf("without a folder: %v", err)
	}
}

// An entry lives as long as a connection, and then for the grace time.
func TestGrace(t *testing.T) {
	m := newMesh(t, t.TempDir(), group)
	_, leaveProxy := m.connect(proxy(nil))
	_, leaveAgent := m.connect(proxy(nil))
	leaveProxy()
	leaveProxy() // a second time changes nothing
	if o := m.entry(); o.Annotations[disconnectedAnnotation] != "" {
		t.Error("disconnected, though its agent is there")
	}
	leaveAgent()
	o := m.entry()
	if o.Annotations[disconnectedAnnotation] != "2026-01-02T03:04:05Z" || o.Annotations[connectedAtAnnotation] != "" {
		t.Errorf("annotations %v", o.Annotations)
	}
	m.now = m.now.Add(9 * time.Second)
	if at := m.settle(); !at.Equal(m.now.Add(time.Second)) || m.entry() == nil {
		t.Errorf("after 9 s: next at %s", at)
	}
	_, leave := m.connect(proxy(nil)) // it comes back in time
	m.now = m.now.Add(time.Hour)
	if at := m.settle(); !at.IsZero() || m.entry() == nil {
		t.Errorf("it came back: next at %s", at)
	}
	if created := m.entry().Created; created.Hour() != 3 {
		t.Errorf("created anew at %s", created)
	}
	leave()
	m.now = m.now.Add(10 * time.Second)
	if at := m.settle(); !at.IsZero() || m.entry() != nil {
		t.Errorf("after 10 s: next at %s, entry %v", at, m.entry())
	}
}

// TestProbeOfTheMesh: where the mesh has a probe for groups without one, a workload has no traffic before it was said to be well, from when the mesh says so on.
func TestProbeOfTheMesh(t *testing.T) {
	m := newMesh(t, t.TempDir(), strings.Replace(group, "  probe: {tcpSocket: {port: 8080}}\n", "", 1))
	_, leave := m.connect(proxy(map[string]any{"LATEEN_HEALTH_CHECKS": "true"}))
	defer leave()
	for _, c := range []struct{ mesh, want string }{
		{"", ""}, {"defaultConfig: {readinessProbe: {tcpSocket: {port: 8080}}}\n", "true"}, {"{}\n", ""},
	} {
		parsed, found, err := snapshot.ParseMesh(config.File{Name: "mesh.yaml", Data: []byte(c.mesh)}, nil)
		if err != nil || len(found) > 0 {
			t.Fatal(err, found)
		}
		m.builder.SetMesh(parsed)
		m.apply("")
		m.settle()
		if got := m.entry().Annotations[checksAnnotation]; got != c.want {
			t.Errorf("%q: checks %q, want %q", c.mesh, got, c.want)
		}
	}
}

func TestHealth(t *testing.T) {
	m := newMesh(t, t.TempDir(), group)
	p, leave := m.connect(proxy(nil))
	defer leave()
	m.Health(p, false, "answers 503")
	o := m.entry()
	c := o.Condition(config.ConditionHealthy)
	if c.Status != "False" || c.Message != "answers 503" || !c.LastProbeTime.Equal(m.now) || o.Annotations[checksAnnotation] != "true" {
		t.Errorf("condition %+v, annotations %v", c, o.Annotations)
	}
	m.Health(p, true, "")
	if c := m.entry().Condition(config.ConditionHealthy); c.Status != "True" || c.Message != "" {
		t.Errorf("condition %+v", c)
	}
	// It is kept when the proxy comes back, and by the next process.
	m.connect(proxy(nil))
	next := newMesh(t, m.dir, group)
	next.connect(proxy(nil))
	if c := next.entry().Condition(config.ConditionHealthy); c.Status != "True" {
		t.Errorf("condition of the next process %+v", c)
	}
	stranger := proxy(nil)
	m.Health(stranger, false, "it has not registered") // no effect, and no crash
}

// A process that starts again keeps the entries of those that come back, and after a while those of nobody else.
func TestStartsAgain(t *testing.T) {
	for _, back := range []bool{true, false} {
		dir := t.TempDir()
		m := newMesh(t, dir, group)
		m.connect(proxy(nil))
		next := newMesh(t, dir, group)
		if back {
			next.connect(proxy(nil))
		}
		next.now = next.now.Add(defaultAbsence)
		next.settle()
		if there := next.entry() != nil; there != back {
			t.Errorf("it came back: %t; it is there: %t", back, there)
		}
	}
}

// Entries follow their group: what it says, and whether it is there.
func TestGroupChanges(t *testing.T) {
	m := newMesh(t, t.TempDir(), group)
	_, leave := m.connect(proxy(nil))
	defer leave()
	m.apply(strings.Replace(group, "weight: 7", "weight: 8", 1))
	m.settle()
	if raw, err := m.entry().Map(); err != nil || raw["spec"].(map[string]any)["weight"] != float64(8) {
		t.Errorf("%v %v", raw["spec"], err)
	}
	s, _ := m.builder.Update(snapshot.Delete("config", config.Key{Kind: schema.WorkloadGroup, Namespace: "shop", Name: "db"}))
	m.Update(s)
	m.settle()
	if m.entry() != nil {
		t.Error("its group is gone, and it is there")
	}
	m.apply(group)
	m.settle()
	if m.entry() == nil {
		t.Error("its group is back, and it is not")
	}
}

// What cannot be written is tried again.
func TestWrittenAgain(t *testing.T) {
	m := newMesh(t, t.TempDir(), group)
	p, leave := m.connect(proxy(nil))
	defer leave()
	in := filepath.Join(m.dir, folder)
	if err := os.RemoveAll(in); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in, nil, 0o644); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	m.Health(p, false, "answers 503")
	if at := m.settle(); !at.Equal(m.now.Add(retryAfter)) {
		t.Errorf("next at %s", at)
	}
	if err := os.Remove(in); err != nil {
		t.Fatal(err)
	}
	if at := m.settle(); !at.IsZero() || m.entry().Condition(config.ConditionHealthy).Status != "False" {
		t.Errorf("next at %s, entry %+v", at, m.entry())
	}
}
