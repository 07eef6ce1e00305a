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
	var p parts
	p.path, p.query = split(h.Value(header.Path))
	for i := range f.RouteAction.Hash {
		a := &f.RouteAction.Hash[i]
		var v []byte
		var have bool
		switch {
		case a.Header != "":
			v, have = h.Join(p.scratch(), f.hash[i])
		case a.Cookie != nil:
			v, have = cookie(h, a.Cookie.Name)
		case a.SourceIP:
			v, have = source.AppendTo(p.scratch()), source.IsValid()
		case a.Query != "":
			v, have = queryValue(&p, a.Query)
		}
		if have {
			n := lb.Hash(v)
			if ok {
				n ^= hash<<1 | hash>>63
			}
			hash, ok = n, true
			if a.Terminal {
				break
			}
		}
	}
	p.release()
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
