// Package controlplane turns what users write into what proxies are served, and gives workloads their certificates.
//
// It is the wiring of the path (a) in DESIGN.md: config store, registries and issuers of tokens deliver changes; pipeline.go gathers them for a moment and makes
// the next snapshot; xdscache makes it resources; xdsserver sends them in order; ca signs; debug shows it all. listen.go opens the three
// listeners. No logic of the mesh itself lives here.
//
// Only package cli (and tests) import it; nothing of it is known to the proxy but Envoy's protos on the wire.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/lateen-mesh/lateen/controlplane/internal/autoregistration"
	"github.com/lateen-mesh/lateen/controlplane/internal/ca"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore/file"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore/kube"
	"github.com/lateen-mesh/lateen/controlplane/internal/debug"
	"github.com/lateen-mesh/lateen/controlplane/internal/dnsname"
	"github.com/lateen-mesh/lateen/controlplane/internal/gatewayapi"
	kubeclient "github.com/lateen-mesh/lateen/controlplane/internal/kube"
	"github.com/lateen-mesh/lateen/controlplane/internal/oidc"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/local"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
	"github.com/lateen-mesh/lateen/controlplane/internal/spiffebundle"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdsserver"
	"github.com/lateen-mesh/lateen/pkg/lifecycle"
	"github.com/lateen-mesh/lateen/pkg/log"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// Config says where a control plane reads and listens. ConfigDir and CADir are required.
type Config struct {
	// ConfigDir is the tree of users' objects, watched.
	ConfigDir string
	// WorkloadsDir is the folder of WorkloadEntries of what runs here, watched; "" for none.
	WorkloadsDir string
	// MeshFile is the mesh configuration, watched; it need not exist. "" for that of Kubernetes (ConfigMap istio-system/istio), else Istio's defaults.
	MeshFile string
	// CADir holds the certificate authority; made at the first start.
	CADir string

	// WorkloadEntryGrace is how long the WorkloadEntry of a workload that has registered itself stays when its proxy has gone. Default 10 s. Entries
	// are kept in WorkloadsDir; without one nothing registers.
	WorkloadEntryGrace time.Duration

	// Kubeconfig is the file that says how to reach an API server of Kubernetes, whose objects, Services and pods belong to the mesh; InCluster for the
	// service account of the pod that this runs in. "" for none.
	Kubeconfig string
	// Consul are catalogues whose services are services of the mesh.
	Consul []ConsulCatalog
	// Nomad are clusters whose own services are services of the mesh.
	Nomad []NomadCluster

	// GRPCAddr is for plaintext xDS. Whoever reaches it is served, so it belongs on loopback. "" for none.
	GRPCAddr string
	// SecureGRPCAddr is for xDS and certificates over TLS. "" for none.
	SecureGRPCAddr string
	// HTTPAddr is for debugging pages, metrics and readiness. "" for none.
	HTTPAddr string

	// WorkloadCertTTL is how long workloads' certificates are good that ask for no other time. Default 24 h.
	WorkloadCertTTL time.Duration
	// MaxWorkloadCertTTL is the longest time that they are given. Default WorkloadCertTTL.
	MaxWorkloadCertTTL time.Duration
	// KeysRefresh is how long the keys of issuers of tokens, and what issuers say of where they are, are used before they are fetched again, here and by proxies: Istio's
	// PILOT_JWT_PUB_KEY_REFRESH_INTERVAL. Default 20 minutes here and 5 minutes for proxies.
	KeysRefresh time.Duration
	// TokenIssuers are those whose tokens prove who asks for a certificate, beside this mesh's own join tokens.
	TokenIssuers []TokenIssuer
	// XDSLimits bound streams of xDS and their requests.
	XDSLimits XDSLimits
	// TrimGateways has gateways get the clusters of services that their virtual services lead to and of no others, as Istio's
	// PILOT_FILTER_GATEWAY_CLUSTER_CONFIG does.
	TrimGateways bool
	// GatewayService is the Service, "namespace/name", of the gateway that serves each Gateway of the Gateway API for which there is no Service of
	// its own (NAME-CLASS). "" for none.
	GatewayService string
	// Environment has the variables that headers of extensionProviders name (envName), whose values every proxy is told; nil: none is set.
	Environment func(name string) (value string, set bool)
	// ConfigSources are the addresses of the mesh's configSources by which ConfigDir and Kubeconfig were chosen; others that the settings name later count at the next start, and are told.
	ConfigSources []string
	// Instance names this control plane, as in the column ISTIOD of proxy-status. Default $POD_NAME, else the host's name.
	Instance string
	// Logger is required by nobody; default: none.
	Logger *slog.Logger

	// What tests replace: who asks SPIFFE bundle endpoints, and who DNS.
	bundleClient *http.Client
	lookup       func(ctx context.Context, network, host string) ([]netip.Addr, error)
	namesEach    time.Duration // how often DNS is asked
}

// TokenIssuer is whose tokens prove that a caller is a service account.
type TokenIssuer = ca.Issuer

// InCluster is the Kubeconfig of a control plane that runs in a pod.
const InCluster = kubeclient.InCluster

// XDSLimits bound what proxies may take of the control plane.
type XDSLimits = xdsserver.Limits

// ControlPlane is made by New and works in Run.
type ControlPlane struct {
	cfg      Config
	log      *slog.Logger
	ca       *ca.CA
	store    *file.Store
	registry *file.Store // nil without WorkloadsDir
	cluster  *kube.Store // nil without Kubeconfig
	others   []registry
	members  *autoregistration.Registrar
	issuers  *oidc.Resolver
	bundles  *spiffebundle.Resolver
	names    *dnsname.Resolver
	pipeline *pipeline
	xds      *xdsserver.Server
	debug    *debug.Server

	loaded chan struct{} // closed when every store and registry has been read
	ready  chan struct{}
	addrs  Addresses // set before ready is closed
}

// Addresses are where a control plane listens; nil for what was not asked for.
type Addresses struct{ GRPC, SecureGRPC, HTTP net.Addr }

// New checks the configuration and opens the certificate authority. It starts nothing and listens nowhere.
func New(cfg Config) (*ControlPlane, error) {
	if cfg.ConfigDir == "" || cfg.CADir == "" {
		return nil, errors.New("control plane: it needs a folder of configuration and one for its certificate authority")
	}
	if cfg.GRPCAddr == "" && cfg.SecureGRPCAddr == "" {
		return nil, errors.New("control plane: it has no address to serve xDS on")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Instance == "" {
		cfg.Instance = defaultInstance()
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	c := &ControlPlane{cfg: cfg, log: cfg.Logger, loaded: make(chan struct{}), ready: make(chan struct{})}

	own, aliases, err := trustDomain(cfg.MeshFile)
	if err != nil {
		return nil, fmt.Errorf("control plane: %w", err)
	}
	if own == "" && (cfg.MeshFile != "" || cfg.Kubeconfig == "") {
		own = spiffe.DefaultTrustDomain // else the cluster's ConfigMap says it, which has not been read yet
	}
	if c.ca, err = ca.Open(ca.Options{
		Dir: cfg.CADir, TrustDomain: own, Aliases: aliases, WorkloadTTL: cfg.WorkloadCertTTL, MaxWorkloadTTL: cfg.MaxWorkloadCertTTL, Issuers: cfg.TokenIssuers, Logger: log.Scope(cfg.Logger, "ca"), Registerer: reg,
	}); err != nil {
		return nil, err
	}
	c.store = file.New(file.Options{Dir: cfg.ConfigDir, MeshFile: cfg.MeshFile, Logger: log.Scope(cfg.Logger, "config")})
	if cfg.WorkloadsDir != "" {
		c.registry = local.New(cfg.WorkloadsDir, log.Scope(cfg.Logger, "registry"))
	}
	var cluster *kubeclient.Client
	if cfg.Kubeconfig != "" {
		if cluster, err = kubeclient.Connect(cfg.Kubeconfig); err != nil {
			return nil, err
		}
		c.cluster = kube.New(kube.Options{Client: cluster, Mesh: cfg.MeshFile == "", Logger: log.Scope(cfg.Logger, "config")})
	}
	if c.others, err = newRegistries(cfg, cluster, log.Scope(cfg.Logger, "registry"), reg); err != nil {
		return nil, err
	}
	c.members = autoregistration.New(autoregistration.Options{
		Dir: cfg.WorkloadsDir, Instance: cfg.Instance, Grace: cfg.WorkloadEntryGrace, Logger: log.Scope(cfg.Logger, "registry"), Registerer: reg,
	})
	builder := snapshot.New()
	if cfg.TrimGateways {
		builder.TrimGateways()
	}
	builder.RefreshKeys(cfg.KeysRefresh)
	c.issuers = oidc.New(oidc.Options{Refresh: cfg.KeysRefresh, Logger: log.Scope(cfg.Logger, "oidc"), Registerer: reg})
	c.pipeline = newPipeline(log.Scope(cfg.Logger, "push"), reg, builder, gatewayapi.Options{SharedGateway: cfg.GatewayService}, c.ca, c.issuers.Follow)
	c.pipeline.env, c.pipeline.sources = cfg.Environment, cfg.ConfigSources
	c.bundles = spiffebundle.New(spiffebundle.Options{Client: cfg.bundleClient, Logger: log.Scope(cfg.Logger, "trust")})
	c.names = dnsname.New(dnsname.Options{Refresh: cfg.namesEach, Lookup: cfg.lookup, Logger: log.Scope(cfg.Logger, "push")})
	c.pipeline.followBundles, c.pipeline.followNames = c.bundles.Follow, c.names.Follow
	c.xds = xdsserver.New(xdsserver.Options{
		View: served{c.pipeline.view.Load()}, Authenticate: c.ca.Authenticate, Begun: c.loaded, Registrar: c.members, Limits: cfg.XDSLimits, Instance: cfg.Instance,
		Logger: log.Scope(cfg.Logger, "ads"), Registerer: reg,
	})
	c.debug = debug.New(debug.Options{
		XDS: c.xds, View: c.pipeline.view.Load, Cache: c.pipeline.cache, Stores: c.stores(), Registries: c.registryStatus,
		Problems: c.pipeline.problems, TakenIn: c.pipeline.takenIn, MeshConfig: c.pipeline.meshConfig, ObjectStatus: c.pipeline.objectStatus,
		Authority: func() any { return c.ca.Status() }, Instance: cfg.Instance, Gatherer: reg, Registerer: reg, Ready: c.isReady,
	})
	return c, nil
}

// defaultInstance is the pod's name on Kubernetes and the host's elsewhere.
func defaultInstance() string {
	if name := os.Getenv("POD_NAME"); name != "" {
		return name
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "istiod"
}

// clusterSource is Kubernetes' name as a source of objects.
const clusterSource = "kubernetes"

func (c *ControlPlane) stores() []debug.Store {
	out := []debug.Store{{Name: "config", Store: c.store}}
	if c.registry != nil {
		out = append(out, debug.Store{Name: local.Source, Store: c.registry})
	}
	if c.cluster != nil {
		out = append(out, debug.Store{Name: clusterSource, Store: c.cluster})
	}
	return out
}

// Ready is closed when everything listens and proxies are served what the stores hold.
func (c *ControlPlane) Ready() <-chan struct{} { return c.ready }

func (c *ControlPlane) isReady() bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}

// Addresses returns where the control plane listens; it may be called once Ready is closed.
func (c *ControlPlane) Addresses() Addresses { return c.addrs }

// Run listens and serves until ctx ends or a part fails. The error names what could not be done; a taken port with its address and the flag
// that changes it.
func (c *ControlPlane) Run(ctx context.Context) error {
	l, err := c.listen()
	if err != nil {
		return err
	}
	defer l.close()

	if err := c.members.Load(); err != nil {
		return err
	}
	g := lifecycle.NewGroup(ctx)
	g.Go("registration", c.members.Run)
	waiting := 2
	g.Go("certificate authority", func(ctx context.Context) error { return c.ca.Run(ctx, &distributor{cp: c}) })
	g.Go("config store", func(ctx context.Context) error {
		return c.store.Run(ctx, func(b configstore.Batch) { c.pipeline.add(ctx, sourced{source: "config", batch: b}) })
	})
	if c.registry != nil {
		waiting++
		g.Go("registry", func(ctx context.Context) error {
			return c.registry.Run(ctx, func(b configstore.Batch) { c.pipeline.add(ctx, sourced{source: local.Source, batch: b}) })
		})
	}
	if c.cluster != nil {
		waiting++
		g.Go("kubernetes", func(ctx context.Context) error {
			return c.cluster.Run(ctx, func(b configstore.Batch) { c.pipeline.add(ctx, sourced{source: clusterSource, batch: b}) })
		})
	}
	for _, r := range c.others {
		waiting++
		g.Go(r.Name(), func(ctx context.Context) error {
			return r.Run(ctx, func(d watch.Delta) { c.pipeline.add(ctx, sourced{source: r.Name(), delta: d}) })
		})
	}
	g.Go("issuers of tokens", func(ctx context.Context) error {
		return c.issuers.Run(ctx, func(known map[string]oidc.Answer) { c.pipeline.add(ctx, sourced{source: "oidc", issuers: known}) })
	})
	g.Go("bundles of roots", func(ctx context.Context) error {
		return c.bundles.Run(ctx, func(known map[string]spiffebundle.Answer) {
			c.pipeline.add(ctx, sourced{source: "bundles", bundles: known})
		})
	})
	g.Go("names of gateways", func(ctx context.Context) error {
		return c.names.Run(ctx, func(known map[string]dnsname.Answer) {
			c.pipeline.add(ctx, sourced{source: "names", names: known})
		})
	})
	g.Go("push", func(ctx context.Context) error {
		return c.pipeline.run(ctx, waiting, c.loaded, func(v served) {
			c.xds.Push(v)
			c.members.Update(v.Snapshot())
		})
	})
	// Certificates and debugging pages are served while a registry is away at the start; streams of xDS wait for c.loaded: a proxy that was
	// told before that there is nothing would drop what it has.
	c.serve(g, l)
	select {
	case <-c.loaded:
	case <-g.Context().Done():
		return g.Wait()
	}
	c.log.Info("control plane is ready", "version", fmt.Sprint(c.pipeline.view.Load().Version()),
		"grpc", addrText(c.addrs.GRPC), "secureGRPC", addrText(c.addrs.SecureGRPC), "http", addrText(c.addrs.HTTP))
	close(c.ready)
	return g.Wait()
}

func addrText(a net.Addr) string {
	if a == nil {
		return "none"
	}
	return a.String()
}
