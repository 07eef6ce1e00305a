package snapshot

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// events reads objects from YAML; their file is "t.yaml".
func events(t testing.TB, yaml string) []Event {
	t.Helper()
	set, err := config.Load([]config.File{{Name: "t.yaml", Data: []byte(yaml)}}, config.LoadOptions{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	var out []Event
	for _, o := range set.All() {
		out = append(out, Set("config", o))
	}
	return out
}

const catalog = `
apiVersion: v1
kind: Service
metadata: {name: catalog}
spec:
  selector: {app: catalog}
  ports:
  - {name: http, port: 80, targetPort: 3000}
  - {name: http-admin, port: 8080, targetPort: admin}
---
`

func workload(name, ip, extra string) string {
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: %s}\nspec: {address: %s, labels: {app: catalog, security.istio.io/tlsMode: istio}%s}\n---\n", name, ip, extra)
}

func describe(set *model.EndpointSet) []string {
	var out []string
	for _, e := range set.Instances {
		out = append(out, fmt.Sprintf("%d=%s:%d", e.ServicePort, e.Address, e.Port))
	}
	return out
}

func TestEndpoints(t *testing.T) {
	b := New()
	s, ch := b.Update(events(t, catalog+workload("w1", "127.0.1.1", ", serviceAccount: sa, ports: {admin: 9999}")+workload("w2", "127.0.1.2", ", ports: {http: 3333}"))...)
	const key = "catalog.shop.svc.cluster.local/shop"
	set, ok := s.Endpoints.Get(key)
	if !ok {
		t.Fatal("no endpoints")
	}
	// w1 has the named target port; w2 maps the service port's own name and lacks the other.
	want := []string{"80=127.0.1.1:3000", "8080=127.0.1.1:9999", "80=127.0.1.2:3333"}
	if got := describe(set); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if want := []string{"spiffe://cluster.local/ns/shop/sa/default", "spiffe://cluster.local/ns/shop/sa/sa"}; !slices.Equal(set.Accounts, want) {
		t.Errorf("accounts %v", set.Accounts)
	}
	if keys, _ := s.ServicesOf.Get("shop/w1"); !slices.Equal(keys, []string{key}) {
		t.Errorf("services of w1: %v", keys)
	}
	if !ch.Hosts["catalog.shop.svc.cluster.local"] || !ch.EndpointHosts["catalog.shop.svc.cluster.local"] || !ch.Workloads["shop/w1"] {
		t.Errorf("change %+v", ch)
	}

	// An endpoint with a known identity touches endpoints alone, and old snapshots stay.
	svc, _ := s.Services.Get(key)
	s2, ch2 := b.Update(events(t, workload("w3", "127.0.1.3", ""))...)
	if len(ch2.Hosts) > 0 || !ch2.EndpointHosts["catalog.shop.svc.cluster.local"] || ch2.From != s.Version || ch2.To != s2.Version {
		t.Errorf("change %+v", ch2)
	}
	if svc2, _ := s2.Services.Get(key); svc2 != svc {
		t.Error("the service was made anew")
	}
	if again, _ := s.Endpoints.Get(key); len(again.Instances) != 3 {
		t.Error("an old snapshot changed")
	}

	// DISABLE takes mTLS from the endpoints.
	s3, ch3 := b.Update(events(t, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\nspec: {mtls: {mode: DISABLE}}\n")...)
	set, _ = s3.Endpoints.Get(key)
	for _, e := range set.Instances {
		if e.TLS != model.TLSModeDisabled {
			t.Errorf("%s still offers mTLS", e.Address)
		}
	}
	if !ch3.Policies["shop"] || !ch3.EndpointHosts["catalog.shop.svc.cluster.local"] {
		t.Errorf("change %+v", ch3)
	}
}

// A ServiceEntry that lists another endpoint concerns those who have its endpoints, and not its clusters, routes and listeners.
func TestListedEndpointsAreApart(t *testing.T) {
	entry := func(spec string) []Event {
		return events(t, "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: db}\nspec:\n  hosts: [db.example.com]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  "+spec+"\n")
	}
	const host = "db.example.com"
	b := New()
	b.Update(entry("resolution: STATIC\n  endpoints: [{address: 10.0.0.1}]")...)
	s, ch := b.Update(entry("resolution: STATIC\n  endpoints: [{address: 10.0.0.2}]")...)
	if ch.Hosts[host] || ch.ListenerHosts[host] || !ch.EndpointHosts[host] {
		t.Errorf("another endpoint: %+v", ch)
	}
	if set, _ := s.Endpoints.Get(host + "/shop"); !slices.Equal(describe(set), []string{"80=10.0.0.2:80"}) {
		t.Errorf("endpoints are %v", describe(set))
	}
	if _, ch = b.Update(entry("resolution: STATIC\n  location: MESH_INTERNAL\n  endpoints: [{address: 10.0.0.2}]")...); !ch.Hosts[host] || !ch.ListenerHosts[host] {
		t.Errorf("another location: %+v", ch)
	}
	b.Update(entry("resolution: DNS\n  endpoints: [{address: a.example.com}]")...)
	if _, ch = b.Update(entry("resolution: DNS\n  endpoints: [{address: b.example.com}]")...); !ch.Hosts[host] {
		t.Errorf("another name to look up, which is in the cluster: %+v", ch)
	}
}

func TestUnchangedObjectChangesNothing(t *testing.T) {
	b := New()
	s, _ := b.Update(events(t, catalog+workload("w1", "127.0.1.1", ""))...)
	s2, ch := b.Update(events(t, catalog+workload("w1", "127.0.1.1", ""))...)
	if s2 != s || !ch.Empty() || ch.From != ch.To {
		t.Errorf("change %+v", ch)
	}
}

// TestOldestOwnerWins: of two stores' objects for one thing the older counts, and the other
// takes over when it goes.
func TestOldestOwnerWins(t *testing.T) {
	entry := func(address string, created time.Time) *config.Object {
		e := events(t, "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: x}\nspec: {hosts: [h.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: "+address+"}]}\n")
		e[0].Object.Created = created
		return e[0].Object
	}
	b := New()
	now := time.Unix(1000, 0)
	b.Update(Set("young", entry("1.1.1.1", now.Add(time.Hour))))
	s, _ := b.Update(Set("zold", entry("2.2.2.2", now)))
	address := func(s *model.Snapshot) string {
		set, _ := s.Endpoints.Get("h.example/shop")
		return set.Instances[0].Address
	}
	if got := address(s); got != "2.2.2.2" {
		t.Errorf("got %s, want the older", got)
	}
	s, _ = b.Update(Delete("zold", entry("3.3.3.3", now).Key()))
	if got := address(s); got != "1.1.1.1" {
		t.Errorf("got %s, want the one that is left", got)
	}
}

func TestProblemsAreNamed(t *testing.T) {
	b := New()
	b.Update(events(t, `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec:
  hosts: [catalog]
  http:
  - match: [{uri: {prefix: /a}}]
    delegate: {name: other}
  - route: [{destination: {host: catalog}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: dr}
spec:
  host: catalog
  trafficPolicy: {tls: {mode: MUTUAL, credentialName: c}}
---
apiVersion: v1
kind: Service
metadata: {name: dns}
spec:
  ports: [{name: dns, port: 53, protocol: UDP}]
`)...)
	var got []string
	for _, p := range b.Problems() {
		got = append(got, p.String())
	}
	want := []string{
		"DestinationRule shop/dr (t.yaml:15): spec.workloadSelector",
		"Service shop/dns (t.yaml:23): spec.ports[0].protocol",
		"VirtualService shop/vs (t.yaml:9): spec.http[0].delegate",
	}
	if len(got) != len(want) {
		t.Fatalf("got %q", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got %q, want %q...", got[i], want[i])
		}
	}
}

func TestParseMesh(t *testing.T) {
	def := model.DefaultMesh()
	for name, c := range map[string]struct {
		in   string
		want func(*model.Mesh)
		err  string
		odd  string // part of a problem
	}{
		"empty":             {in: "", want: func(*model.Mesh) {}},
		"registry only":     {in: "outboundTrafficPolicy: {mode: REGISTRY_ONLY}", want: func(m *model.Mesh) { m.RegistryOnly = true }},
		"policy, no mode":   {in: "outboundTrafficPolicy: {}", want: func(*model.Mesh) {}},
		"allow list":        {in: "outboundTrafficPolicy: {mode: ALLOW_LIST}", err: "REGISTRY_ONLY"},
		"unknown field":     {in: "accessLogFil: /dev/stdout", err: "accessLogFil"},
		"access log":        {in: "accessLogFile: /dev/stdout", want: func(m *model.Mesh) { m.AccessLogFile = "/dev/stdout" }},
		"no tracing":        {in: "enableTracing: false", want: func(m *model.Mesh) { m.Tracing = false }},
		"no auto mTLS":      {in: "enableAutoMtls: false", want: func(m *model.Mesh) { m.AutoMTLS = false }},
		"sampling 0":        {in: "defaultConfig: {tracing: {sampling: 0}}", want: func(m *model.Mesh) { m.TraceSampling = 0 }},
		"sampling":          {in: "defaultConfig: {tracing: {sampling: 50}}", want: func(m *model.Mesh) { m.TraceSampling = 50 }},
		"root namespace":    {in: "rootNamespace: root", want: func(m *model.Mesh) { m.RootNamespace = "root" }},
		"nested, no effect": {in: "defaultConfig: {binaryPath: x}", want: func(*model.Mesh) {}, odd: "defaultConfig.binaryPath"},
		"no effect is said": {in: "hboneIdleTimeout: 1s", want: func(*model.Mesh) {}, odd: "hboneIdleTimeout"},
		"JSON log format": {in: "accessLogEncoding: JSON\naccessLogFormat: '{\"a\": \"%START_TIME%\"}'", want: func(m *model.Mesh) {
			m.AccessLogJSON, m.AccessLogField = true, map[string]any{"a": "%START_TIME%"}
		}},
		"JSON log format that is none": {in: "accessLogEncoding: JSON\naccessLogFormat: hello", err: "accessLogFormat"},
	} {
		t.Run(name, func(t *testing.T) {
			got, odd, err := ParseMesh(config.File{Name: "mesh.yaml", Data: []byte(c.in)}, nil)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one about %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := *def
			c.want(&want)
			if !reflect.DeepEqual(*got, want) {
				t.Errorf("got %+v\nwant %+v", *got, want)
			}
			if (c.odd == "") != (len(odd) == 0) || (c.odd != "" && !strings.Contains(odd[0].String(), c.odd)) {
				t.Errorf("problems %v", odd)
			}
		})
	}
}
