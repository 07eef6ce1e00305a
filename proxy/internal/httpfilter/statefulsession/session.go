package statefulsession

import (
	"bytes"
	"encoding/base64"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// session is where the address of a session's host is kept between requests: with the client.
type session interface {
	// find takes the address off a request; "" for a session that is to begin. on: the request is one of those that
	// have a session.
	find(request *header.Map, now time.Time) (address string, on bool)
	// keep tells the client of the host that has answered. moved: it is not the one that the request has named.
	keep(answer *header.Map, address string, moved bool, now time.Time)
}

var encoding = base64.StdEncoding.Strict()

func encoded(dst []byte, s string) []byte { return encoding.AppendEncode(dst, []byte(s)) }

// decoded is "" for what is not base64.
func decoded(v []byte) string {
	b, err := encoding.AppendDecode(nil, v)
	if err != nil {
		return ""
	}
	return string(b)
}

// cookieSession keeps the address in a cookie.
type cookieSession struct{ set xdsresource.HashCookie }

func (s *cookieSession) find(h *header.Map, now time.Time) (string, bool) {
	if !pathMatches(h.Value(header.Path), s.set.Path) {
		return "", false
	}
	v, ok := route.Cookie(h, s.set.Name)
	if !ok {
		return "", true
	}
	return cookieAddress(decoded(v), now), true
}

// pathMatches says whether a browser would send a cookie of a path with a request (RFC 6265, 5.1.4).
func pathMatches(request []byte, path string) bool {
	rest, ok := bytes.CutPrefix(request, []byte(path))
	if !ok || path == "" || path[len(path)-1] == '/' || len(rest) == 0 {
		return ok
	}
	return rest[0] == '/' || rest[0] == '?' || rest[0] == '#'
}

func (s *cookieSession) keep(h *header.Map, address string, moved bool, now time.Time) {
	if !moved {
		return
	}
	var end time.Time
	if s.set.TTL != nil && *s.set.TTL > 0 {
		end = now.Add(*s.set.TTL)
	}
	route.SetCookie(h, &s.set, encoding.AppendEncode(nil, cookieValue(address, end)))
}

// The value of a cookie is Envoy's message envoy.Cookie, so that sessions outlive a change from one proxy to the other:
// the address, and when it ends in seconds since 1970.
const (
	addressField protowire.Number = 1
	expiresField protowire.Number = 2
)

func cookieValue(address string, end time.Time) []byte {
	b := protowire.AppendTag(nil, addressField, protowire.BytesType)
	b = protowire.AppendString(b, address)
	if !end.IsZero() {
		b = protowire.AppendTag(b, expiresField, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(end.Unix()))
	}
	return b
}

// cookieAddress reads a cookie's value; "" when it names no host, or its time is over. What is no such message is the
// address itself, the form of old versions of Envoy.
func cookieAddress(v string, now time.Time) string {
	address, end := "", uint64(0)
	for b := []byte(v); len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return v
		}
		b = b[n:]
		switch {
		case num == addressField && typ == protowire.BytesType:
			p, n := protowire.ConsumeBytes(b)
			if n < 0 || !utf8.Valid(p) {
				return v
			}
			address, b = string(p), b[n:]
		case num == expiresField && typ == protowire.VarintType:
			x, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return v
			}
			end, b = x, b[n:]
		default:
			n := protowire.ConsumeFieldValue(num, typ, b)
			if n < 0 {
				return v
			}
			b = b[n:]
		}
	}
	if end != 0 && uint64(now.Unix()) > end {
		return ""
	}
	return address
}

// headerSession keeps the address in a header.
type headerSession struct{ key header.Key }

func (s *headerSession) find(h *header.Map, _ time.Time) (string, bool) {
	v, _ := h.GetKey(s.key)
	return decoded(v), true
}

func (s *headerSession) keep(h *header.Map, address string, moved bool, _ time.Time) {
	if moved {
		h.SetBuilt(s.key, encoded(h.Build(), address))
	}
}

// envelopeSession keeps the address in front of a header's value that the upstream has sent, and takes it off again when
// the client sends that back.
type envelopeSession struct{ key header.Key }

const upstreamValue = "UV:"

func (s *envelopeSession) find(h *header.Map, _ time.Time) (string, bool) {
	v, ok := h.GetKey(s.key)
	if !ok {
		return "", true
	}
	address, rest, _ := strings.Cut(strings.TrimLeft(string(v), ";"), ";")
	for part := range strings.SplitSeq(rest, ";") {
		if inner, ok := strings.CutPrefix(part, upstreamValue); ok {
			value := decoded([]byte(inner))
			if value == "" || !fieldValue(value) {
				break
			}
			h.SetKey(s.key, []byte(value))
			return decoded([]byte(address)), true
		}
	}
	return "", true
}

// fieldValue reports whether text that a client has encoded may stand in a header (RFC 9110, 5.5).
func fieldValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return strings.Trim(s, " \t") == s
}

func (s *envelopeSession) keep(h *header.Map, address string, _ bool, _ time.Time) {
	i := h.Find(s.key, 0)
	if i < 0 || h.Find(s.key, i+1) >= 0 {
		return // nothing to go with, or not one value
	}
	_, _, v := h.At(i)
	value := string(v)
	b := encoded(h.Build(), address)
	b = append(b, ";"+upstreamValue...)
	h.SetBuilt(s.key, encoded(b, value))
}
