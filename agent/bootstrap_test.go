package agent

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"strings"
	"testing"

	bootstrappb "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterpb "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

func parseBootstrap(t *testing.T, raw []byte) *bootstrappb.Bootstrap {
	t.Helper()
	var doc bootstrappb.Bootstrap
	if err := protojson.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	return &doc
}

// keyOf returns the public half of a PEM key.
func keyOf(raw []byte) (any, error) {
	block, _ := pem.Decode(raw)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return &key.(*ecdsa.PrivateKey).PublicKey, nil
}

func bootstrapConfig() Config {
	return Config{
		Type: Sidecar, Name: "catalog-v2-1", Namespace: "istioinaction", ServiceAccount: "catalog",
		IP: netip.MustParseAddr("127.77.1.3"), Discovery: "127.77.0.1:15012",
		Metadata: map[string]any{
			"NAME": "not this", "WORKLOAD_NAME": "catalog-v2", "APP_CONTAINERS": "catalog",
			"LABELS": map[string]any{"app": "catalog", "version": "v2"}, "LATEEN_INBOUND": "3000=127.77.3.3:3000",
		},
	}
}

func TestNode(t *testing.T) {
	raw, err := Bootstrap(bootstrapConfig(), "/x/socket")
	if err != nil {
		t.Fatal(err)
	}
	node := parseBootstrap(t, raw).GetNode()
	if want := "sidecar~127.77.1.3~catalog-v2-1.istioinaction~istioinaction.svc.cluster.local"; node.GetId() != want {
		t.Errorf("node id %s, want %s", node.GetId(), want)
	}
	meta := node.GetMetadata().AsMap()
	for key, want := range map[string]string{
		"NAME": "catalog-v2-1", "NAMESPACE": "istioinaction", "SERVICE_ACCOUNT": "catalog", "INSTANCE_IPS": "127.77.1.3", "ISTIO_VERSION": "1.24.1",
		"CLUSTER_ID": "Kubernetes", "MESH_ID": "cluster.local", "WORKLOAD_NAME": "catalog-v2", "LATEEN_INBOUND": "3000=127.77.3.3:3000", "INTERCEPTION_MODE": "NONE",
	} {
		if meta[key] != want {
			t.Errorf("%s is %v, want %s", key, meta[key], want)
		}
	}
	labels := meta["LABELS"].(map[string]any)
	for key, want := range map[string]string{
		"app": "catalog", "version": "v2", "security.istio.io/tlsMode": "istio",
		"service.istio.io/canonical-name": "catalog", "service.istio.io/canonical-revision": "v2",
	} {
		if labels[key] != want {
			t.Errorf("label %s is %v, want %s", key, labels[key], want)
		}
	}
}

// Sidecars ask on demand unless they are told not to; gateways are told of everything.
func TestWhoAsksOnDemand(t *testing.T) {
	for _, tc := range []struct {
		name, kind string
		given      map[string]any
		want       any
	}{
		{"sidecar", Sidecar, nil, "true"},
		{"sidecar with it off", Sidecar, map[string]any{"LATEEN_ON_DEMAND": "false"}, "false"},
		{"gateway", Router, nil, nil},
	} {
		cfg := bootstrapConfig()
		cfg.Type, cfg.Metadata = tc.kind, tc.given
		meta, err := nodeMetadata(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := meta.AsMap()["LATEEN_ON_DEMAND"]; got != tc.want {
			t.Errorf("%s: LATEEN_ON_DEMAND is %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestCanonicalServiceWithoutVersion(t *testing.T) {
	cfg := bootstrapConfig()
	cfg.Metadata = map[string]any{"WORKLOAD_NAME": "forum"}
	meta, err := nodeMetadata(cfg)
	if err != nil {
		t.Fatal(err)
	}
	labels := meta.AsMap()["LABELS"].(map[string]any)
	if labels["service.istio.io/canonical-name"] != "forum" || labels["service.istio.io/canonical-revision"] != "latest" {
		t.Errorf("labels %v", labels)
	}
}

func TestBootstrapShape(t *testing.T) {
	cfg := bootstrapConfig()
	raw, err := Bootstrap(cfg, "/x/socket")
	if err != nil {
		t.Fatal(err)
	}
	doc := parseBootstrap(t, raw)
	if a := doc.GetAdmin().GetAddress().GetSocketAddress(); a.GetAddress() != "127.77.1.3" || a.GetPortValue() != 15000 {
		t.Errorf("admin %v", a)
	}
	if src := doc.GetDynamicResources().GetAdsConfig(); src.GetApiType().String() != "DELTA_GRPC" || src.GetGrpcServices()[0].GetEnvoyGrpc().GetClusterName() != "xds-grpc" {
		t.Errorf("ads %v", src)
	}
	types := map[string]clusterpb.Cluster_DiscoveryType{}
	for _, c := range doc.GetStaticResources().GetClusters() {
		types[c.GetName()] = c.GetType()
	}
	if len(types) != 3 || types["xds-grpc"] != clusterpb.Cluster_STATIC {
		t.Errorf("clusters %v", types)
	}
	var ports []uint32
	for _, l := range doc.GetStaticResources().GetListeners() {
		ports = append(ports, l.GetAddress().GetSocketAddress().GetPortValue())
	}
	if len(ports) != 2 || ports[0] != 15090 || ports[1] != 15021 {
		t.Errorf("listeners at %v", ports)
	}
	cfg.Discovery = "istiod.istio-system.svc:15012"
	if raw, err = Bootstrap(cfg, "/x/socket"); err != nil {
		t.Fatal(err)
	}
	for _, c := range parseBootstrap(t, raw).GetStaticResources().GetClusters() {
		if c.GetName() == "xds-grpc" && c.GetType() != clusterpb.Cluster_STRICT_DNS {
			t.Errorf("a control plane with a name is found by %v", c.GetType())
		}
	}
}

// TestMetricsAreCompressed: with the filter for it, unless the host or the mesh has them as they are. The health of the proxy never is.
func TestMetricsAreCompressed(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		name       string
		host, mesh *bool
		want       bool
	}{
		{"nobody says", nil, nil, true},
		{"not by the mesh", nil, &no, false},
		{"by the mesh", nil, &yes, true},
		{"not by the host", &no, &yes, false},
		{"by the host", &yes, &no, true},
	} {
		cfg := bootstrapConfig()
		cfg.StatsCompression = tt.host
		raw, err := Bootstrap(cfg.apply(settings{compression: tt.mesh}), "/x/socket")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range parseBootstrap(t, raw).GetStaticResources().GetListeners() {
			text := l.String()
			if got, want := strings.Contains(text, "compressor"), tt.want && l.GetName() == "stats"; got != want {
				t.Errorf("%s, %s: %v, want %v", tt.name, l.GetName(), got, want)
			}
		}
	}
}

func TestBootstrapRefuses(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(*Config)
		want  string
	}{
		{"no port", func(c *Config) { c.Discovery = "istiod" }, "control plane's address"},
		{"bad port", func(c *Config) { c.Discovery = "istiod:xds" }, "istiod:xds"},
		{"metadata that is no JSON", func(c *Config) { c.Metadata["X"] = make(chan int) }, "node metadata"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := bootstrapConfig()
			tc.spoil(&cfg)
			if _, err := Bootstrap(cfg, "/x/socket"); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
