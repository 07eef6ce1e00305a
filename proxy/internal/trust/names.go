package trust

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/othername"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// HasName reports whether a certificate is for one of names, which are of hosts, addresses or URIs.
func HasName(c *x509.Certificate, names []string) error {
	for _, n := range names {
		if c.VerifyHostname(n) == nil || matchSAN(&xdsresource.SANMatcher{Value: xdsresource.StringMatch{Value: n}}, c) {
			return nil
		}
	}
	return fmt.Errorf("%w %s: %s", errSAN, strings.Join(names, ", "), describeSANs(c))
}

func matchSANs(ms []xdsresource.SANMatcher, c *x509.Certificate) bool {
	for i := range ms {
		if matchSAN(&ms[i], c) {
			return true
		}
	}
	return false
}

func matchSAN(m *xdsresource.SANMatcher, c *x509.Certificate) bool {
	if m.Type == "" || m.Type == "URI" {
		for _, u := range c.URIs {
			if matchString(&m.Value, u.String()) {
				return true
			}
		}
	}
	if m.Type == "" || m.Type == "DNS" {
		for _, d := range c.DNSNames {
			if matchString(&m.Value, d) || matchWildcard(&m.Value, d) {
				return true
			}
		}
	}
	if m.Type == "" || m.Type == "IP" {
		for _, ip := range c.IPAddresses {
			if a, ok := netip.AddrFromSlice(ip); ok && matchString(&m.Value, a.Unmap().String()) {
				return true
			}
		}
	}
	if m.Type == "OTHER" {
		for _, n := range othername.Of(c) {
			if n.Kind.String() == m.OID && matchString(&m.Value, n.Text) {
				return true
			}
		}
	}
	if m.Type == "" || m.Type == "EMAIL" {
		for _, e := range c.EmailAddresses {
			if matchString(&m.Value, e) {
				return true
			}
		}
	}
	return false
}

// matchWildcard lets an exact DNS matcher accept a certificate for "*.example.com", as
// Envoy does.
func matchWildcard(m *xdsresource.StringMatch, san string) bool {
	if m.Kind != xdsresource.StringExact || !strings.HasPrefix(san, "*.") {
		return false
	}
	_, rest, ok := strings.Cut(m.Value, ".")
	return ok && strings.EqualFold(rest, san[2:])
}

func matchString(m *xdsresource.StringMatch, s string) bool {
	v := m.Value
	if m.Kind == xdsresource.StringRegex {
		return m.Regex != nil && m.Regex.MatchString(s)
	}
	if m.IgnoreCase {
		s, v = strings.ToLower(s), strings.ToLower(v)
	}
	switch m.Kind {
	case xdsresource.StringPrefix:
		return strings.HasPrefix(s, v)
	case xdsresource.StringSuffix:
		return strings.HasSuffix(s, v)
	case xdsresource.StringContains:
		return strings.Contains(s, v)
	}
	return s == v
}

func describeSANs(c *x509.Certificate) string {
	var names []string
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	names = append(names, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "it has none"
	}
	return "it has " + strings.Join(names, ", ")
}
