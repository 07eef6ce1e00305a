package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routepb "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
	"github.com/lateen-mesh/lateen/controlplane/internal/gatewayapi"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdsserver"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
)

// bench is the path from objects to streams, without files and without the debounce.
type bench struct {
	t       *testing.T
	p       *pipeline
	xds     *xdsserver.Server
	conn    *grpc.ClientConn
	objects map[string]string // key to YAML
	parsed  map[string]*config.Object
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return newBenchOf(t, snapshot.New())
}

func newBenchOf(t *testing.T, builder *snapshot.Builder) *bench {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	b := &bench{t: t, p: newPipeline(log, prometheus.NewRegistry(), builder, gatewayapi.Options{}, noAuthority{}, func([]string) {}), objects: map[string]string{}, parsed: map[string]*config.Object{}}
	b.xds = xdsserver.New(xdsserver.Options{View: served{b.p.view.Load()}, Logger: log})
	l := bufconn.Listen(1 << 20)
	s := grpc.NewServer(xdsserver.ServerOptions()...)
	b.xds.Register(s)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	var err error
	b.conn, err = grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.conn.Close(); s.Stop(); <-done })
	return b
}

// set makes the mesh consist of these objects and pushes the difference as one batch.
func (b *bench) set(objects map[string]string) {
	b.t.Helper()
	var batch configstore.Batch
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if b.objects[key] == objects[key] {
			continue
		}
		set, err := config.Load([]config.File{{Name: key + ".yaml", Data: []byte(objects[key])}}, config.LoadOptions{})
		if err != nil {
			b.t.Fatalf("%v in\n%s", err, objects[key])
		}
		for _, o := range set.All() {
			b.parsed[key] = o
			batch.Changed = append(batch.Changed, o)
		}
	}
	for key := range b.objects {
		if _, ok := objects[key]; !ok {
			batch.Deleted = append(batch.Deleted, b.parsed[key].Key())
		}
	}
	b.objects = maps.Clone(objects)
	b.p.update([]sourced{{source: "config", batch: batch}}, func(v served) { b.xds.Push(v) })
}

func node(t *testing.T, kind, name, ns, ip string, labels map[string]any) *corepb.Node {
	t.Helper()
	md, err := structpb.NewStruct(map[string]any{
		"NAME": name, "NAMESPACE": ns, "INSTANCE_IPS": ip, "CLUSTER_ID": "Kubernetes", "SERVICE_ACCOUNT": "default", "ISTIO_VERSION": "1.24.1",
		"LABELS": labels, "INTERCEPTION_MODE": "REDIRECT",
	})
	if err != nil {
		t.Fatal(err)
	}
	return &corepb.Node{Id: kind + "~" + ip + "~" + name + "." + ns + "~" + ns + ".svc.cluster.local", Metadata: md}
}

func (b *bench) start(ctx context.Context, opts xdstest.Options) *xdstest.Client {
	b.t.Helper()
	c, err := xdstest.Start(ctx, b.conn, opts)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

// world is a random mesh whose rules refer only to what exists.
type world struct {
	rnd      *rand.Rand
	services map[int]*service
	named    int // the service that the Sidecar of s1's workloads names; 0: there is no Sidecar
}

type service struct {
	port    int
	subsets int // 0: no destination rule
	route   int // 0: no virtual service; else it sends by weight
	weight  int
	pods    map[int]bool
}

func (w *world) step() {
	if w.rnd.IntN(16) == 0 {
		w.named = w.rnd.IntN(6)
		return
	}
	i := w.rnd.IntN(6)
	s := w.services[i]
	if s == nil {
		w.services[i] = &service{port: 80 + w.rnd.IntN(2), pods: map[int]bool{1: true}}
		return
	}
	switch w.rnd.IntN(8) {
	case 0:
		delete(w.services, i)
	case 1:
		s.subsets = w.rnd.IntN(4)
	case 2, 3:
		s.route, s.weight = w.rnd.IntN(2), w.rnd.IntN(101)
	case 4:
		s.weight = w.rnd.IntN(101)
	default:
		pod := w.rnd.IntN(4)
		if s.pods[pod] {
			delete(s.pods, pod)
		} else {
			s.pods[pod] = true
		}
	}
}

// objects renders the world.
func (w *world) objects() map[string]string {
	out := map[string]string{
		"gw": "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw, namespace: shop}\nspec:\n  selector: {istio: ingressgateway}\n  servers:\n  - port: {number: 80, name: http, protocol: HTTP}\n    hosts: ['*']\n",
	}
	if w.named > 0 {
		out["sidecar"] = fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s1, namespace: shop}\nspec:\n  workloadSelector: {labels: {app: s1}}\n  egress:\n  - hosts: ['./*', ./s%d.shop.svc.cluster.local]\n", w.named)
	}
	for i, s := range w.services {
		name := fmt.Sprintf("s%d", i)
		out["svc-"+name] = fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec:\n  clusterIP: 10.0.0.%d\n  selector: {app: %s}\n  ports:\n  - {name: http, port: %d, targetPort: 8080}\n", name, i+1, name, s.port)
		for pod := range s.pods {
			out[fmt.Sprintf("we-%s-%d", name, pod)] = fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: %s-%d, namespace: shop}\nspec: {address: 10.1.%d.%d, labels: {app: %s, version: v%d}}\n", name, pod, i, pod+1, name, pod)
		}
		if s.subsets > 0 {
			text := fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: %s, namespace: shop}\nspec:\n  host: %s.shop.svc.cluster.local\n  subsets:\n", name, name)
			for v := range s.subsets {
				text += fmt.Sprintf("  - {name: v%d, labels: {version: v%d}}\n", v, v)
			}
			out["dr-"+name] = text
		}
		if s.route > 0 {
			text := fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %s, namespace: shop}\nspec:\n  hosts: [%s.shop.svc.cluster.local]\n  gateways: [mesh, gw]\n  http:\n  - route:\n    - destination: {host: %s.shop.svc.cluster.local%s}\n      weight: %d\n",
				name, name, name, w.subset(s, 0), s.weight)
			if to := w.other(i); to >= 0 {
				text += fmt.Sprintf("    - destination: {host: s%d.shop.svc.cluster.local%s, port: {number: %d}}\n      weight: %d\n", to, w.subset(w.services[to], 1), w.services[to].port, 100-s.weight)
			}
			out["vs-"+name] = text
		}
	}
	return out
}

func (w *world) subset(s *service, n int) string {
	if s.subsets == 0 {
		return ""
	}
	return fmt.Sprintf(", subset: v%d", n%s.subsets)
}

// other is the next service in number, -1 when there is none.
func (w *world) other(i int) int {
	for d := 1; d < 6; d++ {
		if j := (i + d) % 6; w.services[j] != nil {
			return j
		}
	}
	return -1
}

// noGap fails when a route leads to a cluster that the client does not have, or to one whose endpoints it was not given.
func noGap(s xdstest.State, _ string) error {
	for name, a := range s[xdstest.RDS] {
		var rc routepb.RouteConfiguration
		if err := a.UnmarshalTo(&rc); err != nil {
			return err
		}
		for _, cluster := range clustersOf(&rc) {
			if !strings.HasPrefix(cluster, "outbound|") {
				continue
			}
			if s[xdstest.CDS][cluster] == nil {
				return fmt.Errorf("route configuration %s leads to %s, which the proxy does not have", name, cluster)
			}
			if s[xdstest.EDS][cluster] == nil {
				return fmt.Errorf("route configuration %s leads to %s, whose endpoints the proxy does not have", name, cluster)
			}
		}
	}
	for name, a := range s[xdstest.VHDS] {
		var vh routepb.VirtualHost
		if err := a.UnmarshalTo(&vh); err != nil {
			return err
		}
		for _, cluster := range clustersOf(&routepb.RouteConfiguration{VirtualHosts: []*routepb.VirtualHost{&vh}}) {
			if strings.HasPrefix(cluster, "outbound|") && (s[xdstest.CDS][cluster] == nil || s[xdstest.EDS][cluster] == nil) {
				return fmt.Errorf("virtual host %s leads to %s, which the proxy does not have, or not its endpoints", name, cluster)
			}
		}
	}
	return nil
}

// asked are the hosts that a proxy on demand asks for in every route configuration: some that come and go, some that never are.
var asked = xdstest.OnDemand("s0", "s1.shop:80", "s2.shop.svc.cluster.local", "s3.shop.svc", "10.0.0.5", "unknown.example.com")

// askedAndBegun asks as well for what it is to have without asking: what its Sidecar names, since nobody has used its workload before.
var askedAndBegun = xdstest.OnDemand("*", "s0", "s1.shop:80", "unknown.example.com")

// onDemand makes a node one that asks for virtual hosts.
func onDemand(n *corepb.Node) *corepb.Node {
	n = proto.CloneOf(n)
	n.Metadata.Fields["LATEEN_ON_DEMAND"] = structpb.NewStringValue("true")
	return n
}

// variant is a way to subscribe.
func variant(name string, n *corepb.Node) xdstest.Options {
	switch name {
	case "sotw":
		return xdstest.Options{Node: n, SotW: true, Check: noGap}
	case "on-demand":
		return xdstest.Options{Node: onDemand(n), Follow: asked, Check: noGap}
	case "on-demand with a beginning":
		return xdstest.Options{Node: onDemand(n), Follow: askedAndBegun, Check: noGap}
	}
	return xdstest.Options{Node: n, Check: noGap}
}

func clustersOf(rc *routepb.RouteConfiguration) []string {
	var out []string
	for _, vh := range rc.VirtualHosts {
		for _, r := range vh.Routes {
			if c := r.GetRoute().GetCluster(); c != "" {
				out = append(out, c)
			}
			for _, wc := range r.GetRoute().GetWeightedClusters().GetClusters() {
				out = append(out, wc.Name)
			}
		}
	}
	return out
}

// TestRandomHistories: whatever happened, a client that followed it has what a client has that comes at the end to a control plane that knows
// the end only, in both variants, and on the way there was never a route to nowhere.
func TestRandomHistories(t *testing.T) {
	nodes := map[string]*corepb.Node{
		"sidecar": node(t, "sidecar", "s0-1", "shop", "10.1.0.2", map[string]any{"app": "s0", "version": "v1"}),
		"router":  node(t, "router", "gw-1", "istio-system", "10.2.0.1", map[string]any{"istio": "ingressgateway"}),
	}
	nodes["explicit"] = node(t, "sidecar", "s1-1", "shop", "10.1.1.2", map[string]any{"app": "s1"})
	nodes["explicit"].Metadata.Fields["INTERCEPTION_MODE"] = structpb.NewStringValue("NONE")
	nodes["explicit"].Metadata.Fields["LATEEN_HTTP_PROXY"] = structpb.NewStringValue("10.1.1.2:15080")
	nodes["begun"] = node(t, "sidecar", "s1-2", "shop", "10.1.1.3", map[string]any{"app": "s1"})
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			builder := func() *snapshot.Builder {
				b := snapshot.New()
				if seed%2 == 1 {
					b.TrimGateways()
				}
				return b
			}
			b := newBenchOf(t, builder())
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			w := &world{rnd: rand.New(rand.NewPCG(seed, 7)), services: map[int]*service{}}
			b.set(w.objects())
			clients := map[string]*xdstest.Client{}
			for name, n := range nodes {
				if name == "explicit" || name == "begun" {
					continue
				}
				for _, v := range []string{"delta", "sotw"} {
					clients[name+" "+v] = b.start(ctx, variant(v, n))
				}
			}
			clients["sidecar on-demand"] = b.start(ctx, variant("on-demand", nodes["sidecar"]))
			clients["explicit on-demand"] = b.start(ctx, variant("on-demand", nodes["explicit"]))
			clients["begun on-demand with a beginning"] = b.start(ctx, variant("on-demand with a beginning", nodes["begun"]))
			for range 120 {
				for range 1 + w.rnd.IntN(3) {
					w.step()
				}
				b.set(w.objects())
				if w.rnd.IntN(5) == 0 { // now and then everybody catches up, so that not all changes fall together
					if err := waitFor(ctx, b.settled); err != nil {
						t.Fatalf("not everybody caught up: %v", err)
					}
				}
			}
			// Another control plane, which was told of the end only, so that nothing was derived step by step.
			anew := newBenchOf(t, builder())
			anew.set(w.objects())
			for name, c := range clients {
				kind, way, _ := strings.Cut(name, " ")
				fresh := anew.start(ctx, variant(way, nodes[kind]))
				if err := fresh.Until(ctx, complete); err != nil {
					t.Fatalf("fresh client: %v", err)
				}
				if err := waitFor(ctx, func() bool { return c.Text() == fresh.Text() }); err != nil {
					t.Errorf("%s: %v; it differs from a fresh client:\n%s", name, err, differences(c.Text(), fresh.Text()))
				}
				fresh.Close()
			}
		})
	}
}

// settled says whether all proxies have all of the current view.
func (b *bench) settled() bool {
	for _, p := range b.xds.Status() {
		if p.Served != b.p.view.Load().Version() {
			return false
		}
	}
	return true
}

// complete says that a client has all that follows from what it has.
func complete(s xdstest.State) bool {
	return s[xdstest.CDS] != nil && s[xdstest.LDS] != nil && len(s[xdstest.EDS]) == len(xdstest.EndpointNames(s)) && len(s[xdstest.RDS]) == len(xdstest.RouteNames(s))
}

// differences lists the resources that differ between two states.
func differences(has, wants string) string {
	var out strings.Builder
	for _, side := range []struct{ sign, a, b string }{{"only it has", has, wants}, {"only a fresh one has", wants, has}} {
		other := map[string]bool{}
		for _, line := range strings.Split(side.b, "\n") {
			other[line] = true
		}
		for _, line := range strings.Split(side.a, "\n") {
			if !other[line] {
				fmt.Fprintf(&out, "%s: %.150s... (%d)\n", side.sign, line, len(line))
			}
		}
	}
	return out.String()
}

// TestReconnectSendsNothing: a delta client that comes back with everything is sent nothing, by another control plane too.
func TestReconnectSendsNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w := &world{rnd: rand.New(rand.NewPCG(3, 3)), services: map[int]*service{}}
	for range 40 {
		w.step()
	}
	n := node(t, "sidecar", "s0-1", "shop", "10.1.0.2", map[string]any{"app": "s0"})
	first := newBench(t)
	first.set(w.objects())
	c := first.start(ctx, xdstest.Options{Node: n})
	if err := c.Until(ctx, func(s xdstest.State) bool { return len(s[xdstest.RDS]) > 0 }); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(ctx, first.settled); err != nil {
		t.Fatal(err)
	}
	c.Close()

	second := newBench(t)
	second.set(w.objects())
	back := second.start(ctx, xdstest.Options{Node: n, From: c})
	// One change, in one service's endpoints: the answer to it is the first thing that comes.
	for _, s := range w.services {
		s.pods[9] = true
		break
	}
	if err := waitFor(ctx, func() bool {
		st := second.xds.Status()
		return len(st) == 1 && len(st[0].Types) == 4 && st[0].Served > 0
	}); err != nil {
		t.Fatalf("%v: %+v", err, second.xds.Status())
	}
	for _, typ := range second.xds.Status()[0].Types {
		if typ.State != xdsserver.Synced {
			t.Errorf("%s is %s", typ.TypeURL, typ.State)
		}
	}
	second.set(w.objects())
	if err := waitFor(ctx, func() bool { return len(back.Responses()) > 0 }); err != nil {
		t.Fatal(err)
	}
	for _, r := range back.Responses() {
		if r.Type != xdstest.EDS {
			t.Errorf("a client that has everything was sent %v", r)
		}
	}
}

// waitFor polls for what nothing tells of.
func waitFor(ctx context.Context, ok func() bool) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// TestAWorkloadBeginsWithWhatItUsed: a client of a workload that was here before is sent the virtual hosts that it had asked for, after their
// clusters and endpoints, and one of another workload is not.
func TestAWorkloadBeginsWithWhatItUsed(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w := &world{services: map[int]*service{}}
	for i := range 3 {
		w.services[i] = &service{port: 80, pods: map[int]bool{1: true}}
	}
	b.set(w.objects())
	client := func(name, workload string, follow func(xdstest.State) map[string][]string) *xdstest.Client {
		n := onDemand(node(t, "sidecar", name, "shop", "10.1.9.2", map[string]any{"app": "client"}))
		n.Metadata.Fields["WORKLOAD_NAME"] = structpb.NewStringValue(workload)
		return b.start(ctx, xdstest.Options{Node: n, Follow: follow, Check: noGap})
	}
	const used, cluster = "80/s1.shop.svc.cluster.local", "outbound|80||s1.shop.svc.cluster.local"
	has := func(s xdstest.State) bool {
		return s[xdstest.VHDS][used] != nil && s[xdstest.CDS][cluster] != nil && s[xdstest.EDS][cluster] != nil
	}
	first := client("client-1", "client", xdstest.OnDemand("*", "s1.shop.svc.cluster.local"))
	if err := first.Until(ctx, has); err != nil {
		t.Fatal(err)
	}
	first.Close()
	again := client("client-2", "client", xdstest.OnDemand("*"))
	if err := again.Until(ctx, has); err != nil {
		t.Fatalf("%v: a workload does not begin with what it used:\n%s", err, again.Text())
	}
	other := client("other-1", "other", xdstest.OnDemand("*", "s2.shop.svc.cluster.local"))
	if err := other.Until(ctx, func(s xdstest.State) bool { return len(s[xdstest.VHDS]) > 0 }); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(other.Text(), "s1.shop") {
		t.Errorf("another workload has it as well:\n%s", other.Text())
	}
}
