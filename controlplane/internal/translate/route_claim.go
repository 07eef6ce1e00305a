package translate

import (
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// claimPrefix begins the name of a condition on a token's claim, in place of a header's:
// "@request.auth.claims[group][id]", or with dots, "@request.auth.claims.group.id".
// https://istio.io/latest/docs/tasks/security/authentication/jwt-route/
const claimPrefix = "@request.auth.claims"

// claimMatch is a condition on what the JWT filter found in a token; nil for a header.
func claimMatch(h model.NamedMatch) *matcherv3.MetadataMatcher {
	if len(h.Name) <= len(claimPrefix) || !strings.EqualFold(h.Name[:len(claimPrefix)], claimPrefix) {
		return nil
	}
	var claims []string
	switch rest := h.Name[len(claimPrefix):]; {
	case rest[0] == '.':
		claims = strings.Split(rest[1:], ".")
	case rest[0] == '[' && strings.HasSuffix(rest, "]"):
		claims = strings.Split(rest[1:len(rest)-1], "][")
	default:
		return nil
	}
	out := &matcherv3.MetadataMatcher{Filter: jwtFilter, Path: []*matcherv3.MetadataMatcher_PathSegment{pathSegment("payload")}}
	for _, c := range claims {
		if c == "" {
			return nil
		}
		out.Path = append(out.Path, pathSegment(c))
	}
	if anything(h.Match) {
		out.Value = &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_PresentMatch{PresentMatch: true}}
		return out
	}
	// A claim is a string, or a list in which one has to match.
	is := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: stringMatcher(h.Match)}}
	has := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{
		MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: is},
	}}}
	out.Value = &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_OrMatch{OrMatch: &matcherv3.OrMatcher{
		ValueMatchers: []*matcherv3.ValueMatcher{is, has},
	}}}
	return out
}

func pathSegment(key string) *matcherv3.MetadataMatcher_PathSegment {
	return &matcherv3.MetadataMatcher_PathSegment{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: key}}
}
