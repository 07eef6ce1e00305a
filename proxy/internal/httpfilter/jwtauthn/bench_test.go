package jwtauthn

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/jwt"
	"github.com/lateen-mesh/lateen/proxy/internal/jwt/jwttest"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// stream is as much of a stream as the filter uses.
type stream struct {
	httpfilter.Stream
	loop  *eventloop.Loop
	shard *stats.Shard
	info  streaminfo.Info
	reply string
}

func (s *stream) Loop() *eventloop.Loop    { return s.loop }
func (s *stream) Shard() *stats.Shard      { return s.shard }
func (s *stream) Info() *streaminfo.Info   { return &s.info }
func (s *stream) FilterConfig() any        { return nil }
func (s *stream) ClearRoute()              {}
func (s *stream) Reply(r httpfilter.Reply) { s.reply = r.Body }

// newStream makes a filter for one provider with an issuer "i", and a stream for it.
func newStream(tb testing.TB, k *jwttest.Keys) (*filter, *stream) {
	tb.Helper()
	loop, err := eventloop.New(0, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(loop.Close)
	loop.UpdateNow()
	st := stats.NewStore(stats.Options{Workers: 1})
	keys, err := jwt.ParseKeys([]byte(k.Set()))
	if err != nil {
		tb.Fatal(err)
	}
	p := &provider{
		name: "p", issuer: "i", clockSkew: defaultClockSkew, keys: keys, payloadMetadata: "payload", cacheSize: defaultCacheSize, maxCached: defaultCachedToken,
		claims: []claimHeader{{key: header.KeyOf("x-sub"), path: []string{"sub"}}},
		places: []place{{name: "authorization", key: header.KeyOf("authorization"), prefix: "Bearer ", issuers: []string{"i"}}, {kind: inQuery, name: "access_token", issuers: []string{"i"}}},
	}
	c := &Config{providers: []*provider{p}, byIssuer: map[string]int{"i": 0}, sanitize: newExtractor(p).sanitize}
	v := &verifier{leaves: 1, root: &requirement{kind: leaf, extractor: newExtractor(p)}}
	c.rules = []rule{{match: route.NewMatcher(&xdsresource.RouteMatch{Path: "/"}), verifier: v}}
	f := New(c, Deps{Scope: st.Scope("http"), Workers: 1}).NewFilter(loop).(*filter)
	return f, &stream{loop: loop, shard: st.Shard(0)}
}

// judge runs one request with a token through the filter.
func (s *stream) judge(f *filter, h *header.Map, token string) httpfilter.Status {
	h.Reset()
	h.AddString(header.Method, "GET")
	h.AddString(header.Path, "/some/path?x=y")
	h.AddString(header.Authority, "shop.example")
	h.AddString(header.Scheme, "http")
	h.AddString(header.Authorization, token)
	s.info.Reset()
	status := f.OnRequestHeaders(s, h, true)
	f.OnComplete(s)
	return status
}

// BenchmarkFilter: a token that was verified before, new ones of each algorithm, and what strangers
// can make us do.
func BenchmarkFilter(b *testing.B) {
	k := jwttest.New(b)
	const claims = `{"iss":"i","sub":"alice","aud":["shop","api"],"exp":4102444800,"iat":1700000000,"scope":"openid profile email","groups":["a","b","c","d"]}`
	run := func(name string, want httpfilter.Status, forget bool, token string) {
		b.Run(name, func(b *testing.B) {
			f, s := newStream(b, k)
			var h header.Map
			b.ReportAllocs()
			for b.Loop() {
				if got := s.judge(f, &h, "Bearer "+token); got != want {
					b.Fatalf("%d %q", got, s.reply)
				}
				if forget {
					f.caches[0] = cache{max: 100, maxToken: 1 << 20}
				}
			}
		})
	}
	run("remembered", httpfilter.Continue, false, k.Sign("RS256", claims))
	for _, alg := range []string{"RS256", "PS512", "ES256", "ES384", "ES512", "HS256", "EdDSA"} {
		run("new "+alg, httpfilter.Continue, true, k.Sign(alg, claims))
	}
	run("bad signature", httpfilter.Stop, false, jwttest.New(b).Sign("RS256", claims))
	run("garbage", httpfilter.Stop, false, strings.Repeat("x", 1000))
	run("many values", httpfilter.Stop, false, k.Sign("HS256", `{"a":[`+strings.Repeat("1,", 20000)+`1]}`))
	run("many names", httpfilter.Stop, false, k.Sign("HS256", `{`+manyNames(5000)+`"a":1}`))
	run("deep", httpfilter.Stop, false, k.Sign("HS256", strings.Repeat(`{"":`, 10000)+"1"+strings.Repeat("}", 10000)))
	run("escapes", httpfilter.Stop, false, k.Sign("HS256", `{"a":"`+strings.Repeat(`\u0041`, 7000)+`"}`))
	run("blanks", httpfilter.Stop, false, k.Sign("HS256", `{`+strings.Repeat(" ", 45000)+`}`))
}

func manyNames(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, `"%x":1,`, i)
	}
	return out.String()
}
