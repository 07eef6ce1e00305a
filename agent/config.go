package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	bootstrappb "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"github.com/lateen-mesh/lateen/agent/health"
	"github.com/lateen-mesh/lateen/agent/nameserver"
	"github.com/lateen-mesh/lateen/agent/status"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// Node types, the first part of a node id.
const (
	Sidecar = "sidecar"
	Router  = "router"
)

// Config of an agent. Fields without a default must be set.
type Config struct {
	// Type is Sidecar or Router.
	Type string
	// Name, Namespace and ServiceAccount are the workload's, as a pod's. ServiceAccount "default" when empty.
	Name, Namespace, ServiceAccount string
	// IP is the address of the workload: where the proxy's own ports and inbound listeners are.
	IP netip.Addr
	// MoreIPs are other addresses of the workload: with one of the other family it is served by both.
	MoreIPs []netip.Addr
	// Domain is the DNS suffix in the node id. Default NAMESPACE.svc.cluster.local.
	Domain string
	// Cluster is the node's cluster, Envoy's --service-cluster. "" for what ClusterRule makes of the labels, and where neither is said the mesh's (defaultConfig's
	// serviceCluster or tracingServiceName).
	Cluster     string
	ClusterRule ClusterRule
	// Locality is where the workload runs, "region/zone/subzone"; what is not known is left out.
	Locality string
	// TrustDomain of the identity that is asked for. "" for whichever the mesh has.
	TrustDomain string
	// Metadata goes into the node as it is; keys that the agent derives from other fields need not be in it, and win when they are.
	Metadata map[string]any

	// Discovery is the control plane's mutually authenticated address, "HOST:PORT".
	Discovery string
	// CAAddress is where certificates are signed. Default Discovery.
	CAAddress string
	// ServerName is the DNS name that the control plane's certificate must carry. Default istiod.istio-system.svc.
	ServerName string
	// RootCertFile holds the PEM certificates that the control plane's certificate must chain to.
	RootCertFile string
	// TokenFile holds the join token, read at each use. May be missing while the certificate is valid.
	TokenFile string
	// TTL is the lifetime to ask for. Default 24 h; the CA may grant less.
	TTL time.Duration

	// GraceRatio is the share of a certificate's life that is left when it is renewed, and GraceJitter how far from that a renewal may be, as Istio's
	// SECRET_GRACE_PERIOD_RATIO and SECRET_GRACE_PERIOD_RATIO_JITTER. Defaults 0.5 and 0.01.
	GraceRatio, GraceJitter float64
	// Key says what keys are made.
	Key KeyKind
	// OutputDir is where the certificate, its key and the roots are written each time they change (Istio's OUTPUT_CERTS); "" keeps them in memory.
	OutputDir string
	// ProvisionedDir holds a certificate, its key and the mesh's roots, by which the first certificate is asked for (Istio's PROV_CERT), beside the token if
	// there is one. "" for none. It may be OutputDir: then a host that was off for less than the certificate's life needs no token.
	ProvisionedDir string

	// Dir is the agent's own folder, made with mode 0700.
	Dir string
	// AdminIP is where the admin API is opened. Default IP; a workload that others reach at IP has it on loopback, since it changes the proxy.
	AdminIP netip.Addr
	// AdminPort, HealthPort and StatsPort are opened on AdminIP and on IP. Defaults 15000, 15021, 15090; the first as the mesh says (defaultConfig's proxyAdminPort), if it does.
	AdminPort, HealthPort, StatsPort uint16
	// StatusPort is the agent's own, on IP: the proxy's metrics merged with the application's, and whether the proxy serves (package status). Default what the mesh says
	// (statusPort), else 15020.
	StatusPort uint16
	// StatsCompression has metrics compressed for scrapers that take that; nil: what the mesh says (statsCompression), else they are.
	StatsCompression *bool
	// BootstrapFile is a bootstrap of the user's own, YAML or JSON, that the proxy has instead of the agent's; "": what the mesh says (customConfigFile), else none.
	BootstrapFile string
	// Metrics are the application's, at ProbeTargets or else on localhost; nil: it has none, or they are not merged.
	Metrics *status.Application
	// Group is the WorkloadGroup by which the workload registers itself; "" for none. Then, or with a Probe, the agent tells the control plane whether the
	// workload is well.
	Group string
	// Probe says how to ask the application; nil: as the control plane tells of the Group.
	Probe *health.Probe
	// ProbeTargets are where the application serves ports of the workload that it does not serve on localhost.
	ProbeTargets health.Targets
	// ExecProbes allows commands as probes that the control plane tells. They run as the agent's user.
	ExecProbes bool

	// Concurrency is the proxy's number of workers; 0: what the mesh says (ProxyConfig, defaultConfig).
	Concurrency int
	// DefaultConcurrency is the number where the mesh says nothing either; 0 leaves it to the proxy.
	DefaultConcurrency int

	// DefaultDNSCapture has the agent of a sidecar answer its workload's DNS queries where neither Metadata nor the mesh says whether to (DNS_CAPTURE).
	DefaultDNSCapture bool
	// DNS says where it answers them, and by which name servers of the system; the zero value is for a network namespace of the workload's own.
	DNS nameserver.Config

	// DrainTime is how long connections of a listener that was replaced may last, and FileFlushInterval and FileFlushSize (bytes) how much of access logs may wait in memory;
	// 0: what the mesh says (defaultConfig's drainDuration, fileFlushInterval, fileFlushMinSizeKb), else the proxy's.
	DrainTime, FileFlushInterval time.Duration
	FileFlushSize                int
	// TerminationDrain is how long an agent that is told to end has the proxy go on, which tells its clients to leave; 0: what the mesh says (terminationDrainDuration),
	// else no time; negative: no time, whatever the mesh says, where who ends the agent sees to it.
	TerminationDrain time.Duration

	// RunProxy runs the proxy until ctx ends.
	RunProxy func(ctx context.Context, p ProxyRun) error
	// CheckBootstrap says why the proxy could not start with a bootstrap, nil when it could. It is asked where an EnvoyFilter patches the bootstrap. May be nil.
	CheckBootstrap func(bootstrap []byte) error
	// SystemRoots is the file with the system's authorities, for servers outside of the mesh. Default $SSL_CERT_FILE, else where this system has it.
	SystemRoots string
	Logger      *slog.Logger

	signer certificateSigner      // replaced by tests
	patch  *bootstrappb.Bootstrap // merged into the bootstrap; nil: nothing
}

// ProxyRun is what a proxy is run with; zero values but of the bootstrap leave it to the proxy.
type ProxyRun struct {
	// Bootstrap is Envoy's, in JSON.
	Bootstrap []byte
	// Concurrency is the number of workers.
	Concurrency int
	// DrainTime, FileFlushInterval and FileFlushSize are those of Config.
	DrainTime, FileFlushInterval time.Duration
	FileFlushSize                int
}

func (c Config) withDefaults() Config {
	setDefault(&c.ServiceAccount, "default")
	setDefault(&c.Domain, c.Namespace+".svc.cluster.local")
	setDefault(&c.CAAddress, c.Discovery)
	setDefault(&c.ServerName, "istiod.istio-system.svc")
	setDefault(&c.TTL, 24*time.Hour)
	setDefault(&c.GraceRatio, defaultGrace)
	setDefault(&c.GraceJitter, defaultGraceJitter)
	setDefault(&c.AdminIP, c.IP)
	setDefault(&c.HealthPort, 15021)
	setDefault(&c.StatsPort, 15090)
	setDefault(&c.SystemRoots, findSystemRoots(os.Getenv("SSL_CERT_FILE"), fileExists))
	return c
}

// withPorts fills in the ports that neither the host nor the mesh has said.
func (c Config) withPorts() Config {
	setDefault(&c.AdminPort, 15000)
	setDefault(&c.StatusPort, 15020)
	return c
}

// withHostDefaults fills in what neither the host nor the mesh has said.
func (c Config) withHostDefaults() Config {
	c = c.withPorts()
	setDefault(&c.Concurrency, c.DefaultConcurrency)
	if _, said := c.Metadata[dnsCapture]; !said && c.DefaultDNSCapture {
		meta := map[string]any{dnsCapture: "true"}
		maps.Copy(meta, c.Metadata)
		c.Metadata = meta
	}
	return c
}

// listenDNS opens the name server, nil where there is to be none.
func (c Config) listenDNS() (*nameserver.Server, error) {
	if !CapturesDNS(c.Metadata) {
		return nil, nil
	}
	if mode, said := c.Metadata["INTERCEPTION_MODE"]; c.Type != Sidecar || !said || mode == "NONE" {
		c.Logger.Info("ISTIO_META_DNS_CAPTURE has no effect: no application's queries are redirected to this proxy")
		return nil, nil
	}
	dns := c.DNS
	dns.Namespace, dns.Domain, dns.Logger = c.Namespace, c.Domain, c.Logger
	return nameserver.Listen(dns)
}

// mergeMetadata is "false" in the node's metadata of a workload whose application's metrics are not merged with the proxy's. The host says so, or the control plane does
// as a variable (enablePrometheusMerge), at any time.
const mergeMetadata = "LATEEN_PROMETHEUS_MERGE"

// listenStatus opens the status port. Nothing depends on it but who watches: without it the proxy serves all the same, and nil is returned.
func (c Config) listenStatus(ready func(context.Context) error) *status.Server {
	s, err := status.Listen(status.Config{
		Address: netip.AddrPortFrom(c.IP, c.StatusPort), Proxy: netip.AddrPortFrom(c.AdminIP, c.AdminPort), Application: c.Metrics, Target: c.metricsAt(), Ready: ready, Logger: c.Logger,
		Compress: c.compresses(),
	})
	if err != nil {
		c.Logger.Error("metrics of the proxy and its application are not served together; choose another port (--status-port)", "error", err)
		return nil
	}
	text, _ := c.Metadata[mergeMetadata].(string)
	s.SetMerge(!strings.EqualFold(text, "false"))
	return s
}

func (c Config) compresses() bool { return c.StatsCompression == nil || *c.StatsCompression }

// metricsAt is where the application's metrics are, HOST:PORT: where it serves that port of the workload, else on the address where it serves all others, else on localhost.
func (c Config) metricsAt() string {
	if c.Metrics == nil {
		return ""
	}
	port := strconv.Itoa(int(c.Metrics.Port))
	if at, ok := c.ProbeTargets[uint32(c.Metrics.Port)]; ok {
		return at.String()
	}
	host := "localhost"
	for _, at := range c.ProbeTargets {
		if own := at.Addr().String(); host != "localhost" && host != own {
			return net.JoinHostPort("localhost", port)
		} else {
			host = own
		}
	}
	return net.JoinHostPort(host, port)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c Config) validate() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	need(c.Type == Sidecar || c.Type == Router, fmt.Sprintf("type %q: want sidecar or router", c.Type))
	need(c.Name != "", "the workload's name is missing")
	need(c.Namespace != "", "the workload's namespace is missing")
	need(c.IP.IsValid(), "the workload's IP is missing")
	need(c.Discovery != "", "the control plane's address is missing")
	need(c.RootCertFile != "", "the file with the mesh's root certificate is missing")
	need(c.Dir != "", "the agent's folder is missing")
	need(c.RunProxy != nil, "there is no proxy to run")
	need(c.Logger != nil, "there is no logger")
	need(c.GraceRatio > 0 && c.GraceRatio < 1, fmt.Sprintf("grace ratio %g: want more than 0 and less than 1", c.GraceRatio))
	need(c.GraceJitter >= 0 && c.GraceJitter < 1, fmt.Sprintf("jitter of the grace ratio %g: want 0 to 1", c.GraceJitter))
	errs = append(errs, c.withPorts().validateMetrics(), c.Key.validate(), asked(c.identity()).Validate())
	return errors.Join(errs...)
}

// validateMetrics judges where the application's metrics are, once the agent's ports are known.
func (c Config) validateMetrics() error {
	if m := c.Metrics; m != nil && slices.Contains([]uint16{c.StatusPort, c.StatsPort, c.AdminPort, c.HealthPort}, m.Port) {
		return fmt.Errorf("prometheus.io/port %d is a port of the proxy or its agent, which would be asked in a circle: name the application's", m.Port)
	}
	return nil
}

// identity is what the agent wants a certificate for, without a trust domain where any will do.
func (c Config) identity() spiffe.ID {
	return spiffe.ID{TrustDomain: c.TrustDomain, Namespace: c.Namespace, ServiceAccount: c.ServiceAccount}
}

// member is the configuration of an agent that has a certificate, and so knows the mesh's trust domain.
func (c Config) member(id *Identity) Config {
	c.TrustDomain = id.trustDomain
	return c
}

// NodeID is Envoy's node id in Istio's form: type~ip~pod.namespace~domain.
func (c Config) NodeID() string {
	return fmt.Sprintf("%s~%s~%s.%s~%s", c.Type, c.IP, c.Name, c.Namespace, c.Domain)
}
