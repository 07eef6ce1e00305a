package xdsresource

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	regexenginev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/regex_engines/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// duration reads a Duration, def when it is absent. Negative values are refused.
func (p *parser) duration(path string, d *durationpb.Duration, def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	if err := d.CheckValid(); err != nil {
		p.bad(path, "%v", err)
		return def
	}
	v := d.AsDuration()
	if v < 0 {
		p.bad(path, "a duration must not be negative, this is %v", v)
		return def
	}
	return v
}

func (p *parser) optDuration(path string, d *durationpb.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	v := p.duration(path, d, 0)
	return &v
}

func uint32Or(v *wrapperspb.UInt32Value, def uint32) uint32 {
	if v == nil {
		return def
	}
	return v.GetValue()
}

func boolOr(v *wrapperspb.BoolValue, def bool) bool {
	if v == nil {
		return def
	}
	return v.GetValue()
}

// optBool is a flag that may be left to others; nil stays nil.
func optBool(v *wrapperspb.BoolValue) *bool {
	if v == nil {
		return nil
	}
	b := v.GetValue()
	return &b
}

// address reads a socket address or Unix path. names says whether a host name may stand for
// the IP (endpoints of DNS clusters).
func (p *parser) address(path string, a *corev3.Address, names bool) Address {
	switch a := a.GetAddress().(type) {
	case *corev3.Address_SocketAddress:
		sa := a.SocketAddress
		if sa.GetProtocol() != corev3.SocketAddress_TCP {
			p.bad(join(path, "socket_address.protocol"), "only TCP is supported, not %v", sa.GetProtocol())
		}
		if sa.GetPortValue() > 65535 {
			p.bad(join(path, "socket_address.port_value"), "%d is not a port", sa.GetPortValue())
		}
		ip, err := netip.ParseAddr(sa.GetAddress())
		if err == nil {
			return Address{IP: ip, Port: uint16(sa.GetPortValue()), IPv4Too: sa.GetIpv4Compat() && ip.Is6()}
		}
		if !names {
			p.bad(join(path, "socket_address.address"), "%q is not an IP address; host names work only in clusters of type STRICT_DNS or LOGICAL_DNS", sa.GetAddress())
		}
		return Address{Host: sa.GetAddress(), Port: uint16(sa.GetPortValue())}
	case *corev3.Address_Pipe:
		if n := len(a.Pipe.GetPath()); n > maxPipePath {
			p.bad(join(path, "pipe.path"), "is %d bytes long, the system allows %d", n, maxPipePath)
		}
		return Address{Pipe: a.Pipe.GetPath(), PipeMode: a.Pipe.GetMode()}
	}
	p.bad(path, "an address is required: socket_address or pipe")
	return Address{}
}

// maxPipePath is the size of sun_path less the byte that ends it (unix(7)).
const maxPipePath = 107

func (p *parser) cidrs(path string, in []*corev3.CidrRange) []netip.Prefix {
	var out []netip.Prefix
	for i, c := range in {
		ip, err := netip.ParseAddr(c.GetAddressPrefix())
		if err != nil {
			p.bad(join(at(path, i), "address_prefix"), "%q is not an IP address", c.GetAddressPrefix())
			continue
		}
		prefix, err := ip.Prefix(int(c.GetPrefixLen().GetValue()))
		if err != nil {
			p.bad(join(at(path, i), "prefix_len"), "%v", err)
			continue
		}
		out = append(out, prefix)
	}
	return out
}

// metadata keeps filter_metadata as plain values.
func metadata(m *corev3.Metadata) Metadata {
	if len(m.GetFilterMetadata()) == 0 {
		return nil
	}
	out := make(Metadata, len(m.GetFilterMetadata()))
	for k, v := range m.GetFilterMetadata() {
		out[k] = v.AsMap()
	}
	return out
}

// metadataMatch reads the "envoy.lb" part of a metadata_match; nil without one.
func (p *parser) metadataMatch(path string, m *corev3.Metadata) *MetadataMatch {
	for k := range m.GetFilterMetadata() {
		if k != "envoy.lb" {
			p.bad(path, "only filter_metadata \"envoy.lb\" selects endpoints, not %q", k)
		}
	}
	if lb := m.GetFilterMetadata()["envoy.lb"]; lb != nil {
		return NewMetadataMatch(lb.AsMap())
	}
	return nil
}

// stringStruct copies a Struct of strings, numbers and booleans into out.
func (p *parser) stringStruct(path string, s *structpb.Struct, out map[string]string) {
	for k, v := range s.GetFields() {
		switch kind := v.GetKind().(type) {
		case *structpb.Value_StringValue:
			out[k] = kind.StringValue
		case *structpb.Value_BoolValue:
			out[k] = "false"
			if kind.BoolValue {
				out[k] = "true"
			}
		default:
			p.bad(path, "value of %q must be a string or a boolean", k)
		}
	}
}

// dataSource reads bytes from wherever they are.
func (p *parser) dataSource(path string, ds *corev3.DataSource) []byte {
	switch s := ds.GetSpecifier().(type) {
	case nil:
		return nil
	case *corev3.DataSource_InlineBytes:
		return s.InlineBytes
	case *corev3.DataSource_InlineString:
		return []byte(s.InlineString)
	case *corev3.DataSource_Filename:
		p.files = append(p.files, s.Filename)
		raw, err := p.dec.readFile(s.Filename)
		if err != nil {
			p.bad(join(path, "filename"), "%v", err)
		}
		return raw
	case *corev3.DataSource_EnvironmentVariable:
		v, ok := os.LookupEnv(s.EnvironmentVariable)
		if !ok {
			p.bad(join(path, "environment_variable"), "%s is not set", s.EnvironmentVariable)
		}
		return []byte(v)
	}
	p.bad(path, "this kind of data source is not supported")
	return nil
}

// RegexEngine judges default_regex_engine: RE2, whose expressions are those of Go. nil is none.
func (d *Decoder) RegexEngine(e *corev3.TypedExtensionConfig) error {
	if e == nil {
		return nil
	}
	p := &parser{dec: d}
	p.message("", e.GetTypedConfig(), &regexenginev3.GoogleRE2{})
	return p.finish("regex engine", e.GetName())
}

// fullRegex compiles a regex that must match a whole string, as Envoy's RE2::FullMatch.
func (p *parser) fullRegex(path, re string) *regexp.Regexp {
	return p.compile(path, `^(?:`+re+`)$`, re)
}

func (p *parser) compile(path, re, shown string) *regexp.Regexp {
	// (?s) as in RE2's default for Envoy: a dot matches line ends too.
	r, err := regexp.Compile(`(?s)` + re)
	if err != nil {
		reason := err.Error()
		if _, after, ok := strings.Cut(reason, "error parsing regexp: "); ok {
			reason = after
		}
		p.bad(path, "%q is no regular expression in RE2 syntax: %s", shown, reason)
	}
	return r
}

func (p *parser) regexMatcher(path string, m *matcherv3.RegexMatcher) *regexp.Regexp {
	return p.fullRegex(join(path, "regex"), m.GetRegex())
}

// regexRewrite reads a pattern and a substitution, which Envoy writes as \1 and Go as ${1}.
func (p *parser) regexRewrite(path string, m *matcherv3.RegexMatchAndSubstitute) *RegexRewrite {
	if m == nil {
		return nil
	}
	re := p.compile(join(path, "pattern.regex"), m.GetPattern().GetRegex(), m.GetPattern().GetRegex())
	if re == nil {
		return nil
	}
	sub := m.GetSubstitution()
	var out strings.Builder
	for i := 0; i < len(sub); i++ {
		switch {
		case sub[i] == '$':
			out.WriteString("$$")
		case sub[i] != '\\':
			out.WriteByte(sub[i])
		case i+1 < len(sub) && sub[i+1] == '\\':
			out.WriteByte('\\')
			i++
		case i+1 < len(sub) && sub[i+1] >= '0' && sub[i+1] <= '9':
			if int(sub[i+1]-'0') > re.NumSubexp() {
				p.bad(join(path, "substitution"), "%q names group \\%c, the pattern has %d", sub, sub[i+1], re.NumSubexp())
			}
			out.WriteString("${" + sub[i+1:i+2] + "}")
			i++
		default:
			p.bad(join(path, "substitution"), "%q: a backslash must be followed by a digit or a backslash", sub)
		}
	}
	return &RegexRewrite{Regex: re, Substitution: out.String()}
}

func (p *parser) stringMatch(path string, m *matcherv3.StringMatcher) StringMatch {
	out := StringMatch{IgnoreCase: m.GetIgnoreCase()}
	switch v := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		out.Kind, out.Value = StringExact, v.Exact
	case *matcherv3.StringMatcher_Prefix:
		out.Kind, out.Value = StringPrefix, v.Prefix
	case *matcherv3.StringMatcher_Suffix:
		out.Kind, out.Value = StringSuffix, v.Suffix
	case *matcherv3.StringMatcher_Contains:
		out.Kind, out.Value = StringContains, v.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		out.Kind, out.Value = StringRegex, v.SafeRegex.GetRegex()
		out.Regex = p.regexMatcher(join(path, "safe_regex"), v.SafeRegex)
		if out.IgnoreCase {
			p.bad(join(path, "ignore_case"), "has no effect on safe_regex; write (?i) in the expression")
		}
	default:
		p.bad(path, "a match pattern is required: exact, prefix, suffix, contains or safe_regex")
	}
	if out.IgnoreCase {
		out.Value = strings.ToLower(out.Value)
	}
	return out
}

func (p *parser) fraction(path string, f *typev3.FractionalPercent) *FractionalPercent {
	if f == nil {
		return nil
	}
	out := &FractionalPercent{Numerator: f.GetNumerator(), Denominator: 100}
	switch f.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		out.Denominator = 10000
	case typev3.FractionalPercent_MILLION:
		out.Denominator = 1000000
	}
	return out
}

func (p *parser) percent(v *typev3.Percent, def float64) float64 {
	if v == nil {
		return def
	}
	return v.GetValue()
}

// jitter reads by how much of itself a time is put off at most: 1 is all of it again.
func (p *parser) jitter(path string, v *typev3.Percent) float64 {
	if n := v.GetValue(); n < 0 || n > 100 { // Percent's own rule; a number that is none fails it as well
		p.bad(path, "%v is not between 0 and 100", n)
		return 0
	}
	return v.GetValue() / 100
}

// headerOps reads headers_to_add and headers_to_remove of one level.
func (p *parser) headerOps(path, prefix string, add []*corev3.HeaderValueOption, remove []string) HeaderOps {
	out := HeaderOps{Add: p.headersToAdd(join(path, prefix+"_to_add"), add)}
	for i, name := range remove {
		lower := strings.ToLower(name)
		if lower == "host" || strings.HasPrefix(lower, ":") {
			p.bad(at(join(path, prefix+"_to_remove"), i), "%q cannot be removed", name)
		}
		out.Remove = append(out.Remove, lower)
	}
	return out
}

func (p *parser) headersToAdd(path string, add []*corev3.HeaderValueOption) []HeaderOp {
	var out []HeaderOp
	for i, h := range add {
		op := HeaderOp{
			Name:      strings.ToLower(h.GetHeader().GetKey()),
			Value:     h.GetHeader().GetValue(),
			KeepEmpty: h.GetKeepEmptyValue(),
		}
		switch h.GetAppendAction() {
		case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
			op.Action = AppendIfExistsOrAdd
		case corev3.HeaderValueOption_ADD_IF_ABSENT:
			op.Action = AddIfAbsent
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
			op.Action = OverwriteIfExistsOrAdd
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
			op.Action = OverwriteIfExists
		}
		// The older form is a boolean; false means set, true (its default) append.
		if h.GetAppend() != nil && h.GetAppendAction() == corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD && !h.GetAppend().GetValue() { //nolint:staticcheck // older control planes send it
			op.Action = OverwriteIfExistsOrAdd
		}
		if strings.HasPrefix(op.Name, ":") && op.Action == AppendIfExistsOrAdd {
			p.bad(at(path, i), "%q cannot be appended to; use OVERWRITE_IF_EXISTS_OR_ADD", op.Name)
		}
		out = append(out, op)
	}
	return out
}
