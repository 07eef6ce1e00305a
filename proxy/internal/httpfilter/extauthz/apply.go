package extauthz

import (
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// apply changes a request's headers as an answer says, and as rules let it; nil lets it all. False: the answer is invalid, and the headers
// are not to be used.
func (a *answer) apply(h *header.Map, validate bool, rules *mutationRules) bool {
	if !a.sound(validate) || !a.obey(rules) {
		return false
	}
	for _, p := range a.set {
		if k, ok := mutable(p.name); ok {
			h.SetKey(k, []byte(p.value))
		}
	}
	for _, p := range a.add {
		if k, ok := mutable(p.name); ok && ordinary(k) {
			h.AddKey(k, []byte(p.value))
		}
	}
	for _, p := range a.join {
		k, ok := mutable(p.name)
		if i := h.Find(k, 0); ok && i >= 0 && ordinary(k) {
			_, _, old := h.At(i)
			h.SetAt(i, append(append(append([]byte(nil), old...), ','), p.value...))
		}
	}
	for _, name := range a.remove {
		if k, ok := mutable(name); ok && ordinary(k) {
			h.RemoveKey(k)
		}
	}
	if len(a.querySet) > 0 || len(a.queryRemove) > 0 {
		h.Set(header.Path, []byte(changeQuery(string(h.Value(header.Path)), a.querySet, a.queryRemove)))
	}
	return soundTarget(h)
}

// changesRoute reports whether the answer asks for anything that a route may depend on: by the headers of the set, nil for any, or the query.
func (a *answer) changesRoute(by *names) bool {
	if len(a.querySet)+len(a.queryRemove) > 0 {
		return true
	}
	for _, list := range [][]pair{a.set, a.add, a.join} {
		for _, p := range list {
			if by == nil || by.exact[strings.ToLower(p.name)] {
				return true
			}
		}
	}
	return slices.ContainsFunc(a.remove, func(name string) bool { return by == nil || by.exact[strings.ToLower(name)] })
}

// ordinary: a header that a request may have several times, or not at all.
func ordinary(k header.Key) bool { return k.ID != header.Authority && !k.ID.Pseudo() }

// sound reports whether the changes can be applied at all. With validate_mutations parameters of the
// query must be encoded, too.
func (a *answer) sound(validate bool) bool {
	for _, list := range [][]pair{a.set, a.add, a.join} {
		for _, p := range list {
			if !sound(p) {
				return false
			}
		}
	}
	for i := range a.response {
		if !sound(a.response[i].pair) {
			return false
		}
	}
	if validate {
		for _, p := range a.querySet {
			if !encoded(p.name) || !encoded(p.value) {
				return false
			}
		}
	}
	return true
}

// sound reports whether a header is one by its characters (RFC 9110, 5.1 and 5.5).
func sound(p pair) bool {
	name := strings.TrimPrefix(p.name, ":")
	if name == "" {
		return false
	}
	for i := range len(name) {
		if !token(name[i]) {
			return false
		}
	}
	for i := range len(p.value) {
		if c := p.value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func token(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// encoded reports whether a text is one of form data's: what is not of these characters must be
// encoded, and a percent sign is not, since Envoy encodes nothing here.
func encoded(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("*-._", c) >= 0) {
			return false
		}
	}
	return true
}

// mutable is the key of a header that a service may change in a request: neither what frames the
// message nor a pseudo-header that requests do not have.
func mutable(name string) (header.Key, bool) {
	name = strings.ToLower(name)
	if ofOneHop[name] {
		return header.Key{}, false
	}
	k := header.Key{ID: header.Lookup(name), Name: name}
	switch k.ID {
	case header.Method, header.Path, header.Authority, header.Scheme:
		return k, true
	}
	return k, !strings.HasPrefix(name, ":")
}

// soundTarget reports whether the request line can be written: a service may have changed its parts.
func soundTarget(h *header.Map) bool {
	method, path := h.Value(header.Method), h.Value(header.Path)
	for i := range method {
		if !token(method[i]) {
			return false
		}
	}
	if len(method) == 0 || len(path) == 0 && string(method) != "CONNECT" {
		return false
	}
	for _, c := range path {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	for _, c := range h.Value(header.Authority) {
		if !authority(c) {
			return false
		}
	}
	switch string(h.Value(header.Scheme)) {
	case "http", "https", "":
	default:
		return false
	}
	return len(path) == 0 || path[0] == '/' || string(path) == "*"
}

// authority reports whether a byte may stand in host and port (RFC 3986, 3.2.2).
func authority(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~%!$&'()*+,;=:[]", c) >= 0
}

// changeQuery sets parameters of a path's query, the last value winning, and then removes some. As
// in Envoy the query is written anew in order of name.
func changeQuery(path string, set []pair, remove []string) string {
	path, query, _ := strings.Cut(path, "?")
	var params []pair
	for kv := range strings.SplitSeq(query, "&") {
		if name, value, _ := strings.Cut(kv, "="); kv != "" {
			params = append(params, pair{name, value})
		}
	}
	drop := func(name string) {
		params = slices.DeleteFunc(params, func(p pair) bool { return p.name == name })
	}
	for _, p := range set {
		drop(p.name)
		params = append(params, p)
	}
	for _, name := range remove {
		drop(name)
	}
	slices.SortStableFunc(params, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	var b strings.Builder
	b.WriteString(path)
	for i, p := range params {
		sep := byte('&')
		if i == 0 {
			sep = '?'
		}
		b.WriteByte(sep)
		b.WriteString(p.name)
		b.WriteByte('=')
		b.WriteString(p.value)
	}
	return b.String()
}

// changeResponse applies what the service wants of the response.
func changeResponse(h *header.Map, changes []change) {
	for _, how := range []action{addLine, setValue, addIfAbsent, setIfPresent} { // as Envoy goes about it
		for i := range changes {
			c := &changes[i]
			name := strings.ToLower(c.name)
			if c.how != how || ofOneHop[name] {
				continue
			}
			k := header.Key{ID: header.Lookup(name), Name: name}
			if strings.HasPrefix(name, ":") {
				if k.ID == header.Status && (how == setValue || how == setIfPresent) && soundStatus(c.value) {
					h.Set(header.Status, []byte(c.value))
				}
				continue
			}
			has := h.Find(k, 0) >= 0
			switch {
			case how == addLine, how == addIfAbsent && !has:
				h.AddKey(k, []byte(c.value))
			case how == setValue, how == setIfPresent && has:
				h.SetKey(k, []byte(c.value))
			}
		}
	}
}

// soundStatus reports whether a text is a final status.
func soundStatus(v string) bool {
	return len(v) == 3 && v[0] >= '2' && v[0] <= '5' && v[1] >= '0' && v[1] <= '9' && v[2] >= '0' && v[2] <= '9'
}

// replyHeaders puts a service's headers into a reply. They replace those of the same name, and may
// themselves be several of one name.
func replyHeaders(h *header.Map, list []pair) {
	for _, p := range list {
		h.RemoveName(strings.ToLower(p.name))
	}
	for _, p := range list {
		if name := strings.ToLower(p.name); !strings.HasPrefix(name, ":") && !ofOneHop[name] {
			h.AddName(name, []byte(p.value))
		}
	}
}
