package bootstrap

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/overload"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
	"github.com/lateen-mesh/lateen/proxy/internal/watchdog"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Bootstrap is a validated bootstrap.
type Bootstrap struct {
	// rest is the file without its static resources, for Proto.
	rest *bootstrapv3.Bootstrap
	// Node is sent to the control plane; never nil.
	Node *corev3.Node
	// Admin is where the admin API listens; nil: nowhere.
	Admin *xdsresource.Address
	// ProfilePath is the file that the admin API's profiler writes; empty: its default.
	ProfilePath string

	Listeners []xdsresource.Resource // Value is *xdsresource.Listener
	Clusters  []xdsresource.Resource // Value is *xdsresource.Cluster
	Secrets   []xdsresource.Resource // Value is *xdsresource.Secret

	// ADS is the control plane's stream; nil without dynamic_resources.
	ADS *GRPCSource
	// LDS and CDS say where listeners and clusters come from beside the bootstrap; nil: from
	// nowhere. The start waits so long for the first answer of each; 0: without end.
	LDS, CDS                         *xdsresource.ConfigSource
	LDSFetchTimeout, CDSFetchTimeout time.Duration
	Stats                            Stats
	// Runtime is the runtime's layers, the topmost last.
	Runtime []xdsresource.RuntimeLayer
	// Overload is the overload manager; nil: none.
	Overload *xdsresource.Overload

	// Watchdogs say how long a turn of a worker, and of the loop that configuration is made on, may take.
	Watchdogs struct{ Main, Workers watchdog.Config }

	// Control holds the clusters that gRPC sources name (the control plane, the agent's SDS
	// socket). They are dialled by the xDS client, not by the data path.
	Control map[string]*xdsresource.Cluster
	// LocalCluster is the cluster that this proxy's fellows are in; empty: nobody says.
	LocalCluster string
	// Resolver is how names of clusters are resolved that do not say it; nil: as the system does.
	Resolver *xdsresource.DNSResolver
	// Bind is where connections of clusters come from that do not say it; nil: the system chooses.
	Bind *xdsresource.Bind
	// OutlierLog is the file for events of outlier detection; empty: none.
	OutlierLog string
}

// Stats is how statistics are kept and where they are sent.
type Stats struct {
	xdsresource.StatsConfig
	Sinks []xdsresource.StatsSink
	// FlushInterval is how long an interval of histograms and sinks is. Default 5 s.
	FlushInterval time.Duration
	// FlushOnAdmin ends intervals when /stats is asked, and not by time.
	FlushOnAdmin bool
}

// GRPCSource is a gRPC config source.
type GRPCSource struct {
	// Cluster names a member of Control.
	Cluster string
	// Delta selects the incremental protocol, else state of the world.
	Delta bool
	// Call is how the service is called.
	Call xdsresource.GRPCCall
}

// Proto returns the whole file, for the admin API.
func (b *Bootstrap) Proto() *bootstrapv3.Bootstrap {
	m := proto.CloneOf(b.rest)
	if len(b.Listeners)+len(b.Clusters)+len(b.Secrets) > 0 {
		m.StaticResources = &bootstrapv3.Bootstrap_StaticResources{
			Listeners: unpack[listenerv3.Listener](b.Listeners), Clusters: unpack[clusterv3.Cluster](b.Clusters), Secrets: unpack[tlsv3.Secret](b.Secrets),
		}
	}
	return m
}

// Load judges a parsed bootstrap, which is Load's from now on. The error is an *xdsresource.Error
// with every problem of every resource in it.
func Load(m *bootstrapv3.Bootstrap, dec *xdsresource.Decoder) (*Bootstrap, error) {
	l := &loader{dec: dec, out: &Bootstrap{rest: m, Node: m.GetNode(), Control: map[string]*xdsresource.Cluster{}}}
	if l.out.Node == nil {
		l.out.Node = &corev3.Node{}
	}
	// Each resource is checked where it is read.
	l.problems = xdsresource.CheckFields("", m, "envoy.config.listener.v3.Listener", "envoy.config.cluster.v3.Cluster",
		"envoy.extensions.transport_sockets.tls.v3.Secret")
	l.admin(m.GetAdmin())
	l.dynamic(m.GetDynamicResources())
	l.stats(m)
	l.runtime(m.GetLayeredRuntime())
	l.watchdogs(m)
	if err := dec.RegexEngine(m.GetDefaultRegexEngine()); err != nil {
		l.nested("default_regex_engine.typed_config", err)
	}
	if o := m.GetOverloadManager(); o != nil {
		var err error
		if l.out.Overload, err = dec.Overload(o, func(name string) bool { _, ok := overload.ActionOf(name); return ok }); err != nil {
			l.nested("overload_manager", err)
		}
	}
	resolver, err := dec.Resolver(m)
	if err != nil {
		l.nested("", err)
	}
	l.out.Resolver = resolver
	// Clusters that config sources name are dialled by the xDS client.
	for _, name := range sourceClusters(m.GetStaticResources()) {
		if _, known := l.out.Control[name]; !known {
			l.out.Control[name] = nil
		}
	}
	static, err := pack(m.GetStaticResources())
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	m.StaticResources = nil
	if static.size > muchStatic {
		// The text and its messages are ten times what will be made of them. They go first, so that
		// what lives long is not spread over all of their pages.
		runtime.GC()
	}
	l.static(static)
	l.clusterManager(m.GetClusterManager())
	if len(l.problems) > 0 {
		return nil, &xdsresource.Error{Type: "bootstrap", Name: m.GetNode().GetId(), Problems: dedupe(l.problems)}
	}
	return l.out, nil
}

// muchStatic is how many bytes of static resources are worth a collection: some milliseconds, against
// as many megabytes.
const muchStatic = 256 << 10

type loader struct {
	dec      *xdsresource.Decoder
	out      *Bootstrap
	problems []xdsresource.Problem
}

func (l *loader) bad(path, format string, args ...any) {
	l.problems = append(l.problems, xdsresource.Problem{Path: path, Reason: fmt.Sprintf(format, args...)})
}

// nested adds the problems of a resource below its place in the bootstrap.
func (l *loader) nested(path string, err error) {
	e, ok := err.(*xdsresource.Error)
	if !ok {
		l.bad(path, "%v", err)
		return
	}
	for _, p := range e.Problems {
		at := path
		if p.Path != "" {
			at += "." + p.Path
		}
		l.problems = append(l.problems, xdsresource.Problem{Path: at, Reason: p.Reason})
	}
}

func (l *loader) admin(a *bootstrapv3.Admin) {
	if a.GetAddress() == nil {
		return
	}
	addr, err := xdsresource.ParseAddress(a.GetAddress())
	if err != nil {
		l.nested("admin.address", err)
		return
	}
	l.out.Admin = &addr
	l.out.ProfilePath = a.GetProfilePath()
}

func (l *loader) clusterManager(m *bootstrapv3.ClusterManager) {
	bind, err := l.dec.Bind(m.GetUpstreamBindConfig())
	if err != nil {
		l.nested("cluster_manager.upstream_bind_config", err)
	}
	l.out.Bind = bind
	name := m.GetLocalClusterName()
	l.out.LocalCluster, l.out.OutlierLog = name, m.GetOutlierDetection().GetEventLogPath()
	if name != "" && !slices.ContainsFunc(l.out.Clusters, func(r xdsresource.Resource) bool { return r.Name == name }) {
		l.bad("cluster_manager.local_cluster_name", "%q is not among static_resources.clusters", name)
	}
}

func (l *loader) stats(m *bootstrapv3.Bootstrap) {
	st := &l.out.Stats
	var err error
	if st.StatsConfig, err = l.dec.Stats(m.GetStatsConfig()); err != nil {
		l.nested("stats_config", err)
	}
	for i, s := range m.GetStatsSinks() {
		sink, err := l.dec.StatsSink(s)
		if err != nil {
			l.nested(fmt.Sprintf("stats_sinks[%d]", i), err)
		}
		st.Sinks = append(st.Sinks, sink)
	}
	st.FlushOnAdmin = m.GetStatsFlushOnAdmin()
	st.FlushInterval = 5 * time.Second
	if d := m.GetStatsFlushInterval(); d != nil {
		if st.FlushInterval = d.AsDuration(); st.FlushInterval < time.Millisecond {
			l.bad("stats_flush_interval", "must be at least 1 ms")
		}
	}
}

func (l *loader) runtime(m *bootstrapv3.LayeredRuntime) {
	var err error
	if l.out.Runtime, err = l.dec.Runtime(m, l.out.Node.GetCluster()); err != nil {
		l.nested("layered_runtime", err)
	}
	for i, r := range l.out.Runtime {
		if r.Kind == runtimekey.RTDS {
			l.reach(fmt.Sprintf("layered_runtime.layers[%d].rtds_layer.rtds_config", i), r.RTDS)
		}
	}
}

func (l *loader) dynamic(d *bootstrapv3.Bootstrap_DynamicResources) {
	if d == nil {
		return
	}
	if c := d.GetAdsConfig(); c != nil {
		l.out.ADS = l.source("dynamic_resources.ads_config", c)
	}
	l.out.LDS, l.out.LDSFetchTimeout = l.configSource("dynamic_resources.lds_config", d.GetLdsConfig())
	l.out.CDS, l.out.CDSFetchTimeout = l.configSource("dynamic_resources.cds_config", d.GetCdsConfig())
}

// configSource reads where listeners or clusters come from.
func (l *loader) configSource(path string, m *corev3.ConfigSource) (*xdsresource.ConfigSource, time.Duration) {
	if m == nil {
		return nil, 0
	}
	src, fetch, err := l.dec.ConfigSource(m)
	if err != nil {
		l.nested(path, err)
		return nil, 0
	}
	l.reach(path, src)
	return &src, fetch
}

// reach sees to it that a source can be reached.
func (l *loader) reach(path string, src xdsresource.ConfigSource) {
	if src.ADS() && l.out.ADS == nil {
		l.bad(path, "names ads, but dynamic_resources.ads_config is missing or wrong")
	}
	if src.Cluster != "" {
		l.out.Control[src.Cluster] = nil
	}
}

// source reads a gRPC config source and remembers the cluster that it names.
func (l *loader) source(path string, c *corev3.ApiConfigSource) *GRPCSource {
	s := &GRPCSource{}
	switch c.GetApiType() {
	case corev3.ApiConfigSource_DELTA_GRPC, corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC:
		s.Delta = true
	case corev3.ApiConfigSource_GRPC, corev3.ApiConfigSource_AGGREGATED_GRPC:
	default:
		l.bad(path+".api_type", "%v is not supported, use GRPC or DELTA_GRPC", c.GetApiType())
	}
	if c.GetTransportApiVersion() == corev3.ApiVersion_V2 {
		l.bad(path+".transport_api_version", "V2 is gone, use V3")
	}
	if n := len(c.GetGrpcServices()); n != 1 {
		l.bad(path+".grpc_services", "exactly one service is supported, this has %d", n)
		return nil
	}
	svc := c.GetGrpcServices()[0]
	s.Cluster = svc.GetEnvoyGrpc().GetClusterName()
	if s.Cluster == "" {
		l.bad(path+".grpc_services[0].envoy_grpc.cluster_name", "is required")
		return nil
	}
	call, err := l.dec.GRPCCall(svc)
	if err != nil {
		l.nested(path+".grpc_services[0]", err)
	}
	s.Call = call
	l.out.Control[s.Cluster] = nil
	return s
}

func (l *loader) static(s packed) {
	for i, raw := range s.secrets {
		m := &tlsv3.Secret{}
		mustUnpack(raw, m)
		v, err := l.dec.Secret(m)
		if err != nil {
			l.nested(fmt.Sprintf("static_resources.secrets[%d]", i), err)
			continue
		}
		l.out.Secrets = append(l.out.Secrets, xdsresource.Resource{Name: m.GetName(), Raw: raw, Value: v})
	}
	seen := map[string]bool{}
	for i, raw := range s.clusters {
		m := &clusterv3.Cluster{}
		mustUnpack(raw, m)
		path := fmt.Sprintf("static_resources.clusters[%d]", i)
		if seen[m.GetName()] {
			l.bad(path+".name", "cluster %q stands twice", m.GetName())
		}
		seen[m.GetName()] = true
		l.cluster(path, raw, m)
	}
	for name, c := range l.out.Control {
		if c == nil && !seen[name] {
			l.bad("static_resources.clusters", "cluster %q is named by a gRPC config source, but is not here", name)
		}
	}
	clusters := seen
	seen = map[string]bool{}
	for i, raw := range s.listeners {
		m := &listenerv3.Listener{}
		mustUnpack(raw, m)
		path := fmt.Sprintf("static_resources.listeners[%d]", i)
		if seen[m.GetName()] && m.GetName() != "" {
			l.bad(path+".name", "listener %q stands twice", m.GetName())
		}
		seen[m.GetName()] = true
		v, err := l.dec.Listener(m)
		if err != nil {
			l.nested(path, err)
			continue
		}
		if unknown := v.UnknownClusters(func(name string) bool { return clusters[name] }); len(unknown) > 0 {
			l.nested(path, &xdsresource.Error{Problems: unknown})
			continue
		}
		if v.Name == "" { // Envoy invents a UUID; a name that tells something serves better
			v.Name = fmt.Sprintf("static_listener_%d", i)
		}
		l.out.Listeners = append(l.out.Listeners, xdsresource.Resource{Name: v.Name, Raw: raw, Value: v})
	}
}

func (l *loader) cluster(path string, raw *anypb.Any, m *clusterv3.Cluster) {
	_, control := l.out.Control[m.GetName()]
	v, err := l.dec.Cluster(m)
	if err != nil {
		l.nested(path, err)
		return
	}
	if control {
		l.out.Control[m.GetName()] = v
	}
	l.out.Clusters = append(l.out.Clusters, xdsresource.Resource{Name: m.GetName(), Raw: raw, Value: v})
}

// agentSocket is Istio's name for the cluster of the agent's socket, which resources from xDS alone name.
const agentSocket = "sds-grpc"

// sourceClusters lists the clusters that gRPC config sources of static resources name. Those of
// dynamic resources may name only these, too: a source must be there before the stream that
// would bring it. Secrets alone may come from a cluster that is discovered.
func sourceClusters(s *bootstrapv3.Bootstrap_StaticResources) []string {
	static := map[string]bool{}
	for _, c := range s.GetClusters() {
		static[c.GetName()] = true
	}
	var out []string
	add := func(src *corev3.ConfigSource, discovered bool) {
		for _, g := range src.GetApiConfigSource().GetGrpcServices() {
			if name := g.GetEnvoyGrpc().GetClusterName(); name != "" && (static[name] || !discovered) {
				out = append(out, name)
			}
		}
	}
	var visit func(protoreflect.Message)
	visit = func(m protoreflect.Message) {
		switch v := m.Interface().(type) {
		case *corev3.ConfigSource:
			add(v, false)
			return
		case *tlsv3.SdsSecretConfig:
			add(v.GetSdsConfig(), true)
			return
		case *endpointv3.LbEndpoint:
			return // names no source, and there may be tens of thousands
		case *anypb.Any:
			if inner, err := v.UnmarshalNew(); err == nil { // else the decoder reports it
				visit(inner.ProtoReflect())
			}
			return
		}
		m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			switch {
			case fd.IsMap():
				if fd.MapValue().Message() != nil {
					v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool { visit(e.Message()); return true })
				}
			case fd.Message() == nil:
			case fd.IsList():
				for i := range v.List().Len() {
					visit(v.List().Get(i).Message())
				}
			default:
				visit(v.Message())
			}
			return true
		})
	}
	if s != nil {
		visit(s.ProtoReflect())
	}
	if static[agentSocket] {
		out = append(out, agentSocket)
	}
	return out
}

// dedupe drops problems that were found twice: the walk over the whole file meets the fields
// of a resource, and so does its own check.
func dedupe(in []xdsresource.Problem) []xdsresource.Problem {
	seen := map[xdsresource.Problem]bool{}
	var out []xdsresource.Problem
	for _, p := range in {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}
