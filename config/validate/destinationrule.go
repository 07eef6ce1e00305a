package validate

//lint:file-ignore SA1019 Istio still serves its deprecated fields, so they are checked as well.

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

func destinationRule(c *checker, root *field.Path, spec any) {
	dr := spec.(*networking.DestinationRule)
	if dr.Host == "" {
		c.add(root.Child("host"), "missing; name the service that the rule is for")
	} else {
		c.host(root.Child("host"), dr.Host, anyHost)
	}
	c.trafficPolicy(root.Child("trafficPolicy"), dr.TrafficPolicy)
	seen := map[string]int{}
	for i, s := range dr.Subsets {
		at := root.Child("subsets").Index(i)
		if s.Name == "" {
			c.add(at.Child("name"), "missing; routes refer to a subset by its name")
		} else if first, dup := seen[s.Name]; dup {
			c.add(at.Child("name"), "%q is the name of subsets[%d] as well; rename one", s.Name, first)
		} else {
			seen[s.Name] = i
		}
		c.subsetName(at.Child("name"), s.Name)
		c.labels(at.Child("labels"), s.Labels)
		c.trafficPolicy(at.Child("trafficPolicy"), s.TrafficPolicy)
	}
	c.exportTo(root.Child("exportTo"), dr.ExportTo)
	c.selector(root.Child("workloadSelector"), dr.WorkloadSelector)
}

func (c *checker) trafficPolicy(p *field.Path, t *networking.TrafficPolicy) {
	if t == nil {
		return
	}
	c.loadBalancer(p.Child("loadBalancer"), t.LoadBalancer)
	c.connectionPool(p.Child("connectionPool"), t.ConnectionPool)
	c.outlier(p.Child("outlierDetection"), t.OutlierDetection)
	c.clientTLS(p.Child("tls"), t.Tls)
	for i, pl := range t.PortLevelSettings {
		at := p.Child("portLevelSettings").Index(i)
		if pl.Port == nil {
			c.add(at.Child("port"), "missing; name the port that the settings are for")
		} else {
			c.port(at.Child("port", "number"), int64(pl.Port.Number), false)
		}
		c.loadBalancer(at.Child("loadBalancer"), pl.LoadBalancer)
		c.connectionPool(at.Child("connectionPool"), pl.ConnectionPool)
		c.outlier(at.Child("outlierDetection"), pl.OutlierDetection)
		c.clientTLS(at.Child("tls"), pl.Tls)
	}
	if tn := t.Tunnel; tn != nil {
		at := p.Child("tunnel")
		if tn.Protocol != "" && tn.Protocol != "CONNECT" && tn.Protocol != "POST" {
			c.add(at.Child("protocol"), "%q is not a way to tunnel; use CONNECT or POST", tn.Protocol)
		}
		if tn.TargetHost == "" {
			c.add(at.Child("targetHost"), "missing; name the host that connections are tunnelled to")
		} else if _, err := netip.ParseAddr(tn.TargetHost); err != nil {
			c.host(at.Child("targetHost"), tn.TargetHost, plainHost)
		}
		c.port(at.Child("targetPort"), int64(tn.TargetPort), false)
	}
	if b := t.RetryBudget; b != nil {
		if b.Percent != nil {
			c.percent(p.Child("retryBudget", "percent"), b.Percent.Value)
		}
		c.duration(p.Child("retryBudget", "budgetInterval"), b.BudgetInterval, notNegative)
	}
}

func (c *checker) loadBalancer(p *field.Path, l *networking.LoadBalancerSettings) {
	if l == nil {
		return
	}
	c.duration(p.Child("warmupDurationSecs"), l.WarmupDurationSecs, notNegative)
	if w := l.Warmup; w != nil {
		c.duration(p.Child("warmup", "duration"), w.Duration, positive)
		if w.Duration == nil {
			c.add(p.Child("warmup", "duration"), "missing; say how long a new endpoint warms up, such as 60s")
		}
		if w.MinimumPercent != nil {
			c.percent(p.Child("warmup", "minimumPercent"), w.MinimumPercent.Value)
		}
		if w.Aggression != nil && w.Aggression.Value < 1 {
			c.add(p.Child("warmup", "aggression"), "%v is too small; the least is 1", w.Aggression.Value)
		}
	}
	if h := l.GetConsistentHash(); h != nil {
		c.consistentHash(p.Child("consistentHash"), h)
	}
	if s := l.LocalityLbSetting; s != nil {
		c.locality(p.Child("localityLbSetting"), s)
	}
	if z := l.ZoneAwareLbSetting; z != nil {
		at := p.Child("zoneAwareLbSetting")
		if l.LocalityLbSetting != nil {
			c.add(at, "cannot be combined with localityLbSetting; remove one")
		}
		for i, f := range z.Failover {
			c.failover(at.Child("failover").Index(i), f.GetFrom(), f.GetTo())
		}
		for i, label := range z.FailoverPriority {
			if placeLabel(label) {
				c.add(at.Child("failoverPriority").Index(i), "%q has no place here: regions and zones are seen to without it", label)
			}
		}
		if n := z.MinClusterSize; n != nil && n.Value == 0 {
			c.add(at.Child("minClusterSize"), "0 is too small; the least is 1")
		}
	}
}

// placeLabel reports whether a label of failoverPriority says where a workload runs.
func placeLabel(label string) bool {
	switch key, _, _ := strings.Cut(label, "="); key {
	case "topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone":
		return true
	}
	return false
}

func (c *checker) consistentHash(p *field.Path, h *networking.LoadBalancerSettings_ConsistentHashLB) {
	switch k := h.HashKey.(type) {
	case nil:
		c.add(p, "nothing to hash; set httpHeaderName, httpCookie, httpQueryParameterName or useSourceIp")
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		c.header(p.Child("httpHeaderName"), k.HttpHeaderName)
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		if k.HttpCookie.GetName() == "" {
			c.add(p.Child("httpCookie", "name"), "missing; a cookie needs a name")
		}
		c.duration(p.Child("httpCookie", "ttl"), k.HttpCookie.GetTtl(), notNegative)
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		if k.HttpQueryParameterName == "" {
			c.add(p.Child("httpQueryParameterName"), "empty; name a query parameter")
		}
	}
	if m, ok := h.HashAlgorithm.(*networking.LoadBalancerSettings_ConsistentHashLB_Maglev); ok {
		if n := m.Maglev.GetTableSize(); n != 0 && (n < 2 || n > 5000011 || !prime(n)) {
			c.add(p.Child("maglev", "tableSize"), "%d is not a prime up to 5000011; the default is 65537", n)
		}
	}
}

func prime(n uint64) bool {
	for d := uint64(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}

func (c *checker) locality(p *field.Path, s *networking.LocalityLoadBalancerSetting) {
	if len(s.Distribute) > 0 && len(s.Failover)+len(s.FailoverPriority) > 0 {
		c.add(p, "set either distribute or failover and failoverPriority")
	}
	if len(s.Failover) > 0 {
		for i, label := range s.FailoverPriority {
			if placeLabel(label) {
				c.add(p.Child("failoverPriority").Index(i), "%q cannot be combined with failover, which is by place; remove one", label)
			}
		}
	}
	var from []string
	for i, d := range s.Distribute {
		at := p.Child("distribute").Index(i)
		if d.From == "" {
			c.add(at.Child("from"), "missing; name a locality such as region/zone")
		}
		from = append(from, d.From)
		c.localities(at.Child("to"), slices.Sorted(maps.Keys(d.To)))
		var sum uint64
		for loc, w := range d.To {
			if w == 0 || w > 100 {
				c.add(at.Child("to", loc), "%d is not a share; use 1 to 100", w)
			}
			sum += uint64(w)
		}
		if sum != 100 {
			c.add(at.Child("to"), "the shares add up to %d; make it 100", sum)
		}
	}
	c.localities(p.Child("distribute"), from)
	for i, f := range s.Failover {
		c.failover(p.Child("failover").Index(i), f.GetFrom(), f.GetTo())
	}
}

func (c *checker) failover(at *field.Path, from, to string) {
	if from == to {
		c.add(at.Child("to"), "from and to are both %q; name another region to fail over to", to)
	}
	for name, r := range map[string]string{"from": from, "to": to} {
		if strings.ContainsAny(r, "/*") {
			c.add(at.Child(name), "%q: failover is between regions; give a region alone", r)
		}
	}
}

// localities checks the form of localities (region/zone/subzone, where "*" may stand last), and
// that none lies in another: it would not be clear which of the two counts.
func (c *checker) localities(p *field.Path, list []string) {
	for i, a := range list {
		parts := strings.Split(a, "/")
		if star := slices.Index(parts, "*"); len(parts) > 3 || star >= 0 && star != len(parts)-1 || slices.Contains(parts, "") && a != "" {
			c.add(p, "%q is not a locality; write region/zone/subzone, region/zone/* or region/*", a)
		}
		for _, b := range list[:i] {
			if within(a, b) || within(b, a) {
				c.add(p, "%q and %q overlap; remove one", b, a)
			}
		}
	}
}

// within reports whether locality a lies in b.
func within(a, b string) bool {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	for i, part := range bs {
		if part == "*" {
			return true
		}
		if i >= len(as) || as[i] != part {
			return false
		}
	}
	return true
}

func (c *checker) connectionPool(p *field.Path, s *networking.ConnectionPoolSettings) {
	if s == nil {
		return
	}
	if s.Tcp == nil && s.Http == nil {
		c.add(p, "says nothing; set tcp or http")
	}
	natural := func(at *field.Path, v int32) {
		if v < 0 {
			c.add(at, "%d is negative; leave it out for no limit", v)
		}
	}
	if t := s.Tcp; t != nil {
		at := p.Child("tcp")
		natural(at.Child("maxConnections"), t.MaxConnections)
		c.duration(at.Child("connectTimeout"), t.ConnectTimeout, atLeastMillisecond)
		c.duration(at.Child("maxConnectionDuration"), t.MaxConnectionDuration, atLeastMillisecond)
		c.duration(at.Child("idleTimeout"), t.IdleTimeout, notNegative)
		if k := t.TcpKeepalive; k != nil {
			c.duration(at.Child("tcpKeepalive", "time"), k.Time, positive)
			c.duration(at.Child("tcpKeepalive", "interval"), k.Interval, positive)
		}
	}
	if h := s.Http; h != nil {
		at := p.Child("http")
		natural(at.Child("http1MaxPendingRequests"), h.Http1MaxPendingRequests)
		natural(at.Child("http2MaxRequests"), h.Http2MaxRequests)
		natural(at.Child("maxRequestsPerConnection"), h.MaxRequestsPerConnection)
		natural(at.Child("maxRetries"), h.MaxRetries)
		natural(at.Child("maxConcurrentStreams"), h.MaxConcurrentStreams)
		c.duration(at.Child("idleTimeout"), h.IdleTimeout, notNegative)
		if k := h.Http2KeepAlive; k != nil {
			if k.Interval == nil || k.Timeout == nil {
				c.add(at.Child("http2KeepAlive"), "needs both interval and timeout")
			}
			c.duration(at.Child("http2KeepAlive", "interval"), k.Interval, atLeastMillisecond)
			c.duration(at.Child("http2KeepAlive", "timeout"), k.Timeout, atLeastMillisecond)
		}
		if h.H2UpgradePolicy == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE && h.UseClientProtocol {
			c.add(at.Child("useClientProtocol"), "cannot be combined with h2UpgradePolicy UPGRADE; remove one")
		}
	}
}

func (c *checker) outlier(p *field.Path, o *networking.OutlierDetection) {
	if o == nil {
		return
	}
	c.duration(p.Child("interval"), o.Interval, atLeastMillisecond)
	c.duration(p.Child("baseEjectionTime"), o.BaseEjectionTime, atLeastMillisecond)
	c.percent(p.Child("maxEjectionPercent"), float64(o.MaxEjectionPercent))
	c.percent(p.Child("minHealthPercent"), float64(o.MinHealthPercent))
	if o.ConsecutiveErrors < 0 {
		c.add(p.Child("consecutiveErrors"), "%d is negative; use consecutive5xxErrors", o.ConsecutiveErrors)
	}
	if o.ConsecutiveLocalOriginFailures.GetValue() > 0 && !o.SplitExternalLocalOriginErrors {
		c.add(p.Child("consecutiveLocalOriginFailures"), "counts only if splitExternalLocalOriginErrors is true; set that as well")
	}
	for i, code := range o.OutlierDetectionHttpErrorCodes {
		if code < 100 || code > 599 {
			c.add(p.Child("outlierDetectionHttpErrorCodes").Index(i), "%d is not a status code", code)
		}
	}
}

func (c *checker) clientTLS(p *field.Path, t *networking.ClientTLSSettings) {
	if t == nil {
		return
	}
	switch t.Mode {
	case networking.ClientTLSSettings_MUTUAL:
		if t.CredentialName != "" {
			break
		}
		if t.ClientCertificate == "" {
			c.add(p.Child("clientCertificate"), "missing; mode MUTUAL needs a certificate file or credentialName")
		}
		if t.PrivateKey == "" {
			c.add(p.Child("privateKey"), "missing; mode MUTUAL needs a key file or credentialName")
		}
	case networking.ClientTLSSettings_ISTIO_MUTUAL:
		for name, set := range map[string]bool{"clientCertificate": t.ClientCertificate != "", "privateKey": t.PrivateKey != "",
			"caCertificates": t.CaCertificates != "", "credentialName": t.CredentialName != ""} {
			if set {
				c.add(p.Child(name), "has no meaning with mode ISTIO_MUTUAL, which uses the mesh's certificates; remove it")
			}
		}
	}
	if t.CredentialName != "" && t.Mode != networking.ClientTLSSettings_ISTIO_MUTUAL &&
		(t.ClientCertificate != "" || t.PrivateKey != "" || t.CaCertificates != "" || t.CaCrl != "") {
		c.add(p.Child("credentialName"), "cannot be combined with certificate files; remove one")
	}
	if t.InsecureSkipVerify.GetValue() && t.Mode != networking.ClientTLSSettings_DISABLE && t.CaCertificates != "" {
		c.add(p.Child("insecureSkipVerify"), "cannot be combined with caCertificates; remove one")
	}
}
