package validate

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/config/envoypatch"
	"github.com/lateen-mesh/lateen/config/internal/field"
)

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
		if _, err := envoypatch.Value(cp.ApplyTo, cp.Patch.Value); err != nil {
			c.add(at.Child("patch", "value"), "%v", err)
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
		return
	}
	if f := m.GetListener().GetFilterChain().GetFilter(); f != nil {
		c.filterMatch(at.Child("match", "listener", "filterChain", "filter"), cp.ApplyTo, f)
	}
}

const connectionManager = "envoy.filters.network.http_connection_manager"

// filterMatch checks what a patch says of the network filter and of the HTTP filter in it.
func (c *checker) filterMatch(at *field.Path, to networking.EnvoyFilter_ApplyTo, f *networking.EnvoyFilter_ListenerMatch_FilterMatch) {
	switch {
	case f.Name == "":
		c.add(at.Child("name"), "missing; name the filter that is meant")
	case f.SubFilter == nil:
	case to != networking.EnvoyFilter_HTTP_FILTER:
		c.add(at.Child("subFilter"), "is for applyTo HTTP_FILTER only, not %s", to)
	case f.Name != connectionManager:
		c.add(at.Child("name"), "%q has no filters in it; with subFilter write %s", f.Name, connectionManager)
	case f.SubFilter.Name == "":
		c.add(at.Child("subFilter", "name"), "missing; name the HTTP filter that is meant")
	}
}
