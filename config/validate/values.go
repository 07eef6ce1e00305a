package validate

import (
	"net/netip"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

// atLeast is what a duration must reach.
type atLeast int

const (
	notNegative atLeast = iota
	positive
	atLeastMillisecond
)

// duration checks a duration that may be unset.
func (c *checker) duration(p *field.Path, d *durationpb.Duration, least atLeast) {
	if d == nil {
		return
	}
	v := d.AsDuration()
	switch {
	case v < 0:
		c.add(p, "%s is negative; use a positive duration such as 10s", v)
	case least == positive && v == 0:
		c.add(p, "zero is not allowed; use a positive duration such as 10s")
	case least == atLeastMillisecond && v < time.Millisecond:
		c.add(p, "%s is too short; the least is 1ms", v)
	}
}

// port checks a port number. Zero is an error unless it stands for "not set".
func (c *checker) port(p *field.Path, port int64, zeroIsUnset bool) {
	if port == 0 && zeroIsUnset {
		return
	}
	if port < 1 || port > 65535 {
		c.add(p, "%d is not a port; use 1 to 65535", port)
	}
}

// percent checks a percentage between 0 and 100.
func (c *checker) percent(p *field.Path, v float64) {
	if v < 0 || v > 100 {
		c.add(p, "%v is not a percentage; use 0 to 100", v)
	}
}

func (c *checker) percentage(p *field.Path, v *networking.Percent) {
	if v != nil {
		c.percent(p.Child("value"), v.Value)
	}
}

// host names what a host may look like.
type hostRule int

const (
	plainHost      hostRule = iota // name or address
	wildcardHost                   // also *.example.com
	anyHost                        // also *
	externalWild                   // *.example.com but no address
	fullyQualified                 // no wildcard, no address
)

// host checks a host name: RFC 1123 labels, at most 255 characters, wildcards only as the whole
// leftmost label.
func (c *checker) host(p *field.Path, h string, rule hostRule) {
	switch {
	case h == "":
		c.add(p, "empty; name a host such as catalog or catalog.example.com")
		return
	case len(h) > 255:
		c.add(p, "a host name has at most 255 characters, this one has %d", len(h))
		return
	case strings.Contains(h, "://"):
		c.add(p, "%q is a URL; give the host name alone", h)
		return
	case strings.Contains(h, "/"):
		c.add(p, "%q holds a slash; give the host name alone", h)
		return
	}
	if _, err := netip.ParseAddr(strings.Trim(h, "[]")); err == nil {
		if rule == externalWild || rule == fullyQualified {
			c.add(p, "%q is an address; use a host name", h)
		}
		return
	}
	if h == "*" {
		if rule != anyHost {
			c.add(p, `"*" alone is not allowed here; name a host or use a wildcard such as *.example.com`)
		}
		return
	}
	rest := h
	if strings.HasPrefix(h, "*") {
		if rule == plainHost || rule == fullyQualified {
			c.add(p, "%q: a wildcard is not allowed here; name the host in full", h)
			return
		}
		if !strings.HasPrefix(h, "*.") {
			c.add(p, "%q: a wildcard stands for a whole label; write *.%s", h, strings.TrimLeft(h, "*-"))
			return
		}
		rest = h[2:]
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		c.add(p, "%q holds a port; give the host name alone", h)
		return
	}
	for _, label := range strings.Split(strings.TrimSuffix(rest, "."), ".") {
		if !hostLabel.MatchString(label) || len(label) > 63 {
			c.add(p, "%q is not a host name: the part %q must be letters, digits and '-', at most 63", h, label)
			return
		}
	}
}

// hostLabel is wider than RFC 1123 by the underscore, which Istio allows in host names.
var hostLabel = regexp.MustCompile(`^[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?$`)

// regex checks that a pattern compiles. Go's regexp and Envoy's RE2 share their syntax; RE2 in
// Envoy limits the size of the compiled program besides.
func (c *checker) regex(p *field.Path, pattern string) {
	if pattern == "" {
		c.add(p, "empty; a regular expression must match something")
		return
	}
	if len(pattern) > 1024 {
		c.add(p, "the regular expression has %d characters, the limit is 1024", len(pattern))
		return
	}
	if _, err := regexp.Compile(pattern); err != nil {
		c.add(p, "not a regular expression (RE2): %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
}

// stringMatch checks a match clause that may be unset.
func (c *checker) stringMatch(p *field.Path, m *networking.StringMatch) {
	if re, ok := m.GetMatchType().(*networking.StringMatch_Regex); ok {
		c.regex(p.Child("regex"), re.Regex)
	}
}

// headerName is RFC 9110's token, and Envoy's pseudo headers.
var headerName = regexp.MustCompile("^:?[-!#$%&'*+.^_`|~0-9A-Za-z]+$")

func (c *checker) header(p *field.Path, name string) {
	if name == "" {
		c.add(p, "a header needs a name")
	} else if !headerName.MatchString(name) {
		c.add(p, "%q is not a header name: letters, digits and '-'", name)
	}
}

// address checks an IP address or, if allowed, a prefix.
func (c *checker) cidr(p *field.Path, s string) {
	if strings.Contains(s, "/") {
		if _, err := netip.ParsePrefix(s); err != nil {
			c.add(p, "%q is not a subnet such as 10.0.0.0/8", s)
		}
		return
	}
	if _, err := netip.ParseAddr(s); err != nil {
		c.add(p, "%q is neither an address nor a subnet such as 10.0.0.0/8", s)
	}
}

// exportTo checks the namespaces that an object is shown to.
func (c *checker) exportTo(p *field.Path, list []string) {
	seen := map[string]bool{}
	for i, ns := range list {
		at := p.Index(i)
		switch {
		case seen[ns]:
			c.add(at, "%q is given twice; remove one", ns)
		case ns == "." || ns == "*" || ns == "~":
		case !label1123.MatchString(ns):
			c.add(at, `%q is neither a namespace nor "." (this namespace), "*" (all) or "~" (none)`, ns)
		}
		seen[ns] = true
	}
	if len(list) > 1 && (seen["*"] || seen["~"]) {
		c.add(p, `"*" and "~" stand alone; remove the others`)
	}
}

// matchLabels checks a workload selector.
func (c *checker) selector(p *field.Path, s *typev1beta1.WorkloadSelector) {
	if s == nil {
		return
	}
	c.selectorLabels(p.Child("matchLabels"), s.MatchLabels)
}

func (c *checker) selectorLabels(p *field.Path, labels map[string]string) {
	for k, v := range labels {
		at := p.Child(k)
		if k == "" {
			c.add(p, "a label needs a key")
		} else if strings.Contains(k, "*") || strings.Contains(v, "*") {
			c.add(at, "wildcards are not allowed in a selector; name the label's value")
		}
	}
}

// targetRefs checks policy attachments.
func (c *checker) targetRefs(p *field.Path, one *typev1beta1.PolicyTargetReference, many []*typev1beta1.PolicyTargetReference, selector *typev1beta1.WorkloadSelector) {
	if one != nil && len(many) > 0 {
		c.add(p.Child("targetRef"), "set either targetRef or targetRefs")
	}
	if (one != nil || len(many) > 0) && selector != nil {
		c.add(p.Child("selector"), "set either selector or targetRefs")
	}
	check := func(at *field.Path, r *typev1beta1.PolicyTargetReference) {
		if r.GetName() == "" {
			c.add(at.Child("name"), "missing; name the object that is meant")
		}
		if r.GetKind() == "" {
			c.add(at.Child("kind"), "missing; name the kind of the object that is meant")
		}
		if r.GetNamespace() != "" {
			c.add(at.Child("namespace"), "objects of other namespaces cannot be meant; remove it")
		}
	}
	if one != nil {
		check(p.Child("targetRef"), one)
	}
	for i, r := range many {
		check(p.Child("targetRefs").Index(i), r)
	}
}

// protocols that a port may have, in Istio's spelling.
var protocols = []string{"HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY", "MONGO", "MYSQL", "REDIS", "TCP", "TLS", "UDP"}

func (c *checker) protocol(p *field.Path, s string) {
	if s == "" {
		c.add(p, "missing; use one of %s", strings.Join(protocols, ", "))
		return
	}
	for _, known := range protocols {
		if strings.EqualFold(s, known) {
			return
		}
	}
	c.add(p, "%q is not a protocol; use one of %s", s, strings.Join(protocols, ", "))
}
