// Package authentication turns RequestAuthentications into the configuration of Envoy's JWT filter, with Istio's meaning
// (https://istio.io/latest/docs/reference/config/security/request_authentication/): a token that a request shows must be good, and a request without one
// passes; who must show one, AuthorizationPolicies say. It is pure. translate puts the configuration into filters and makes the clusters of key servers.
package authentication

import (
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Payload is the key below which the filter leaves a token's claims, in the metadata of its own name, as in Istio.
const Payload = "payload"

const (
	defaultFetchSeconds = 5 // JWTRule.timeout
	keysRefresh         = 5 * time.Minute
	fetchRetries        = 2
)

// undiscovered stands for the URI of keys while an issuer has not said it (RFC 2606, section 2). Proxies are told that they could not fetch the keys, which
// their answers say, and not that the tokens are bad.
const undiscovered = "http://undiscovered.invalid/"

// spaced are the claims whose values are lists written with spaces (RFC 8693, section 4.2), as in Istio.
var spaced = []string{"scope", "permission"}

// Options are what a configuration needs to know besides policies.
type Options struct {
	// Cluster names the cluster by which a key server's URI is fetched, and for "" one that leads nowhere.
	Cluster func(uri string) string
	// Reroute has claims count for routes.
	Reroute bool
	// Refresh is how long fetched keys are used; they are fetched anew ahead of it. Default 5 minutes.
	Refresh time.Duration
}

// Config makes the filter's configuration of a workload's policies; nil when they have no rules.
func Config(policies []*model.RequestAuthentication, o Options) *jwtv3.JwtAuthentication {
	if o.Refresh <= 0 {
		o.Refresh = keysRefresh
	}
	out := &jwtv3.JwtAuthentication{Providers: map[string]*jwtv3.JwtProvider{}, BypassCorsPreflight: true}
	var any, each []*jwtv3.JwtRequirement
	missing := &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_AllowMissing{AllowMissing: &emptypb.Empty{}}}
	for _, p := range policies {
		for _, r := range p.Rules {
			name := fmt.Sprintf("origins-%d", len(out.Providers))
			out.Providers[name] = provider(r, o)
			one := &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_ProviderName{ProviderName: name}}
			any = append(any, one)
			each = append(each, anyOf(one, missing))
		}
	}
	var requires *jwtv3.JwtRequirement
	switch len(any) {
	case 0:
		return nil
	case 1:
		requires = each[0]
	default:
		// A token need be of one issuer only. Where none of the issuers knows the tokens that are there, there must be none.
		all := &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAll{RequiresAll: &jwtv3.JwtRequirementAndList{Requirements: each}}}
		requires = anyOf(append(any, all)...)
	}
	out.Rules = []*jwtv3.RequirementRule{{
		Match:           &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		RequirementType: &jwtv3.RequirementRule_Requires{Requires: requires},
	}}
	return out
}

func anyOf(list ...*jwtv3.JwtRequirement) *jwtv3.JwtRequirement {
	return &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAny{RequiresAny: &jwtv3.JwtRequirementOrList{Requirements: list}}}
}

func provider(r model.TokenRule, o Options) *jwtv3.JwtProvider {
	out := &jwtv3.JwtProvider{
		Issuer: r.GetIssuer(), Audiences: r.GetAudiences(), Forward: r.GetForwardOriginalToken(), ForwardPayloadHeader: r.GetOutputPayloadToHeader(),
		PayloadInMetadata: Payload, JwtCacheConfig: &jwtv3.JwtCacheConfig{}, ClearRouteCache: o.Reroute, FromParams: r.GetFromParams(), FromCookies: r.GetFromCookies(),
		NormalizePayloadInMetadata: &jwtv3.JwtProvider_NormalizePayload{SpaceDelimitedClaims: append(spaced[:len(spaced):len(spaced)], r.GetSpaceDelimitedClaims()...)},
	}
	for _, h := range r.GetFromHeaders() {
		out.FromHeaders = append(out.FromHeaders, &jwtv3.JwtHeader{Name: h.GetName(), ValuePrefix: h.GetPrefix()})
	}
	for _, c := range r.GetOutputClaimToHeaders() {
		out.ClaimToHeaders = append(out.ClaimToHeaders, &jwtv3.JwtClaimToHeader{HeaderName: c.GetHeader(), ClaimName: c.GetClaim()})
	}
	if uri := r.GetJwksUri(); r.GetJwks() == "" && (uri != "" || r.Discovered) {
		fetch := &jwtv3.JwksAsyncFetch{FastListener: true}
		if uri == "" {
			uri, fetch.FailedRefetchDuration = undiscovered, durationpb.New(o.Refresh) // it cannot come about
		}
		timeout := r.GetTimeout()
		if timeout == nil {
			timeout = &durationpb.Duration{Seconds: defaultFetchSeconds}
		}
		out.JwksSourceSpecifier = &jwtv3.JwtProvider_RemoteJwks{RemoteJwks: &jwtv3.RemoteJwks{
			HttpUri: &corev3.HttpUri{
				Uri: uri, HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: o.Cluster(r.GetJwksUri())}, Timeout: timeout,
			},
			CacheDuration: durationpb.New(o.Refresh),
			// A key server that is away holds up no listener: tokens are refused, and requests without one pass.
			AsyncFetch:  fetch,
			RetryPolicy: &corev3.RetryPolicy{NumRetries: wrapperspb.UInt32(fetchRetries)},
		}}
		return out
	}
	keys := r.GetJwks()
	if keys == "" {
		keys = nobody()
	}
	out.JwksSourceSpecifier = &jwtv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: keys}}}
	return out
}
