package snapshot

//lint:file-ignore SA1019 Istio still serves its deprecated fields, so they are read as well.

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// trafficPolicy converts a policy of a rule or of a subset.
func trafficPolicy(t *networking.TrafficPolicy, field string, p *problems) *model.TrafficPolicy {
	if t == nil {
		return nil
	}
	out := &model.TrafficPolicy{
		LoadBalancer:   loadBalancer(t.LoadBalancer, field+".loadBalancer", p),
		ConnectionPool: connectionPool(t.ConnectionPool),
		Outlier:        outlier(t.OutlierDetection),
		TLS:            clientTLS(t.Tls, field+".tls", p),
		Tunnel:         tunnel(t.Tunnel),
		RetryBudget:    retryBudget(t.RetryBudget),
	}
	if t.ProxyProtocol != nil {
		out.ProxyProtocol = model.ProxyProtocolV1
		if t.ProxyProtocol.Version == networking.TrafficPolicy_ProxyProtocol_V2 {
			out.ProxyProtocol = model.ProxyProtocolV2
		}
	}
	for i, pl := range t.PortLevelSettings {
		if pl.GetPort().GetNumber() == 0 {
			continue
		}
		f := indexed(field+".portLevelSettings", i)
		out.Ports = append(out.Ports, model.PortPolicy{Port: pl.Port.Number, Policy: model.TrafficPolicy{
			LoadBalancer:   loadBalancer(pl.LoadBalancer, f+".loadBalancer", p),
			ConnectionPool: connectionPool(pl.ConnectionPool),
			Outlier:        outlier(pl.OutlierDetection),
			TLS:            clientTLS(pl.Tls, f+".tls", p),
		}})
	}
	return out
}

func loadBalancer(l *networking.LoadBalancerSettings, field string, p *problems) *model.LoadBalancer {
	if l == nil {
		return nil
	}
	out := &model.LoadBalancer{Locality: localityLB(l.LocalityLbSetting), Warmup: warmup(l)}
	if z := l.ZoneAwareLbSetting; z != nil {
		out.Locality = zoneAware(z)
	}
	switch t := l.LbPolicy.(type) {
	case *networking.LoadBalancerSettings_Simple:
		switch t.Simple {
		case networking.LoadBalancerSettings_ROUND_ROBIN:
			out.Policy = model.LBRoundRobin
		case networking.LoadBalancerSettings_RANDOM:
			out.Policy = model.LBRandom
		case networking.LoadBalancerSettings_PASSTHROUGH:
			out.Policy = model.LBPassthrough
		case networking.LoadBalancerSettings_LEAST_CONN, networking.LoadBalancerSettings_LEAST_REQUEST:
			out.Policy = model.LBLeastRequest
		}
	case *networking.LoadBalancerSettings_ConsistentHash:
		consistentHash(t.ConsistentHash, out)
	}
	if out.Warmup != nil && out.Policy != model.LBDefault && out.Policy != model.LBRoundRobin && out.Policy != model.LBLeastRequest {
		p.add(field, "a warm-up has an effect with ROUND_ROBIN and LEAST_REQUEST alone")
	}
	return out
}

func consistentHash(c *networking.LoadBalancerSettings_ConsistentHashLB, out *model.LoadBalancer) {
	out.Policy, out.Hash = model.LBRingHash, &model.ConsistentHash{}
	switch k := c.GetHashKey().(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		out.Hash.Header = k.HttpHeaderName
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		h := k.HttpCookie
		out.Hash.Cookie = &model.HashCookie{Name: h.GetName(), Path: h.GetPath(), TTL: given(h.GetTtl())}
		for _, a := range h.GetAttributes() {
			out.Hash.Cookie.Attributes = append(out.Hash.Cookie.Attributes, model.HeaderValue{Name: a.GetName(), Value: a.GetValue()})
		}
	case *networking.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		out.Hash.SourceIP = k.UseSourceIp
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		out.Hash.Query = k.HttpQueryParameterName
	}
	switch a := c.GetHashAlgorithm().(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_RingHash_:
		out.MinRingSize = a.RingHash.GetMinimumRingSize()
	case *networking.LoadBalancerSettings_ConsistentHashLB_Maglev:
		out.Policy, out.TableSize = model.LBMaglev, a.Maglev.GetTableSize()
	default:
		out.MinRingSize = cmp.Or(c.GetMinimumRingSize(), 1024) // the older field says 1024 where nothing is given
	}
}

func warmup(l *networking.LoadBalancerSettings) *model.Warmup {
	switch {
	case l.Warmup.GetDuration() != nil:
		w := &model.Warmup{Window: duration(l.Warmup.Duration), MinimumPercent: 10, Aggression: 1}
		if v := l.Warmup.MinimumPercent; v != nil {
			w.MinimumPercent = v.Value
		}
		if v := l.Warmup.Aggression; v != nil {
			w.Aggression = v.Value
		}
		return w
	case l.WarmupDurationSecs != nil:
		return &model.Warmup{Window: duration(l.WarmupDurationSecs), Simple: true}
	}
	return nil
}

func localityLB(l *networking.LocalityLoadBalancerSetting) *model.LocalityLB {
	if l == nil {
		return nil
	}
	out := &model.LocalityLB{Enabled: enabled(l.Enabled), FailoverPriority: slices.Clone(l.FailoverPriority)}
	for _, f := range l.Failover {
		out.Failover = append(out.Failover, model.Failover{From: f.GetFrom(), To: f.GetTo()})
	}
	for _, d := range l.Distribute {
		to := make([]model.LocalityShare, 0, len(d.GetTo()))
		for _, k := range sortedKeys(d.GetTo()) {
			to = append(to, model.LocalityShare{Locality: k, Percent: d.To[k]})
		}
		out.Distribute = append(out.Distribute, model.Distribute{From: d.GetFrom(), To: to})
	}
	return out
}

func zoneAware(z *networking.ZoneAwareLoadBalancerSetting) *model.LocalityLB {
	out := &model.LocalityLB{Enabled: enabled(z.Enabled), FailoverPriority: slices.Clone(z.FailoverPriority),
		ZoneAware: &model.ZoneAware{MinClusterSize: z.MinClusterSize.GetValue()}}
	for _, f := range z.Failover {
		out.Failover = append(out.Failover, model.Failover{From: f.GetFrom(), To: f.GetTo()})
	}
	return out
}

// enabled: what is not said is on.
func enabled(v *wrapperspb.BoolValue) bool { return v == nil || v.Value }

func connectionPool(c *networking.ConnectionPoolSettings) *model.ConnectionPool {
	if c == nil {
		return nil
	}
	out := &model.ConnectionPool{}
	if t := c.Tcp; t != nil {
		out.MaxConnections, out.ConnectTimeout = max(t.MaxConnections, 0), given(t.ConnectTimeout)
		out.MaxConnectionDuration, out.TCPIdleTimeout = given(t.MaxConnectionDuration), given(t.IdleTimeout)
		out.Keepalive = keepalive(t.TcpKeepalive)
	}
	if h := c.Http; h != nil {
		out.MaxPendingRequests, out.MaxRequests = max(h.Http1MaxPendingRequests, 0), max(h.Http2MaxRequests, 0)
		out.MaxRequestsPerConn, out.MaxRetries = max(h.MaxRequestsPerConnection, 0), max(h.MaxRetries, 0)
		out.IdleTimeout, out.UseClientProtocol = given(h.IdleTimeout), h.UseClientProtocol
		out.MaxConcurrentStreams = max(h.MaxConcurrentStreams, 0)
		if k := h.Http2KeepAlive; k != nil {
			out.HTTP2Keepalive = &model.HTTP2Keepalive{Interval: given(k.Interval), Timeout: given(k.Timeout)}
		}
		switch h.H2UpgradePolicy {
		case networking.ConnectionPoolSettings_HTTPSettings_UPGRADE:
			out.H2Upgrade = model.H2UpgradeYes
		case networking.ConnectionPoolSettings_HTTPSettings_DO_NOT_UPGRADE:
			out.H2Upgrade = model.H2UpgradeNo
		}
	}
	return out
}

func keepalive(k *networking.ConnectionPoolSettings_TCPSettings_TcpKeepalive) *model.Keepalive {
	if k == nil {
		return nil
	}
	return &model.Keepalive{Probes: k.Probes, Time: duration(k.Time), Interval: duration(k.Interval)}
}

func outlier(o *networking.OutlierDetection) *model.Outlier {
	if o == nil {
		return nil
	}
	out := &model.Outlier{
		SplitLocal: o.SplitExternalLocalOriginErrors, Interval: given(o.Interval),
		BaseEjection: given(o.BaseEjectionTime), MinHealthPercent: uint32(max(o.MinHealthPercent, 0)),
		ConsecutiveErrorsOld: uint32(max(o.ConsecutiveErrors, 0)), HTTPErrorCodes: slices.Clone(o.OutlierDetectionHttpErrorCodes),
	}
	if o.Consecutive_5XxErrors != nil {
		out.Consecutive5xx = ptr(o.Consecutive_5XxErrors.Value)
	}
	if o.ConsecutiveGatewayErrors != nil {
		out.ConsecutiveGateway = ptr(o.ConsecutiveGatewayErrors.Value)
	}
	if o.ConsecutiveLocalOriginFailures != nil {
		out.ConsecutiveLocal = ptr(o.ConsecutiveLocalOriginFailures.Value)
	}
	if o.MaxEjectionPercent > 0 {
		out.MaxEjectionPercent = ptr(uint32(o.MaxEjectionPercent))
	}
	return out
}

func clientTLS(t *networking.ClientTLSSettings, field string, p *problems) *model.ClientTLS {
	if t == nil {
		return nil
	}
	out := &model.ClientTLS{
		Mode: model.TLSKind(t.Mode), ClientCertificate: t.ClientCertificate, PrivateKey: t.PrivateKey,
		CACertificates: t.CaCertificates, SANs: slices.Clone(t.SubjectAltNames), SNI: t.Sni,
		InsecureSkipVerify: t.InsecureSkipVerify.GetValue(), CRL: t.CaCrl,
	}
	if t.CredentialName != "" {
		resource, err := credentialResource(t.CredentialName)
		if err != nil {
			p.add(field+".credentialName", "%v; nothing can be connected to", err)
			// A name that no secret has: to connect without it would be to connect unchecked.
			resource = model.CredentialPrefix
		}
		out.Credential = resource
	}
	return out
}

func tunnel(t *networking.TrafficPolicy_TunnelSettings) *model.Tunnel {
	if t == nil {
		return nil
	}
	return &model.Tunnel{Post: t.Protocol == "POST", TargetHost: t.TargetHost, TargetPort: t.TargetPort}
}

// retryBudget fills in Istio's defaults, which are Envoy's as well.
func retryBudget(r *networking.TrafficPolicy_RetryBudget) *model.RetryBudget {
	if r == nil {
		return nil
	}
	out := &model.RetryBudget{Percent: 20, MinConcurrency: cmp.Or(r.MinRetryConcurrency, 3), Interval: duration(r.BudgetInterval)}
	if r.Percent != nil {
		out.Percent = r.Percent.Value
	}
	return out
}

// given is a duration that may be left out; nil when it is.
func given(d *durationpb.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	return ptr(duration(d))
}
