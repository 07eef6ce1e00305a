package xdscache

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
	"github.com/lateen-mesh/lateen/controlplane/internal/translate"
)

// mesh is a builder with the view of its snapshot.
type mesh struct {
	t *testing.T
	b *snapshot.Builder
	v *View
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	b := snapshot.New()
	return &mesh{t: t, b: b, v: New(nil).View(b.Snapshot())}
}

func (m *mesh) apply(yaml string) *View {
	m.t.Helper()
	set, err := config.Load([]config.File{{Name: "test.yaml", Data: []byte(yaml)}}, config.LoadOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	var events []snapshot.Event
	for _, o := range set.All() {
		events = append(events, snapshot.Set("config", o))
	}
	snap, change := m.b.Update(events...)
	m.v = m.v.Next(snap, change)
	return m.v
}

func serviceYAML(name string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec:\n  clusterIP: 10.0.0.1\n  selector: {app: %s}\n  ports: [{name: http, port: 80}]\n", name, name)
}

func workloadYAML(name, app, ip string) string {
	return fmt.Sprintf("---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: %s, namespace: shop}\nspec: {address: %s, labels: {app: %s}}\n", name, ip, app)
}

func proxy(t *testing.T, name, ip string) *Proxy {
	t.Helper()
	p, err := model.ParseProxy("sidecar~"+ip+"~"+name+".shop~shop.svc.cluster.local", "", map[string]any{"NAME": name, "NAMESPACE": "shop"}, model.Locality{})
	if err != nil {
		t.Fatal(err)
	}
	return NewProxy(p)
}

func clusterName(app string) string { return "outbound|80||" + app + ".shop.svc.cluster.local" }

func TestProxiesShareBytes(t *testing.T) {
	m := newMesh(t)
	v := m.apply(serviceYAML("web") + serviceYAML("api") + workloadYAML("web-1", "web", "10.1.0.1") + workloadYAML("api-1", "api", "10.1.0.2"))
	a, b := proxy(t, "web-1", "10.1.0.1"), proxy(t, "api-1", "10.1.0.2")
	names := []string{clusterName("api"), clusterName("web")}
	for _, typ := range []struct {
		url   string
		names []string
	}{{translate.ClusterType, names}, {translate.EndpointType, names}, {translate.RouteType, []string{"80"}}} {
		one, two := v.Resources(a, typ.url, byName(typ.names)), v.Resources(b, typ.url, byName(typ.names))
		if one.Len() != len(typ.names) || two.Len() != len(typ.names) {
			t.Fatalf("%s: %d and %d resources, want %d", typ.url, one.Len(), two.Len(), len(typ.names))
		}
		for i := range one.All() {
			if one.All()[i] != two.All()[i] {
				t.Errorf("%s: two proxies have %s in two copies", typ.url, one.All()[i].Name)
			}
		}
	}
}

func TestWhatDidNotChangeStaysTheSame(t *testing.T) {
	m := newMesh(t)
	before := m.apply(serviceYAML("web") + serviceYAML("api") + workloadYAML("web-1", "web", "10.1.0.1") + workloadYAML("api-1", "api", "10.1.0.2"))
	p := proxy(t, "web-1", "10.1.0.1")
	names := []string{clusterName("api"), clusterName("web")}
	get := func(v *View) map[string]*Set {
		return map[string]*Set{
			translate.ClusterType: v.Resources(p, translate.ClusterType, Everything), translate.ListenerType: v.Resources(p, translate.ListenerType, Everything),
			translate.RouteType: v.Resources(p, translate.RouteType, byName([]string{"80"})), translate.EndpointType: v.Resources(p, translate.EndpointType, byName(names)),
		}
	}
	old := get(before)
	built := m.v.cache.Stats().Built
	after := m.apply(workloadYAML("api-2", "api", "10.1.0.3"))
	for url, set := range get(after) {
		d := Compare(old[url], set)
		want := 0
		if url == translate.EndpointType {
			want = 1
		}
		if len(d.Changed) != want || len(d.Removed) != 0 {
			t.Errorf("%s: %d changed and %d removed by one endpoint, want %d and 0", url, len(d.Changed), len(d.Removed), want)
		}
	}
	if n := m.v.cache.Stats().Built - built; n != 1 {
		t.Errorf("one new endpoint made %d resources be built, want 1", n)
	}
	// The old view still answers as it did, for streams that carry it through.
	for url, set := range get(before) {
		if d := Compare(old[url], set); len(d.Changed)+len(d.Removed) != 0 {
			t.Errorf("%s: the old view answers otherwise now", url)
		}
	}
}

// TestSidecarOfOthers: a Sidecar that selects one workload leaves what is derived for others of its namespace as it is, whether it comes, changes or goes.
func TestSidecarOfOthers(t *testing.T) {
	m := newMesh(t)
	sidecar := func(hosts string) string {
		return fmt.Sprintf("---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: own, namespace: shop}\nspec: {workloadSelector: {labels: {app: web}}, egress: [{hosts: [%s]}]}\n", hosts)
	}
	p, q := proxy(t, "web-1", "10.1.0.1"), proxy(t, "api-1", "10.1.0.2")
	p.Labels, q.Labels = map[string]string{"app": "web"}, map[string]string{"app": "api"}
	// clusters are those that the proxy shares with others.
	clusters := func(v *View, p *Proxy) (*Set, bool) {
		sees := v.Resources(p, translate.ClusterType, Subscription{All: true}).Get(clusterName("api")) != nil
		states := v.scope(p).states
		return states[len(states)-1].cds, sees
	}
	v := m.apply(serviceYAML("web") + serviceYAML("api") + workloadYAML("web-1", "web", "10.1.0.1") + workloadYAML("api-1", "api", "10.1.0.2"))
	before, _ := clusters(v, q)
	for _, step := range []struct {
		hosts string
		sees  bool // web-1 sees service api
	}{{"./web.shop.svc.cluster.local", false}, {"./*", true}, {"./web.shop.svc.cluster.local", false}} {
		v := m.apply(sidecar(step.hosts))
		if _, sees := clusters(v, p); sees != step.sees {
			t.Errorf("with %s web-1 sees api: %v", step.hosts, sees)
		}
		if after, _ := clusters(v, q); after != before {
			t.Errorf("with %s the clusters of api-1 were derived anew", step.hosts)
		}
	}
	// For all of the namespace: a Sidecar without a selector.
	v = m.apply("---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: all, namespace: shop}\nspec: {egress: [{hosts: [./web.shop.svc.cluster.local]}]}\n")
	if _, sees := clusters(v, q); sees {
		t.Error("api-1 sees api, which its namespace's Sidecar does not name")
	}
}

// TestTrimmedGatewayFollows: what a gateway that is told of its routes' services alone has after each change of services is what it has when it is derived
// anew, and a change of a service that no route leads to leaves it as it is.
func TestTrimmedGatewayFollows(t *testing.T) {
	b := snapshot.New()
	b.TrimGateways()
	m := &mesh{t: t, b: b, v: New(nil).View(b.Snapshot())}
	parsed, err := model.ParseProxy("router~10.2.0.1~gw-1.shop~shop.svc.cluster.local", "", map[string]any{"LABELS": map[string]any{"app": "gw"}}, model.Locality{})
	if err != nil {
		t.Fatal(err)
	}
	gateway := func() *Proxy { return NewProxy(parsed) }
	alias := func(name, to string) string {
		return fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec: {type: ExternalName, externalName: %s.shop.svc.cluster.local, ports: [{name: http, port: 80}]}\n", name, to)
	}
	p := gateway()
	m.apply("---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw, namespace: shop}\nspec: {selector: {app: gw}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}\n" +
		"---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec: {hosts: ['*'], gateways: [gw], http: [{route: [{destination: {host: first}}]}]}\n")
	var others *Set
	for i, step := range []struct {
		change string
		has    []string // clusters of services that are no aliases
	}{
		{serviceYAML("a") + serviceYAML("first"), []string{"first"}},
		{serviceYAML("b"), []string{"first"}}, // which leaves what was shared
		{alias("first", "a"), []string{"a"}},
		{serviceYAML("first"), []string{"first"}},
		{alias("first", "second"), nil},
		{alias("second", "a"), []string{"a"}},
		{serviceYAML("c"), []string{"a"}},
		{alias("second", "b"), []string{"b"}},
		{alias("first", "a"), []string{"a"}},
		{alias("first", "second"), []string{"b"}},
		{alias("second", "nobody"), nil},
		{serviceYAML("nobody"), []string{"nobody"}},
		{serviceYAML("first") + serviceYAML("second"), []string{"first"}},
	} {
		v := m.apply(step.change)
		got, anew := v.Resources(p, translate.ClusterType, Subscription{All: true}), New(nil).View(v.snap).Resources(gateway(), translate.ClusterType, Subscription{All: true})
		if d := Compare(got, anew); len(d.Changed)+len(d.Removed) > 0 {
			t.Errorf("step %d: followed it lacks %v and has %v too", i, d.Changed, d.Removed)
		}
		var has []string
		for _, app := range []string{"a", "b", "c", "nobody", "first", "second"} {
			if svc := v.snap.Service(app+".shop.svc.cluster.local", "shop"); svc != nil && svc.Alias == "" && got.Get(clusterName(app)) != nil {
				has = append(has, app)
			}
		}
		if !slices.Equal(has, step.has) {
			t.Errorf("step %d: it has clusters of %v, want %v", i, has, step.has)
		}
		states := v.scope(p).states
		shared := states[len(states)-1].cds
		if i == 1 && shared != others {
			t.Error("a service that no route leads to has the clusters derived anew")
		}
		others = shared
	}
}

func TestManyChangesAtOnce(t *testing.T) {
	m := newMesh(t)
	p := proxy(t, "web-1", "10.1.0.1")
	m.apply(serviceYAML("web")).Resources(p, translate.ClusterType, Everything)
	// More than a view remembers, none of them asked for.
	for i := range maxChanges + 10 {
		m.apply(serviceYAML(fmt.Sprint("s", i)))
	}
	set := m.v.Resources(p, translate.ClusterType, Everything)
	for i := range maxChanges + 10 {
		if set.Get(clusterName(fmt.Sprint("s", i))) == nil {
			t.Fatalf("the cluster of s%d is missing", i)
		}
	}
}

// TestUnusedIsCollected: the cache keeps nothing alive that neither a proxy nor a scope's last states have.
func TestUnusedIsCollected(t *testing.T) {
	m := newMesh(t)
	p := proxy(t, "web-1", "10.1.0.1")
	m.apply(serviceYAML("web"))
	for i := range 100 {
		v := m.apply(workloadYAML("web-1", "web", fmt.Sprintf("10.1.1.%d", i)))
		if v.Resources(p, translate.EndpointType, byName([]string{clusterName("web")})).Len() != 1 {
			t.Fatal("no endpoints")
		}
	}
	deadline := time.Now().Add(time.Minute)
	for m.v.cache.Stats().Resources > 2*keepStates && time.Now().Before(deadline) {
		runtime.GC() // and the cleanups, which run on a goroutine of the runtime's
		runtime.Gosched()
	}
	if n := m.v.cache.Stats().Resources; n > 2*keepStates {
		t.Errorf("%d resources are kept", n)
	}
	runtime.KeepAlive(p)
}

// byName subscribes to names, nil being everything.
func byName(names []string) Subscription {
	return Subscription{All: names == nil, Names: NewNames(slices.Clone(names))}
}

// The layer of the runtime with the limits of listeners names the listeners that the proxy has, and changes with them.
func TestListenerLimits(t *testing.T) {
	m := newMesh(t)
	p := proxy(t, "web-1", "10.0.9.1")
	p.Proxy.Settings = model.ProxySettings{Connections: &meshconfig.ProxyConfig_ConnectionSettings{ListenerConnectionLimit: wrapperspb.Int32(7)}, Key: "limit"}
	sub := Subscription{All: true}
	limits := func() []string {
		set := m.v.Resources(p, translate.RuntimeType, sub)
		var r runtimev3.Runtime
		var a anypb.Any
		if found := set.Get("listener-limits"); found == nil || proto.Unmarshal(found.any, &a) != nil || a.UnmarshalTo(&r) != nil {
			t.Fatalf("no layer: %v", set)
		}
		return slices.Sorted(maps.Keys(r.Layer.Fields))
	}
	names := func() (out []string) {
		for _, l := range m.v.Resources(p, translate.ListenerType, sub).All() {
			out = append(out, "envoy.resource_limits.listener."+l.Name+".connection_limit")
		}
		slices.Sort(out)
		return out
	}
	m.apply(serviceYAML("web"))
	before := limits()
	if want := names(); len(want) == 0 || !slices.Equal(before, want) {
		t.Errorf("limits %v, listeners %v", before, want)
	}
	m.apply("apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {clusterIP: 10.0.0.2, selector: {app: db}, ports: [{name: tcp, port: 5432}]}\n")
	if after := limits(); !slices.Equal(after, names()) || len(after) <= len(before) {
		t.Errorf("after another service: limits %v, listeners %v", after, names())
	}
}
