package translate

import (
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// NamedHosts returns the names of the virtual hosts ("80/catalog.shop") of the services that a sidecar's Sidecar object names whole,
// as the workload may write them: a wildcard names nobody. Such a proxy is sent them before a request asks.
func NamedHosts(s *model.Snapshot, p *model.Proxy) []string {
	if s.SidecarFor(p) == nil {
		return nil
	}
	var out []string
	for _, egress := range s.ScopeOf(p).Egress() {
		for _, svc := range namedServices(egress) {
			for _, port := range svc.Ports {
				if speaksHTTP(port) {
					out = append(out, namedHosts(s, p, egress, svc, port)...)
				}
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	routes := RouteNames(s, p)
	return slices.DeleteFunc(out, func(name string) bool {
		_, there := slices.BinarySearch(routes, name[:strings.LastIndexByte(name, '/')])
		return !there
	})
}

// namedServices are those that an egress listener imports by their whole names.
func namedServices(egress *model.EgressScope) []*model.Service {
	var out []*model.Service
	if egress.Listener() == nil {
		return nil
	}
	for _, h := range egress.Listener().Hosts {
		if strings.HasPrefix(h.Host, "*") {
			continue
		}
		if svc := egress.Service(h.Host); svc != nil {
			out = append(out, svc)
		}
	}
	return out
}

// namedHosts are the names of one port's virtual hosts in each route configuration that may have them.
func namedHosts(s *model.Snapshot, p *model.Proxy, egress *model.EgressScope, svc *model.Service, port model.Port) []string {
	number := strconv.FormatUint(uint64(port.Number), 10)
	explicit := []string{}
	routes := []string{number, hostPort(svc.Host, port.Number)}
	if explicitProxy(s, p).IsValid() {
		explicit = append(explicit, httpProxyRoute)
	}
	if l := egress.Listener(); l.Port != nil && l.Port.HTTPProxy {
		explicit, routes = append(explicit, strconv.FormatUint(uint64(l.Port.Number), 10)), nil
	} else if isSocket(l.Bind) {
		explicit, routes = append(explicit, l.Bind), nil
	}
	var out []string
	for _, form := range nameForms(svc, p) {
		for _, r := range explicit {
			for _, host := range withPort(form, port.Number) {
				out = append(out, r+"/"+host)
			}
		}
		if port.Number != 80 { // clients name a port that is not their protocol's own
			form = hostPort(form, port.Number)
		}
		for _, r := range routes {
			out = append(out, r+"/"+form)
		}
	}
	return out
}
