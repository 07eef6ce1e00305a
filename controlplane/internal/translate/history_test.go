package translate

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	typev1beta1 "istio.io/api/type/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

// dice makes random objects of a small world, in which most things meet.
type dice struct{ *rand.Rand }

func (d dice) of(list ...string) string { return list[d.IntN(len(list))] }

func (d dice) namespace() string { return d.of("shop", "shop", "other", "istio-system") }

func (d dice) labels() map[string]string {
	m := map[string]string{"app": d.of("a", "b")}
	if d.IntN(2) == 0 {
		m["version"] = d.of("v1", "v2")
	}
	if d.IntN(2) == 0 {
		m["security.istio.io/tlsMode"] = "istio"
	}
	return m
}

func (d dice) host() string {
	return d.of("a", "b", "a.shop.svc.cluster.local", "b.other.svc.cluster.local", "ext.example.com", "*.example.com", "*.shop.svc.cluster.local", "gone")
}

func (d dice) export() []string {
	switch d.IntN(5) {
	case 0:
		return []string{"."}
	case 1:
		return []string{"other"}
	}
	return nil
}

func (d dice) destination() *networking.Destination {
	out := &networking.Destination{Host: d.host(), Subset: d.of("", "", "v1", "v2")}
	if strings.HasPrefix(out.Host, "*") {
		out.Host = "a"
	}
	if d.IntN(3) == 0 {
		out.Port = &networking.PortSelector{Number: uint32(80 + d.IntN(2))}
	}
	return out
}

func (d dice) object() *config.Object {
	o := &config.Object{Namespace: d.namespace(), Name: d.of("a", "b", "c"), Created: time.Unix(int64(d.IntN(3)), 0), Source: config.Source{File: "f", Line: d.IntN(2)}}
	switch d.IntN(14) {
	case 0, 1:
		o.Kind = schema.Service
		if d.IntN(6) == 0 {
			o.Labels = map[string]string{model.NetworkLabel: d.of("one", "two"), model.GatewayPortLabel: d.of("80", "81")}
		}
		s := &corev1.Service{}
		s.Spec.Selector = map[string]string{"app": d.of("a", "b")}
		if d.IntN(4) == 0 {
			s.Spec.ClusterIP = d.of("None", "10.0.0.1", "10.0.0.2")
		}
		if d.IntN(6) == 0 {
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, d.of("a.shop.svc.cluster.local", "b.shop.svc.cluster.local", "ext.example.com")
		}
		for i, n := 0, 1+d.IntN(3); i < n; i++ {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: d.of("http", "tcp", "x", "grpc"), Port: int32(d.of("P", "Q", "R", "S")[0]), TargetPort: intstr.FromInt32(int32(d.IntN(3)))})
		}
		o.Spec = s
	case 2:
		o.Kind = schema.ServiceEntry
		s := &networking.ServiceEntry{Hosts: []string{d.of("ext.example.com", "*.example.com", "a.shop.svc.cluster.local")}, ExportTo: d.export(),
			Resolution: networking.ServiceEntry_Resolution(d.IntN(4)), Location: networking.ServiceEntry_Location(d.IntN(2)),
			Ports: []*networking.ServicePort{{Number: uint32(80 + d.IntN(3)), Name: "p", Protocol: d.of("HTTP", "TCP", "TLS", "")}}}
		if d.IntN(2) == 0 {
			s.Endpoints = []*networking.WorkloadEntry{{Address: "1.2.3.4", Labels: d.labels()}}
		} else if d.IntN(2) == 0 {
			s.WorkloadSelector = &networking.WorkloadSelector{Labels: map[string]string{"app": d.of("a", "b")}}
		}
		o.Spec = s
	case 3, 4:
		o.Kind = schema.WorkloadEntry
		o.Name = d.of("w1", "w2", "w3")
		o.Spec = &networking.WorkloadEntry{Address: fmt.Sprintf("127.0.1.%d", 1+d.IntN(3)), Labels: d.labels(), ServiceAccount: d.of("", "sa"),
			Locality: d.of("", "eu/a", "us"), Network: d.of("", "", "one", "two")}
	case 5:
		o.Kind = schema.VirtualService
		o.Spec = d.virtualService()
	case 6:
		o.Kind = schema.DestinationRule
		r := &networking.DestinationRule{Host: d.host(), ExportTo: d.export(), TrafficPolicy: &networking.TrafficPolicy{}}
		if d.IntN(2) == 0 {
			r.TrafficPolicy.OutlierDetection = &networking.OutlierDetection{Interval: durationpb.New(time.Second)}
		}
		if d.IntN(2) == 0 {
			r.TrafficPolicy.LoadBalancer = &networking.LoadBalancerSettings{LbPolicy: &networking.LoadBalancerSettings_ConsistentHash{
				ConsistentHash: &networking.LoadBalancerSettings_ConsistentHashLB{HashKey: &networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName{HttpHeaderName: d.of("x", "y")}}}}
		}
		if d.IntN(4) == 0 {
			r.TrafficPolicy.ConnectionPool = &networking.ConnectionPoolSettings{Tcp: &networking.ConnectionPoolSettings_TCPSettings{IdleTimeout: durationpb.New(time.Minute)}}
		}
		if d.IntN(3) == 0 {
			r.TrafficPolicy.Tls = &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_TLSmode(d.IntN(4)), Sni: "s", CredentialName: d.of("", "sds://x")}
		}
		for _, v := range []string{"v1", "v2"} {
			if d.IntN(2) == 0 {
				r.Subsets = append(r.Subsets, &networking.Subset{Name: v, Labels: map[string]string{"version": v}})
			}
		}
		if d.IntN(4) == 0 {
			r.WorkloadSelector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"app": d.of("a", "b")}}
		}
		o.Spec = r
	case 7:
		o.Kind = schema.Gateway
		o.Spec = &networking.Gateway{Selector: map[string]string{"app": d.of("a", "b")}, Servers: []*networking.Server{
			{Port: &networking.Port{Number: uint32(80 + d.IntN(3)), Name: "p", Protocol: d.of("HTTP", "TCP")}, Hosts: []string{d.of("*", "*.example.com", "./ext.example.com", "a.shop.svc.cluster.local")}},
			{Port: &networking.Port{Number: uint32(80 + d.IntN(3)), Name: "q", Protocol: "HTTP"}, Hosts: []string{"*"}, Tls: &networking.ServerTLSSettings{HttpsRedirect: d.IntN(2) == 0}},
		}}
	case 8:
		o.Kind = schema.PeerAuthentication
		a := &security.PeerAuthentication{Mtls: &security.PeerAuthentication_MutualTLS{Mode: security.PeerAuthentication_MutualTLS_Mode(d.IntN(4))}}
		if d.IntN(2) == 0 {
			a.Selector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"app": d.of("a", "b")}}
			a.PortLevelMtls = map[uint32]*security.PeerAuthentication_MutualTLS{80: {Mode: security.PeerAuthentication_MutualTLS_Mode(d.IntN(4))}}
		}
		o.Spec = a
	case 9:
		o.Kind = schema.Sidecar
		o.Spec = d.sidecar()
	case 12:
		o.Kind, o.Namespace, o.Name = schema.ConfigMap, "istio-system", "istio"
		o.Spec = &corev1.ConfigMap{Data: map[string]string{"meshNetworks": d.of("",
			"networks: {one: {endpoints: [{fromCidr: 127.0.1.1/32}]}, two: {endpoints: [{fromCidr: 127.0.1.0/24}], gateways: [{registryServiceName: a.shop.svc.cluster.local, port: 80}]}}",
			"networks: {one: {endpoints: [{fromRegistry: Kubernetes}], gateways: [{address: 9.9.9.9, port: 1}, {address: 9.9.9.8, port: 1}]}}")}}
	case 10, 11:
		o.Kind, o.Spec = schema.EnvoyFilter, d.envoyFilter()
	default:
		o.Kind = schema.Telemetry
		o.Spec = &telemetry.Telemetry{AccessLogging: []*telemetry.AccessLogging{{Providers: []*telemetry.ProviderRef{{Name: "envoy"}}, Disabled: wrapperspb.Bool(d.IntN(2) == 0)}}}
	}
	o.APIVersion = o.Kind.APIVersion()
	return o
}

func (d dice) sidecar() *networking.Sidecar {
	s := &networking.Sidecar{}
	if d.IntN(2) == 0 {
		s.WorkloadSelector = &networking.WorkloadSelector{Labels: map[string]string{"app": d.of("a", "b")}}
	}
	hosts := func() []string {
		return []string{d.of("*", ".", "shop", "~other") + "/" + d.of("*", "*", "ext.example.com", "*.example.com", "a.shop.svc.cluster.local", "gone"), d.of("./*", "other/b.other.svc.cluster.local")}
	}
	if d.IntN(3) == 0 {
		s.Egress = append(s.Egress, &networking.IstioEgressListener{
			Port: &networking.SidecarPort{Number: uint32(80 + d.IntN(3)), Name: "p", Protocol: d.of("HTTP", "TCP", "HTTP_PROXY")}, Hosts: hosts(),
			CaptureMode: networking.CaptureMode(d.IntN(3)), Bind: d.of("", "", "127.0.0.9"),
		})
	}
	if d.IntN(4) > 0 {
		s.Egress = append(s.Egress, &networking.IstioEgressListener{Hosts: hosts(), CaptureMode: networking.CaptureMode(d.IntN(3))})
	}
	if d.IntN(3) == 0 {
		s.Ingress = []*networking.IstioIngressListener{{Port: &networking.SidecarPort{Number: 80, Name: "p", Protocol: d.of("HTTP", "TCP")},
			DefaultEndpoint: d.of("", "127.0.0.1:8080", "0.0.0.0:81", "unix:///app"), CaptureMode: networking.CaptureMode(d.IntN(3))}}
	}
	if d.IntN(3) == 0 {
		s.InboundConnectionPool = &networking.ConnectionPoolSettings{Tcp: &networking.ConnectionPoolSettings_TCPSettings{MaxConnections: int32(1 + d.IntN(2))}}
	}
	if d.IntN(3) == 0 {
		s.OutboundTrafficPolicy = &networking.OutboundTrafficPolicy{Mode: networking.OutboundTrafficPolicy_Mode(d.IntN(2))}
	}
	return s
}

// envoyFilter is one of a few patches, which differ in what they are for.
func (d dice) envoyFilter() *networking.EnvoyFilter {
	ef := &networking.EnvoyFilter{Priority: int32(d.IntN(3) - 1)}
	if d.IntN(2) == 0 {
		ef.WorkloadSelector = &networking.WorkloadSelector{Labels: map[string]string{"app": d.of("a", "b")}}
	}
	contexts := []networking.EnvoyFilter_PatchContext{networking.EnvoyFilter_ANY, networking.EnvoyFilter_SIDECAR_INBOUND, networking.EnvoyFilter_SIDECAR_OUTBOUND, networking.EnvoyFilter_GATEWAY}
	value := func(js string) *structpb.Struct {
		s := &structpb.Struct{}
		if err := protojson.Unmarshal([]byte(js), s); err != nil {
			panic(err)
		}
		return s
	}
	for range 1 + d.IntN(2) {
		cp := &networking.EnvoyFilter_EnvoyConfigObjectPatch{
			Match: &networking.EnvoyFilter_EnvoyConfigObjectMatch{Context: contexts[d.IntN(len(contexts))]},
			Patch: &networking.EnvoyFilter_Patch{Operation: networking.EnvoyFilter_Patch_MERGE},
		}
		switch d.IntN(6) {
		case 0:
			cp.ApplyTo, cp.Patch.Value = networking.EnvoyFilter_CLUSTER, value(fmt.Sprintf(`{"connect_timeout": "%ds"}`, 1+d.IntN(3)))
			if d.IntN(2) == 0 {
				cp.Match.ObjectTypes = &networking.EnvoyFilter_EnvoyConfigObjectMatch_Cluster{Cluster: &networking.EnvoyFilter_ClusterMatch{Service: d.of("a.shop.svc.cluster.local", "b.other.svc.cluster.local")}}
			}
		case 1:
			cp.ApplyTo, cp.Patch.Operation = networking.EnvoyFilter_CLUSTER, networking.EnvoyFilter_Patch_REMOVE
			cp.Match.ObjectTypes = &networking.EnvoyFilter_EnvoyConfigObjectMatch_Cluster{Cluster: &networking.EnvoyFilter_ClusterMatch{PortNumber: uint32(80 + d.IntN(3))}}
		case 2:
			cp.ApplyTo, cp.Patch.Operation = networking.EnvoyFilter_CLUSTER, networking.EnvoyFilter_Patch_ADD
			cp.Patch.Value = value(`{"name": "added", "type": "STATIC", "connect_timeout": "1s"}`)
		case 3:
			cp.ApplyTo, cp.Patch.Value = networking.EnvoyFilter_ROUTE_CONFIGURATION, value(`{"response_headers_to_remove": ["x-gone"]}`)
			if d.IntN(2) == 0 {
				cp.Match.ObjectTypes = &networking.EnvoyFilter_EnvoyConfigObjectMatch_RouteConfiguration{RouteConfiguration: &networking.EnvoyFilter_RouteConfigurationMatch{PortNumber: uint32(80 + d.IntN(3))}}
			}
		case 4:
			cp.ApplyTo, cp.Patch.Value = networking.EnvoyFilter_HTTP_ROUTE, value(`{"request_headers_to_remove": ["x-gone"]}`)
		default:
			cp.ApplyTo, cp.Patch.Operation = networking.EnvoyFilter_HTTP_FILTER, networking.EnvoyFilter_Patch_INSERT_FIRST
			cp.Patch.Value = value(`{"name": "envoy.filters.http.buffer", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": 1000}}`)
		}
		ef.ConfigPatches = append(ef.ConfigPatches, cp)
	}
	return ef
}

// virtualService is one with hosts, some of whose rules delegate, or a delegate.
func (d dice) virtualService() *networking.VirtualService {
	v := &networking.VirtualService{Hosts: []string{d.host(), d.host()}, ExportTo: d.export()}
	if d.IntN(4) == 0 {
		v.Hosts = nil
	} else {
		v.Gateways = [][]string{nil, nil, {"istio-system/a"}, {"b", "mesh"}}[d.IntN(4)]
	}
	for i, n := 0, d.IntN(3); i < n; i++ {
		v.Http = append(v.Http, d.httpRoute(len(v.Hosts) > 0))
	}
	if len(v.Hosts) == 0 {
		return v
	}
	if d.IntN(4) == 0 {
		v.Tcp = []*networking.TCPRoute{
			{Match: []*networking.L4MatchAttributes{{DestinationSubnets: d.subnets()}, {Port: 80, SourceLabels: map[string]string{"app": d.of("a", "b")}}},
				Route: []*networking.RouteDestination{{Destination: d.destination()}}},
			{Match: []*networking.L4MatchAttributes{{DestinationSubnets: d.subnets()}}, Route: []*networking.RouteDestination{{Destination: d.destination()}}},
			{Route: []*networking.RouteDestination{{Destination: d.destination(), Weight: 1}, {Destination: d.destination(), Weight: int32(d.IntN(2))}}},
		}
	}
	if d.IntN(4) == 0 {
		v.Tls = []*networking.TLSRoute{{Match: []*networking.TLSMatchAttributes{
			{SniHosts: []string{"ext.example.com", d.of("one.example.com", "*.example.com")}, DestinationSubnets: d.subnets()}, {SniHosts: []string{d.of("ext.example.com", "two.example.com")}},
		}, Route: []*networking.RouteDestination{{Destination: d.destination()}}}}
	}
	return v
}

func (d dice) subnets() []string {
	return [][]string{nil, {"10.0.0.0/8"}, {"10.0.0.1", "10.1.0.0/16"}, {"10.0.0.1/8"}}[d.IntN(4)]
}

func (d dice) httpRoute(root bool) *networking.HTTPRoute {
	r := &networking.HTTPRoute{}
	if root && d.IntN(3) == 0 {
		r.Delegate = &networking.Delegate{Name: d.of("a", "b", "c"), Namespace: d.of("", "shop")}
	} else {
		r.Route = []*networking.HTTPRouteDestination{{Destination: d.destination(), Weight: int32(d.IntN(3))}}
		if d.IntN(2) == 0 {
			r.Route = append(r.Route, &networking.HTTPRouteDestination{Destination: d.destination(), Weight: int32(d.IntN(3))})
		}
		if d.IntN(3) == 0 {
			r.Mirror = d.destination()
		}
	}
	switch d.IntN(4) {
	case 0:
		r.Match = []*networking.HTTPMatchRequest{{SourceLabels: map[string]string{d.of("app", "version"): d.of("a", "v1")}}}
	case 1:
		r.Match = []*networking.HTTPMatchRequest{{Port: uint32(80 + d.IntN(2))}, {Uri: &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: "/x"}}}}
	}
	return r
}

func (d dice) mesh() *model.Mesh {
	m := model.DefaultMesh()
	m.RootNamespace = d.of("istio-system", "shop")
	m.TrustDomain = d.of("cluster.local", "td")
	m.RegistryOnly = d.IntN(2) == 0
	m.AutoMTLS = d.IntN(3) > 0
	if d.IntN(3) == 0 {
		m.ServiceExportTo = []string{"."}
	}
	if d.IntN(3) == 0 {
		m.AccessLogFile = "/dev/stdout"
	}
	if d.IntN(2) == 0 {
		to := model.ProviderService{Host: d.of("a.shop.svc.cluster.local", "b.other.svc.cluster.local", "ext.example.com"), Port: 80}
		m.Providers = []*model.Provider{{Name: "x", Secrets: &model.SecretServer{Name: "x", To: to}}}
	}
	return m
}

func historyProxies(t *testing.T) []*model.Proxy {
	var out []*model.Proxy
	for _, n := range []struct {
		id   string
		meta map[string]any
	}{
		{"sidecar~127.0.1.1~w1.shop~shop.svc.cluster.local", map[string]any{"INTERCEPTION_MODE": "NONE", "LATEEN_HTTP_PROXY": "127.0.1.1:15080", "LABELS": map[string]any{"app": "a"}}},
		{"sidecar~127.0.1.2~w2.other~other.svc.cluster.local", map[string]any{"LABELS": map[string]any{"app": "b", "version": "v1"}}},
		{"sidecar~127.0.1.3~w3.other~other.svc.cluster.local", map[string]any{"LABELS": map[string]any{"app": "a"}}},
		{"sidecar~127.0.1.2~w2.shop~shop.svc.cluster.local", map[string]any{"INTERCEPTION_MODE": "NONE", "LABELS": map[string]any{"app": "a"},
			"LATEEN_INBOUND": "80=127.0.0.1:7080,81=127.0.0.1:7081,1=127.0.0.1:7001,2=127.0.0.1:7002"}},
		{"router~127.0.1.3~w3.istio-system~istio-system.svc.cluster.local", map[string]any{"LABELS": map[string]any{"app": "a"}}},
	} {
		p, err := model.ParseProxy(n.id, "", n.meta, model.Locality{Region: "eu"})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return append(out, withoutIstio(out[1])) // which shares keys with its neighbours
}

func encode(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// client is what a cache would keep for a proxy, following changes by Affects alone.
type client struct {
	listeners, own, routes, clusters, endpoints, inbound map[string][]byte
}

func encodeAll(list []Resource) map[string][]byte {
	out := map[string][]byte{}
	for _, r := range list {
		out[r.Name] = encode(r.Build())
	}
	return out
}

func (c *client) follow(ch *model.Change, s *model.Snapshot, p *model.Proxy) {
	a := Affects(ch, s, p)
	if a.Listeners || c.listeners == nil {
		c.listeners = encodeAll(OutboundListeners(s, p))
	}
	if a.Inbound || c.own == nil {
		c.own = encodeAll(InboundListeners(s, p))
	}
	if a.Routes || c.routes == nil || a.Listeners {
		c.routes = encodeAll(Routes(s, p, RouteNames(s, p)))
	}
	if a.Inbound || c.inbound == nil {
		c.inbound = encodeAll(InboundClusters(s, p))
	}
	if a.AllClusters || c.clusters == nil {
		c.clusters = encodeAll(Clusters(s, p))
		for n := range c.inbound {
			delete(c.clusters, n)
		}
	} else {
		for _, h := range a.ClusterHosts {
			for n := range c.clusters {
				if strings.HasSuffix(n, "|"+h) {
					delete(c.clusters, n)
				}
			}
			for _, r := range ClustersOf(s, p, h) {
				c.clusters[r.Name] = encode(r.Build())
			}
		}
	}
	// A client subscribes to the names of its clusters.
	names := EndpointNames(s, p)
	fresh := map[string][]byte{}
	for _, n := range names {
		if old, ok := c.endpoints[n]; ok && !a.Endpoint(n) {
			fresh[n] = old
			continue
		}
		for _, r := range Endpoints(s, p, []string{n}) {
			fresh[n] = encode(r.Build())
		}
	}
	c.endpoints = fresh
}

func sameBytes(t *testing.T, what string, got, want map[string][]byte) {
	t.Helper()
	for n, b := range want {
		if g, ok := got[n]; !ok {
			t.Errorf("%s: %s is missing", what, n)
		} else if !bytes.Equal(g, b) {
			t.Errorf("%s: %s differs", what, n)
		}
	}
	for n := range got {
		if _, ok := want[n]; !ok {
			t.Errorf("%s: %s should be gone", what, n)
		}
	}
}

// TestHistories: whatever the order of changes, the snapshot and all resources equal those
// built at once from the final objects; a cache that follows changes by Affects ends with the
// same resources; and resources with equal keys have equal bytes.
func TestHistories(t *testing.T) {
	runs, steps := 9, 60
	if testing.Short() {
		runs = 3
	}
	for seed := range uint64(runs) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			d := dice{rand.New(rand.NewPCG(seed, 7))}
			proxies := historyProxies(t)
			clients := make([]client, len(proxies))
			builder := func() *snapshot.Builder {
				b := snapshot.New()
				if seed%2 == 1 {
					b.TrimGateways()
				}
				return b
			}
			b, mesh := builder(), model.DefaultMesh()
			objects, registries := map[config.Key]*config.Object{}, registered{}
			keyed, outbound := map[string][]byte{}, map[string]map[string][]byte{}
			for step := range steps {
				var events []snapshot.Event
				for range 1 + d.IntN(3) {
					if d.IntN(4) == 0 {
						events = append(events, registries.change(d))
						continue
					}
					o := d.object()
					if d.IntN(3) == 0 {
						delete(objects, o.Key())
						events = append(events, snapshot.Delete("config", o.Key()))
						continue
					}
					objects[o.Key()] = o
					events = append(events, snapshot.Set("config", o))
				}
				s, ch := b.Update(events...)
				if d.IntN(15) == 0 {
					mesh = d.mesh()
					var after *model.Change
					s, after = b.SetMesh(mesh)
					ch.Merge(after)
				}
				fresh := builder()
				fresh.SetMesh(mesh)
				all := registries.events()
				for _, o := range objects {
					all = append(all, snapshot.Set("config", o))
				}
				scratch, _ := fresh.Update(all...)
				for i, p := range proxies {
					clients[i].follow(ch, s, p)
					res, want := resources(s, p), resources(scratch, p)
					check(t, res)
					for kind := range res {
						got := encodeAll(res[kind])
						sameBytes(t, "incremental "+kind, got, encodeAll(want[kind]))
						for _, r := range res[kind] {
							if r.Key == "" {
								continue
							}
							k := kind + " " + r.Name + " " + r.Key
							if old, ok := keyed[k]; ok && !bytes.Equal(old, got[r.Name]) {
								t.Errorf("%s %s: one key, two messages", kind, r.Name)
							}
							keyed[k] = got[r.Name]
						}
					}
					cl := &clients[i]
					clusters := map[string][]byte{}
					for n, v := range cl.clusters {
						clusters[n] = v
					}
					for n, v := range cl.inbound {
						clusters[n] = v
					}
					sameBytes(t, "followed clusters", clusters, encodeAll(res["clusters"]))
					listeners := maps.Clone(cl.listeners)
					maps.Copy(listeners, cl.own)
					sameBytes(t, "followed listeners", listeners, encodeAll(res["listeners"]))
					if key, shared := OutboundKey(s, p, CalledPods(s, p.Namespace)); shared {
						k := fmt.Sprint(step, s.Scope(p), key)
						if other, ok := outbound[k]; ok {
							sameBytes(t, "shared listeners", cl.listeners, other)
						}
						outbound[k] = cl.listeners
					}
					sameBytes(t, "followed routes", cl.routes, encodeAll(res["routes"]))
					sameBytes(t, "followed endpoints", cl.endpoints, encodeAll(res["endpoints"]))
				}
				if t.Failed() {
					var names []string
					for _, e := range events {
						names = append(names, fmt.Sprint(e.Key, e.Service, " delete=", e.Delete))
					}
					sort.Strings(names)
					t.Fatalf("after step %d: %v", step, names)
				}
			}
		})
	}
}
