package jwtauthn

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// placeKind is a part of a request. The order is the one in which tokens are collected.
type placeKind uint8

const (
	inHeader placeKind = iota
	inQuery
	inCookie
)

// place is where a token may stand.
type place struct {
	kind   placeKind
	name   string     // of the parameter, cookie or header, the latter in lower case
	key    header.Key // inHeader
	prefix string     // inHeader: what stands before the token
	// issuers are those whose tokens are looked for here; "" among them: any.
	issuers []string
}

func (p *place) allows(issuer string) bool {
	return slices.Contains(p.issuers, "") || slices.Contains(p.issuers, issuer)
}

func parsePlaces(r *xdsresource.FilterReader, path string, m *jwtv3.JwtProvider) []place {
	var out []place
	issuers := []string{m.GetIssuer()}
	for i, h := range m.GetFromHeaders() {
		k := headerKey(r, fmt.Sprintf("%s.from_headers[%d].name", path, i), h.GetName())
		out = append(out, place{kind: inHeader, name: k.Name, key: k, prefix: h.GetValuePrefix(), issuers: issuers})
	}
	for _, name := range m.GetFromParams() {
		out = append(out, place{kind: inQuery, name: name, issuers: issuers})
	}
	for _, name := range m.GetFromCookies() {
		out = append(out, place{kind: inCookie, name: name, issuers: issuers})
	}
	if len(out) == 0 {
		k := header.KeyOf("authorization")
		out = []place{
			{kind: inHeader, name: k.Name, key: k, prefix: "Bearer ", issuers: issuers},
			{kind: inQuery, name: "access_token", issuers: issuers},
		}
	}
	return out
}

// extractor finds the tokens of some providers.
type extractor struct {
	places   []place
	sanitize []header.Key // headers that those providers set
}

func newExtractor(providers ...*provider) *extractor {
	e := &extractor{}
	for _, p := range providers {
		for _, x := range p.places {
			e.add(x)
		}
		if p.payloadHeader != nil {
			e.sanitize = append(e.sanitize, *p.payloadHeader)
		}
		for _, c := range p.claims {
			e.sanitize = append(e.sanitize, c.key)
		}
	}
	// Envoy keeps them in this order, which decides which of two bad tokens the answer is about.
	slices.SortFunc(e.places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.name+a.prefix, b.name+b.prefix))
	})
	return e
}

// add merges a place with the same one of another provider.
func (e *extractor) add(x place) {
	for i := range e.places {
		if p := &e.places[i]; p.kind == x.kind && p.name == x.name && p.prefix == x.prefix {
			p.issuers = append(slices.Clone(p.issuers), x.issuers...)
			return
		}
	}
	e.places = append(e.places, x)
}

// found is a token in a request.
type found struct {
	token []byte
	place *place
}

// extract appends what stands in all places to out. All of it must be good in the end: the
// application might read another token than the one that was verified.
func (e *extractor) extract(h *header.Map, out []found) []found {
	for i := range e.places {
		p := &e.places[i]
		switch p.kind {
		case inHeader:
			out = p.fromHeader(h, out)
		case inQuery:
			out = p.fromQuery(query(h), out)
		case inCookie:
			out = p.fromCookies(h, out)
		}
	}
	return out
}

func (p *place) fromHeader(h *header.Map, out []found) []found {
	i := h.Find(p.key, 0)
	if i < 0 {
		return out
	}
	if p.key.ID != header.Other {
		// Several fields of a well-known name are one list for Envoy, and so no token.
		v, _ := h.Join(nil, p.key)
		return p.fromValue(v, out)
	}
	for ; i >= 0; i = h.Find(p.key, i+1) {
		_, _, v := h.At(i)
		out = p.fromValue(v, out)
	}
	return out
}

// fromValue takes what follows the prefix, from the first character on that a token may have.
func (p *place) fromValue(v []byte, out []found) []found {
	if p.prefix != "" {
		at := bytes.Index(v, []byte(p.prefix))
		if at < 0 {
			return out
		}
		if start := bytes.IndexFunc(v[at+len(p.prefix):], tokenChar); start >= 0 {
			v = v[at+len(p.prefix)+start:]
		}
	}
	return append(out, found{v, p})
}

func tokenChar(r rune) bool {
	return r < 128 && ('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_' || r == '.')
}

func (p *place) fromQuery(q []byte, out []found) []found {
	for pair := range bytes.SplitSeq(q, []byte("&")) {
		name, value, _ := bytes.Cut(pair, []byte("="))
		if len(pair) > 0 && string(unescape(name)) == p.name {
			out = append(out, found{unescape(value), p})
		}
	}
	return out
}

var cookieKey = header.Key{ID: header.Cookie, Name: "cookie"}

func (p *place) fromCookies(h *header.Map, out []found) []found {
	for i := h.Find(cookieKey, 0); i >= 0; i = h.Find(cookieKey, i+1) {
		_, _, line := h.At(i)
		for pair := range bytes.SplitSeq(line, []byte(";")) {
			name, v, ok := bytes.Cut(bytes.TrimSpace(pair), []byte("="))
			if !ok || string(name) != p.name {
				continue
			}
			if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
				v = v[1 : len(v)-1]
			}
			out = append(out, found{v, p})
		}
	}
	return out
}

// remove takes a token out of the request, with whatever else has its name. Cookies stay, as in Envoy.
func (p *place) remove(h *header.Map) {
	switch p.kind {
	case inHeader:
		h.RemoveKey(p.key)
	case inQuery:
		removeParameter(h, p.name)
	}
}

// removeParameter leaves the rest of the query as it stands. (Envoy writes it anew, sorted and with
// its escapes resolved.)
func removeParameter(h *header.Map, name string) {
	path, q := h.Value(header.Path), query(h)
	if len(q) == 0 {
		return
	}
	start := bytes.IndexByte(path, '?') + 1
	rest := path[start+len(q):] // a fragment
	out := append(make([]byte, 0, len(path)), path[:start]...)
	kept := 0
	for pair := range bytes.SplitSeq(q, []byte("&")) {
		k, _, _ := bytes.Cut(pair, []byte("="))
		if string(unescape(k)) == name {
			continue
		}
		if kept > 0 {
			out = append(out, '&')
		}
		out = append(out, pair...)
		kept++
	}
	if kept == 0 {
		out = out[:start-1] // the question mark
	}
	h.Set(header.Path, append(out, rest...))
}

// query is what stands between the question mark and the fragment.
func query(h *header.Map) []byte {
	path, _, _ := bytes.Cut(h.Value(header.Path), []byte("#"))
	_, q, _ := bytes.Cut(path, []byte("?"))
	return q
}

// unescape resolves %XX. What is malformed stays, and so does a plus, as in Envoy.
func unescape(b []byte) []byte {
	if bytes.IndexByte(b, '%') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) {
			if hi, lo := unhex(b[i+1]), unhex(b[i+2]); hi < 16 && lo < 16 {
				out = append(out, hi<<4|lo)
				i += 2
				continue
			}
		}
		out = append(out, b[i])
	}
	return out
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
