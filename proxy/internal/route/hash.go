package route

import (
	"bytes"
	"net/netip"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
)

// Hash computes the load balancing hash of a request from the route's hash policies, false
// when none of them gives one. Several are combined in order; a terminal one that gives a
// hash ends the list. Cookies that the client did not send give none.
func (f *Forward) Hash(h *header.Map, source netip.Addr) (hash uint64, ok bool) {
	var buf [128]byte
	for i := range f.RouteAction.Hash {
		p := &f.RouteAction.Hash[i]
		var v []byte
		var have bool
		switch {
		case p.Header != "":
			v, have = h.Join(buf[:0], header.KeyOf(p.Header))
		case p.Cookie != nil:
			v, have = cookie(h, p.Cookie.Name)
		case p.SourceIP:
			v, have = source.AppendTo(buf[:0]), source.IsValid()
		case p.Query != "":
			_, q := split(h.Value(header.Path))
			v, have = queryValue(q, p.Query, buf[:0])
		}
		if have {
			n := lb.Hash(v)
			if ok {
				n ^= hash<<1 | hash>>63
			}
			hash, ok = n, true
			if p.Terminal {
				break
			}
		}
	}
	return hash, ok
}

// cookie returns the value of a cookie without its quotes.
func cookie(h *header.Map, name string) ([]byte, bool) {
	key := header.Key{ID: header.Cookie, Name: "cookie"}
	for i := h.Find(key, 0); i >= 0; i = h.Find(key, i+1) {
		_, _, line := h.At(i)
		for len(line) > 0 {
			kv := line
			if j := bytes.IndexByte(line, ';'); j >= 0 {
				kv, line = line[:j], line[j+1:]
			} else {
				line = nil
			}
			kv = bytes.TrimSpace(kv)
			if k, v, ok := bytes.Cut(kv, []byte("=")); ok && string(k) == name {
				if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
					v = v[1 : len(v)-1]
				}
				return v, true
			}
		}
	}
	return nil, false
}
