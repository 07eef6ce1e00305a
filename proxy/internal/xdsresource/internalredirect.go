package xdsresource

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	allowedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/allow_listed_routes/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/filter_state/v3"
	previousv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/previous_routes/v3"
	safev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/safe_cross_scheme/v3"
)

// InternalRedirect is a validated route.v3.InternalRedirectPolicy: redirects of upstreams that the
// proxy follows itself.
type InternalRedirect struct {
	Max              uint32 // default 1; over all routes that a request comes through
	Codes            []int  // default 302
	CrossScheme      bool
	CopyHeaders      []string // of the redirect into the request; lower case
	SafeCrossScheme  bool     // a request that came in plain text is not led to https routes
	OnlyRoutes       []string // by name; nil: any
	NotPreviousRoute bool     // each target once from this route
	State            []InternalRedirectState
}

// InternalRedirectState asks an object of the filter state, which must be "true" or "false".
type InternalRedirectState struct {
	Key      string
	IfAbsent bool
}

// redirectCodes are the statuses that Envoy takes for redirects to be followed. Others are ignored.
var redirectCodes = []int{301, 302, 303, 307, 308}

// internalRedirect reads the policy, or the two fields that it has replaced; nil: redirects are passed on.
//
//nolint:staticcheck // the deprecated fields are what older control planes send
func (p *parser) internalRedirect(path string, m *routev3.RouteAction) *InternalRedirect {
	pol := m.GetInternalRedirectPolicy()
	if pol == nil {
		if m.GetInternalRedirectAction() != routev3.RouteAction_HANDLE_INTERNAL_REDIRECT {
			return nil
		}
		return &InternalRedirect{Max: uint32Or(m.GetMaxInternalRedirects(), 1), Codes: []int{302}}
	}
	path = join(path, "internal_redirect_policy")
	out := &InternalRedirect{Max: uint32Or(pol.GetMaxInternalRedirects(), 1), CrossScheme: pol.GetAllowCrossSchemeRedirect()}
	for _, c := range pol.GetRedirectResponseCodes() {
		if slices.Contains(redirectCodes, int(c)) {
			out.Codes = append(out.Codes, int(c))
		}
	}
	if len(pol.GetRedirectResponseCodes()) == 0 {
		out.Codes = []int{302}
	}
	for i, h := range pol.GetResponseHeadersToCopy() {
		h = strings.ToLower(h)
		if h == "" || h[0] == ':' || h == "host" {
			p.bad(at(join(path, "response_headers_to_copy"), i), "%q cannot be copied: it is what the redirect itself sets", h)
		}
		out.CopyHeaders = append(out.CopyHeaders, h)
	}
	for i, pred := range pol.GetPredicates() {
		p.redirectPredicate(at(join(path, "predicates"), i), pred, out)
	}
	return out
}

func (p *parser) redirectPredicate(path string, m *corev3.TypedExtensionConfig, out *InternalRedirect) {
	a := m.GetTypedConfig()
	here := join(path, "typed_config")
	switch TypeName(a) {
	case "envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig":
		out.SafeCrossScheme = p.message(here, a, &safev3.SafeCrossSchemeConfig{})
	case "envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig":
		out.NotPreviousRoute = p.message(here, a, &previousv3.PreviousRoutesConfig{})
	case "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig":
		var c allowedv3.AllowListedRoutesConfig
		if !p.message(here, a, &c) {
			return
		}
		if out.OnlyRoutes != nil { // several lists: what all of them have
			both := []string{}
			for _, n := range c.GetAllowedRouteNames() {
				if slices.Contains(out.OnlyRoutes, n) {
					both = append(both, n)
				}
			}
			out.OnlyRoutes = both
			return
		}
		out.OnlyRoutes = append([]string{}, c.GetAllowedRouteNames()...)
	case "envoy.extensions.internal_redirect.filter_state.v3.FilterStateConfig":
		var c statev3.FilterStateConfig
		if p.message(here, a, &c) {
			out.State = append(out.State, InternalRedirectState{Key: c.GetRedirectEnabledKey(), IfAbsent: c.GetRedirectIfAbsent()})
		}
	default:
		p.bad(path, "redirect predicate %q (type %s) is not supported", m.GetName(), TypeName(a))
	}
}
