package envoyfilter

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clusterpb "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerpb "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routepb "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

var update = flag.Bool("update", false, "write testdata/*.out.yaml anew")

// scenario is the first document of a file in testdata; EnvoyFilters follow it.
type scenario struct {
	About   string
	Context string
	// Proxy is the node: id and metadata. Without one, a sidecar of app web in namespace shop.
	Proxy struct {
		ID       string
		Metadata map[string]any
	}
	Ports     []uint32 // of a gateway's Service
	Hosts     []string // behind inbound clusters
	Listeners []json.RawMessage
	Routes    []json.RawMessage
	Clusters  []json.RawMessage
}

// TestPatches applies the EnvoyFilters of each file to the resources in it and compares with what stands beside it: the resources, and which
// patches did something to which of them.
func TestPatches(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".out.yaml") {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) { apply(t, file) })
	}
}

func apply(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, objects, ok := bytes.Cut(raw, []byte("\n---\n"))
	if !ok {
		t.Fatal("there are no objects")
	}
	var sc scenario
	if err := yaml.UnmarshalStrict(head, &sc); err != nil {
		t.Fatal(err)
	}
	s, reports := load(t, file, objects)
	if sc.Proxy.ID == "" {
		sc.Proxy.ID = "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local"
		sc.Proxy.Metadata = map[string]any{"LABELS": map[string]any{"app": "web"}, "ISTIO_VERSION": "1.24.1"}
	}
	p, err := model.ParseProxy(sc.Proxy.ID, "", sc.Proxy.Metadata, model.Locality{})
	if err != nil {
		t.Fatal(err)
	}
	var applied []string
	ps := For(s, p).Observe(func(e *model.EnvoyPatch, resource string) {
		applied = append(applied, e.Origin.Name+" "+e.Origin.Field+": "+resource)
	})
	c := Context(networking.EnvoyFilter_PatchContext_value[sc.Context])
	ports := func(string) []uint32 { return sc.Ports }

	out := map[string]any{}
	listeners := parse(t, sc.Listeners, func() *listenerpb.Listener { return &listenerpb.Listener{} })
	unchanged(t, listeners, func() {
		put(t, out, "listeners", ps.Listeners(c, listeners, ports))
	})
	routes := parse(t, sc.Routes, func() *routepb.RouteConfiguration { return &routepb.RouteConfiguration{} })
	unchanged(t, routes, func() {
		var all []*routepb.RouteConfiguration
		for _, rc := range routes {
			all = append(all, ps.RouteConfiguration(c, rc, ports))
		}
		put(t, out, "routes", all)
	})
	clusters := parse(t, sc.Clusters, func() *clusterpb.Cluster { return &clusterpb.Cluster{} })
	unchanged(t, clusters, func() {
		var all []*clusterpb.Cluster
		for _, cl := range clusters {
			key, removed := ps.ClusterKey(c, cl.Name, sc.Hosts)
			if removed {
				continue
			}
			patched := ps.Cluster(c, cl, sc.Hosts)
			if key == "" && patched != cl {
				t.Errorf("cluster %s: no key, and yet changed", cl.Name)
			}
			all = append(all, patched)
		}
		for _, a := range ps.AddedClusters(c) {
			all = append(all, a.Message)
		}
		put(t, out, "clusters", all)
	})
	slices.Sort(applied)
	if applied = slices.Compact(applied); len(applied) > 0 {
		out["applied"] = applied
	}
	if len(reports) > 0 {
		out["reported"] = reports
	}
	got, err := yaml.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	golden := strings.TrimSuffix(file, ".yaml") + ".out.yaml"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; after a look, run with -update. Got:\n%s", golden, got)
	}
}

func load(t *testing.T, file string, objects []byte) (*model.Snapshot, []string) {
	t.Helper()
	set, err := config.Load([]config.File{{Name: file, Data: objects}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b := snapshot.New()
	var events []snapshot.Event
	for _, o := range set.All() {
		events = append(events, snapshot.Set("config", o))
	}
	s, _ := b.Update(events...)
	var reports []string
	for _, p := range b.Problems() {
		reports = append(reports, p.Origin.Name+" "+p.Origin.Field+": "+p.Text)
	}
	return s, reports
}

func parse[M proto.Message](t *testing.T, in []json.RawMessage, empty func() M) []M {
	t.Helper()
	var out []M
	for _, js := range in {
		m := empty()
		if err := protojson.Unmarshal(js, m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// unchanged holds that a function changes none of what it is given.
func unchanged[M proto.Message](t *testing.T, in []M, do func()) {
	t.Helper()
	var before []proto.Message
	for _, m := range in {
		before = append(before, proto.Clone(m))
	}
	do()
	for i, m := range in {
		if !proto.Equal(before[i], m) {
			t.Errorf("what was given has changed: %v", m)
		}
	}
}

func put[M proto.Message](t *testing.T, out map[string]any, name string, list []M) {
	t.Helper()
	var values []any
	for _, m := range list {
		js, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(js, &v); err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	if len(values) > 0 {
		out[name] = values
	}
}
