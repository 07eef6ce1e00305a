package xdsresource

import (
	"net/netip"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
	"github.com/lateen-mesh/lateen/proxy/internal/tokenbucket"
)

// RateLimit is a validated route.v3.RateLimit: how a request is described to a rate limiter.
type RateLimit struct {
	Stage      uint32
	DisableKey string
	// Enabled is the percentage of requests that it holds for, of the runtime:
	// ratelimit.<DisableKey>.http_filter_enabled. Without a value it holds for all.
	Enabled *runtimekey.Key
	Actions []RateLimitAction
	Limit   *RateLimitOverride // nil: none
	Hits    *RateLimitHits     // nil: as many as the request is
	Done    bool               // for the end of the stream
	Headers RateLimitHeaders
}

// RateLimitOverride is a limit that takes the place of the service's own.
type RateLimitOverride struct {
	Requests uint32
	Unit     int32    // of type.v3.RateLimitUnit
	Metadata []string // where dynamic metadata holds the two; nil: they are above
}

// RateLimitHits is how many hits a request is.
type RateLimitHits struct {
	Number   uint64
	Format   string // whose text is the number; "": it is above
	Negative bool   // they are given back
}

// RateLimitHeaders says whether x-ratelimit-* headers tell of a limit.
type RateLimitHeaders uint8

// Whether they do: as the filter says, or not.
const (
	RateLimitHeadersDefault RateLimitHeaders = iota
	RateLimitHeadersOff
	RateLimitHeadersOn
)

// MaxRateLimitHits is how many hits a request may be.
const MaxRateLimitHits = 1_000_000_000

// RateLimitKind says what an action tells of a request.
type RateLimitKind uint8

// Kinds of actions.
const (
	RateLimitSourceCluster RateLimitKind = iota
	RateLimitDestinationCluster
	RateLimitRequestHeader
	RateLimitQueryParameter
	RateLimitRemoteAddress
	RateLimitMaskedAddress
	RateLimitGenericKey
	RateLimitHeaderMatch
	RateLimitQueryMatch
	RateLimitMetadata
	RateLimitAddressMatch
)

// RateLimitAction makes one entry of a descriptor.
type RateLimitAction struct {
	Kind         RateLimitKind
	Key          string
	Name         string // of the header or parameter, lower case for a header
	Value        string // for GenericKey and the matches
	Default      string // for a value that is empty
	SkipIfAbsent bool
	ExpectMatch  bool
	Headers      []HeaderMatcher
	Query        []QueryMatcher
	V4, V6       int            // prefix lengths
	Ranges       []netip.Prefix // of a client's address
	Outside      bool           // it must be in none of them
	Metadata     []string
	OfRoute      bool // route metadata, else dynamic metadata
}

// RateLimits converts a filter's own list of rate limits, which know no stages.
func (r *FilterReader) RateLimits(path string, in []*routev3.RateLimit) []RateLimit {
	for i, m := range in {
		if m.GetStage() != nil {
			r.p.bad(join(at(path, i), "stage"), "has no effect in a filter's own limits; remove it")
		}
		if m.GetDisableKey() != "" {
			r.p.bad(join(at(path, i), "disable_key"), "has no effect in a filter's own limits; remove it")
		}
	}
	return r.p.rateLimits(path, in)
}

// RateLimitUnit is the number of a unit's name.
func RateLimitUnit(name string) (int32, bool) {
	n, ok := typev3.RateLimitUnit_value[name]
	return n, ok
}

// TokenBucket converts a bucket's limit.
func (r *FilterReader) TokenBucket(path string, m *typev3.TokenBucket) tokenbucket.Limit {
	l := tokenbucket.Limit{
		Max: m.GetMaxTokens(), PerFill: uint32Or(m.GetTokensPerFill(), 1),
		Interval: r.p.duration(join(path, "fill_interval"), m.GetFillInterval(), 0),
	}
	if l.Interval <= 0 {
		r.p.bad(join(path, "fill_interval"), "must be positive")
	}
	return l
}

func (p *parser) rateLimits(path string, in []*routev3.RateLimit) []RateLimit {
	var out []RateLimit
	for i, m := range in {
		here := at(path, i)
		rl := RateLimit{
			Stage: uint32Or(m.GetStage(), 0), DisableKey: m.GetDisableKey(), Done: m.GetApplyOnStreamDone(), Headers: RateLimitHeaders(m.GetXRatelimitOption()),
			Limit: rateLimitOverride(m.GetLimit()), Hits: p.rateLimitHits(join(here, "hits_addend"), m.GetHitsAddend()),
		}
		if rl.DisableKey != "" {
			rl.Enabled = p.dec.keys.Key("ratelimit." + rl.DisableKey + ".http_filter_enabled")
		}
		for j, a := range m.GetActions() {
			rl.Actions = append(rl.Actions, p.rateLimitAction(at(join(here, "actions"), j), a))
		}
		out = append(out, rl)
	}
	return out
}

func (p *parser) rateLimitAction(path string, m *routev3.RateLimit_Action) RateLimitAction {
	or := func(s, def string) string {
		if s == "" {
			return def
		}
		return s
	}
	switch a := m.GetActionSpecifier().(type) {
	case *routev3.RateLimit_Action_SourceCluster_:
		return RateLimitAction{Kind: RateLimitSourceCluster, Key: "source_cluster"}
	case *routev3.RateLimit_Action_DestinationCluster_:
		return RateLimitAction{Kind: RateLimitDestinationCluster, Key: "destination_cluster"}
	case *routev3.RateLimit_Action_RequestHeaders_:
		h := a.RequestHeaders
		return RateLimitAction{Kind: RateLimitRequestHeader, Key: h.GetDescriptorKey(), Name: strings.ToLower(h.GetHeaderName()), SkipIfAbsent: h.GetSkipIfAbsent()}
	case *routev3.RateLimit_Action_QueryParameters_:
		q := a.QueryParameters
		return RateLimitAction{Kind: RateLimitQueryParameter, Key: q.GetDescriptorKey(), Name: q.GetQueryParameterName(), SkipIfAbsent: q.GetSkipIfAbsent()}
	case *routev3.RateLimit_Action_RemoteAddress_:
		return RateLimitAction{Kind: RateLimitRemoteAddress, Key: "remote_address"}
	case *routev3.RateLimit_Action_MaskedRemoteAddress_:
		x := a.MaskedRemoteAddress
		return RateLimitAction{Kind: RateLimitMaskedAddress, Key: "masked_remote_address", V4: int(uint32Or(x.GetV4PrefixMaskLen(), 32)), V6: int(uint32Or(x.GetV6PrefixMaskLen(), 128))}
	case *routev3.RateLimit_Action_GenericKey_:
		g := a.GenericKey
		return RateLimitAction{Kind: RateLimitGenericKey, Key: or(g.GetDescriptorKey(), "generic_key"), Value: g.GetDescriptorValue(), Default: g.GetDefaultValue()}
	case *routev3.RateLimit_Action_HeaderValueMatch_:
		h := a.HeaderValueMatch
		return RateLimitAction{
			Kind: RateLimitHeaderMatch, Key: or(h.GetDescriptorKey(), "header_match"), Value: h.GetDescriptorValue(), Default: h.GetDefaultValue(),
			ExpectMatch: boolOr(h.GetExpectMatch(), true), Headers: p.headerMatchers(join(path, "header_value_match.headers"), h.GetHeaders()),
		}
	case *routev3.RateLimit_Action_QueryParameterValueMatch_:
		q := a.QueryParameterValueMatch
		return RateLimitAction{
			Kind: RateLimitQueryMatch, Key: or(q.GetDescriptorKey(), "query_match"), Value: q.GetDescriptorValue(), Default: q.GetDefaultValue(),
			ExpectMatch: boolOr(q.GetExpectMatch(), true), Query: p.queryMatchers(join(path, "query_parameter_value_match.query_parameters"), q.GetQueryParameters()),
		}
	case *routev3.RateLimit_Action_Metadata:
		x := a.Metadata
		return RateLimitAction{
			Kind: RateLimitMetadata, Key: x.GetDescriptorKey(), Default: x.GetDefaultValue(), SkipIfAbsent: x.GetSkipIfAbsent(),
			Metadata: metadataKey(x.GetMetadataKey()), OfRoute: x.GetSource() == routev3.RateLimit_Action_MetaData_ROUTE_ENTRY,
		}
	case *routev3.RateLimit_Action_DynamicMetadata: // the older form of the one above
		x := a.DynamicMetadata
		return RateLimitAction{Kind: RateLimitMetadata, Key: x.GetDescriptorKey(), Default: x.GetDefaultValue(), Metadata: metadataKey(x.GetMetadataKey())}
	case *routev3.RateLimit_Action_RemoteAddressMatch_:
		x := a.RemoteAddressMatch
		return RateLimitAction{
			Kind: RateLimitAddressMatch, Key: or(x.GetDescriptorKey(), "remote_address_match"), Value: x.GetDescriptorValue(), Default: x.GetDefaultValue(),
			Ranges: p.addressRanges(join(path, "remote_address_match.address_matcher"), x.GetAddressMatcher()), Outside: x.GetAddressMatcher().GetInvertMatch(),
		}
	}
	p.bad(path, "an action is required")
	return RateLimitAction{}
}

func rateLimitOverride(m *routev3.RateLimit_Override) *RateLimitOverride {
	switch o := m.GetOverrideSpecifier().(type) {
	case *routev3.RateLimit_Override_DynamicMetadata_:
		return &RateLimitOverride{Metadata: metadataKey(o.DynamicMetadata.GetMetadataKey())}
	case *routev3.RateLimit_Override_RateLimit:
		return &RateLimitOverride{Requests: o.RateLimit.GetRequestsPerUnit(), Unit: int32(o.RateLimit.GetUnit())}
	}
	return nil
}

func (p *parser) rateLimitHits(path string, m *routev3.RateLimit_HitsAddend) *RateLimitHits {
	if m == nil {
		return nil
	}
	if m.GetNumber() != nil && m.GetFormat() != "" {
		p.bad(path, "number and format exclude each other")
	}
	return &RateLimitHits{Number: m.GetNumber().GetValue(), Format: m.GetFormat(), Negative: m.GetIsNegativeHits()}
}

// metadataKey is a key's filter name with the path below it.
func metadataKey(m *metadatav3.MetadataKey) []string {
	out := []string{m.GetKey()}
	for _, s := range m.GetPath() {
		out = append(out, s.GetKey())
	}
	return out
}
