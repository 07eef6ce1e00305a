package validate

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1beta1 "istio.io/api/networking/v1beta1"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

func sidecar(c *checker, root *field.Path, spec any) {
	s := spec.(*networking.Sidecar)
	if s.WorkloadSelector != nil {
		c.selectorLabels(root.Child("workloadSelector", "labels"), s.WorkloadSelector.Labels)
	}
	ports := map[uint32]bool{}
	for i, in := range s.Ingress {
		at := root.Child("ingress").Index(i)
		if in.Port == nil {
			c.add(at.Child("port"), "missing; name the port that is listened on")
		} else {
			c.port(at.Child("port", "number"), int64(in.Port.Number), false)
			c.protocol(at.Child("port", "protocol"), in.Port.Protocol)
			if ports[in.Port.Number] {
				c.add(at.Child("port", "number"), "%d is listened on twice; remove one", in.Port.Number)
			}
			ports[in.Port.Number] = true
		}
		if d := in.DefaultEndpoint; d != "" && !strings.HasPrefix(d, "unix://") && !strings.Contains(d, ":") {
			c.add(at.Child("defaultEndpoint"), "%q has no port; write address:port", d)
		}
		c.connectionPool(at.Child("connectionPool"), in.ConnectionPool)
	}
	for i, out := range s.Egress {
		at := root.Child("egress").Index(i)
		if len(out.Hosts) == 0 {
			c.add(at.Child("hosts"), "missing; name namespace/host pairs such as ./* or istio-system/*")
		}
		for j, h := range out.Hosts {
			hat := at.Child("hosts").Index(j)
			ns, host, ok := strings.Cut(h, "/")
			switch {
			case !ok:
				c.add(hat, "%q lacks a namespace; write namespace/host, such as ./%s", h, h)
			case ns != "*" && ns != "." && ns != "~" && !label1123.MatchString(ns):
				c.add(hat, `%q: the part before the slash must be a namespace, ".", "*" or "~"`, h)
			case ns == "~" && host == "*":
			default:
				c.host(hat, host, anyHost)
			}
		}
		if out.Port != nil {
			c.port(at.Child("port", "number"), int64(out.Port.Number), out.Bind != "" && strings.HasPrefix(out.Bind, "unix://"))
			c.protocol(at.Child("port", "protocol"), out.Port.Protocol)
		} else if i < len(s.Egress)-1 {
			c.add(at.Child("port"), "missing; only the last egress listener may do without")
		}
	}
	c.connectionPool(root.Child("inboundConnectionPool"), s.InboundConnectionPool)
	if p := s.OutboundTrafficPolicy.GetEgressProxy(); p != nil {
		c.destination(root.Child("outboundTrafficPolicy", "egressProxy"), p)
	}
}

func envoyFilter(c *checker, root *field.Path, spec any) {
	ef := spec.(*networking.EnvoyFilter)
	if ef.WorkloadSelector != nil {
		c.selectorLabels(root.Child("workloadSelector", "labels"), ef.WorkloadSelector.Labels)
	}
	c.targetRefs(root, nil, ef.TargetRefs, nil)
	for i, cp := range ef.ConfigPatches {
		at := root.Child("configPatches").Index(i)
		if cp.ApplyTo == networking.EnvoyFilter_INVALID {
			c.add(at.Child("applyTo"), "missing; say what is patched, such as HTTP_FILTER")
		}
		if cp.Patch == nil || cp.Patch.Operation == networking.EnvoyFilter_Patch_INVALID {
			c.add(at.Child("patch", "operation"), "missing; say how, such as INSERT_BEFORE or MERGE")
			continue
		}
		if cp.Patch.Operation != networking.EnvoyFilter_Patch_REMOVE && cp.Patch.Value == nil {
			c.add(at.Child("patch", "value"), "missing; operation %s needs one", cp.Patch.Operation)
		}
		if re := cp.Match.GetProxy().GetProxyVersion(); re != "" {
			c.regex(at.Child("match", "proxy", "proxyVersion"), re)
		}
		c.patchMatch(at, cp)
	}
}

// patchMatch checks that a patch's match is of the kind that it applies to.
func (c *checker) patchMatch(at *field.Path, cp *networking.EnvoyFilter_EnvoyConfigObjectPatch) {
	m := cp.Match
	if m.GetObjectTypes() == nil {
		return
	}
	want := ""
	switch cp.ApplyTo {
	case networking.EnvoyFilter_LISTENER, networking.EnvoyFilter_FILTER_CHAIN, networking.EnvoyFilter_NETWORK_FILTER,
		networking.EnvoyFilter_HTTP_FILTER, networking.EnvoyFilter_LISTENER_FILTER:
		if m.GetListener() == nil && m.GetWaypoint() == nil {
			want = "listener"
		}
	case networking.EnvoyFilter_ROUTE_CONFIGURATION, networking.EnvoyFilter_VIRTUAL_HOST, networking.EnvoyFilter_HTTP_ROUTE:
		if m.GetRouteConfiguration() == nil && m.GetWaypoint() == nil {
			want = "routeConfiguration"
		}
	case networking.EnvoyFilter_CLUSTER:
		if m.GetCluster() == nil {
			want = "cluster"
		}
	}
	if want != "" {
		c.add(at.Child("match"), "applyTo %s is matched by %s", cp.ApplyTo, want)
	}
}

func proxyConfig(c *checker, root *field.Path, spec any) {
	pc := spec.(*networkingv1beta1.ProxyConfig)
	c.selector(root.Child("selector"), pc.Selector)
	if n := pc.Concurrency.GetValue(); n < 0 {
		c.add(root.Child("concurrency"), "%d is negative; use 0 for one worker per core", n)
	}
}
