package extauthz

import (
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/asyncclient"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

const toRemove = "x-envoy-auth-headers-to-remove"

// ofOneHop are headers that belong to a message on one connection: they are neither told to a
// service nor taken from it.
var ofOneHop = map[string]bool{
	"connection": true, "keep-alive": true, "proxy-connection": true, "transfer-encoding": true, "upgrade": true, "content-length": true,
	"expect": true, "http2-settings": true,
}

// httpCheck makes the request that asks over HTTP: the client's, without what is not allowed and, but
// for with_request_body, without its body.
func (f *filter) httpCheck(h *header.Map, s *httpService) asyncclient.Request {
	out := &header.Map{}
	var body []byte
	if f.hasBody {
		body = f.body[:min(len(f.body), f.rules.max)]
		body = append([]byte(nil), body...)
	}
	out.Add(header.ContentLength, strconv.AppendInt(nil, int64(len(body)), 10))
	f.eachTold(h, func(name, value []byte) {
		if ofOneHop[string(name)] {
			return
		}
		key := header.Key{ID: header.Lookup(string(name)), Name: string(name)}
		if key.ID == header.Path {
			switch {
			case s.pathOverride != "":
				value = []byte(s.pathOverride)
			case s.pathPrefix != "":
				value = append([]byte(s.pathPrefix), value...)
			}
		}
		if i := out.Find(key, 0); i >= 0 && !f.cfg.rawHeaders {
			_, _, old := out.At(i)
			out.SetAt(i, append(append(append([]byte(nil), old...), ','), value...))
			return
		}
		out.AddKey(key, value)
	})
	if f.hasBody {
		out.AddKeyString(header.KeyOf(partialBody), strconv.FormatBool(len(f.body) > f.rules.max))
	}
	s.add.Apply(out, &format.Context{Request: h, Info: f.s.Info()})
	f.trace(out)
	return asyncclient.Request{
		Cluster: s.target.Cluster, Headers: out, Body: body, Timeout: s.target.Timeout, Retry: s.retry, SkipForwardedFor: true,
	}
}

// judge says what an answer over HTTP means: 200 is a yes, a server error none at all.
func (s *httpService) judge(r *asyncclient.Response, err error) answer {
	if err != nil || r.Status >= 500 {
		return answer{verdict: failed}
	}
	a := answer{verdict: denied, code: r.Status}
	if r.Status == 200 {
		a = answer{verdict: allowed}
	} else {
		a.body = string(r.Body)
	}
	for i := range r.Headers.Len() {
		id, name, value := r.Headers.At(i)
		if id.Pseudo() || string(name) == toRemove && a.verdict == denied {
			continue
		}
		if string(name) == toRemove {
			for _, n := range strings.Split(string(value), ",") {
				if n = strings.TrimSpace(n); n != "" {
					a.remove = append(a.remove, n)
				}
			}
			continue
		}
		if s.metadata.has(name) {
			if a.metadata == nil {
				a.metadata = map[string]any{}
			}
			a.metadata[string(name)] = string(value)
		}
		if ofOneHop[string(name)] {
			continue
		}
		p := pair{string(name), string(value)}
		if a.verdict == denied {
			if s.client == nil || s.client.has(name) {
				a.local = append(a.local, p)
			}
			continue
		}
		if s.upstream.has(name) {
			a.set = append(a.set, p)
		}
		if s.upstreamAppend.has(name) {
			a.add = append(a.add, p)
		}
		if s.clientOnSuccess.has(name) {
			a.response = append(a.response, change{p, addLine})
		}
	}
	return a
}
