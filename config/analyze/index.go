package analyze

import (
	"sort"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

// service is what a host name leads to.
type service struct {
	host      string
	namespace string
	object    *config.Object
	ports     []uint32
	selector  map[string]string
}

func (a *analyzer) index() {
	a.services, a.gateways, a.rules = map[string]*service{}, map[string]*config.Object{}, map[string][]*config.Object{}
	for _, o := range a.set.List(schema.Service) {
		spec := o.Spec.(*corev1.Service).Spec
		s := &service{host: o.Name + "." + o.Namespace + ".svc." + a.opts.Domain, namespace: o.Namespace, object: o, selector: spec.Selector}
		for _, p := range spec.Ports {
			s.ports = append(s.ports, uint32(p.Port))
		}
		a.services[s.host] = s
	}
	for _, o := range a.set.List(schema.ServiceEntry) {
		se := o.Spec.(*networking.ServiceEntry)
		for _, h := range se.Hosts {
			s := &service{host: strings.ToLower(h), namespace: o.Namespace, object: o, selector: se.WorkloadSelector.GetLabels()}
			for _, p := range se.Ports {
				s.ports = append(s.ports, p.Number)
			}
			if strings.HasPrefix(h, "*") {
				a.wildcard = append(a.wildcard, s)
			} else if a.services[s.host] == nil {
				a.services[s.host] = s
			}
		}
		for _, addr := range se.Addresses {
			if a.services[addr] == nil && len(se.Hosts) > 0 {
				a.services[addr] = a.services[strings.ToLower(se.Hosts[0])]
			}
		}
	}
	for _, o := range a.set.List(schema.Gateway) {
		a.gateways[o.Namespace+"/"+o.Name] = o
	}
	for _, o := range a.set.List(schema.DestinationRule) {
		h := a.resolve(o.Spec.(*networking.DestinationRule).Host, o.Namespace)
		a.rules[h] = append(a.rules[h], o)
	}
}

// resolve completes a short name in the object's namespace. As in Istio, only a name without a
// dot is short.
func (a *analyzer) resolve(host, namespace string) string {
	host = strings.ToLower(host)
	if host == "" || strings.ContainsAny(host, ".*:") {
		return host
	}
	return host + "." + namespace + ".svc." + a.opts.Domain
}

// find returns the service of a complete host name.
func (a *analyzer) find(host string) *service {
	if s := a.services[host]; s != nil {
		return s
	}
	for _, w := range a.wildcard {
		if covers(w.host, host) {
			return w
		}
	}
	return nil
}

// covers reports whether a host pattern (*.example.com, *, or a plain name) covers a host, which
// may be a pattern itself.
func covers(pattern, host string) bool {
	pattern, host = strings.ToLower(pattern), strings.ToLower(host)
	if pattern == "*" || pattern == host {
		return true
	}
	suffix, ok := strings.CutPrefix(pattern, "*")
	return ok && strings.HasSuffix(host, suffix) && len(host) > len(suffix)
}

// hosts returns the names of services near the one looked for: same namespace first.
func (a *analyzer) hosts(namespace string) []string {
	var out []string
	for h, s := range a.services {
		if s != nil && s.namespace == namespace {
			out = append(out, strings.TrimSuffix(h, "."+namespace+".svc."+a.opts.Domain))
		}
	}
	sort.Strings(out)
	return out
}

// rulesFor returns the DestinationRules for a host: those that name it, else those whose
// wildcard covers it.
func (a *analyzer) rulesFor(host string) []*config.Object {
	if rs := a.rules[host]; len(rs) > 0 {
		return rs
	}
	var out []*config.Object
	for pattern, rs := range a.rules {
		if strings.HasPrefix(pattern, "*") && covers(pattern, host) {
			out = append(out, rs...)
		}
	}
	return out
}

// workloads returns the labels of the workloads that a service's selector picks.
func (a *analyzer) workloads(s *service) []map[string]string {
	if len(s.selector) == 0 {
		return nil
	}
	var out []map[string]string
	for _, o := range a.set.List(schema.WorkloadEntry) {
		labels := o.Spec.(*networking.WorkloadEntry).Labels
		if o.Namespace == s.namespace && selects(s.selector, labels) {
			out = append(out, labels)
		}
	}
	return out
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if w, ok := labels[k]; !ok || w != v {
			return false
		}
	}
	return true
}
