package translate

import (
	"net"
	"strconv"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// weightedCluster is a share of connections.
type weightedCluster struct {
	name   string
	weight uint32
}

func toCluster(name string) []weightedCluster { return []weightedCluster{{name, 1}} }

// tcpPolicy is what of a destination's policy the listener carries out. Nil: Envoy's defaults,
// an idle timeout of an hour and no limit.
type tcpPolicy struct {
	idle, duration *time.Duration
	bySource       bool          // the client's address chooses the endpoint
	tunnel         *model.Tunnel // nil: none
	names          *sniNames     // of a service whose names are resolved for each connection; nil: of any other
}

// tcpPolicy finds it for the first of several destinations: it belongs to the listener, not to
// a cluster.
func (rc *routeContext) tcpPolicy(d model.Destination) tcpPolicy {
	ns := ""
	svc := rc.snap.ServiceFor(rc.proxy, d.Host)
	if svc != nil {
		ns = svc.Namespace
	}
	port := d.Port
	if port == 0 {
		port = rc.port
	}
	out := tcpPolicy{names: rc.sniNames(svc, port)}
	rule := rc.snap.Rule(d.Host, ns, rc.proxy.Namespace, rc.proxy.Labels)
	if rule == nil {
		return out
	}
	var subset *model.Subset
	if sub, ok := rule.Subset(d.Subset); ok {
		subset = &sub
	}
	out.tunnel = rule.TunnelFor(subset)
	pol := rule.PolicyFor(subset, port)
	if pol == nil {
		return out
	}
	if c := pol.ConnectionPool; c != nil {
		out.idle, out.duration = c.TCPIdleTimeout, c.MaxConnectionDuration
	}
	out.bySource = pol.LoadBalancer != nil && pol.LoadBalancer.Hash != nil && pol.LoadBalancer.Hash.SourceIP
	return out
}

// toTCP are the filters of a chain for opaque bytes, which go to clusters as a destination's policy says.
func (f *filters) toTCP(statPrefix string, clusters []weightedCluster, policy tcpPolicy) []*listenerv3.Filter {
	tp := &tcpproxyv3.TcpProxy{
		StatPrefix: statPrefix, AccessLog: f.logs.connections,
		IdleTimeout: optional(policy.idle), MaxDownstreamConnectionDuration: optional(policy.duration),
	}
	if policy.bySource {
		tp.HashPolicy = []*typev3.HashPolicy{{PolicySpecifier: &typev3.HashPolicy_SourceIp_{SourceIp: &typev3.HashPolicy_SourceIp{}}}}
	}
	if t := policy.tunnel; t != nil {
		tp.TunnelingConfig = &tcpproxyv3.TcpProxy_TunnelingConfig{
			Hostname: net.JoinHostPort(t.TargetHost, strconv.FormatUint(uint64(t.TargetPort), 10)), UsePost: t.Post,
		}
	}
	if len(clusters) == 1 {
		tp.ClusterSpecifier = &tcpproxyv3.TcpProxy_Cluster{Cluster: clusters[0].name}
	} else {
		w := &tcpproxyv3.TcpProxy_WeightedCluster{}
		for _, c := range clusters {
			w.Clusters = append(w.Clusters, &tcpproxyv3.TcpProxy_WeightedCluster_ClusterWeight{Name: c.name, Weight: c.weight})
		}
		tp.ClusterSpecifier = &tcpproxyv3.TcpProxy_WeightedClusters{WeightedClusters: w}
	}
	out := f.tcp()
	if policy.names != nil && len(clusters) == 1 { // one cache cannot serve several, as in Istio
		out = append(out, policy.names.filter())
	}
	return append(out, networkFilter(tcpProxyFilter, toAny(tp)))
}

// toOne is toTCP for one cluster, of which no policy is known.
func (f *filters) toOne(cluster string) []*listenerv3.Filter {
	return f.toTCP(cluster, toCluster(cluster), tcpPolicy{})
}
