package route

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Request is what a decision reads. Nothing of it is kept.
type Request struct {
	Headers *header.Map
	// Random decides fractions and weights; one number per request, so that a request meets
	// the same decision wherever it is asked (Envoy's stream random value).
	Random uint64
	// TLS describes the client's connection.
	TLS TLS
	// Internal is Envoy's notion of an internal request (x-envoy-internal: true).
	Internal bool
	// Metadata is the dynamic metadata; nil: there is none.
	Metadata map[string]map[string]any
	// State is the filter state; nil: there is none.
	State State
}

// State is where objects of the filter state are found by their names; nil for none.
type State interface {
	FilterState(name string) filterstate.Object
}

// TLS is what tls_context matches on.
type TLS struct {
	Secure               bool // the connection is encrypted, or x-forwarded-proto says so
	Presented, Validated bool // client certificate
}

// cause says which part of a match failed.
type cause uint8

const (
	matched cause = iota
	missConnect
	missPath
	missGRPC
	missFraction
	missHeader
	missQuery
	missCookie
	missTLS
	missMetadata
	missState
)

// miss is why a route did not match: what, and the index among the headers, parameters,
// metadata or filter state of the match.
type miss struct {
	cause cause
	index int
}

// parts are the pieces of a request that every route of a table looks at.
type parts struct {
	path, query []byte
	connect     bool
	buf         *[]byte // see scratch; nil until it is needed
}

// buffers are for values that have to be put together: a header that occurs several times,
// a parameter with escapes. They are rare, and a buffer within parts would move parts to the
// heap, since regular expressions keep what they match for a while.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxScratch is how large a buffer may be, in bytes, that is kept for the next request.
const maxScratch = 64 << 10

func (p *parts) scratch() []byte {
	if p.buf == nil {
		p.buf = buffers.Get().(*[]byte)
	}
	return (*p.buf)[:0]
}

// keep remembers a scratch buffer that has grown.
func (p *parts) keep(b []byte) []byte {
	if p.buf != nil && cap(b) > cap(*p.buf) && cap(b) <= maxScratch {
		*p.buf = b[:0]
	}
	return b
}

func (p *parts) release() {
	if p.buf != nil {
		buffers.Put(p.buf)
	}
}

func split(path []byte) (p, query []byte) {
	if i := bytes.IndexByte(path, '#'); i >= 0 {
		path = path[:i]
	}
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return path, nil
}

// headerMatch is a compiled HeaderMatcher.
type headerMatch struct {
	key header.Key
	*xdsresource.HeaderMatcher
}

// match is a compiled RouteMatch.
type match struct {
	*xdsresource.RouteMatch
	headers []headerMatch
	trivial bool // path only
}

func compileMatch(m *xdsresource.RouteMatch) match {
	c := match{RouteMatch: m}
	for i := range m.Headers {
		h := &m.Headers[i]
		c.headers = append(c.headers, headerMatch{header.KeyOf(h.Name), h})
	}
	c.trivial = len(m.Headers) == 0 && len(m.Query) == 0 && len(m.Cookies) == 0 && !m.GRPC && m.Fraction == nil &&
		m.TLSPresented == nil && m.TLSValidated == nil && len(m.FilterMetadata) == 0 && len(m.FilterState) == 0
	return c
}

// check tries the conditions in Envoy's order: path first, since it fails most often.
func (m *match) check(r *Request, p *parts) miss {
	if !m.matchPath(p) {
		if m.Kind == xdsresource.PathConnect {
			return miss{cause: missConnect}
		}
		return miss{cause: missPath}
	}
	if m.trivial {
		return miss{}
	}
	if m.Fraction != nil && !m.Fraction.Hit(r.Random) {
		return miss{cause: missFraction}
	}
	if m.GRPC && !isGRPC(r.Headers) {
		return miss{cause: missGRPC}
	}
	for i := range m.headers {
		if !m.headers[i].match(r.Headers, p) {
			return miss{missHeader, i}
		}
	}
	for i := range m.Query {
		if !matchQuery(&m.Query[i], p) {
			return miss{missQuery, i}
		}
	}
	for i := range m.Cookies {
		if !matchCookie(&m.Cookies[i], r.Headers) {
			return miss{missCookie, i}
		}
	}
	if m.TLSPresented != nil && *m.TLSPresented != r.TLS.Presented ||
		m.TLSValidated != nil && *m.TLSValidated != r.TLS.Validated {
		return miss{cause: missTLS}
	}
	for i := range m.FilterMetadata {
		if !m.FilterMetadata[i].Match(r.Metadata) {
			return miss{missMetadata, i}
		}
	}
	for i := range m.FilterState {
		if !matchState(&m.FilterState[i], r.State, p) {
			return miss{missState, i}
		}
	}
	return miss{}
}

func (m *match) matchPath(p *parts) bool {
	switch m.Kind {
	case xdsresource.PathPrefix:
		return hasPrefix(p.path, m.Path, m.CaseInsensitive)
	case xdsresource.PathExact:
		return len(p.path) == len(m.Path) && hasPrefix(p.path, m.Path, m.CaseInsensitive)
	case xdsresource.PathRegex:
		return m.Regex.Match(p.path)
	case xdsresource.PathSeparatedPrefix:
		return hasPrefix(p.path, m.Path, m.CaseInsensitive) &&
			(len(p.path) == len(m.Path) || p.path[len(m.Path)] == '/')
	case xdsresource.PathConnect:
		return p.connect
	case xdsresource.PathTemplate:
		return m.Template.Match(p.path)
	}
	return false
}

func hasPrefix(b []byte, prefix string, ignoreCase bool) bool {
	if len(b) < len(prefix) {
		return false
	}
	if string(b[:len(prefix)]) == prefix {
		return true
	}
	return ignoreCase && equalFold(b[:len(prefix)], prefix)
}

// equalFold compares without regard to the case of ASCII letters, of the same length.
func equalFold(b []byte, s string) bool {
	for i, c := range b {
		if fold(c) != fold(s[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func isGRPC(h *header.Map) bool {
	v, ok := h.Get(header.ContentType)
	const grpc = "application/grpc"
	return ok && bytes.HasPrefix(v, []byte(grpc)) && (len(v) == len(grpc) || v[len(grpc)] == '+')
}

// match applies to each value of a header that occurs several times: one that matches is enough,
// and inverted none may. That is Envoy's since 1.38; joined values would let a client hide one.
func (m *headerMatch) match(h *header.Map, p *parts) bool {
	i := h.Find(m.key, 0)
	if m.Present != nil {
		there := i >= 0 || m.TreatMissingAsEmpty
		return (there == *m.Present) != m.Invert
	}
	if i < 0 {
		// A missing header matches nothing, not even inverted, unless it counts as empty.
		return m.TreatMissingAsEmpty && m.matchValue(nil) != m.Invert
	}
	_, _, v := h.At(i)
	next := h.Find(m.key, i+1)
	if next >= 0 && lists(m.key.ID) {
		v, _ = h.Join(p.scratch(), m.key)
		v, next = p.keep(v), -1
	}
	yes := m.matchValue(v)
	for ; next >= 0 && !yes; next = h.Find(m.key, next+1) {
		_, _, v := h.At(next)
		yes = m.matchValue(v)
	}
	return yes != m.Invert
}

// lists reports whether Envoy makes one value with commas of several of a known name.
func lists(id header.ID) bool {
	return id != header.Other && id != header.Cookie && id != header.SetCookie
}

func (m *headerMatch) matchValue(v []byte) bool {
	if m.Range != nil {
		n, ok := parseInt(v)
		return ok && n >= m.Range[0] && n < m.Range[1]
	}
	return matchString(m.String, v)
}

// parseInt is strconv.ParseInt without making a string.
func parseInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	neg := b[0] == '-'
	d := b
	if neg || b[0] == '+' {
		d = b[1:]
	}
	if len(d) == 0 {
		return 0, false
	}
	var n uint64
	for _, c := range d {
		if c < '0' || c > '9' {
			return 0, false
		}
		x := n*10 + uint64(c-'0')
		if x < n || x > 1<<63 {
			return 0, false
		}
		n = x
	}
	if neg {
		return -int64(n), true
	}
	return int64(n), n < 1<<63
}

// MatchString reports whether a value matches.
func MatchString(m *xdsresource.StringMatch, v []byte) bool { return matchString(m, v) }

func matchString(m *xdsresource.StringMatch, v []byte) bool {
	if m == nil {
		return true
	}
	n := len(m.Value)
	switch m.Kind {
	case xdsresource.StringExact:
		return len(v) == n && hasPrefix(v, m.Value, m.IgnoreCase)
	case xdsresource.StringPrefix:
		return hasPrefix(v, m.Value, m.IgnoreCase)
	case xdsresource.StringSuffix:
		return len(v) >= n && hasPrefix(v[len(v)-n:], m.Value, m.IgnoreCase)
	case xdsresource.StringContains:
		for i := 0; i+n <= len(v); i++ {
			if hasPrefix(v[i:], m.Value, m.IgnoreCase) {
				return true
			}
		}
		return false
	case xdsresource.StringRegex:
		return m.Regex.Match(v)
	}
	return false
}

// queryValue returns the first value of a parameter as it stands there. As in Envoy, routes look at
// names and values undecoded.
func queryValue(p *parts, name string) ([]byte, bool) { return queryParameter(p, name, false) }

// decodedQueryValue is queryValue for what looks at percent-decoded names and values: rate limits.
func decodedQueryValue(p *parts, name string) ([]byte, bool) { return queryParameter(p, name, true) }

func queryParameter(p *parts, name string, decode bool) ([]byte, bool) {
	query := p.query
	for len(query) > 0 {
		var kv []byte
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			kv, query = query[:i], query[i+1:]
		} else {
			kv, query = query, nil
		}
		k, v := kv, []byte(nil)
		if i := bytes.IndexByte(kv, '='); i >= 0 {
			k, v = kv[:i], kv[i+1:]
		}
		if string(k) != name {
			if !decode || bytes.IndexByte(k, '%') < 0 || string(p.decode(k)) != name {
				continue
			}
		}
		if decode {
			v = p.decode(v)
		}
		return v, true
	}
	return nil, false
}

// decode resolves %XX; malformed escapes stay as they are, "+" stays a plus, as in Envoy.
func (p *parts) decode(b []byte) []byte {
	if bytes.IndexByte(b, '%') < 0 {
		return b
	}
	buf := p.scratch()
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) {
			if hi, lo := unhex(b[i+1]), unhex(b[i+2]); hi < 16 && lo < 16 {
				buf = append(buf, hi<<4|lo)
				i += 2
				continue
			}
		}
		buf = append(buf, b[i])
	}
	return p.keep(buf)
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

func matchQuery(m *xdsresource.QueryMatcher, p *parts) bool {
	v, ok := queryValue(p, m.Name)
	return matchQueryValue(m, v, ok)
}

func matchQueryValue(m *xdsresource.QueryMatcher, v []byte, ok bool) bool {
	if m.Present != nil {
		return ok == *m.Present
	}
	return ok && matchString(m.String, v)
}

// matchState looks at an object of the filter state. One that is missing, or no address where an
// address is asked, matches nothing.
func matchState(m *xdsresource.FilterStateMatcher, s State, p *parts) bool {
	if s == nil {
		return false
	}
	o := s.FilterState(m.Key)
	if o == nil {
		return false
	}
	if m.String != nil {
		return matchString(m.String, p.keep(append(p.scratch(), o.String()...)))
	}
	a, ok := o.(filterstate.IP)
	if !ok {
		return false
	}
	in := slices.ContainsFunc(m.Prefixes, func(x netip.Prefix) bool { return x.Contains(netip.Addr(a)) })
	return in != m.Invert
}

// matchCookie looks at the first cookie of a name. A missing one matches nothing, but what is inverted.
func matchCookie(m *xdsresource.CookieMatcher, h *header.Map) bool {
	v, ok := Cookie(h, m.Name)
	return (ok && matchString(&m.String, v)) != m.Invert
}

// explain puts a miss into words.
func (m *match) explain(x miss, p *parts) string {
	quote := func(b []byte) string { return strconv.Quote(string(b)) }
	switch x.cause {
	case matched:
		return ""
	case missConnect:
		return "not a CONNECT request"
	case missPath:
		return "path " + quote(p.path) + " does not match " + m.describePath()
	case missGRPC:
		return "not a gRPC request"
	case missFraction:
		n, d := m.Fraction.Share()
		return "not in the fraction of " + strconv.FormatUint(uint64(n), 10) + " in " + strconv.FormatUint(uint64(d), 10)
	case missHeader:
		return "header " + strconv.Quote(m.headers[x.index].Name) + " does not match " + describeHeader(m.headers[x.index].HeaderMatcher)
	case missQuery:
		return "query parameter " + strconv.Quote(m.Query[x.index].Name) + " does not match " + describeString(m.Query[x.index].String)
	case missCookie:
		return "cookie " + strconv.Quote(m.Cookies[x.index].Name) + " does not match " + describeCookie(&m.Cookies[x.index])
	case missTLS:
		return "client certificate is not as required"
	case missMetadata:
		return "dynamic metadata " + m.FilterMetadata[x.index].Filter + ": " + strings.Join(m.FilterMetadata[x.index].Path, ".") + " does not match"
	case missState:
		return "filter state " + strconv.Quote(m.FilterState[x.index].Key) + " does not match"
	}
	return "unknown"
}

func (m *match) describePath() string {
	switch m.Kind {
	case xdsresource.PathPrefix:
		return "prefix " + strconv.Quote(m.Path)
	case xdsresource.PathExact:
		return "path " + strconv.Quote(m.Path)
	case xdsresource.PathRegex:
		return "regex " + strconv.Quote(m.Regex.String())
	case xdsresource.PathSeparatedPrefix:
		return "path-separated prefix " + strconv.Quote(m.Path)
	case xdsresource.PathTemplate:
		return "path template " + strconv.Quote(m.Template.String())
	}
	return "CONNECT"
}

func describeHeader(m *xdsresource.HeaderMatcher) string {
	not := ""
	if m.Invert {
		not = "not "
	}
	switch {
	case m.Present != nil:
		return not + "present=" + strconv.FormatBool(*m.Present)
	case m.Range != nil:
		return not + "range [" + strconv.FormatInt(m.Range[0], 10) + ", " + strconv.FormatInt(m.Range[1], 10) + ")"
	}
	return not + describeString(m.String)
}

func describeCookie(m *xdsresource.CookieMatcher) string {
	if m.Invert {
		return "not " + describeString(&m.String)
	}
	return describeString(&m.String)
}

func describeString(m *xdsresource.StringMatch) string {
	if m == nil {
		return "presence"
	}
	kind := [...]string{"exact", "prefix", "suffix", "contains", "regex"}[m.Kind]
	if m.Kind == xdsresource.StringRegex && m.Regex != nil {
		return kind + " " + strconv.Quote(m.Regex.String())
	}
	return kind + " " + strconv.Quote(m.Value)
}

// Matcher is the compiled match of a route for use outside of a table, by filters with rules of their
// own.
type Matcher struct{ m match }

// NewMatcher prepares a matcher.
func NewMatcher(cfg *xdsresource.RouteMatch) Matcher { return Matcher{compileMatch(cfg)} }

// Match reports whether a request matches.
func (m *Matcher) Match(r *Request) bool {
	var p parts
	p.init(r)
	miss := m.m.check(r, &p)
	p.release()
	return miss.cause == matched
}

// HeaderMatcher is a compiled header matcher for use outside of a table (retry policies,
// access log filters).
type HeaderMatcher struct{ m headerMatch }

// NewHeaderMatcher prepares a matcher.
func NewHeaderMatcher(cfg *xdsresource.HeaderMatcher) HeaderMatcher {
	return HeaderMatcher{headerMatch{header.KeyOf(cfg.Name), cfg}}
}

// Match reports whether the headers match.
func (m *HeaderMatcher) Match(h *header.Map) bool {
	var p parts
	ok := m.m.match(h, &p)
	p.release()
	return ok
}

// MatchEach is Match for a header whose values are judged one by one: one that matches is enough,
// and with invert_match none may. Authorization reads headers so, lest a client hides a value
// beside another.
func (m *HeaderMatcher) MatchEach(h *header.Map) bool {
	x := &m.m
	i := h.Find(x.key, 0)
	if i < 0 || x.Present != nil || h.Find(x.key, i+1) < 0 {
		return m.Match(h)
	}
	for ; i >= 0; i = h.Find(x.key, i+1) {
		_, _, v := h.At(i)
		if x.matchValue(v) {
			return !x.Invert
		}
	}
	return x.Invert
}

// String says what is matched, for explanations.
func (m *HeaderMatcher) String() string {
	return "header " + strconv.Quote(m.m.Name) + " " + describeHeader(m.m.HeaderMatcher)
}

// DescribeString says what a string match asks for.
func DescribeString(m *xdsresource.StringMatch) string { return describeString(m) }
