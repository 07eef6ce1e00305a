package agentcmd

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/agent"
	"github.com/lateen-mesh/lateen/agent/status"
)

func configOf(t *testing.T, environ []string, args ...string) (agent.Config, error) {
	t.Helper()
	var o options
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	o.bindFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o.config(agent.Sidecar, environ)
}

func TestFromFlags(t *testing.T) {
	cfg, err := configOf(t, []string{"POD_NAME=loses"},
		"--name=catalog-v1-1", "--namespace=istioinaction", "--service-account=catalog", "--ip=127.77.1.2", "--workload=catalog-v1", "--app=catalog",
		"--label=app=catalog,version=v1", "--inbound=3000=127.77.3.2:3000", "--http-proxy=127.77.1.2:15080", "--discovery-address=127.77.0.1:15012",
		"--root-cert=/r", "--admin-ip=127.0.0.9", "--token-file=/t", "--config-path=/c", "--concurrency=2")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Name != "catalog-v1-1" || cfg.ServiceAccount != "catalog" || cfg.IP.String() != "127.77.1.2" || cfg.AdminIP.String() != "127.0.0.9" || cfg.Discovery != "127.77.0.1:15012" ||
		cfg.RootCertFile != "/r" || cfg.TokenFile != "/t" || cfg.Dir != "/c" || cfg.Concurrency != 2 {
		t.Errorf("%+v", cfg)
	}
	want := map[string]any{
		"WORKLOAD_NAME": "catalog-v1", "APP_CONTAINERS": "catalog", "LATEEN_INBOUND": "3000=127.77.3.2:3000", "LATEEN_HTTP_PROXY": "127.77.1.2:15080",
		"LABELS": map[string]any{"app": "catalog", "version": "v1"},
	}
	if !reflect.DeepEqual(cfg.Metadata, want) {
		t.Errorf("metadata %v, want %v", cfg.Metadata, want)
	}
}

func TestFromEnvironment(t *testing.T) {
	cfg, err := configOf(t, []string{
		"POD_NAME=catalog-6cf4b97d-ftl77", "POD_NAMESPACE=istioinaction", "INSTANCE_IP=10.10.0.16", "SERVICE_ACCOUNT=catalog", "CA_ADDR=ca:15012", "TRUST_DOMAIN=mesh.example",
		"ISTIO_META_WORKLOAD_NAME=catalog", `ISTIO_METAJSON_LABELS={"app":"catalog"}`,
		`PROXY_CONFIG={"discoveryAddress":"istiod-2.istio-system.svc:15012","proxyAdminPort":15001,"proxyMetadata":{"ISTIO_META_DNS_CAPTURE":"true"}}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Name != "catalog-6cf4b97d-ftl77" || cfg.CAAddress != "ca:15012" || cfg.TrustDomain != "mesh.example" ||
		cfg.Discovery != "istiod-2.istio-system.svc:15012" || cfg.AdminPort != 15001 || cfg.TokenFile != "./var/run/secrets/tokens/istio-token" {
		t.Errorf("%+v", cfg)
	}
	want := map[string]any{"WORKLOAD_NAME": "catalog", "DNS_CAPTURE": "true", "LABELS": map[string]any{"app": "catalog"}}
	if !reflect.DeepEqual(cfg.Metadata, want) {
		t.Errorf("metadata %v, want %v", cfg.Metadata, want)
	}
}

// What PROXY_CONFIG says of how the proxy is run, and what of it the control plane reads of the node.
func TestProxyConfigOfTheHost(t *testing.T) {
	text := `PROXY_CONFIG={"drainDuration": "5s", "terminationDrainDuration": "3s", "fileFlushInterval": "0.5s", "fileFlushMinSizeKb": 8, "meshId": "m",
		"gatewayTopology": {"numTrustedProxies": 1}, "proxyHeaders": {"server": {"value": "s"}}, "connectionSettings": {"httpIdleTimeout": "60s"}}`
	cfg, err := configOf(t, []string{"INSTANCE_IP=10.0.0.1", text})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.DrainTime != 5*time.Second || cfg.TerminationDrain != 3*time.Second || cfg.FileFlushInterval != 500*time.Millisecond || cfg.FileFlushSize != 8<<10 {
		t.Errorf("%+v", cfg)
	}
	want := map[string]any{"MESH_ID": "m", "PROXY_CONFIG": map[string]any{
		"gatewayTopology": map[string]any{"numTrustedProxies": 1}, "proxyHeaders": map[string]any{"server": map[string]any{"value": "s"}},
		"connectionSettings": map[string]any{"httpIdleTimeout": "60s"},
	}}
	if !reflect.DeepEqual(cfg.Metadata, want) {
		t.Errorf("metadata %v, want %v", cfg.Metadata, want)
	}
	if cfg, err = configOf(t, []string{"INSTANCE_IP=10.0.0.1", text}, "--no-termination-drain"); err != nil || cfg.TerminationDrain >= 0 {
		t.Errorf("it drains for %v, %v", cfg.TerminationDrain, err)
	}
}

// How the node's cluster is named: by the flag, by a name, by a rule.
func TestNodeCluster(t *testing.T) {
	for _, tt := range []struct {
		text, flag, name string
		rule             agent.ClusterRule
	}{
		{"", "", "", agent.ClusterByDefault},
		{"serviceCluster: mine", "", "mine", agent.ClusterByDefault},
		{"serviceCluster: mine", "--serviceCluster=flag", "flag", agent.ClusterByDefault},
		{"tracingServiceName: APP_LABEL_AND_NAMESPACE", "", "", agent.ByAppAndNamespace},
		{"tracingServiceName: CANONICAL_NAME_ONLY", "", "", agent.ByCanonicalName},
		{"tracingServiceName: CANONICAL_NAME_AND_NAMESPACE", "--serviceCluster=flag", "flag", agent.ByCanonicalNameAndNamespace},
	} {
		var flags []string
		if tt.flag != "" {
			flags = append(flags, tt.flag)
		}
		cfg, err := configOf(t, []string{"INSTANCE_IP=10.0.0.1", "PROXY_CONFIG=" + tt.text}, flags...)
		if err != nil || cfg.Cluster != tt.name || cfg.ClusterRule != tt.rule {
			t.Errorf("%q %s: %q, %d, %v", tt.text, tt.flag, cfg.Cluster, cfg.ClusterRule, err)
		}
	}
	for text, want := range map[string]string{
		"tracingServiceName: BY_NAME":                                  `PROXY_CONFIG: tracingServiceName: "BY_NAME" is none of APP_LABEL_AND_NAMESPACE`,
		"{tracingServiceName: CANONICAL_NAME_ONLY, serviceCluster: x}": "PROXY_CONFIG: tracingServiceName: serviceCluster is the node's cluster already",
	} {
		if _, err := configOf(t, []string{"INSTANCE_IP=10.0.0.1", "PROXY_CONFIG=" + text}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestCustomConfigFile(t *testing.T) {
	if cfg, err := configOf(t, []string{"INSTANCE_IP=10.0.0.1", "PROXY_CONFIG=customConfigFile: /etc/own.yaml"}); err != nil || cfg.BootstrapFile != "/etc/own.yaml" {
		t.Errorf("%q, %v", cfg.BootstrapFile, err)
	}
}

func TestMetrics(t *testing.T) {
	for text, want := range map[string]string{"": "<nil>", "statsCompression: false": "false", "statsCompression: true": "true"} {
		cfg, err := configOf(t, []string{"INSTANCE_IP=10.0.0.1", "PROXY_CONFIG=" + text})
		got := "<nil>"
		if cfg.StatsCompression != nil {
			got = fmt.Sprint(*cfg.StatsCompression)
		}
		if err != nil || got != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	environ := []string{"INSTANCE_IP=10.0.0.1", `ISTIO_PROMETHEUS_ANNOTATIONS={"scrape":"true","path":"","port":"9102"}`, "PROXY_CONFIG=statusPort: 15520"}
	cfg, err := configOf(t, environ)
	if err != nil || cfg.Metrics == nil || *cfg.Metrics != (status.Application{Port: 9102, Path: "/metrics"}) || cfg.StatusPort != 15520 || cfg.HealthPort != 0 {
		t.Errorf("%+v, %v", cfg, err)
	}
}

func TestCertificateSettings(t *testing.T) {
	base := []string{"INSTANCE_IP=10.0.0.1"}
	cfg, err := configOf(t, append(base, "SECRET_TTL=1h", "SECRET_GRACE_PERIOD_RATIO=0.3", "SECRET_GRACE_PERIOD_RATIO_JITTER=0.05", "WORKLOAD_RSA_KEY_SIZE=4096",
		"OUTPUT_CERTS=/etc/certs", "PROV_CERT=/etc/prov"))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.TTL != time.Hour || cfg.GraceRatio != 0.3 || cfg.GraceJitter != 0.05 || cfg.Key != (agent.KeyKind{RSABits: 4096}) || cfg.OutputDir != "/etc/certs" || cfg.ProvisionedDir != "/etc/prov" {
		t.Errorf("%+v", cfg)
	}
	if cfg, err = configOf(t, append(base, "WORKLOAD_RSA_KEY_SIZE=2048", "ECC_SIGNATURE_ALGORITHM=ECDSA", "ECC_CURVE=P384")); err != nil || cfg.Key != (agent.KeyKind{P384: true}) {
		t.Errorf("%+v, %v", cfg.Key, err)
	}
}

func TestRefused(t *testing.T) {
	base := []string{"INSTANCE_IP=10.0.0.1"}
	for _, tc := range []struct {
		name    string
		environ []string
		args    []string
		want    string
	}{
		{"no address", nil, nil, "--ip"},
		{"bad address", nil, []string{"--ip=localhost"}, "localhost"},
		{"bad admin address", base, []string{"--admin-ip=here"}, "--admin-ip"},
		{"bad inbound", base, []string{"--inbound=3000"}, "PORT=HOST:PORT"},
		{"bad inbound target", base, []string{"--inbound=3000=app"}, "3000=app"},
		{"bad JSON", append(base, "ISTIO_METAJSON_LABELS={"), nil, "ISTIO_METAJSON_LABELS"},
		{"bad annotations", append(base, `ISTIO_PROMETHEUS_ANNOTATIONS={"port":"web"}`), nil, `ISTIO_PROMETHEUS_ANNOTATIONS: prometheus.io/port: "web" is no port`},
		{"bad lifetime", append(base, "SECRET_TTL=soon"), nil, "SECRET_TTL"},
		{"bad grace", append(base, "SECRET_GRACE_PERIOD_RATIO=1"), nil, "SECRET_GRACE_PERIOD_RATIO"},
		{"bad jitter", append(base, "SECRET_GRACE_PERIOD_RATIO_JITTER=NaN"), nil, "SECRET_GRACE_PERIOD_RATIO_JITTER"},
		{"bad key size", append(base, "WORKLOAD_RSA_KEY_SIZE=big"), nil, "WORKLOAD_RSA_KEY_SIZE"},
		{"bad algorithm", append(base, "ECC_SIGNATURE_ALGORITHM=EdDSA"), nil, "ECC_SIGNATURE_ALGORITHM"},
		{"bad curve", append(base, "ECC_CURVE=P521"), nil, "ECC_CURVE"},
		{"unknown proxy config", append(base, "PROXY_CONFIG=binaryPath: /envoy"), nil, "binaryPath"},
		{"negative drain", append(base, "PROXY_CONFIG=drainDuration: -5s"), nil, "drainDuration: -5s is negative"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := configOf(t, tc.environ, tc.args...); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// A workload whose connections are redirected has an address of each family, where its host has; not one that nobody else reaches.
func TestOtherFamily(t *testing.T) {
	var addrs []net.Addr
	for _, text := range []string{"127.0.0.1/8", "::1/128", "fe80::1/64", "10.0.0.7/24", "2001:db8::7/64", "2001:db8::8/64"} {
		ip, network, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, &net.IPNet{IP: ip, Mask: network.Mask})
	}
	for ip, want := range map[string]string{"10.0.0.7": "[2001:db8::7]", "127.77.4.1": "[2001:db8::7]", "2001:db8::7": "[10.0.0.7]"} {
		if got := fmt.Sprint(otherFamily(netip.MustParseAddr(ip), addrs)); got != want {
			t.Errorf("%s: %s, want %s", ip, got, want)
		}
	}
	if got := otherFamily(netip.MustParseAddr("10.0.0.7"), addrs[:4]); got != nil {
		t.Errorf("without IPv6: %v", got)
	}
}
