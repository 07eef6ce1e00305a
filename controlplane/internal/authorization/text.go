package authorization

import (
	"net/netip"
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/controlplane/internal/stringmatch"
)

// segment is a regular expression for a value of which each "*" stands for anything within a segment of a SPIFFE ID.
func segment(v string) string {
	return strings.ReplaceAll(regexp.QuoteMeta(v), `\*`, `[^/]*`)
}

// hostText are the forms in which a host may come: host names have no case, may end with a dot, and may be followed by a port. A value that has a port of its own
// is compared as it is.
func hostText(v string) []*matcherv3.StringMatcher {
	name, port := v, ""
	if i := strings.LastIndexByte(v, ':'); i > strings.LastIndexByte(v, ']') {
		name, port = v[:i], v[i+1:]
	}
	switch {
	case v == "*":
		return []*matcherv3.StringMatcher{stringmatch.Star(v)}
	case strings.HasPrefix(v, "*") && port == "":
		return []*matcherv3.StringMatcher{stringmatch.Regex(`(?i).*` + regexp.QuoteMeta(v[1:]) + `\.?(:[0-9]*)?`)}
	case port != "", strings.HasSuffix(v, "*"):
		return []*matcherv3.StringMatcher{stringmatch.IgnoringCase(stringmatch.Star(v))}
	}
	out := []*matcherv3.StringMatcher{stringmatch.Exact(name), stringmatch.Exact(name + "."), stringmatch.Prefix(name + ":"), stringmatch.Prefix(name + ".:")}
	for _, m := range out {
		stringmatch.IgnoringCase(m)
	}
	return out
}

// network is an address, or a range of them; nil for anything else.
func network(v string) *corev3.CidrRange {
	prefix, err := netip.ParsePrefix(v)
	if err != nil {
		addr, err := netip.ParseAddr(v)
		if err != nil {
			return nil
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	return &corev3.CidrRange{AddressPrefix: prefix.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(prefix.Bits()))}
}
