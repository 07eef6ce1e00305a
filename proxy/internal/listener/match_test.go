package listener

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func compileFor(t *testing.T, matches map[string]xdsresource.FilterChainMatch) *matcher {
	t.Helper()
	var chains []*chain
	for name, m := range matches {
		chains = append(chains, &chain{fc: &xdsresource.FilterChain{Name: name, Match: m}})
	}
	m, err := compileMatcher(chains)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// conn1 is a connection as the cases change it.
func conn1(change func(*criteria)) *criteria {
	c := &criteria{
		dst: netip.MustParseAddrPort("10.1.2.3:80"), transport: "raw_buffer",
		src: netip.MustParseAddrPort("192.0.2.7:1234"), directSrc: netip.MustParseAddr("192.0.2.7"),
	}
	if change != nil {
		change(c)
	}
	return c
}

func TestFilterChainMatch(t *testing.T) {
	type M = xdsresource.FilterChainMatch
	for _, tc := range []struct {
		name    string
		chains  map[string]M
		conn    func(*criteria)
		want    string // "" for none
		comment string
	}{
		{"single chain takes all", map[string]M{"a": {}}, nil, "a", ""},
		{"port before any", map[string]M{"any": {}, "p": {DestinationPort: 80}}, nil, "p", ""},
		{"other port", map[string]M{"any": {}, "p": {DestinationPort: 81}}, nil, "any", ""},
		{"no way back from a port", map[string]M{"any": {}, "p": {DestinationPort: 80, TransportProtocol: "tls"}}, nil, "", "Envoy commits to the entry for the port"},
		{"longest prefix", map[string]M{"8": {PrefixRanges: prefixes("10.0.0.0/8")}, "24": {PrefixRanges: prefixes("10.1.2.0/24")}, "any": {}}, nil, "24", ""},
		{"no prefix fits", map[string]M{"8": {PrefixRanges: prefixes("11.0.0.0/8")}}, nil, "", ""},
		{"sni exact", map[string]M{"x": {ServerNames: []string{"a.example.com"}}, "w": {ServerNames: []string{"*.example.com"}}, "any": {}}, func(c *criteria) { c.sni = "a.example.com" }, "x", ""},
		{"sni wildcard", map[string]M{"x": {ServerNames: []string{"a.example.com"}}, "w": {ServerNames: []string{"*.example.com"}}, "any": {}}, func(c *criteria) { c.sni = "b.c.example.com" }, "w", ""},
		{"longest wildcard", map[string]M{"c": {ServerNames: []string{"*.com"}}, "w": {ServerNames: []string{"*.example.com"}}}, func(c *criteria) { c.sni = "b.example.com" }, "w", ""},
		{"wildcard is not the name itself", map[string]M{"w": {ServerNames: []string{"*.example.com"}}}, func(c *criteria) { c.sni = "example.com" }, "", ""},
		{"no sni", map[string]M{"x": {ServerNames: []string{"a.b"}}}, nil, "", ""},
		{"transport tls", map[string]M{"tls": {TransportProtocol: "tls"}, "raw": {TransportProtocol: "raw_buffer"}}, func(c *criteria) { c.transport = "tls" }, "tls", ""},
		{"transport raw", map[string]M{"tls": {TransportProtocol: "tls"}, "raw": {TransportProtocol: "raw_buffer"}}, nil, "raw", ""},
		{"permissive: istio's alpn", map[string]M{
			"mtls": {TransportProtocol: "tls", ApplicationProtocols: []string{"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"}},
			"tls":  {TransportProtocol: "tls"}, "raw": {TransportProtocol: "raw_buffer"},
		}, func(c *criteria) { c.transport = "tls"; c.alpn = []string{"istio-http/1.1", "istio", "http/1.1"} }, "mtls", ""},
		{"permissive: foreign tls", map[string]M{
			"mtls": {TransportProtocol: "tls", ApplicationProtocols: []string{"istio"}},
			"tls":  {TransportProtocol: "tls"}, "raw": {TransportProtocol: "raw_buffer"},
		}, func(c *criteria) { c.transport = "tls"; c.alpn = []string{"h2"} }, "tls", ""},
		{"source prefix", map[string]M{"s": {SourcePrefixes: prefixes("192.0.2.0/24")}, "any": {}}, nil, "s", ""},
		{"source port", map[string]M{"s": {SourcePorts: []uint16{1234}}, "any": {}}, nil, "s", ""},
		{"direct source", map[string]M{"s": {DirectSourcePrefixes: prefixes("192.0.2.7/32")}, "any": {}}, nil, "s", ""},
		{"external", map[string]M{"e": {SourceType: xdsresource.SourceExternal}, "l": {SourceType: xdsresource.SourceSameIPOrLoopback}}, nil, "e", ""},
		{"loopback", map[string]M{"e": {SourceType: xdsresource.SourceExternal}, "l": {SourceType: xdsresource.SourceSameIPOrLoopback}}, func(c *criteria) { c.src = netip.MustParseAddrPort("127.0.0.1:9") }, "l", ""},
		{"same address", map[string]M{"any": {}, "l": {SourceType: xdsresource.SourceSameIPOrLoopback}}, func(c *criteria) { c.src = netip.MustParseAddrPort("10.1.2.3:9") }, "l", ""},
		{"ipv6 prefix", map[string]M{"6": {PrefixRanges: prefixes("2001:db8::/32")}, "any": {}}, func(c *criteria) { c.dst = netip.MustParseAddrPort("[2001:db8::1]:80") }, "6", ""},
		{"unix socket", map[string]M{"any": {}, "p": {DestinationPort: 80}}, func(c *criteria) { *c = criteria{transport: "raw_buffer"} }, "any", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ""
			if ch := compileFor(t, tc.chains).find(conn1(tc.conn)); ch != nil {
				got = ch.name()
			}
			if got != tc.want {
				t.Errorf("got %q, want %q %s", got, tc.want, tc.comment)
			}
		})
	}
}

func TestSameMatchIsRefused(t *testing.T) {
	m := xdsresource.FilterChainMatch{ServerNames: []string{"a", "b"}}
	n := xdsresource.FilterChainMatch{ServerNames: []string{"B"}}
	_, err := compileMatcher([]*chain{
		{fc: &xdsresource.FilterChain{Name: "one", Match: m}}, {fc: &xdsresource.FilterChain{Name: "two", Match: n}},
	})
	if err == nil || !strings.Contains(err.Error(), `"two"`) || !strings.Contains(err.Error(), `"one"`) {
		t.Fatal(err)
	}
}
