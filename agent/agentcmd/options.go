package agentcmd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/agent"
	"github.com/lateen-mesh/lateen/agent/health"
	"github.com/lateen-mesh/lateen/agent/status"
)

// options are the flags; what is empty comes from the environment, then from a default.
type options struct {
	domain, serviceCluster           string
	concurrency, defaultConcurrency  int
	proxyLogLevel, logOutputLevel    string
	name, namespace, serviceAccount  string
	ip, discovery, ca, caName        string
	rootCert, tokenFile, configPath  string
	trustDomain, workload, container string
	labels                           map[string]string
	inbound                          []string
	bind, httpProxy, adminIP         string
	execProbes, defaultDNSCapture    bool
	noDrain                          bool
	adminPort, healthPort, statsPort uint16
	statusPort                       uint16
}

func (o *options) bindFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.domain, "domain", "", "DNS suffix of the node id (default NAMESPACE.svc.cluster.local)")
	fs.StringVar(&o.serviceCluster, "serviceCluster", "", "cluster of the node, by which spans name it (default PROXY_CONFIG's, else the mesh's, else its label app and its namespace)")
	fs.IntVar(&o.concurrency, "concurrency", 0, "worker threads of the proxy (default PROXY_CONFIG's, else that of the mesh's ProxyConfigs)")
	fs.IntVar(&o.defaultConcurrency, "default-concurrency", 0, "worker threads of the proxy where nothing says how many; 0: one for each CPU")
	fs.StringVar(&o.proxyLogLevel, "proxyLogLevel", "warning", "log level of the proxy: trace, debug, info, warning, error, critical, off")
	fs.StringVar(&o.logOutputLevel, "log_output_level", "default:info", "log levels of the agent, SCOPE:LEVEL separated by commas")
	fs.StringVar(&o.name, "name", "", "name of the workload's instance (default $POD_NAME)")
	fs.StringVar(&o.namespace, "namespace", "", "namespace of the workload (default $POD_NAMESPACE)")
	fs.StringVar(&o.serviceAccount, "service-account", "", "service account of the workload (default $SERVICE_ACCOUNT, else default)")
	fs.StringVar(&o.ip, "ip", "", "address of the workload, where the proxy opens its ports (default $INSTANCE_IP)")
	fs.StringVar(&o.workload, "workload", "", "name of the workload, as a Deployment's (default $ISTIO_META_WORKLOAD_NAME, else the instance's name)")
	fs.StringVar(&o.container, "app", "", "name of the application's container in telemetry (default $ISTIO_META_APP_CONTAINERS)")
	fs.StringToStringVar(&o.labels, "label", nil, "labels of the workload, KEY=VALUE, added to $ISTIO_METAJSON_LABELS")
	fs.StringVar(&o.discovery, "discovery-address", "", "control plane, HOST:PORT of its mutual-TLS port (default PROXY_CONFIG's, else istiod.istio-system.svc:15012)")
	fs.StringVar(&o.ca, "ca-address", "", "certificate authority, HOST:PORT (default $CA_ADDR, else the control plane)")
	fs.StringVar(&o.caName, "ca-name", "", "DNS name that the control plane's certificate must carry (default istiod.istio-system.svc)")
	fs.StringVar(&o.rootCert, "root-cert", "", "PEM file with the mesh's root certificate (default ./var/run/secrets/istio/root-cert.pem)")
	fs.StringVar(&o.tokenFile, "token-file", "", "file with the join token (default ./var/run/secrets/tokens/istio-token)")
	fs.StringVar(&o.configPath, "config-path", "", "folder of the agent's own files (default ./etc/istio/proxy)")
	fs.StringVar(&o.trustDomain, "trust-domain", "", "trust domain of the identity (default $TRUST_DOMAIN, else the mesh's)")
	fs.StringSliceVar(&o.inbound, "inbound", nil, "PORT=HOST:PORT: requests to this port of the workload go to the application at this address")
	fs.StringVar(&o.bind, "bind", "", "address that a router binds its servers' ports to (default 0.0.0.0)")
	fs.StringVar(&o.httpProxy, "http-proxy", "", "IP:PORT of the explicit proxy port for the application's own requests")
	fs.StringVar(&o.adminIP, "admin-ip", "", "address of the proxy's admin API (default the workload's)")
	fs.BoolVar(&o.execProbes, "exec-probes", false, "run the command that a WorkloadGroup gives as its probe, as this user")
	fs.BoolVar(&o.defaultDNSCapture, "default-dns-capture", false, "answer the workload's DNS queries at 127.0.0.1:15053 where nothing says whether to (ISTIO_META_DNS_CAPTURE)")
	fs.BoolVar(&o.noDrain, "no-termination-drain", false, "end at once when told to, whatever the mesh says (terminationDrainDuration): whoever starts the agent sees to it")
	fs.Uint16Var(&o.adminPort, "admin-port", 0, "port of the proxy's admin API (default PROXY_CONFIG's, else 15000)")
	fs.Uint16Var(&o.healthPort, "health-port", 0, "port of the proxy's /healthz/ready (default 15021)")
	fs.Uint16Var(&o.statsPort, "stats-port", 0, "port of /stats/prometheus (default 15090)")
	fs.Uint16Var(&o.statusPort, "status-port", 0, "port of /stats/prometheus with the application's metrics, and of the agent's /healthz/ready (default PROXY_CONFIG's, else 15020)")
}

// proxyConfig is the part of Istio's ProxyConfig, given in $PROXY_CONFIG, that has an effect.
type proxyConfig struct {
	DiscoveryAddress string            `yaml:"discoveryAddress"`
	ServiceCluster   string            `yaml:"serviceCluster"`
	TracingService   string            `yaml:"tracingServiceName"`
	ConfigPath       string            `yaml:"configPath"`
	ProxyAdminPort   uint16            `yaml:"proxyAdminPort"`
	StatusPort       uint16            `yaml:"statusPort"`
	Concurrency      int               `yaml:"concurrency"`
	ProxyMetadata    map[string]string `yaml:"proxyMetadata"`
	ReadinessProbe   *health.Probe     `yaml:"readinessProbe"`
	MeshID           string            `yaml:"meshId"`
	CustomConfigFile string            `yaml:"customConfigFile"`
	StatsCompression *bool             `yaml:"statsCompression"`

	DrainDuration            time.Duration `yaml:"drainDuration"`
	TerminationDrainDuration time.Duration `yaml:"terminationDrainDuration"`
	FileFlushInterval        time.Duration `yaml:"fileFlushInterval"`
	FileFlushMinSizeKb       uint16        `yaml:"fileFlushMinSizeKb"`

	// What the control plane reads of the node.
	GatewayTopology    map[string]any `yaml:"gatewayTopology"`
	ProxyHeaders       map[string]any `yaml:"proxyHeaders"`
	ConnectionSettings map[string]any `yaml:"connectionSettings"`
}

// knownProxyConfig lists the fields of proxyConfig.
const knownProxyConfig = "discoveryAddress, serviceCluster, tracingServiceName, configPath, proxyAdminPort, statusPort, concurrency, proxyMetadata, readinessProbe, meshId, customConfigFile, statsCompression, drainDuration, " +
	"terminationDrainDuration, fileFlushInterval, fileFlushMinSizeKb, gatewayTopology, proxyHeaders, connectionSettings"

// node is the part that the control plane reads of the node's metadata; nil for nothing.
func (c proxyConfig) node() map[string]any {
	out := map[string]any{}
	for name, value := range map[string]map[string]any{"gatewayTopology": c.GatewayTopology, "proxyHeaders": c.ProxyHeaders, "connectionSettings": c.ConnectionSettings} {
		if value != nil {
			out[name] = value
		}
	}
	if c.ReadinessProbe != nil {
		out["readinessProbe"] = map[string]any{} // that there is one the control plane must know
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func parseProxyConfig(text string) (proxyConfig, error) {
	var out proxyConfig
	if strings.TrimSpace(text) == "" {
		return out, nil
	}
	dec := yaml.NewDecoder(strings.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&out); err != nil {
		return out, fmt.Errorf("PROXY_CONFIG: %w (known here: %s)", err, knownProxyConfig)
	}
	for name, d := range map[string]time.Duration{
		"drainDuration": out.DrainDuration, "terminationDrainDuration": out.TerminationDrainDuration, "fileFlushInterval": out.FileFlushInterval,
	} {
		if d < 0 {
			return out, fmt.Errorf("PROXY_CONFIG: %s: %v is negative", name, d)
		}
	}
	if name := out.TracingService; name != "" {
		switch _, known := agent.ClusterRules[name]; {
		case !known:
			return out, fmt.Errorf("PROXY_CONFIG: tracingServiceName: %q is none of APP_LABEL_AND_NAMESPACE, CANONICAL_NAME_ONLY, CANONICAL_NAME_AND_NAMESPACE", name)
		case out.ServiceCluster != "":
			return out, errors.New("PROXY_CONFIG: tracingServiceName: serviceCluster is the node's cluster already; remove one")
		}
	}
	if p := out.ReadinessProbe; p != nil {
		if err := p.Validate(); err != nil {
			return out, fmt.Errorf("PROXY_CONFIG: readinessProbe: %w", err)
		}
	}
	return out, nil
}

// config puts flags and environment together. RunProxy and Logger are left to the caller.
func (o *options) config(nodeType string, environ []string) (agent.Config, error) {
	env := map[string]string{}
	for _, pair := range environ {
		key, value, _ := strings.Cut(pair, "=")
		env[key] = value
	}
	pc, err := parseProxyConfig(env["PROXY_CONFIG"])
	if err != nil {
		return agent.Config{}, err
	}
	for key, value := range pc.ProxyMetadata {
		if _, set := env[key]; !set {
			env[key] = value
		}
	}
	meta, err := agent.MetadataOf(env)
	if err != nil {
		return agent.Config{}, err
	}
	if err := o.addMetadata(meta); err != nil {
		return agent.Config{}, err
	}
	cfg := agent.Config{
		Type: nodeType, Name: first(o.name, env["POD_NAME"]), Namespace: first(o.namespace, env["POD_NAMESPACE"]),
		ServiceAccount: first(o.serviceAccount, env["SERVICE_ACCOUNT"]), Domain: o.domain, Cluster: first(o.serviceCluster, pc.ServiceCluster),
		ClusterRule: agent.ClusterRules[pc.TracingService], StatsCompression: pc.StatsCompression, BootstrapFile: pc.CustomConfigFile,
		TrustDomain: first(o.trustDomain, env["TRUST_DOMAIN"]), Metadata: meta,
		Discovery: first(o.discovery, pc.DiscoveryAddress, "istiod.istio-system.svc:15012"), CAAddress: first(o.ca, env["CA_ADDR"]), ServerName: o.caName,
		RootCertFile: first(o.rootCert, "./var/run/secrets/istio/root-cert.pem"),
		TokenFile:    first(o.tokenFile, "./var/run/secrets/tokens/istio-token"),
		Dir:          first(o.configPath, pc.ConfigPath, "./etc/istio/proxy"),
		AdminPort:    first(o.adminPort, pc.ProxyAdminPort), HealthPort: o.healthPort, StatsPort: o.statsPort, StatusPort: first(o.statusPort, pc.StatusPort),
		Concurrency: first(o.concurrency, pc.Concurrency), DefaultConcurrency: o.defaultConcurrency,
		DefaultDNSCapture: o.defaultDNSCapture,
	}
	cfg.Group, _ = meta["AUTO_REGISTER_GROUP"].(string)
	cfg.Probe, cfg.ProbeTargets, cfg.ExecProbes = pc.ReadinessProbe, o.targets(), o.execProbes
	if text := env[status.Variable]; text != "" && nodeType == agent.Sidecar { // a gateway has no application
		if cfg.Metrics, err = status.ParseAnnotations(text); err != nil {
			return agent.Config{}, fmt.Errorf("%s: %w", status.Variable, err)
		}
	}
	if own := pc.node(); own != nil {
		meta["PROXY_CONFIG"] = own
	}
	if _, said := meta["MESH_ID"]; !said && pc.MeshID != "" {
		meta["MESH_ID"] = pc.MeshID
	}
	cfg.DrainTime, cfg.TerminationDrain, cfg.FileFlushInterval, cfg.FileFlushSize = pc.DrainDuration, pc.TerminationDrainDuration, pc.FileFlushInterval, int(pc.FileFlushMinSizeKb)<<10
	if o.noDrain {
		cfg.TerminationDrain = -1
	}
	ip := first(o.ip, env["INSTANCE_IP"])
	if ip == "" {
		return agent.Config{}, errors.New("the workload's address is missing: set --ip or $INSTANCE_IP")
	}
	if err := certificateSettings(&cfg, env); err != nil {
		return agent.Config{}, err
	}
	if cfg.IP, err = netip.ParseAddr(ip); err != nil {
		return agent.Config{}, fmt.Errorf("the workload's address: %w", err)
	}
	if mode, said := meta["INTERCEPTION_MODE"]; said && mode != "NONE" {
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return agent.Config{}, fmt.Errorf("addresses of this host: %w", err)
		}
		cfg.MoreIPs = otherFamily(cfg.IP, addrs)
	}
	if o.adminIP != "" {
		if cfg.AdminIP, err = netip.ParseAddr(o.adminIP); err != nil {
			return agent.Config{}, fmt.Errorf("--admin-ip: %w", err)
		}
	}
	return cfg, nil
}

// otherFamily is the first address of the family that ip has not by which others may reach this host; none where there is none.
func otherFamily(ip netip.Addr, addrs []net.Addr) []netip.Addr {
	for _, a := range addrs {
		network, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if addr, ok := netip.AddrFromSlice(network.IP); ok {
			if addr = addr.Unmap(); addr.Is4() != ip.Is4() && addr.IsGlobalUnicast() {
				return []netip.Addr{addr}
			}
		}
	}
	return nil
}

// addMetadata puts the flags that the control plane reads from the node into the metadata.
func (o *options) addMetadata(meta map[string]any) error {
	for key, value := range map[string]string{
		"WORKLOAD_NAME": o.workload, "APP_CONTAINERS": o.container, "LATEEN_BIND": o.bind, "LATEEN_HTTP_PROXY": o.httpProxy,
	} {
		if value != "" {
			meta[key] = value
		}
	}
	for _, rule := range o.inbound {
		port, to, ok := strings.Cut(rule, "=")
		if _, err := netip.ParseAddrPort("127.0.0.1:" + port); err != nil || !ok {
			return fmt.Errorf("--inbound %q: want PORT=HOST:PORT, such as 3000=127.0.0.1:41234", rule)
		}
		if _, err := netip.ParseAddrPort(to); err != nil {
			return fmt.Errorf("--inbound %q: %w", rule, err)
		}
	}
	if len(o.inbound) > 0 {
		meta["LATEEN_INBOUND"] = strings.Join(o.inbound, ",")
	}
	if len(o.labels) > 0 {
		labels, _ := meta["LABELS"].(map[string]any)
		if labels == nil {
			labels = map[string]any{}
		}
		for key, value := range o.labels {
			labels[key] = value
		}
		meta["LABELS"] = labels
	}
	return nil
}

// targets are where the application serves the ports of --inbound, which addMetadata has judged.
func (o *options) targets() health.Targets {
	out := health.Targets{}
	for _, rule := range o.inbound {
		port, to, _ := strings.Cut(rule, "=")
		n, err := strconv.ParseUint(port, 10, 16)
		at, addrErr := netip.ParseAddrPort(to)
		if err == nil && addrErr == nil {
			out[uint32(n)] = at
		}
	}
	return out
}

// first returns the first value that is set.
func first[T comparable](values ...T) T {
	var zero T
	for _, v := range values {
		if v != zero {
			return v
		}
	}
	return zero
}
