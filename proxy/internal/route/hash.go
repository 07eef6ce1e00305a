package route

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// HashInput is what the hash policies read.
type HashInput struct {
	Headers    *header.Map // nil: what is balanced is no request
	Source     netip.Addr  // of the client, as it was judged
	Connection Connection
	State      State // nil: there is none
	// AsSent: no cookies are made.
	AsSent bool
}

// Hash is Hash by the route's policies.
func (f *Forward) Hash(in HashInput, made []*xdsresource.HashCookie) (hash uint64, ok bool, cookies []*xdsresource.HashCookie) {
	return Hash(f.RouteAction.Hash, in, made)
}

// Hash computes the load balancing hash of a request from hash policies, of its route or of the
// cluster that it goes to, false when none of them gives one. Several are combined in order; behind a terminal one the list ends
// if there is a hash, were it an earlier one's. Cookies that the client did not send give none, unless they have a
// time to live: those are appended to made, and the answer has to set them.
func Hash(policies []xdsresource.HashPolicy, in HashInput, made []*xdsresource.HashCookie) (hash uint64, ok bool, cookies []*xdsresource.HashCookie) {
	h, source := in.Headers, in.Source
	var p parts
	if h != nil {
		p.path, p.query = split(h.Value(header.Path))
	}
	for i := range policies {
		a := &policies[i]
		if h == nil && (a.Header.Name != "" || a.Cookie != nil || a.Query != "") {
			continue
		}
		var v []byte
		var n uint64
		var have bool
		switch {
		case a.Header.Name != "":
			n, have = hashHeader(h, a.Header, a.Rewrite)
		case a.Cookie != nil:
			v, _ = Cookie(h, a.Cookie.Name)
			if len(v) == 0 && a.Cookie.TTL != nil && !in.AsSent {
				v = in.Connection.appendValue(p.scratch())
				made = append(made, a.Cookie)
			}
			have = len(v) > 0 // an empty cookie is as good as none
		case a.SourceIP:
			v, have = source.AppendTo(p.scratch()), source.IsValid()
		case a.Query != "":
			v, have = queryValue(&p, a.Query)
		case a.State != "" && in.State != nil:
			var t filterstate.HashableText // what is not made to be hashed is as good as none
			t, have = in.State.FilterState(a.State).(filterstate.HashableText)
			v = append(p.scratch(), t...)
		}
		if have {
			if a.Header.Name == "" {
				n = lb.Hash(v)
			}
			if ok {
				n ^= hash<<1 | hash>>63
			}
			hash, ok = n, true
		}
		if a.Terminal && ok {
			break
		}
	}
	p.release()
	return hash, ok, made
}

// hashHeader is the hash of a header: of its value, in which a pattern may be replaced first. Of several the order means nothing, as in
// Envoy: they are sorted, and the hash of each is the seed of the next.
func hashHeader(h *header.Map, k header.Key, w *xdsresource.RegexRewrite) (uint64, bool) {
	i := h.Find(k, 0)
	if i < 0 {
		return 0, false
	}
	var values [][]byte
	for ; i >= 0; i = h.Find(k, i+1) {
		_, _, v := h.At(i)
		if w != nil {
			v = w.Regex.ReplaceAll(v, []byte(w.Substitution))
		}
		if len(values) == 0 && h.Find(k, i+1) < 0 {
			return lb.Hash(v), true
		}
		values = append(values, v)
	}
	slices.SortFunc(values, bytes.Compare)
	return lb.HashAll(values), true
}

// Cookie returns the value of a request's cookie without its quotes.
func Cookie(h *header.Map, name string) ([]byte, bool) {
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
