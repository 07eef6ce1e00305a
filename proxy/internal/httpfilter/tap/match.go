package tap

import (
	"bytes"
	"fmt"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// matcher is a compiled predicate; immutable. Its leaves are judged when what they are about has come,
// and are false before.
type matcher struct{ nodes []node }

type node struct {
	kind    kind
	rules   []int // of or, and, not
	headers []route.HeaderMatcher
	body    textMatch
}

type kind uint8

const (
	anyMatch kind = iota
	orMatch
	andMatch
	notMatch
	requestHeaders
	requestTrailers
	responseHeaders
	responseTrailers
	requestBody
	responseBody
)

// textMatch is HttpGenericBodyMatch: all patterns must be in the beginning of a body.
type textMatch struct {
	limit    uint64 // bytes; 0: all of it
	patterns [][]byte
	overlap  int // how much of a piece may belong to a pattern that goes on in the next one
}

// add compiles a predicate and returns its place.
func (m *matcher) add(r *xdsresource.FilterReader, path string, p *commonv3.MatchPredicate) int {
	i := len(m.nodes)
	m.nodes = append(m.nodes, node{})
	n := node{}
	set := func(k kind, name string, s *commonv3.MatchPredicate_MatchSet) {
		n.kind = k
		for j, rule := range s.GetRules() {
			n.rules = append(n.rules, m.add(r, fmt.Sprintf("%s.%s.rules[%d]", path, name, j), rule))
		}
	}
	fields := func(k kind, name string, h *commonv3.HttpHeadersMatch) {
		n.kind = k
		hs := r.HeaderMatchers(path+"."+name+".headers", h.GetHeaders())
		for j := range hs {
			n.headers = append(n.headers, route.NewHeaderMatcher(&hs[j]))
		}
	}
	text := func(k kind, b *commonv3.HttpGenericBodyMatch) {
		n.kind, n.body.limit = k, uint64(b.GetBytesLimit())
		for _, t := range b.GetPatterns() {
			pattern := t.GetBinaryMatch()
			if s := t.GetStringMatch(); s != "" {
				pattern = []byte(s)
			}
			n.body.patterns = append(n.body.patterns, pattern)
			n.body.overlap = max(n.body.overlap, len(pattern)-1)
		}
	}
	switch x := p.GetRule().(type) {
	case *commonv3.MatchPredicate_OrMatch:
		set(orMatch, "or_match", x.OrMatch)
	case *commonv3.MatchPredicate_AndMatch:
		set(andMatch, "and_match", x.AndMatch)
	case *commonv3.MatchPredicate_NotMatch:
		n.kind, n.rules = notMatch, []int{m.add(r, path+".not_match", x.NotMatch)}
	case *commonv3.MatchPredicate_AnyMatch:
		n.kind = anyMatch
	case *commonv3.MatchPredicate_HttpRequestHeadersMatch:
		fields(requestHeaders, "http_request_headers_match", x.HttpRequestHeadersMatch)
	case *commonv3.MatchPredicate_HttpRequestTrailersMatch:
		fields(requestTrailers, "http_request_trailers_match", x.HttpRequestTrailersMatch)
	case *commonv3.MatchPredicate_HttpResponseHeadersMatch:
		fields(responseHeaders, "http_response_headers_match", x.HttpResponseHeadersMatch)
	case *commonv3.MatchPredicate_HttpResponseTrailersMatch:
		fields(responseTrailers, "http_response_trailers_match", x.HttpResponseTrailersMatch)
	case *commonv3.MatchPredicate_HttpRequestGenericBodyMatch:
		text(requestBody, x.HttpRequestGenericBodyMatch)
	case *commonv3.MatchPredicate_HttpResponseGenericBodyMatch:
		text(responseBody, x.HttpResponseGenericBodyMatch)
	default:
		r.Bad(path, "a rule is required")
	}
	m.nodes[i] = n
	return i
}

// judgement is what is known of one stream's leaves.
type judgement struct {
	*matcher
	leaf []bool
	text []search // by node; nil when the predicate does not look at bodies
}

// search is how far a body has been looked through.
type search struct {
	found []bool
	seen  uint64
	tail  []byte // of what was seen, where a pattern may have begun
}

func newJudgement(m *matcher) judgement {
	j := judgement{matcher: m, leaf: make([]bool, len(m.nodes))}
	for i := range m.nodes {
		if k := m.nodes[i].kind; k == requestBody || k == responseBody {
			if j.text == nil {
				j.text = make([]search, len(m.nodes))
			}
			j.text[i].found = make([]bool, len(m.nodes[i].body.patterns))
			j.text[i].tail = make([]byte, 0, 2*m.nodes[i].body.overlap)
		}
	}
	return j
}

// reset makes it that of a new stream.
func (j *judgement) reset() {
	clear(j.leaf)
	for i := range j.text {
		s := &j.text[i]
		clear(s.found)
		s.seen, s.tail = 0, s.tail[:0]
	}
}

// fields judges the leaves about headers or trailers that have come.
func (j *judgement) fields(k kind, h *header.Map) {
	for i := range j.nodes {
		n := &j.nodes[i]
		if n.kind != k {
			continue
		}
		j.leaf[i] = true
		for x := range n.headers {
			if !n.headers[x].Match(h) {
				j.leaf[i] = false
				break
			}
		}
	}
}

// body looks through a piece.
func (j *judgement) body(k kind, p []byte) {
	for i := range j.text {
		if n := &j.nodes[i]; n.kind == k && !j.leaf[i] {
			j.leaf[i] = j.text[i].piece(&n.body, p)
		}
	}
}

// piece reports whether all patterns have been found by now.
func (s *search) piece(m *textMatch, p []byte) bool {
	if m.limit > 0 {
		p = p[:min(uint64(len(p)), m.limit-s.seen)]
	}
	s.seen += uint64(len(p))
	// What may have begun before ends within the first bytes of the piece.
	s.tail = append(s.tail, p[:min(len(p), m.overlap)]...)
	all := true
	for i, pattern := range m.patterns {
		s.found[i] = s.found[i] || bytes.Contains(s.tail, pattern) || bytes.Contains(p, pattern)
		all = all && s.found[i]
	}
	last := s.tail
	if len(p) > m.overlap {
		last = p
	}
	s.tail = append(s.tail[:0], last[max(len(last)-m.overlap, 0):]...)
	return all
}

// matches judges the predicate by what is known.
func (j *judgement) matches() bool { return j.eval(0) }

func (j *judgement) eval(i int) bool {
	n := &j.nodes[i]
	switch n.kind {
	case anyMatch:
		return true
	case orMatch:
		for _, r := range n.rules {
			if j.eval(r) {
				return true
			}
		}
		return false
	case andMatch:
		for _, r := range n.rules {
			if !j.eval(r) {
				return false
			}
		}
		return true
	case notMatch:
		return !j.eval(n.rules[0])
	}
	return j.leaf[i]
}
