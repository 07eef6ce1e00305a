package translate

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

// serving finds the virtual host for a host as Envoy documents it: the exact domain, then the longest wildcard, then "*"
// (https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto, VirtualHost.domains).
func serving(rc *routev3.RouteConfiguration, host string) *routev3.VirtualHost {
	if rc.IgnorePortInHostMatching {
		if name, _, ok := strings.Cut(host, ":"); ok {
			host = name
		}
	}
	var best *routev3.VirtualHost
	length := -1
	for _, v := range rc.VirtualHosts {
		for _, d := range v.Domains {
			suffix, wildcard := strings.CutPrefix(d, "*")
			switch {
			case d == host:
				return v
			case d == "*" && length < 0:
				best, length = v, 0
			case wildcard && d != "*" && len(host) > len(suffix) && strings.HasSuffix(host, suffix) && len(suffix) > length:
				best, length = v, len(suffix)
			}
		}
	}
	return best
}

func ofProxy(t *testing.T, p *model.Proxy) *model.Proxy {
	t.Helper()
	own := *p
	own.OnDemand = true
	return &own
}

// TestOnDemandIsTheWhole: the virtual host that is answered for a host has the routes that would serve it if the proxy had the whole
// route configuration, whatever the mesh.
func TestOnDemandIsTheWhole(t *testing.T) {
	hosts := []string{
		"a", "a:80", "b.shop", "b.other.svc", "a.shop.svc.cluster.local", "a.shop.svc.cluster.local:81", "b.other.svc.cluster.local:80", "ext.example.com",
		"one.example.com:80", ".example.com", "pod-0.a.shop.svc.cluster.local", "10.0.0.1", "10.0.0.2:80", "127.0.1.1:80", "gone", "gone.shop.svc.cluster.local", "nowhere.test",
	}
	for seed := range uint64(4) {
		d := dice{rand.New(rand.NewPCG(seed, 11))}
		b := snapshot.New()
		b.SetMesh(d.mesh())
		for range 12 {
			var events []snapshot.Event
			for range 6 {
				events = append(events, snapshot.Set("config", d.object()))
			}
			s, _ := b.Update(events...)
			for _, p := range historyProxies(t) {
				if p.Type == model.Router {
					continue
				}
				for _, whole := range Routes(s, p, RouteNames(s, p)) {
					rc := whole.Build().(*routev3.RouteConfiguration)
					found := HostsOf(s, ofProxy(t, p), whole.Name)
					for _, host := range hosts {
						r, ok := found.Host(host)
						if !ok {
							t.Fatalf("%s has no answer for %s", whole.Name, host)
						}
						got := r.Build().(*routev3.VirtualHost)
						if !slices.Equal(got.Domains, []string{host}) || got.Name != host || r.Name != whole.Name+"/"+host {
							t.Fatalf("%s is the virtual host %s for %v", r.Name, got.Name, got.Domains)
						}
						want := &routev3.VirtualHost{}
						if v := serving(rc, host); v != nil {
							want = proto.CloneOf(v)
						}
						want.Name, want.Domains = host, got.Domains
						if !bytes.Equal(encode(got), encode(want)) {
							t.Fatalf("seed %d: %s is\n%v\nand in the whole it would be\n%v", seed, r.Name, got, want)
						}
					}
				}
			}
		}
	}
}

func TestOnDemandNames(t *testing.T) {
	s := snapshot.New().Snapshot()
	p := ofProxy(t, historyProxies(t)[1])
	if HostsOf(s, p, "no-port") != nil || HostsOf(s, p, "gone.shop.svc.cluster.local:80") != nil {
		t.Error("a route configuration that does not exist has hosts")
	}
	for _, host := range []string{"", "*", "*.example.com", "a/b", strings.Repeat("a", 260)} {
		if _, ok := HostsOf(s, p, "80").Host(host); ok {
			t.Errorf("%.20q is answered", host)
		}
	}
}

// TestOnDemandShape: listeners ask before all else, and route configurations have nothing that would keep the proxy from asking.
func TestOnDemandShape(t *testing.T) {
	b := snapshot.New()
	d := dice{rand.New(rand.NewPCG(1, 1))}
	for range 40 {
		b.Update(snapshot.Set("config", d.object()))
	}
	s := b.Snapshot()
	p := ofProxy(t, historyProxies(t)[1])
	names := RouteNames(s, p)
	if len(names) == 0 {
		t.Fatal("no route configurations")
	}
	for _, r := range Routes(s, p, names) {
		rc := r.Build().(*routev3.RouteConfiguration)
		if len(rc.VirtualHosts) > 0 || rc.GetVhds().GetConfigSource().GetAds() == nil || rc.IgnorePortInHostMatching {
			t.Errorf("route configuration %v", rc)
		}
	}
	for _, r := range Listeners(s, p) {
		l := r.Build().(*listenerv3.Listener)
		for _, c := range l.FilterChains {
			m := &hcmv3.HttpConnectionManager{}
			if c.Filters[len(c.Filters)-1].GetTypedConfig().UnmarshalTo(m) != nil {
				continue
			}
			first := m.HttpFilters[0].Name == onDemandFilter
			if first != (m.GetRds() != nil) {
				t.Errorf("%s: the first filter is %s", l.Name, m.HttpFilters[0].Name)
			}
		}
	}
}

func TestClustersIn(t *testing.T) {
	f := newFilters(&model.Snapshot{Mesh: model.DefaultMesh()}, &model.Proxy{}, outbound)
	l := &listenerv3.Listener{FilterChains: []*listenerv3.FilterChain{
		{Filters: f.toTCP("x", []weightedCluster{{ClusterName(1, "", "a"), 1}, {ClusterName(2, "v1", "b"), 2}}, tcpPolicy{})},
		{Filters: f.toOne(BlackHoleCluster)},
	}}
	if got := fmt.Sprint(ClustersIn(l)); got != "[outbound|1||a outbound|2|v1|b]" {
		t.Errorf("it leads to %s", got)
	}
}
