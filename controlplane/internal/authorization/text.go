package authorization

import (
	"net/netip"
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// text compares as Istio does: "*" is anything but nothing, "*x" ends with x, "x*" begins with x, all else is equal. prefix stands before what the value
// says of the beginning.
func text(prefix, v string) *matcherv3.StringMatcher {
	switch {
	case v == "*":
		return pattern(".+")
	case strings.HasPrefix(v, "*"):
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: v[1:]}}
	case strings.HasSuffix(v, "*"):
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix + v[:len(v)-1]}}
	}
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: prefix + v}}
}

// pattern matches the whole of a string.
func pattern(re string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: re}}}
}

// segment is a regular expression for a value of which each "*" stands for anything within a segment of a SPIFFE ID.
func segment(v string) string {
	return strings.ReplaceAll(regexp.QuoteMeta(v), `\*`, `[^/]*`)
}

func ignoringCase(m *matcherv3.StringMatcher) *matcherv3.StringMatcher {
	m.IgnoreCase = true
	return m
}

// hostText are the forms in which a host may come: host names have no case, may end with a dot, and may be followed by a port. A value that has a port of its own
// is compared as it is.
func hostText(v string) []*matcherv3.StringMatcher {
	exact := func(s string) *matcherv3.StringMatcher {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}, IgnoreCase: true}
	}
	begins := func(s string) *matcherv3.StringMatcher {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: s}, IgnoreCase: true}
	}
	name, port := v, ""
	if i := strings.LastIndexByte(v, ':'); i > strings.LastIndexByte(v, ']') {
		name, port = v[:i], v[i+1:]
	}
	switch {
	case v == "*":
		return []*matcherv3.StringMatcher{pattern(".+")}
	case strings.HasPrefix(v, "*") && port == "":
		return []*matcherv3.StringMatcher{pattern(`(?i).*` + regexp.QuoteMeta(v[1:]) + `\.?(:[0-9]*)?`)}
	case port != "", strings.HasSuffix(v, "*"):
		return []*matcherv3.StringMatcher{ignoringCase(text("", v))}
	}
	return []*matcherv3.StringMatcher{exact(name), exact(name + "."), begins(name + ":"), begins(name + ".:")}
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
