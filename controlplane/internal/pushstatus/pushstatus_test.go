package pushstatus

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

func meshOf(t *testing.T, text string) *model.Snapshot {
	t.Helper()
	set, err := config.Load([]config.File{{Name: "in.yaml", Data: []byte(text)}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var events []snapshot.Event
	for _, o := range set.All() {
		events = append(events, snapshot.Set("config", o))
	}
	s, _ := snapshot.New().Update(events...)
	return s
}

func sidecar(t *testing.T, name, ip string, metadata map[string]any) *model.Proxy {
	t.Helper()
	p, err := model.ParseProxy("sidecar~"+ip+"~"+name+".shop~shop.svc.cluster.local", "", metadata, model.Locality{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	web = `---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: web-1, namespace: shop}
spec: {address: 10.1.0.1, labels: {app: web}}
`
	service = `---
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: shop, creationTimestamp: "2026-01-0%dT00:00:00Z"}
spec: {clusterIP: %s, selector: {app: web}, ports: [{name: %s, port: %d, targetPort: 8080}]}
`
	entry = `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s, namespace: %s, creationTimestamp: "2026-01-0%dT00:00:00Z"}
spec: {hosts: [%s], exportTo: ["%s"], resolution: %s, endpoints: %s, ports: [{name: %s, number: %d, protocol: %s}]}
`
)

// TestStatus: what is at odds, as METRIC KEY by PROXY: MESSAGE.
func TestStatus(t *testing.T) {
	rule := func(name string, day int, subsets string) string {
		return fmt.Sprintf("---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: %s, namespace: shop, creationTimestamp: \"2026-01-0%dT00:00:00Z\"}\n"+
			"spec: {host: web, subsets: [%s]}\n", name, day, subsets)
	}
	virtual := func(name, namespace string, day int, exportTo string) string {
		return fmt.Sprintf("---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %s, namespace: %s, creationTimestamp: \"2026-01-0%dT00:00:00Z\"}\n"+
			"spec: {hosts: [web.example.com], exportTo: [%q], http: [{directResponse: {status: 200}}]}\n", name, namespace, day, exportTo)
	}
	named := func(format string, args ...any) string { return fmt.Sprintf(format, args...) }
	one := []string{"web-1 10.1.0.1"}
	for _, c := range []struct {
		name, mesh string
		proxies    []string // NAME IP
		want       []string
	}{
		{"all is well", web + named(service, "web", 1, "10.0.0.1", "http", 80), one, nil},
		{"a proxy that no service knows", web + named(service, "web", 1, "10.0.0.1", "http", 80), []string{"web-1 10.1.0.1", "lost-1 10.1.0.9"}, []string{
			"pilot_no_ip lost-1.shop by lost-1.shop: no service has the workload among its endpoints"}},
		{"services that mean different protocols by one port", web + named(service, "web", 1, "10.0.0.1", "http", 80) + named(service, "raw", 2, "10.0.0.2", "tcp", 81), one, []string{
			"pilot_conflict_inbound_listener web-1.shop:8080 by web-1.shop: Conflicting inbound listener:8080. existing: raw.shop.svc.cluster.local, incoming: web.shop.svc.cluster.local"}},
		{"services that share a port", web + named(service, "web", 1, "10.0.0.1", "http", 80) + named(service, "web2", 2, "10.0.0.2", "http-b", 81), one, nil},
		{"a service without endpoints", named(service, "web", 1, "10.0.0.1", "http", 80), nil, []string{"pilot_eds_no_instances outbound|80||web.shop.svc.cluster.local"}},
		{"a name that is to be resolved", named(entry, "a", "shop", 1, "a.example.com", "*", "DNS", "[]", "http", 80, "HTTP"), nil, nil},
		{"a name that is to be resolved, and cannot be", "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a, namespace: shop}\n" +
			"spec: {hosts: [a.example.com], resolution: DNS, workloadSelector: {labels: {app: nobody}}, ports: [{name: http, number: 80, protocol: HTTP}]}\n", nil, []string{
			"pilot_dns_cluster_without_endpoints outbound|80||a.example.com"}},
		{"bytes without an address on one port", named(entry, "a", "shop", 1, "a.example.com", "*", "STATIC", "[{address: 1.1.1.1}]", "tcp", 9000, "TCP") +
			named(entry, "b", "shop", 2, "b.example.com", "*", "STATIC", "[{address: 1.1.1.2}]", "tcp", 9000, "TCP") + web + named(service, "web", 1, "10.0.0.1", "http", 80), one, []string{
			"pilot_conflict_outbound_listener_tcp_over_current_tcp 0.0.0.0:9000 by web-1.shop: Listener=0.0.0.0:9000 Accepted=a.example.com Rejected=b.example.com"}},
		{"bytes on one port for clients that do not see both", named(entry, "a", "shop", 1, "a.example.com", "*", "STATIC", "[{address: 1.1.1.1}]", "tcp", 9000, "TCP") +
			named(entry, "b", "other", 2, "b.example.com", ".", "STATIC", "[{address: 1.1.1.2}]", "tcp", 9000, "TCP") + web + named(service, "web", 1, "10.0.0.1", "http", 80), one, nil},
		{"TLS is told apart by its server's name", named(entry, "a", "shop", 1, "a.example.com", "*", "STATIC", "[{address: 1.1.1.1}]", "tls", 9000, "TLS") +
			named(entry, "b", "shop", 2, "b.example.com", "*", "STATIC", "[{address: 1.1.1.2}]", "tls", 9000, "TLS") + web + named(service, "web", 1, "10.0.0.1", "http", 80), one, nil},
		{"a host of two entries", named(entry, "a", "shop", 1, "a.example.com", "*", "STATIC", "[{address: 1.1.1.1}]", "http", 80, "HTTP") +
			named(entry, "b", "other", 2, "a.example.com", "*", "STATIC", "[{address: 1.1.1.2}]", "http", 80, "HTTP"), nil, []string{
			"pilot_duplicate_envoy_clusters outbound|80||a.example.com: Duplicate cluster outbound|80||a.example.com found while pushing CDS: ServiceEntry other/b (in.yaml:N) and ServiceEntry shop/a (in.yaml:N) define it"}},
		{"a host of two entries that nobody sees both", named(entry, "a", "shop", 1, "a.example.com", ".", "STATIC", "[{address: 1.1.1.1}]", "http", 80, "HTTP") +
			named(entry, "b", "other", 2, "a.example.com", ".", "STATIC", "[{address: 1.1.1.2}]", "http", 80, "HTTP"), nil, nil},
		{"a subset twice", rule("a", 2, "{name: v1, labels: {v: '1'}}, {name: v2, labels: {v: '2'}}") + rule("b", 1, "{name: v1, labels: {v: '9'}}"), nil, []string{
			"pilot_destrule_subsets v1.web.shop.svc.cluster.local: Duplicate subset v1 found while merging destination rules for web.shop.svc.cluster.local: that of shop/b counts, not that of shop/a"}},
		{"subsets side by side", rule("a", 2, "{name: v2, labels: {v: '2'}}") + rule("b", 1, "{name: v1, labels: {v: '1'}}"), nil, nil},
		{"rules for a domain twice", virtual("late", "shop", 2, "*") + virtual("early", "other", 1, "*"), nil, []string{
			"pilot_vservice_dup_domain shop/late/web.example.com: duplicate domain from virtual service: other/early has web.example.com, whose rules of shop/late do not count"}},
		{"rules for a domain, each for its own namespace", virtual("late", "shop", 2, ".") + virtual("early", "other", 1, "."), nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			snap := meshOf(t, c.mesh)
			var proxies []*model.Proxy
			for _, p := range c.proxies {
				name, ip, _ := strings.Cut(p, " ")
				proxies = append(proxies, sidecar(t, name, ip, nil))
			}
			f := New(func() (*model.Snapshot, []*model.Proxy) { return snap, proxies })
			for range 2 { // what is remembered is the same
				var got []string
				for metric, cases := range f.Current() {
					for key, e := range cases {
						line := metric + " " + key
						if e.Proxy != "" {
							line += " by " + e.Proxy
						}
						if e.Message != "" {
							line += ": " + e.Message
						}
						got = append(got, line)
					}
				}
				slices.Sort(got)
				if !slices.EqualFunc(got, c.want, func(got, want string) bool { return withoutLines(got) == want }) {
					t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
				}
			}
		})
	}
}

// withoutLines puts N in the place of the lines of in.yaml.
func withoutLines(s string) string {
	parts := strings.Split(s, "in.yaml:")
	for i := 1; i < len(parts); i++ {
		parts[i] = "N" + strings.TrimLeft(parts[i], "0123456789")
	}
	return strings.Join(parts, "in.yaml:")
}

// TestUnhealthy: the workload's own checks say that it is not ready.
func TestUnhealthy(t *testing.T) {
	snap := meshOf(t, web+fmt.Sprintf(service, "web", 1, "10.0.0.1", "http", 80))
	set, _ := snap.Endpoints.Get("web.shop.svc.cluster.local/shop")
	set.Instances[0].Unhealthy = true
	out := Status{}
	ofProxy(out, snap, sidecar(t, "web-1", "10.1.0.1", nil))
	if want := (Status{notReady: {"10.1.0.1": {Proxy: "web-1.shop"}}}); !maps.EqualFunc(out, want, maps.Equal[map[string]Event, map[string]Event]) {
		t.Errorf("%v, want %v", out, want)
	}
	// What has no workload of its own has none that could be missing.
	for _, p := range []*model.Proxy{sidecar(t, "x", "10.1.0.8", map[string]any{"GENERATOR": "grpc"}), {Type: model.Router}} {
		out := Status{}
		if ofProxy(out, snap, p); len(out) > 0 {
			t.Errorf("%v", out)
		}
	}
}

// TestCollect: every metric is there, with the number of its cases.
func TestCollect(t *testing.T) {
	snap := meshOf(t, fmt.Sprintf(service, "web", 1, "10.0.0.1", "http", 80)+fmt.Sprintf(service, "api", 1, "10.0.0.2", "http", 80))
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(New(func() (*model.Snapshot, []*model.Proxy) { return snap, nil }))
	families, err := reg.Gather()
	if err != nil || len(families) != len(metrics) {
		t.Fatalf("%d metrics, %v", len(families), err)
	}
	for _, f := range families {
		want := 0.0
		if f.GetName() == noInstances {
			want = 2
		}
		if got := f.Metric[0].GetGauge().GetValue(); got != want {
			t.Errorf("%s is %v, want %v", f.GetName(), got, want)
		}
	}
}
