package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	endpointpb "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/hashicorp/consul/api"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
	"github.com/lateen-mesh/lateen/test/standin/consul"
	"github.com/lateen-mesh/lateen/test/standin/nomad"
)

// instance is one of a service in a stand-in Consul.
func instance(service, id, address string, status string, tags ...string) *api.ServiceEntry {
	return &api.ServiceEntry{
		Node: &api.Node{Node: "n1", Address: "10.0.0.1", Datacenter: "dc1"},
		Service: &api.AgentService{ID: id, Service: service, Tags: tags, Address: address, Port: 8080, Meta: map[string]string{"protocol": "http"},
			Weights: api.AgentWeights{Passing: 1, Warning: 1}},
		Checks: api.HealthChecks{{CheckID: "service:" + id, Status: status}},
	}
}

func standIn(t *testing.T) *consul.Server {
	s := consul.New()
	t.Cleanup(s.Close)
	return s
}

// addressesOf are the endpoints of a cluster as the client has them.
func addressesOf(t *testing.T, s xdstest.State, cluster string) []string {
	t.Helper()
	a := s[xdstest.EDS][cluster]
	if a == nil {
		return nil
	}
	cla := &endpointpb.ClusterLoadAssignment{}
	if err := proto.Unmarshal(a.Value, cla); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range cla.Endpoints {
		for _, e := range l.LbEndpoints {
			out = append(out, e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
		}
	}
	slices.Sort(out)
	return out
}

func TestConsul(t *testing.T) {
	agent := standIn(t)
	agent.Put(instance("web", "web-1", "10.0.1.1", "passing", "version|v1"))
	agent.Put(instance("web", "web-2", "10.0.1.2", "passing", "version|v2"))
	r := start(t, func(c *Config) { c.Consul = []ConsulCatalog{{Address: agent.Addr()}} })
	r.write("config/default/destinationrule/web.yaml", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web, namespace: default}\n"+
		"spec: {host: web.service.consul, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}\n")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := xdstest.Start(ctx, connect(t, r.addrs.GRPC, insecure.NewCredentials()), xdstest.Options{Node: webNode(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	until := func(cluster string, want ...string) {
		t.Helper()
		var got []string
		if err := c.Until(ctx, func(s xdstest.State) bool {
			got = addressesOf(t, s, cluster)
			return s[xdstest.EDS][cluster] != nil && slices.Equal(got, want)
		}); err != nil {
			t.Fatalf("%s: endpoints %v, want %v: %v", cluster, got, want, err)
		}
	}
	until("outbound|8080||web.service.consul", "10.0.1.1", "10.0.1.2")
	until("outbound|8080|v1|web.service.consul", "10.0.1.1")
	until("outbound|8080|v2|web.service.consul", "10.0.1.2")

	// A check turns critical: the endpoint goes and is still known, unhealthy.
	agent.Put(instance("web", "web-2", "10.0.1.2", "critical", "version|v2"))
	until("outbound|8080||web.service.consul", "10.0.1.1")
	until("outbound|8080|v2|web.service.consul")
	if _, page := r.page("/debug/endpointz"); !strings.Contains(page, `"HealthStatus": 2`) {
		t.Error("/debug/endpointz does not show the unhealthy endpoint")
	}
	agent.Put(instance("web", "web-2", "10.0.1.2", "warning", "version|v2"))
	until("outbound|8080||web.service.consul", "10.0.1.1", "10.0.1.2")

	// Consul goes: everything stays. It comes back with news.
	agent.SetDown(true)
	if err := waitFor(ctx, func() bool { return !r.registries()[0].Connected }); err != nil {
		t.Fatal("the registry is still said to be connected")
	}
	if _, page := r.page("/metrics"); !strings.Contains(page, `lateen_registry_connected{registry="consul `+agent.Addr()+`"} 0`) {
		t.Error("the metric does not say that the registry is away")
	}
	until("outbound|8080||web.service.consul", "10.0.1.1", "10.0.1.2")
	agent.SetDown(false)
	agent.Put(instance("web", "web-3", "10.0.1.3", "passing", "version|v2"))
	until("outbound|8080|v2|web.service.consul", "10.0.1.2", "10.0.1.3")
	for _, resp := range c.Responses() {
		if len(resp.Removed) > 0 {
			t.Errorf("something was removed: %v", resp.Removed)
		}
	}
	if err := waitFor(ctx, func() bool { return r.registries()[0].Connected }); err != nil {
		t.Fatal("the registry is still said to be away")
	}
	status := r.registries()[0]
	if !status.Connected || status.Services != 1 || status.Endpoints != 3 || !strings.Contains(status.LastError, "No cluster leader") {
		t.Errorf("status %+v", status)
	}
	if _, page := r.page("/debug/registryz"); !strings.Contains(page, `"ServiceRegistry": "Consul"`) || !strings.Contains(page, "ConsulService default/web (consul "+agent.Addr()+")") {
		t.Errorf("/debug/registryz does not tell where the service comes from:\n%s", page)
	}
}

// TestConsulSidecar: a proxy that has the name of an instance in Consul serves what that instance does.
func TestConsulSidecar(t *testing.T) {
	agent := standIn(t)
	r := start(t, func(c *Config) { c.Consul = []ConsulCatalog{{Address: agent.Addr()}} })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := xdstest.Start(ctx, connect(t, r.addrs.GRPC, insecure.NewCredentials()), xdstest.Options{Node: node(t, "sidecar", "web-1", "default", "10.0.1.1", nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	serves := func(port int) func(xdstest.State) bool {
		return func(s xdstest.State) bool {
			for _, p := range []int{8080, 9090} {
				if (s[xdstest.CDS][fmt.Sprintf("inbound|%d||", p)] != nil) != (p == port) {
					return false
				}
			}
			return true
		}
	}
	agent.Put(instance("web", "web-1", "10.0.1.1", "passing"))
	if err := c.Until(ctx, serves(8080)); err != nil {
		t.Fatal(err)
	}
	moved := instance("web", "web-1", "10.0.1.1", "passing")
	moved.Service.Port, moved.Service.Meta["port"] = 9090, "8080" // at another port of its own, called as before
	agent.Put(moved)
	if err := c.Until(ctx, serves(9090)); err != nil {
		t.Fatal(err)
	}
	agent.Delete("web", "web-1")
	if err := c.Until(ctx, serves(0)); err != nil {
		t.Fatal(err)
	}
}

func (r *running) registries() []watch.Status {
	r.t.Helper()
	_, page := r.page("/debug/registries")
	var out []watch.Status
	if err := json.Unmarshal([]byte(page), &out); err != nil {
		r.t.Fatalf("%v:\n%s", err, page)
	}
	return out
}

// TestNomadBesideConsul: two registries; a service of each, and one that both have.
func TestNomadBesideConsul(t *testing.T) {
	agent, other := standIn(t), nomad.New()
	t.Cleanup(other.Close)
	agent.Put(instance("web", "web-1", "10.0.1.1", "passing", "version|v1"))
	agent.Put(instance("both", "both-1", "10.0.1.2", "passing"))
	for _, name := range []string{"api", "both"} {
		other.Put(nomad.Registration{ID: name + "-1", ServiceName: name, Namespace: "default", AllocID: name, Address: "10.0.2.1", Port: 23001,
			Tags: []string{"port|8080", "protocol|http"}})
	}
	r := start(t, func(c *Config) {
		c.Consul = []ConsulCatalog{{Address: agent.Addr(), Domain: "mesh"}}
		c.Nomad = []NomadCluster{{Address: other.Addr(), Domain: "mesh", CheckInterval: 50 * time.Millisecond}}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := xdstest.Start(ctx, connect(t, r.addrs.GRPC, insecure.NewCredentials()), xdstest.Options{Node: webNode(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	until := func(host string, want ...string) {
		t.Helper()
		var got []string
		if err := c.Until(ctx, func(s xdstest.State) bool {
			got = addressesOf(t, s, "outbound|8080||"+host)
			return slices.Equal(got, want)
		}); err != nil {
			t.Fatalf("%s: endpoints %v, want %v: %v", host, got, want, err)
		}
	}
	until("web.service.mesh", "10.0.1.1")
	until("api.service.mesh", "10.0.2.1")
	until("both.service.mesh", "10.0.1.2", "10.0.2.1")
	other.Put(nomad.Registration{ID: "both-2", ServiceName: "both", Namespace: "default", AllocID: "new", Address: "10.0.2.2", Port: 23002,
		Tags: []string{"port|8080", "protocol|http"}})
	other.Remove("both-1")
	until("both.service.mesh", "10.0.1.2", "10.0.2.2")
	other.Remove("both-2")
	until("both.service.mesh", "10.0.1.2")
	if _, page := r.page("/debug/registryz"); !strings.Contains(page, `"ServiceRegistry": "Nomad"`) || !strings.Contains(page, `"ServiceRegistry": "Consul"`) {
		t.Errorf("/debug/registryz does not tell the registries:\n%s", page)
	}
	if got := r.registries(); len(got) != 2 || !got[0].Connected || !got[1].Connected {
		t.Errorf("registries %+v", got)
	}

	cfg := Config{ConfigDir: t.TempDir(), CADir: t.TempDir(), GRPCAddr: "127.0.0.1:0", Consul: []ConsulCatalog{{Address: "x:1"}, {Address: "x:1"}}}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("one registry twice: %v", err)
	}
}

// TestConsulAwayAtTheStart: certificates are issued and the pages say what is waited for; a proxy is told nothing before Consul was read.
func TestConsulAwayAtTheStart(t *testing.T) {
	agent := standIn(t)
	agent.Put(instance("web", "web-1", "10.0.1.1", "passing"))
	agent.SetDown(true)
	r := &running{t: t, dir: t.TempDir()}
	cfg := Config{
		ConfigDir: r.dir + "/config", CADir: r.dir + "/ca", GRPCAddr: "127.0.0.1:0", SecureGRPCAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0",
		Consul: []ConsulCatalog{{Address: agent.Addr()}},
	}
	cp, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := cp.listen()
	if err != nil {
		t.Fatal(err)
	}
	l.close() // only to know the addresses
	r.addrs = cp.addrs
	cp.cfg.GRPCAddr, cp.cfg.SecureGRPCAddr, cp.cfg.HTTPAddr = r.addrs.GRPC.String(), r.addrs.SecureGRPC.String(), r.addrs.HTTP.String()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	runCtx, stop := context.WithCancel(ctx)
	go func() { ended <- cp.Run(runCtx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	if err := waitFor(ctx, func() bool {
		st := cp.registryStatus()
		return len(st) == 1 && st[0].LastError != ""
	}); err != nil {
		t.Fatal("nothing was asked of Consul")
	}
	if cert := r.enrol("shop", "web"); cert == nil {
		t.Fatal("no certificate")
	}
	if code, _ := r.page("/ready"); code != 503 {
		t.Errorf("ready answers %d", code)
	}
	c, err := xdstest.Start(ctx, connect(t, r.addrs.GRPC, insecure.NewCredentials()), xdstest.Options{Node: webNode(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n := len(c.Responses()); n > 0 {
		t.Errorf("the proxy was sent %d responses", n)
	}
	agent.SetDown(false)
	if err := c.Until(ctx, func(s xdstest.State) bool {
		return slices.Equal(addressesOf(t, s, "outbound|8080||web.service.consul"), []string{"10.0.1.1"})
	}); err != nil {
		t.Fatal(err)
	}
	<-cp.Ready()
}

// TestConsulChurn: of 1,000 services one changes; Consul is asked for that one, and the proxy is sent that one.
func TestConsulChurn(t *testing.T) {
	agent := standIn(t)
	const services = 1000
	name := func(i int) string { return fmt.Sprintf("svc-%04d", i) }
	for i := range services {
		for j := range 3 {
			agent.Put(instance(name(i), fmt.Sprintf("%s-%d", name(i), j), fmt.Sprintf("10.%d.%d.%d", 1+j, i/250, 1+i%250), "passing"))
		}
	}
	r := start(t, func(c *Config) { c.Consul = []ConsulCatalog{{Address: agent.Addr(), MaxWatches: 2 * services}} })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := xdstest.Start(ctx, connect(t, r.addrs.GRPC, insecure.NewCredentials()), xdstest.Options{Node: webNode(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	clusterOf := func(i int) string { return "outbound|8080||" + name(i) + ".service.consul" }
	cluster := clusterOf(500)
	// The proxy has all endpoints of all services, so the registry has nothing more to say. That the server has carried a view through does not tell: a
	// busy client may ask for the endpoints of some clusters a second later.
	if err := c.Until(ctx, func(s xdstest.State) bool {
		if len(s[xdstest.EDS]) < services {
			return false
		}
		for i := range services {
			if len(addressesOf(t, s, clusterOf(i))) != 3 {
				return false
			}
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	// One query for the list and one each service wait.
	if err := waitFor(ctx, func() bool { return agent.Waiting() == services+1 }); err != nil {
		t.Fatalf("%d queries wait, want %d", agent.Waiting(), services+1)
	}
	if err := waitFor(ctx, func() bool {
		st := r.cp.xds.Status()
		return len(st) == 1 && st[0].Served == r.cp.pipeline.view.Load().Version()
	}); err != nil {
		t.Fatal(err)
	}
	queries, responses := agent.Queries(), len(c.Responses())
	const changes = 20
	for n := range changes {
		status, want := "critical", 2
		if n%2 == 1 {
			status, want = "passing", 3
		}
		agent.Put(instance(name(500), name(500)+"-1", "10.2.2.1", status))
		if err := c.Until(ctx, func(s xdstest.State) bool { return len(addressesOf(t, s, cluster)) == want }); err != nil {
			t.Fatal(err)
		}
	}
	if asked := agent.Queries() - queries; asked > changes+1 {
		t.Errorf("%d changes of one service cost %d queries", changes, asked)
	}
	for _, resp := range c.Responses()[responses:] {
		if resp.Type != xdstest.EDS || len(resp.Names) != 1 || resp.Names[0] != cluster || len(resp.Removed) > 0 {
			t.Errorf("the change was sent as %+v", resp)
		}
	}
	if n := len(c.Responses()) - responses; n > changes {
		t.Errorf("%d responses for %d changes: %+v", n, changes, c.Responses()[responses:])
	}
}
