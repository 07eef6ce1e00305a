package jwtauthn

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/jwt"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// provider is a validated JwtProvider: whose tokens are taken, from where, and what becomes of them.
type provider struct {
	name      string
	issuer    string // "": any
	audiences audiences
	subjects  *xdsresource.StringMatch // nil: any

	requireExpiration bool
	maxLifetime       *time.Duration // nil: any
	clockSkew         uint64         // seconds

	keys   *jwt.KeySet // of local_jwks; nil: it is empty
	remote *Remote     // nil: the keys are local

	forward       bool
	places        []place
	payloadHeader *header.Key // nil: none
	padPayload    bool
	claims        []claimHeader

	payloadMetadata, headerMetadata, failureMetadata string // keys; "": none
	spaceDelimited                                   []string
	clearRoute                                       bool

	cacheSize, maxCached int
	cacheCounted         bool // jwt_cache_config is there
}

// Remote is where the keys of a provider are fetched. It is comparable.
type Remote struct {
	From xdsresource.HTTPTarget
	// CacheFor is how long keys are good; a fetch replaces them then.
	CacheFor time.Duration
	// Async fetches ahead of requests, and again RetryAfter a failure. Fast does not let the listener
	// wait for the first fetch.
	Async, Fast bool
	RetryAfter  time.Duration
	Retry       xdsresource.Retry // the zero value: a fetch is tried once
}

// Defaults of Envoy.
const (
	defaultClockSkew   = 60 // seconds
	defaultCacheFor    = 10 * time.Minute
	defaultRetryAfter  = time.Second
	defaultCacheSize   = 100
	defaultCachedToken = 4096 // bytes
	maxCacheSize       = 1 << 16
)

func parseProvider(r *xdsresource.FilterReader, path, name string, m *jwtv3.JwtProvider) *provider {
	p := &provider{
		name: name, issuer: m.GetIssuer(), audiences: newAudiences(m.GetAudiences()),
		requireExpiration: m.GetRequireExpiration(), clockSkew: defaultClockSkew,
		forward: m.GetForward(), padPayload: m.GetPadForwardPayloadHeader(),
		payloadMetadata: m.GetPayloadInMetadata(), headerMetadata: m.GetHeaderInMetadata(), failureMetadata: m.GetFailedStatusInMetadata(),
		spaceDelimited: m.GetNormalizePayloadInMetadata().GetSpaceDelimitedClaims(), clearRoute: m.GetClearRouteCache(),
		cacheSize: defaultCacheSize, maxCached: defaultCachedToken, cacheCounted: m.GetJwtCacheConfig() != nil,
	}
	if m.GetSubjects() != nil {
		sm := r.StringMatch(path+".subjects", m.GetSubjects())
		p.subjects = &sm
	}
	if m.GetMaxLifetime() != nil {
		d := r.Duration(path+".max_lifetime", m.GetMaxLifetime(), 0)
		p.maxLifetime = &d
	}
	if s := m.GetClockSkewSeconds(); s > 0 {
		p.clockSkew = uint64(s)
	}
	if n := m.GetJwtCacheConfig().GetJwtCacheSize(); n > maxCacheSize {
		r.Bad(path+".jwt_cache_config.jwt_cache_size", "%d tokens are more than the limit of %d", n, maxCacheSize)
	} else if n > 0 {
		p.cacheSize = int(n)
	}
	if n := m.GetJwtCacheConfig().GetJwtMaxTokenSize(); n > 0 {
		p.maxCached = int(min(n, jwt.MaxTokenSize))
	}
	if h := m.GetForwardPayloadHeader(); h != "" {
		k := headerKey(r, path+".forward_payload_header", h)
		p.payloadHeader = &k
	}
	p.places = parsePlaces(r, path, m)
	for i, c := range m.GetClaimToHeaders() {
		p.claims = append(p.claims, parseClaimHeader(r, fmt.Sprintf("%s.claim_to_headers[%d]", path, i), c))
	}
	switch s := m.GetJwksSourceSpecifier().(type) {
	case *jwtv3.JwtProvider_LocalJwks:
		p.keys = parseLocal(r, path+".local_jwks", s.LocalJwks)
	case *jwtv3.JwtProvider_RemoteJwks:
		p.remote = parseRemote(r, path+".remote_jwks", s.RemoteJwks)
	}
	return p
}

// framing are headers that no filter may take out of a request or add to it.
var framing = []string{"host", "content-length", "transfer-encoding", "connection", "upgrade", "te"}

// headerKey reads the name of a header that is taken from requests or written to them.
func headerKey(r *xdsresource.FilterReader, path, name string) header.Key {
	name = strings.ToLower(name)
	switch {
	case name == "" || strings.HasPrefix(name, ":"), slices.Contains(framing, name):
		r.Bad(path, "%q cannot be used: the header says where a request goes or ends", name)
	}
	return header.KeyOf(name)
}

// parseLocal reads keys of the configuration. None at all are no mistake: all tokens are refused.
func parseLocal(r *xdsresource.FilterReader, path string, m *corev3.DataSource) *jwt.KeySet {
	raw := r.DataSource(path, m)
	if len(raw) == 0 {
		return nil
	}
	keys, err := jwt.ParseKeys(raw)
	if err != nil {
		r.Bad(path, "%v", err)
	}
	return keys
}

func parseRemote(r *xdsresource.FilterReader, path string, m *jwtv3.RemoteJwks) *Remote {
	out := &Remote{
		From:       r.HTTPTarget(path+".http_uri", m.GetHttpUri()),
		CacheFor:   r.Duration(path+".cache_duration", m.GetCacheDuration(), defaultCacheFor),
		RetryAfter: defaultRetryAfter,
	}
	if !strings.Contains(out.From.URL, "://") {
		r.Bad(path+".http_uri.uri", "%q is no URI like https://issuer.example/keys", out.From.URL)
	}
	if a := m.GetAsyncFetch(); a != nil {
		out.Async, out.Fast = true, a.GetFastListener()
		out.RetryAfter = max(r.Duration(path+".async_fetch.failed_refetch_duration", a.GetFailedRefetchDuration(), defaultRetryAfter), time.Millisecond)
	}
	if m.GetRetryPolicy().GetRetryOn() != "" {
		r.Bad(path+".retry_policy.retry_on", "this field is not supported; every failure is tried again")
	}
	if retry := r.Retry(path+".retry_policy", m.GetRetryPolicy()); retry != nil {
		out.Retry = *retry
	}
	return out
}

// audiences are those that a token may be meant for; nil: any.
type audiences map[string]bool

func newAudiences(list []string) audiences {
	var out audiences
	for _, a := range list {
		if out == nil {
			out = audiences{}
		}
		out[bare(a)] = true
	}
	return out
}

func (a audiences) allow(of []string) bool {
	if a == nil {
		return true
	}
	for _, x := range of {
		if a[bare(x)] {
			return true
		}
	}
	return false
}

// bare is an audience without its scheme and one slash at its end, which make no difference.
func bare(audience string) string {
	for _, scheme := range [...]string{"http://", "https://"} {
		if rest, ok := strings.CutPrefix(audience, scheme); ok {
			audience = rest
			break
		}
	}
	return strings.TrimSuffix(audience, "/")
}
