package model

import (
	"fmt"
	"strings"
	"testing"
)

// TestPolicyInheritance: a subset overrides its rule part by part; settings for a port replace
// all parts of the policy that they stand in.
func TestPolicyInheritance(t *testing.T) {
	pool := func(n int32) *ConnectionPool { return &ConnectionPool{MaxConnections: n} }
	lb := func(p LBPolicy) *LoadBalancer { return &LoadBalancer{Policy: p} }
	port := func(p TrafficPolicy) []PortPolicy { return []PortPolicy{{Port: 80, Policy: p}} }
	for _, c := range []struct {
		why          string
		rule, subset *TrafficPolicy
		want         string // of port 80
	}{
		{"no rule", nil, nil, "-"},
		{"the rule's", &TrafficPolicy{ConnectionPool: pool(1), LoadBalancer: lb(LBRandom)}, nil, "pool=1 lb=3"},
		{"the port's alone", &TrafficPolicy{ConnectionPool: pool(1), LoadBalancer: lb(LBRandom), RetryBudget: &RetryBudget{}, Ports: port(TrafficPolicy{ConnectionPool: pool(2)})}, nil, "pool=2"},
		{"another port's", &TrafficPolicy{ConnectionPool: pool(1), Ports: []PortPolicy{{Port: 81, Policy: TrafficPolicy{ConnectionPool: pool(2)}}}}, nil, "pool=1"},
		{"a subset without a policy", &TrafficPolicy{ConnectionPool: pool(1)}, nil, "pool=1"},
		{"a subset's without a rule's", nil, &TrafficPolicy{ConnectionPool: pool(3)}, "pool=3"},
		{"a subset's parts over the rule's", &TrafficPolicy{ConnectionPool: pool(1), LoadBalancer: lb(LBRandom)}, &TrafficPolicy{ConnectionPool: pool(3)}, "pool=3 lb=3"},
		{"a subset's parts over the port's", &TrafficPolicy{LoadBalancer: lb(LBRandom), Ports: port(TrafficPolicy{ConnectionPool: pool(2), LoadBalancer: lb(LBMaglev)})}, &TrafficPolicy{ConnectionPool: pool(3)}, "pool=3 lb=6"},
		{"a subset's port over all", &TrafficPolicy{ConnectionPool: pool(1), LoadBalancer: lb(LBRandom)}, &TrafficPolicy{ConnectionPool: pool(3), Ports: port(TrafficPolicy{Outlier: &Outlier{}})}, "outlier"},
		{"what ports do not have is inherited", &TrafficPolicy{ProxyProtocol: ProxyProtocolV2, RetryBudget: &RetryBudget{Percent: 5}}, &TrafficPolicy{Ports: port(TrafficPolicy{TLS: &ClientTLS{}})}, "tls proxy=2 budget=5"},
		{"and overridden", &TrafficPolicy{ProxyProtocol: ProxyProtocolV2, RetryBudget: &RetryBudget{Percent: 5}}, &TrafficPolicy{ProxyProtocol: ProxyProtocolV1, RetryBudget: &RetryBudget{Percent: 6}}, "proxy=1 budget=6"},
	} {
		d := &DestinationRule{Policy: c.rule, Subsets: []Subset{{Name: "v1", Policy: c.subset}}}
		subset := &d.Subsets[0]
		if c.subset == nil && !strings.HasPrefix(c.why, "a subset") {
			subset = nil
		}
		if got := describe(d.PolicyFor(subset, 80)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.why, got, c.want)
		}
	}
}

func describe(p *TrafficPolicy) string {
	if p == nil {
		return "-"
	}
	var parts []string
	say := func(given bool, format string, v ...any) {
		if given {
			parts = append(parts, fmt.Sprintf(format, v...))
		}
	}
	say(p.ConnectionPool != nil, "pool=%d", maxConnections(p))
	if p.LoadBalancer != nil {
		say(true, "lb=%d", p.LoadBalancer.Policy)
	}
	say(p.Outlier != nil, "outlier")
	say(p.TLS != nil, "tls")
	say(p.ProxyProtocol != ProxyProtocolNone, "proxy=%d", p.ProxyProtocol)
	if p.RetryBudget != nil {
		say(true, "budget=%v", p.RetryBudget.Percent)
	}
	return strings.Join(parts, " ")
}

func maxConnections(p *TrafficPolicy) int32 {
	if p.ConnectionPool == nil {
		return 0
	}
	return p.ConnectionPool.MaxConnections
}

func TestTunnelIsNotInherited(t *testing.T) {
	tunnel := &Tunnel{TargetHost: "a.example", TargetPort: 443}
	d := &DestinationRule{Policy: &TrafficPolicy{Tunnel: tunnel}, Subsets: []Subset{{Name: "plain"}, {Name: "other", Policy: &TrafficPolicy{Tunnel: &Tunnel{TargetHost: "b.example"}}}}}
	if got := d.TunnelFor(nil); got != tunnel {
		t.Errorf("the rule's: %v", got)
	}
	if got := d.TunnelFor(&d.Subsets[0]); got != nil {
		t.Errorf("a subset without one: %v", got)
	}
	if got := d.TunnelFor(&d.Subsets[1]); got == nil || got.TargetHost != "b.example" {
		t.Errorf("a subset's own: %v", got)
	}
}

func TestLocalityMatches(t *testing.T) {
	l := Locality{Region: "eu", Zone: "a", SubZone: "1"}
	for pattern, want := range map[string]bool{
		"eu/a/1": true, "eu/a/*": true, "eu/*": true, "*": true, "eu": true, "eu/a": true,
		"eu/b/*": false, "eu/a/2": false, "us/*": false, "us": false,
	} {
		if got := l.Matches(pattern); got != want {
			t.Errorf("%s: %v", pattern, got)
		}
	}
}
