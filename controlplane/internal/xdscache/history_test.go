package xdscache

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
	"github.com/lateen-mesh/lateen/controlplane/internal/translate"
)

// change makes a random object; names, short forms, addresses, ports and hosts of rules collide often.
func change(rnd *rand.Rand) string {
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	name, ns := pick("a", "b", "c"), pick("shop", "other")
	hosts := []string{
		"a", "a.shop.svc.cluster.local", "b.shop.svc.cluster.local", "b.other.svc.cluster.local", "c.other.svc.cluster.local", "ext.example.com", "a.shop", "b.other",
		"*.example.com", "*.shop.svc.cluster.local",
	}
	host, other := hosts[rnd.IntN(len(hosts)-rnd.IntN(3))], hosts[rnd.IntN(len(hosts)-2)]
	switch rnd.IntN(9) {
	case 0, 1:
		return fmt.Sprintf(`---
{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: %s}, spec: {clusterIP: %s, selector: {app: %s}, ports: [{name: %s, port: %s}, {name: tcp, port: 90}]}}
`, name, ns, pick("10.0.0.1", "10.0.0.2", "None", `""`), name, pick("http", "http", "tcp", "auto"), pick("80", "80", "8080"))
	case 2:
		return fmt.Sprintf("---\n{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: %s}, spec: {type: ExternalName, externalName: %s, ports: [{name: http, port: 80}]}}\n",
			pick("d", name), ns, pick("a.shop.svc.cluster.local", "b.other.svc.cluster.local", "d.shop.svc.cluster.local", "ext.example.com"))
	case 3:
		return fmt.Sprintf(`---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: %s, namespace: %s}, spec: {hosts: [%s], addresses: [10.0.0.%d], exportTo: [%q], resolution: STATIC,
 ports: [{number: %s, name: http, protocol: HTTP}], endpoints: [{address: 10.1.0.%d}]}}
`, name, ns, hosts[rnd.IntN(8)], 1+rnd.IntN(3), pick("*", "*", "."), pick("80", "8080"), 1+rnd.IntN(4))
	case 4, 5:
		return fmt.Sprintf(`---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: %s, namespace: %s}, spec: {hosts: [%s], http: [{route: [{destination: {host: %s, subset: %s}, weight: %d}, {destination: {host: %s}, weight: 7}]}]}}
`, name, ns, pick(host, host+"\", \""+other), other, pick("v1", "v2"), 1+rnd.IntN(3), host0(host))
	case 6:
		return fmt.Sprintf(`---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: %s, namespace: %s}, spec: {host: %q, subsets: [{name: %s, labels: {version: v1}}], %s trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: %s}}%s}}}
`, name, ns, host, pick("v1", "v2"), pick("", "workloadSelector: {matchLabels: {app: client}},"), pick("x-a", "x-b"), pick("", ", tls: {mode: MUTUAL, credentialName: sds://x}"))
	case 7:
		return fmt.Sprintf("---\n{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: %s, namespace: shop}, spec: {workloadSelector: {labels: {app: %s}}, egress: [{hosts: [%q]}]}}\n",
			name, pick("picky", "nobody"), pick("*/*", "shop/*", "./a.shop.svc.cluster.local"))
	}
	return workloadYAML(name+"-1", name, fmt.Sprintf("10.1.0.%d", 1+rnd.IntN(4)))
}

// host0 is a host that a destination may name.
func host0(host string) string {
	if host[0] == '*' {
		return "a.shop.svc.cluster.local"
	}
	return host
}

// TestFollowingIsDerivingAnew: what proxies on demand are given by a cache that has followed a history is what one that knows its end gives, also to those
// that are a few views behind.
func TestFollowingIsDerivingAnew(t *testing.T) {
	for _, seed := range []uint64{0, 1, 2, 3, 4, 5, 6, 7, 48, 54} { // the last two have chains of aliases whose end goes
		t.Run(fmt.Sprint(seed), func(t *testing.T) { testFollowing(t, rand.New(rand.NewPCG(seed, 3))) })
	}
}

func testFollowing(t *testing.T, rnd *rand.Rand) {
	m := newMesh(t)
	settings := model.DefaultMesh()
	settings.Providers = []*model.Provider{{Name: "x", Secrets: &model.SecretServer{Name: "x", To: model.ProviderService{Host: "b.other.svc.cluster.local", Port: 80}}}}
	s, _ := m.b.SetMesh(settings)
	m.v = New(nil).View(s)
	var asked []string
	for _, port := range []string{"80", "8080", "a.shop.svc.cluster.local:80"} {
		for _, host := range []string{
			"a", "b", "d", "a.shop", "b.other:80", "a.shop.svc", "a.shop.svc.cluster.local", "b.other.svc.cluster.local:8080", "ext.example.com", "sub.example.com",
			"pod-0.a.shop.svc.cluster.local", "10.0.0.1", "10.0.0.2:80", "nowhere.test",
		} {
			asked = append(asked, port+"/"+host)
		}
	}
	names := NewNames(asked)
	nodes := map[string]map[string]any{
		"client-1": {"LABELS": map[string]any{"app": "client"}}, "picky-1": {"LABELS": map[string]any{"app": "picky"}},
		"explicit-1": {"LABELS": map[string]any{"app": "client"}, "INTERCEPTION_MODE": "NONE"},
		"named-1":    {"LABELS": map[string]any{"app": "client"}, "DNS_CAPTURE": "true"},
	}
	proxies := map[string]*Proxy{}
	newProxy := func(name string) *Proxy {
		meta := map[string]any{"NAME": name, "NAMESPACE": "shop"}
		for k, v := range nodes[name] {
			meta[k] = v
		}
		p, err := model.ParseProxy("sidecar~10.9.0.1~"+name+".shop~shop.svc.cluster.local", "", meta, model.Locality{})
		if err != nil {
			t.Fatal(err)
		}
		p.OnDemand, p.NameByName = true, name != "explicit-1"
		out := NewProxy(p)
		out.Ask(names, false, nil)
		return out
	}
	for name := range nodes {
		proxies[name] = newProxy(name)
	}
	endpoints := NewNames([]string{"outbound|80||a.shop.svc.cluster.local", "outbound|80|v1|b.other.svc.cluster.local", "outbound|8080||ext.example.com", "outbound|80||gone.shop.svc.cluster.local"})
	subs := map[string]Subscription{translate.HostType: {Names: names}, translate.ClusterType: Everything, translate.EndpointType: {Names: endpoints}, translate.ListenerType: Everything, translate.NameType: Everything}
	objects := map[config.Key]*config.Object{}
	views := []*View{m.v}
	for step := range 120 {
		var events []snapshot.Event
		for range 1 + rnd.IntN(2) {
			if keys := keysOf(objects); len(keys) > 0 && rnd.IntN(4) == 0 {
				key := keys[rnd.IntN(len(keys))]
				delete(objects, key)
				events = append(events, snapshot.Delete("config", key))
				continue
			}
			y := change(rnd)
			t.Log(y)
			set, err := config.Load([]config.File{{Name: "test.yaml", Data: []byte(y)}}, config.LoadOptions{})
			if err != nil {
				continue // the dice made nonsense
			}
			for _, o := range set.All() {
				objects[o.Key()] = o
				events = append(events, snapshot.Set("config", o))
			}
		}
		snap, ch := m.b.Update(events...)
		if snap.Version != m.v.Version() {
			m.v = m.v.Next(snap, ch)
			views = append(views, m.v)
		}
		for _, name := range slices.Sorted(maps.Keys(proxies)) {
			p := proxies[name]
			if rnd.IntN(3) == 0 {
				continue // it is behind
			}
			v := views[len(views)-1-min(rnd.IntN(2)*rnd.IntN(4), len(views)-1)]
			anew, fresh := New(nil).View(v.snap), newProxy(name)
			for _, url := range slices.Sorted(maps.Keys(subs)) {
				sub := subs[url]
				got, want := v.Resources(p, url, sub), anew.Resources(fresh, url, sub)
				if d := Compare(got, want); len(d.Changed)+len(d.Removed) > 0 {
					var differ []string
					for _, r := range append(d.Changed, d.Removed...) {
						differ = append(differ, r.Name)
					}
					t.Fatalf("step %d: %s at view %d of %d has others than derived anew: %s %v", step, name, v.Version(), m.v.Version(), url, differ)
				}
			}
		}
	}
}

func keysOf(objects map[config.Key]*config.Object) []config.Key {
	var keys []config.Key
	for k := range objects {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b config.Key) int { return strings.Compare(a.String(), b.String()) })
	return keys
}
