package model

import (
	"regexp"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
)

// EnvoyFilter changes what is made for proxies, resource by resource. Its patches are of the proxy's language by nature: the graph carries
// them and does not look into their values.
type EnvoyFilter struct {
	Namespace string
	Name      string
	Priority  int32
	Attachment
	Patches []*EnvoyPatch
	Created time.Time
	Origin  Origin
	Rev     uint64
}

// EnvoyPatch is one of spec.configPatches.
type EnvoyPatch struct {
	ApplyTo   networking.EnvoyFilter_ApplyTo
	Operation networking.EnvoyFilter_Patch_Operation
	Match     *networking.EnvoyFilter_EnvoyConfigObjectMatch // never nil
	// Version is match.proxy.proxyVersion; nil for any.
	Version *regexp.Regexp
	// Value is of the type that ApplyTo says; nil for REMOVE. It must not be changed.
	Value  proto.Message
	Origin Origin
}

// Key is "namespace/name".
func (f *EnvoyFilter) Key() string { return f.Namespace + "/" + f.Name }

// Concerns reports whether a patch can match anything of a proxy: by the proxy's kind, version and metadata.
func (e *EnvoyPatch) Concerns(p *Proxy) bool {
	switch e.Match.GetContext() {
	case networking.EnvoyFilter_GATEWAY:
		if p.Type != Router {
			return false
		}
	case networking.EnvoyFilter_SIDECAR_INBOUND, networking.EnvoyFilter_SIDECAR_OUTBOUND:
		if p.Type != Sidecar {
			return false
		}
	case networking.EnvoyFilter_WAYPOINT:
		return false // there are none here
	}
	if e.Version != nil && (p.IstioVersion == "" || !e.Version.MatchString(p.IstioVersion)) {
		return false
	}
	for k, want := range e.Match.GetProxy().GetMetadata() {
		if got, ok := p.Metadata[k].(string); !ok || got != want {
			return false
		}
	}
	return true
}

// shared reports whether a patch changes what proxies of one scope share: clusters and routes.
func (e *EnvoyPatch) shared() bool {
	switch e.ApplyTo {
	case networking.EnvoyFilter_CLUSTER, networking.EnvoyFilter_ROUTE_CONFIGURATION, networking.EnvoyFilter_VIRTUAL_HOST, networking.EnvoyFilter_HTTP_ROUTE:
		return true
	}
	return false
}

// EnvoyFiltersFor returns those for a proxy in the order in which they apply: the root namespace's first, then those of the proxy's own;
// in each by priority, creation and name.
func (s *Snapshot) EnvoyFiltersFor(p *Proxy) []*EnvoyFilter {
	if s.EnvoyFilters.Len() == 0 {
		return nil
	}
	out := s.envoyFiltersIn(s.Mesh.RootNamespace, p)
	if p.Namespace != s.Mesh.RootNamespace {
		out = append(out, s.envoyFiltersIn(p.Namespace, p)...)
	}
	return out
}

func (s *Snapshot) envoyFiltersIn(ns string, p *Proxy) []*EnvoyFilter {
	var out []*EnvoyFilter
	for _, f := range s.EnvoyFilters.Prefix(ns + "/") {
		if f.attaches(f.Namespace, p.Namespace, p.Labels) {
			out = append(out, f)
		}
	}
	slices.SortStableFunc(out, func(a, b *EnvoyFilter) int {
		switch {
		case a.Priority != b.Priority:
			return int(int64(a.Priority) - int64(b.Priority))
		case older(a.Created, a.Key(), b.Created, b.Key()):
			return -1
		}
		return 1
	})
	return out
}

// PatchedScope is Scope, told apart by the patches for clusters and routes: proxies of one Scope share what they have of both only when the
// same patches are for them. Without such patches it is Scope.
func (s *Snapshot) PatchedScope(p *Proxy) string {
	scope := s.Scope(p)
	for _, f := range s.EnvoyFiltersFor(p) {
		for i, e := range f.Patches {
			if e.shared() && e.Concerns(p) {
				scope += "|" + f.Key() + "#" + strconv.Itoa(i)
			}
		}
	}
	return scope
}
