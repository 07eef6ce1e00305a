package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"cmp"
	"strconv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// connectionPool, outlier and balancer are the parts of the policy in force; nil is a default.
// The mesh's stand in for what the rule does not say.
func (in *clusterInput) connectionPool() *model.ConnectionPool {
	if in.policy != nil && in.policy.ConnectionPool != nil {
		return in.policy.ConnectionPool
	}
	return cmp.Or(in.mesh.DefaultPool, &model.ConnectionPool{})
}

func (in *clusterInput) outlier() *model.Outlier {
	if in.policy != nil && in.policy.Outlier != nil {
		return in.policy.Outlier
	}
	return in.mesh.DefaultOutlier
}

func (in *clusterInput) balancer() *model.LoadBalancer {
	if in.policy == nil {
		return nil
	}
	return in.policy.LoadBalancer
}

func (in *clusterInput) tls() *model.ClientTLS {
	if in.policy == nil {
		return nil
	}
	return in.policy.TLS
}

func (in *clusterInput) applyPolicy(c *clusterv3.Cluster) {
	in.applyConnectionPool(c)
	in.applyOutlier(c)
	in.applyLocality(c)
	if in.kind != kindOriginalDst && in.kind != kindDynamic {
		in.applyLoadBalancer(c)
	}
}

func (in *clusterInput) applyConnectionPool(c *clusterv3.Cluster) {
	limitConnections(c, in.connectionPool(), in.mesh)
	if in.policy != nil && in.policy.RetryBudget != nil {
		rb := in.policy.RetryBudget
		budget := &clusterv3.CircuitBreakers_Thresholds_RetryBudget{BudgetPercent: percent(rb.Percent), MinRetryConcurrency: u32(rb.MinConcurrency)}
		if rb.Interval > 0 {
			budget.BudgetInterval = seconds(rb.Interval)
		}
		c.CircuitBreakers.Thresholds[0].RetryBudget = budget
	}
}

// limitConnections puts a connection pool's limits on a cluster, and how its connections are made.
func limitConnections(c *clusterv3.Cluster, cp *model.ConnectionPool, mesh *model.Mesh) {
	th := c.CircuitBreakers.Thresholds[0]
	if cp.ConnectTimeout != nil && *cp.ConnectTimeout > 0 {
		c.ConnectTimeout = seconds(*cp.ConnectTimeout)
	}
	if cp.MaxConnections > 0 {
		th.MaxConnections = u32(uint32(cp.MaxConnections))
	}
	if cp.MaxPendingRequests > 0 {
		th.MaxPendingRequests = u32(uint32(cp.MaxPendingRequests))
	}
	if cp.MaxRequests > 0 {
		th.MaxRequests = u32(uint32(cp.MaxRequests))
	}
	if cp.MaxRetries > 0 {
		th.MaxRetries = u32(uint32(cp.MaxRetries))
	}
	if keep := cmp.Or(cp.Keepalive, mesh.Keepalive); keep != nil {
		c.UpstreamConnectionOptions = tcpKeepalive(keep)
	}
}

// tcpKeepalive has the system's own values where nothing is said.
func tcpKeepalive(keep *model.Keepalive) *clusterv3.UpstreamConnectionOptions {
	k := &corev3.TcpKeepalive{}
	if keep.Probes > 0 {
		k.KeepaliveProbes = u32(keep.Probes)
	}
	if keep.Time > 0 {
		k.KeepaliveTime = u32(uint32(keep.Time / time.Second))
	}
	if keep.Interval > 0 {
		k.KeepaliveInterval = u32(uint32(keep.Interval / time.Second))
	}
	return &clusterv3.UpstreamConnectionOptions{TcpKeepalive: k}
}

func (in *clusterInput) applyOutlier(c *clusterv3.Cluster) {
	o := in.outlier()
	if o == nil {
		return
	}
	enforced := func(v uint32) uint32 {
		if v > 0 {
			return 100
		}
		return 0
	}
	// Istio turns detection by success rate off: it is not part of its API.
	d := &clusterv3.OutlierDetection{EnforcingSuccessRate: u32(0), Interval: optional(o.Interval), BaseEjectionTime: optional(o.BaseEjection)}
	if v := o.Consecutive5xx; v != nil {
		d.Consecutive_5Xx, d.EnforcingConsecutive_5Xx = u32(*v), u32(enforced(*v))
	}
	switch {
	case o.ConsecutiveGateway != nil:
		d.ConsecutiveGatewayFailure, d.EnforcingConsecutiveGatewayFailure = u32(*o.ConsecutiveGateway), u32(enforced(*o.ConsecutiveGateway))
	case o.ConsecutiveErrorsOld > 0:
		d.ConsecutiveGatewayFailure, d.EnforcingConsecutiveGatewayFailure = u32(o.ConsecutiveErrorsOld), u32(100)
	}
	if o.SplitLocal {
		d.SplitExternalLocalOriginErrors = true
		if v := o.ConsecutiveLocal; v != nil && *v > 0 {
			d.ConsecutiveLocalOriginFailure, d.EnforcingConsecutiveLocalOriginFailure = u32(*v), u32(100)
		}
		d.EnforcingLocalOriginSuccessRate = u32(0)
	}
	if o.MaxEjectionPercent != nil {
		d.MaxEjectionPercent = u32(min(*o.MaxEjectionPercent, 100))
	}
	c.OutlierDetection = d
	if c.CommonLbConfig != nil {
		// minHealthPercent defaults to 0 and is written as such: with outlier detection,
		// panic routing is off unless asked for.
		c.CommonLbConfig.HealthyPanicThreshold = percent(float64(min(o.MinHealthPercent, 100)))
	}
}

// errorStatuses says which responses outlier detection takes for errors; nil: those of 500 and above.
func errorStatuses(codes []uint32) *httpv3.HttpProtocolOptions_OutlierDetection {
	var rules []*matcherv3.MatchPredicate
	for _, code := range codes {
		status := headerMatch(":status", model.StringMatch{Kind: model.MatchExact, Value: strconv.FormatUint(uint64(code), 10)})
		rules = append(rules, &matcherv3.MatchPredicate{Rule: &matcherv3.MatchPredicate_HttpResponseHeadersMatch{
			HttpResponseHeadersMatch: &matcherv3.HttpHeadersMatch{Headers: []*routev3.HeaderMatcher{status}},
		}})
	}
	switch len(rules) {
	case 0:
		return nil
	case 1:
		return &httpv3.HttpProtocolOptions_OutlierDetection{ErrorMatcher: rules[0]}
	}
	return &httpv3.HttpProtocolOptions_OutlierDetection{ErrorMatcher: &matcherv3.MatchPredicate{
		Rule: &matcherv3.MatchPredicate_OrMatch{OrMatch: &matcherv3.MatchPredicate_MatchSet{Rules: rules}},
	}}
}

func (in *clusterInput) applyLoadBalancer(c *clusterv3.Cluster) {
	lb := in.balancer()
	if lb == nil {
		return
	}
	switch lb.Policy {
	case model.LBRoundRobin:
		c.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		if slow := slowStart(lb.Warmup); slow != nil {
			c.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: slow}}
		}
	case model.LBRandom:
		c.LbPolicy = clusterv3.Cluster_RANDOM
	case model.LBRingHash:
		c.LbPolicy = clusterv3.Cluster_RING_HASH
		if lb.MinRingSize > 0 {
			// Envoy's limit is 8 Mi entries.
			c.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{MinimumRingSize: u64(min(lb.MinRingSize, 8<<20))}}
		}
	case model.LBMaglev:
		c.LbPolicy = clusterv3.Cluster_MAGLEV
		if lb.TableSize > 0 {
			c.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: u64(min(lb.TableSize, 5000011))}}
		}
	default:
		c.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		if slow := slowStart(lb.Warmup); slow != nil {
			c.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: slow}}
		}
	}
}

// noRuntime stands where Envoy wants the name of a runtime value; nobody sets one of this name.
const noRuntime = "lateen.fixed"

func slowStart(w *model.Warmup) *clusterv3.Cluster_SlowStartConfig {
	switch {
	case w == nil || w.Window <= 0:
		return nil
	case w.Simple:
		return &clusterv3.Cluster_SlowStartConfig{SlowStartWindow: seconds(w.Window)}
	}
	return &clusterv3.Cluster_SlowStartConfig{
		SlowStartWindow:  seconds(w.Window),
		Aggression:       &corev3.RuntimeDouble{DefaultValue: w.Aggression, RuntimeKey: noRuntime},
		MinWeightPercent: percent(w.MinimumPercent),
	}
}

// optional is a duration that may not be given.
func optional(d *time.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	return seconds(*d)
}
