package snapshot

//lint:file-ignore SA1019 Istio still serves its deprecated fields, so they are read as well.

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// destinationRule converts a DestinationRule.
func (b *Builder) destinationRule(o object, d *networking.DestinationRule, p *problems) *model.DestinationRule {
	out := &model.DestinationRule{
		Namespace: o.Namespace, Name: o.Name, Host: b.host(d.Host, o.Namespace),
		ExportTo: exportTo(d.ExportTo, b.mesh.RuleExportTo, o.Namespace),
		Created:  o.Created, Origin: o.origin(),
		Policy: trafficPolicy(d.TrafficPolicy, "spec.trafficPolicy", p),
	}
	if d.WorkloadSelector != nil && len(d.WorkloadSelector.MatchLabels) > 0 {
		out.WorkloadSelector = cloneMap(d.WorkloadSelector.MatchLabels)
	}
	for i, s := range d.Subsets {
		if s == nil {
			continue
		}
		field := indexed("spec.subsets", i)
		if _, dup := out.Subset(s.Name); dup {
			p.add(field+".name", "subset %q is given twice; the first counts", s.Name)
			continue
		}
		out.Subsets = append(out.Subsets, model.Subset{Name: s.Name, Labels: cloneMap(s.Labels),
			Policy: trafficPolicy(s.TrafficPolicy, field+".trafficPolicy", p), Origin: o.at(field)})
	}
	return out
}

func trafficPolicy(t *networking.TrafficPolicy, field string, p *problems) *model.TrafficPolicy {
	if t == nil {
		return nil
	}
	out := &model.TrafficPolicy{
		LoadBalancer:   loadBalancer(t.LoadBalancer, field+".loadBalancer", p),
		ConnectionPool: connectionPool(t.ConnectionPool),
		Outlier:        outlier(t.OutlierDetection, field+".outlierDetection", p),
		TLS:            clientTLS(t.Tls, field+".tls", p),
	}
	if t.Tunnel != nil {
		p.add(field+".tunnel", "is not supported yet; connections are not tunnelled")
	}
	if t.ProxyProtocol != nil {
		p.add(field+".proxyProtocol", "is not supported yet; no PROXY header is sent")
	}
	if rb := t.RetryBudget; rb != nil {
		if out.ConnectionPool == nil {
			out.ConnectionPool = &model.ConnectionPool{}
		}
		out.ConnectionPool.RetryBudgetPercent, out.ConnectionPool.RetryBudgetConcurrency = 20, rb.MinRetryConcurrency
		if rb.Percent != nil {
			out.ConnectionPool.RetryBudgetPercent = rb.Percent.Value
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
			Outlier:        outlier(pl.OutlierDetection, f+".outlierDetection", p),
			TLS:            clientTLS(pl.Tls, f+".tls", p),
		}})
	}
	return out
}

func loadBalancer(l *networking.LoadBalancerSettings, field string, p *problems) *model.LoadBalancer {
	if l == nil {
		return nil
	}
	out := &model.LoadBalancer{Locality: localityLB(l.LocalityLbSetting)}
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
		c := t.ConsistentHash
		out.Policy, out.MinRingSize = model.LBRingHash, c.GetMinimumRingSize()
		out.Hash = &model.ConsistentHash{}
		switch k := c.GetHashKey().(type) {
		case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
			out.Hash.Header = k.HttpHeaderName
		case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
			out.Hash.CookieName, out.Hash.CookiePath = k.HttpCookie.GetName(), k.HttpCookie.GetPath()
			if k.HttpCookie.GetTtl() != nil {
				out.Hash.CookieTTL = ptr(duration(k.HttpCookie.Ttl))
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
		}
	}
	if w := l.Warmup; w != nil {
		out.SlowStart = duration(w.Duration)
		p.add(field+".warmup", "has no effect on lateen's proxies yet; Envoy's get it")
		if w.MinimumPercent != nil || w.Aggression != nil {
			p.add(field+".warmup", "minimumPercent and aggression have no effect yet; Envoy's defaults apply")
		}
	} else if l.WarmupDurationSecs != nil {
		out.SlowStart = duration(l.WarmupDurationSecs)
		p.add(field+".warmupDurationSecs", "has no effect on lateen's proxies yet; Envoy's get it")
	}
	return out
}

func localityLB(l *networking.LocalityLoadBalancerSetting) *model.LocalityLB {
	if l == nil {
		return nil
	}
	out := &model.LocalityLB{Enabled: l.Enabled == nil || l.Enabled.Value, FailoverPriority: slices.Clone(l.FailoverPriority)}
	for _, f := range l.Failover {
		if out.Failover == nil {
			out.Failover = map[string]string{}
		}
		out.Failover[f.GetFrom()] = f.GetTo()
	}
	for _, d := range l.Distribute {
		if out.Distribute == nil {
			out.Distribute = map[string]map[string]uint32{}
		}
		out.Distribute[d.GetFrom()] = cloneMap(d.GetTo())
	}
	return out
}

func connectionPool(c *networking.ConnectionPoolSettings) *model.ConnectionPool {
	if c == nil {
		return nil
	}
	out := &model.ConnectionPool{}
	if t := c.Tcp; t != nil {
		out.MaxConnections, out.ConnectTimeout = max(t.MaxConnections, 0), duration(t.ConnectTimeout)
		out.MaxConnectionDuration = duration(t.MaxConnectionDuration)
		if t.IdleTimeout != nil {
			out.TCPIdleTimeout = ptr(duration(t.IdleTimeout))
		}
		out.Keepalive = keepalive(t.TcpKeepalive)
	}
	if h := c.Http; h != nil {
		out.MaxPendingRequests, out.MaxRequests = max(h.Http1MaxPendingRequests, 0), max(h.Http2MaxRequests, 0)
		out.MaxRequestsPerConn, out.MaxRetries = max(h.MaxRequestsPerConnection, 0), max(h.MaxRetries, 0)
		out.IdleTimeout, out.UseClientProtocol = duration(h.IdleTimeout), h.UseClientProtocol
		out.MaxConcurrentStreams = max(h.MaxConcurrentStreams, 0)
		out.H2Upgrade = h.H2UpgradePolicy == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE
	}
	return out
}

func keepalive(k *networking.ConnectionPoolSettings_TCPSettings_TcpKeepalive) *model.Keepalive {
	if k == nil {
		return nil
	}
	return &model.Keepalive{Probes: k.Probes, Time: duration(k.Time), Interval: duration(k.Interval)}
}

func outlier(o *networking.OutlierDetection, field string, p *problems) *model.Outlier {
	if o == nil {
		return nil
	}
	out := &model.Outlier{
		SplitLocal: o.SplitExternalLocalOriginErrors, Interval: duration(o.Interval),
		BaseEjection: duration(o.BaseEjectionTime), MinHealthPercent: uint32(max(o.MinHealthPercent, 0)),
		ConsecutiveErrorsOld: uint32(max(o.ConsecutiveErrors, 0)),
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
	if len(o.OutlierDetectionHttpErrorCodes) > 0 {
		p.add(field+".outlierDetectionHttpErrorCodes", "is not supported yet; all 5xx count")
	}
	return out
}

func clientTLS(t *networking.ClientTLSSettings, field string, p *problems) *model.ClientTLS {
	if t == nil {
		return nil
	}
	out := &model.ClientTLS{
		Mode: model.TLSKind(t.Mode), ClientCertificate: t.ClientCertificate, PrivateKey: t.PrivateKey,
		CACertificates: t.CaCertificates, CredentialName: t.CredentialName, SANs: slices.Clone(t.SubjectAltNames), SNI: t.Sni,
		InsecureSkipVerify: t.InsecureSkipVerify.GetValue(), CRL: t.CaCrl,
	}
	if t.CredentialName != "" {
		p.add(field+".credentialName", "is not supported yet; give files instead")
	}
	return out
}

// mergeRules joins the rules of one namespace for one host, oldest first, as Istio does: the
// traffic policy of the first that has one, and all subsets, the first of a name counting.
func mergeRules(rules []*model.DestinationRule) *model.DestinationRule {
	if len(rules) == 1 {
		return rules[0]
	}
	out := *rules[0]
	out.Subsets = slices.Clone(out.Subsets)
	for _, r := range rules[1:] {
		if out.Policy == nil {
			out.Policy = r.Policy
		}
		for _, s := range r.Subsets {
			if _, dup := out.Subset(s.Name); !dup {
				out.Subsets = append(out.Subsets, s)
			}
		}
	}
	return &out
}
