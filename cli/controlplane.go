package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/controlplane"
	"github.com/lateen-mesh/lateen/pkg/log"
)

// certTTLVariable is Istio's name for the lifetime of workloads' certificates.
const certTTLVariable = "DEFAULT_WORKLOAD_CERT_TTL"

// maxCertTTLVariable is Istio's name for the longest lifetime that a workload may ask for.
const maxCertTTLVariable = "MAX_WORKLOAD_CERT_TTL"

// entryGraceVariable is Istio's name for how long entries of workloads that registered themselves stay.
const entryGraceVariable = "PILOT_WORKLOAD_ENTRY_GRACE_PERIOD"

// trimGatewaysVariable is Istio's name for gateways that get no clusters but those that their rules lead to.
const trimGatewaysVariable = "PILOT_FILTER_GATEWAY_CLUSTER_CONFIG"

// streamRateVariable is Istio's name for how many streams may begin in a second.
const streamRateVariable = "PILOT_MAX_REQUESTS_PER_SECOND"

// keysRefreshVariable is Istio's name for how long the keys of issuers are used before they are fetched again.
const keysRefreshVariable = "PILOT_JWT_PUB_KEY_REFRESH_INTERVAL"

// controlPlaneFlags are the flags of `lateen control-plane`.
type controlPlaneFlags struct {
	configDir, workloadsDir, meshConfig, caDir   string
	address, grpcAddr, secureAddr, httpAddr      string
	certTTL, maxCertTTL, entryGrace, keysRefresh time.Duration
	trimGateways                                 bool
	limits                                       controlplane.XDSLimits
	jwtRules                                     []string
	gatewayService                               string
	kubeconfig                                   string
	instance, logLevel, logFormat                string
	registries                                   registryFlags
}

// newControlPlaneCommand returns `lateen control-plane`.
func newControlPlaneCommand() *cobra.Command {
	f := &controlPlaneFlags{}
	cmd := &cobra.Command{
		Use:   "control-plane",
		Short: "Serve configuration and certificates to proxies",
		Long: "Serve configuration and certificates to proxies, in the foreground: xDS and certificates over TLS on 15012, plaintext xDS for this\n" +
			"machine on 15010, debugging pages and metrics on 15014. Objects are read from a folder of YAML and followed as it changes.",
		Example: "  lateen control-plane --config-dir ./mesh\n" +
			"  lateen control-plane --kubeconfig ~/.kube/config\n" +
			"  lateen control-plane --consul-addr 127.0.0.1:8500\n" +
			"  curl localhost:15014/debug/syncz",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return f.run(ctx, cmd)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.configDir, "config-dir", "", "folder of YAML objects, watched (default STATE/config)")
	flags.StringVar(&f.workloadsDir, "workloads-dir", "", "folder with a WorkloadEntry for each workload that runs here, watched (default STATE/workloads)")
	flags.StringVar(&f.meshConfig, "mesh-config", "", "file with the MeshConfig, watched; it need not exist (default STATE/mesh.yaml)")
	flags.StringVar(&f.caDir, "ca-dir", "", "folder of the certificate authority, made at the first start (default STATE/ca)")
	flags.StringVar(&f.address, "address", "127.0.0.1", "IP address for the standard ports 15010, 15012 and 15014")
	flags.StringVar(&f.grpcAddr, "grpc-addr", "", "address of plaintext xDS, which anybody who reaches it may read; \"none\" for no such listener (default ADDRESS:15010)")
	flags.StringVar(&f.secureAddr, "secure-grpc-addr", "", "address of xDS and certificates over TLS; \"none\" for no such listener (default ADDRESS:15012)")
	flags.StringVar(&f.httpAddr, "http-addr", "", "address of debugging pages, metrics and readiness; \"none\" for no such listener (default ADDRESS:15014)")
	flags.DurationVar(&f.certTTL, "workload-cert-ttl", 0, "how long workloads' certificates are good that ask for no other time; workloads renew before (default $"+certTTLVariable+", else 24h)")
	flags.DurationVar(&f.maxCertTTL, "max-workload-cert-ttl", 0, "the longest time that workloads are given when they ask for more (default $"+maxCertTTLVariable+", else --workload-cert-ttl)")
	flags.DurationVar(&f.entryGrace, "workload-entry-grace", 0, "how long the WorkloadEntry of a workload that registered by a WorkloadGroup stays when its proxy has gone (default $"+entryGraceVariable+", else 10s)")
	flags.BoolVar(&f.trimGateways, "filter-gateway-clusters", false, "gateways get the clusters of services that their virtual services lead to and of no others (default $"+trimGatewaysVariable+", else false)")
	flags.StringVar(&f.gatewayService, "gateway-service", "", "Service, NAMESPACE/NAME, of the gateway that serves Gateways of the Gateway API which have none of their own")
	flags.DurationVar(&f.keysRefresh, "jwks-refresh", 0, "how long keys of issuers of tokens are used before they are fetched again (default $"+keysRefreshVariable+", else 20m, and 5m by proxies)")
	flags.StringArrayVar(&f.jwtRules, "ca-jwt-rule", nil, "issuer whose tokens prove who asks for a certificate, as JSON of a JWTRule with issuer, audiences (default istio-ca), and jwks or\n"+
		"jwksUri; tokens are those of service accounts, subject system:serviceaccount:NAMESPACE:NAME. Repeat it for several (default $"+jwtRuleVariable+")")
	flags.IntVar(&f.limits.Streams, "max-xds-streams", 0, "streams of xDS that are served at once (default 50000)")
	flags.IntVar(&f.limits.StreamsPerIdentity, "max-xds-streams-per-identity", 0, "streams of xDS that one service account may have, with two or three for each proxy (default 5000)")
	flags.Float64Var(&f.limits.StreamsPerSecond, "max-xds-streams-per-second", 0, "streams of xDS that may begin in a second (default $"+streamRateVariable+", else 10000)")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "file that says how to reach a Kubernetes whose objects, Services and pods belong to the mesh, or \""+controlplane.InCluster+"\" for the\n"+
		"service account of the pod that this runs in. The mesh configuration is then its ConfigMap istio-system/istio, unless --mesh-config is given (default: none)")
	f.registries.add(flags)
	flags.StringVar(&f.instance, "instance", "", "name of this control plane in proxy-status (default $POD_NAME, else the host's name)")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn, error or none; also by scope, as default:info,ads:debug")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	return cmd
}

func (f *controlPlaneFlags) run(ctx context.Context, cmd *cobra.Command) error {
	var levels log.Levels
	if err := levels.Set(f.logLevel); err != nil {
		return err
	}
	logger, err := log.New(cmd.ErrOrStderr(), &levels, f.logFormat)
	if err != nil {
		return err
	}
	for variable, into := range map[string]*time.Duration{certTTLVariable: &f.certTTL, maxCertTTLVariable: &f.maxCertTTL, entryGraceVariable: &f.entryGrace, keysRefreshVariable: &f.keysRefresh} {
		text := os.Getenv(variable)
		if *into != 0 || text == "" {
			continue
		}
		if *into, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("$%s: %w; write it as 12h or 90s", variable, err)
		}
	}
	if text := os.Getenv(trimGatewaysVariable); text != "" && !cmd.Flags().Changed("filter-gateway-clusters") {
		if f.trimGateways, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("$%s: %q: want true or false", trimGatewaysVariable, text)
		}
	}
	if text := os.Getenv(streamRateVariable); text != "" && f.limits.StreamsPerSecond == 0 {
		if f.limits.StreamsPerSecond, err = strconv.ParseFloat(text, 64); err != nil {
			return fmt.Errorf("$%s: %q: want a number", streamRateVariable, text)
		}
	}
	if f.limits.Streams < 0 || f.limits.StreamsPerIdentity < 0 || !(f.limits.StreamsPerSecond >= 0) {
		return fmt.Errorf("--max-xds-streams, --max-xds-streams-per-identity and --max-xds-streams-per-second want 0 (the default) or more")
	}
	if f.keysRefresh != 0 && f.keysRefresh < time.Second {
		return fmt.Errorf("--jwks-refresh and $%s want 1s or more, or 0 for the default", keysRefreshVariable)
	}
	if text := os.Getenv(jwtRuleVariable); text != "" && len(f.jwtRules) == 0 {
		f.jwtRules = []string{text}
	}
	var issuers []controlplane.TokenIssuer
	for _, text := range f.jwtRules {
		issuer, err := parseTokenIssuer(text)
		if err != nil {
			return err
		}
		issuer.Refresh = f.keysRefresh
		issuers = append(issuers, issuer)
	}
	state := stateDir(cmd)
	in := func(flag, name string) string {
		if flag != "" {
			return flag
		}
		return filepath.Join(state, name)
	}
	at := func(flag, port string) string {
		switch flag {
		case "none":
			return ""
		case "":
			return net.JoinHostPort(f.address, port)
		default:
			return flag
		}
	}
	consul, err := f.registries.consul.catalogs()
	if err != nil {
		return err
	}
	nomad, err := f.registries.nomad.clusters()
	if err != nil {
		return err
	}
	meshFile := in(f.meshConfig, "mesh.yaml")
	if f.kubeconfig != "" && f.meshConfig == "" {
		meshFile = "" // the cluster's
	}
	sources, err := readConfigSources(meshFile)
	if err != nil {
		return err
	}
	if err := sources.apply(f, logger, os.Getenv); err != nil {
		return err
	}
	c, err := controlplane.New(controlplane.Config{
		ConfigDir: in(f.configDir, "config"), WorkloadsDir: in(f.workloadsDir, "workloads"), MeshFile: meshFile, Kubeconfig: f.kubeconfig,
		CADir: in(f.caDir, "ca"), GRPCAddr: at(f.grpcAddr, "15010"), SecureGRPCAddr: at(f.secureAddr, "15012"), HTTPAddr: at(f.httpAddr, "15014"),
		Consul: consul, Nomad: nomad, WorkloadCertTTL: f.certTTL, MaxWorkloadCertTTL: f.maxCertTTL, WorkloadEntryGrace: f.entryGrace, TrimGateways: f.trimGateways, KeysRefresh: f.keysRefresh, XDSLimits: f.limits, TokenIssuers: issuers, GatewayService: f.gatewayService, Environment: os.LookupEnv, ConfigSources: sources.given, Instance: f.instance, Logger: logger,
	})
	if err != nil {
		return err
	}
	return c.Run(ctx)
}
