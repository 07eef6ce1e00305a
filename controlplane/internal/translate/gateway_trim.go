package translate

import (
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Gateways may get the clusters of those services alone that their rules lead to, as Istio's do with
// PILOT_FILTER_GATEWAY_CLUSTER_CONFIG=true: a gateway in front of a thousand services routes to some of them. Clusters for servers that
// pass TLS on by the clusters' names (AUTO_PASSTHROUGH) stay, since any client may name them.

// trims reports whether a proxy's clusters depend on where its rules lead.
func trims(s *model.Snapshot, p *model.Proxy) bool { return s.TrimGateways && p.Type == model.Router }

// trim says which of a proxy's services have clusters.
type trim struct {
	// led are the hosts that the rules of a gateway's proxy lead to, and what they stand for, and those that logs and traces go to; nil: all services have clusters.
	led map[string]bool
}

func trimOf(s *model.Snapshot, p *model.Proxy) trim {
	if !trims(s, p) {
		return trim{}
	}
	t := trim{map[string]bool{}}
	lead := func(host string) {
		t.led[host] = true
		if svc := s.ServiceFor(p, host); svc != nil {
			if to := s.Concrete(svc, p.Namespace); to != nil {
				t.led[to.Host] = true
			}
		}
	}
	for _, host := range s.Mesh.CollectorHosts() {
		lead(host)
	}
	for _, gw := range s.GatewaysFor(p) {
		for _, vs := range s.RulesForGateway(gw.Key(), p.Namespace) {
			for _, d := range vs.Destinations() { // mirrors included
				lead(d.Host)
			}
		}
	}
	return t
}

// services are those of the proxy that may have clusters, in its order.
func (t trim) services(s *model.Snapshot, p *model.Proxy) []*model.Service {
	all := s.ScopeOf(p).Services()
	if t.led == nil || len(passthroughHosts(s, p)) > 0 {
		return all
	}
	out := make([]*model.Service, 0, len(t.led))
	for _, svc := range all {
		if t.led[svc.Host] {
			out = append(out, svc)
		}
	}
	return out
}

// clusters returns those of a service.
func (t trim) clusters(s *model.Snapshot, p *model.Proxy, svc *model.Service) []Resource {
	list := serviceClusters(s, p, svc)
	if t.led == nil || t.led[svc.Host] {
		return list
	}
	var out []Resource
	for _, r := range list {
		if strings.HasPrefix(r.Name, "outbound_.") {
			out = append(out, r)
		}
	}
	return out
}
