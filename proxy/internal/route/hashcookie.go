package route

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Connection is the client's connection. Its two ends make the value of a cookie for hashing,
// so that requests that race on one connection get the same cookie, and go to the same host.
type Connection struct{ Remote, Local netip.AddrPort }

// appendValue appends the value of the connection's cookies.
func (c Connection) appendValue(dst []byte) []byte {
	var ends [128]byte
	const digits = "0123456789abcdef"
	h := lb.Hash(c.Local.AppendTo(c.Remote.AppendTo(ends[:0])))
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[h>>shift&15])
	}
	return dst
}

// SetCookie adds the set-cookie of a cookie that Hash made for the request to its answer.
func (c Connection) SetCookie(answer *header.Map, k *xdsresource.HashCookie) {
	var value [16]byte
	SetCookie(answer, k, c.appendValue(value[:0]))
}

// SetCookie adds a set-cookie to an answer, in Envoy's form.
func SetCookie(answer *header.Map, k *xdsresource.HashCookie, value []byte) {
	b := append(answer.Build(), k.Name...)
	b = append(b, '=', '"')
	b = append(append(b, value...), '"')
	if k.TTL != nil && *k.TTL >= time.Second { // else it lives as long as the browser
		b = strconv.AppendInt(append(b, "; Max-Age="...), int64(*k.TTL/time.Second), 10)
	}
	if k.Path != "" {
		b = append(append(b, "; Path="...), k.Path...)
	}
	for i := range k.Attributes {
		a := &k.Attributes[i]
		b = append(append(b, "; "...), a.Name...)
		if a.Value != "" {
			b = append(append(b, '='), a.Value...)
		}
	}
	b = append(b, "; HttpOnly"...)
	answer.AddBuilt(header.Key{ID: header.SetCookie, Name: "set-cookie"}, b)
}
